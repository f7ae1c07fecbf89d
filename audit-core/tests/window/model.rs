use std::collections::HashMap;
use std::time::Duration;

use audit_core::Cursor;
use audit_core::window::{Found, Next, Position, Window, WindowConfig, Windows};
use chrono::{DateTime, Utc};

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2026-01-01T00:00:00Z.
pub(crate) const T0: i64 = 1_767_225_600_000;

pub(crate) fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}

pub(crate) fn span(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

pub(crate) fn config(granule: i64) -> WindowConfig {
    WindowConfig::new(span(granule)).poll(Duration::ZERO)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// What the API filters on.
    pub(crate) at: i64,
    /// What the record says.
    pub(crate) time: i64,
    /// When the API begins to show it.
    pub(crate) appears: i64,
}

impl Record {
    pub(crate) fn prompt(at: i64) -> Self {
        let (time, appears) = (at, at);
        Self { at, time, appears }
    }

    pub(crate) fn late(at: i64, by: i64) -> Self {
        let appears = at + by;
        Self { appears, ..Self::prompt(at) }
    }
}

/// An API that filters by time, caps its answers, and knows no paging.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) records: Vec<Record>,
    pub(crate) cap: usize,
    pub(crate) newest_first: bool,
    pub(crate) inclusive_end: bool,
    pub(crate) requests: usize,
}

impl Api {
    pub(crate) fn of(records: impl IntoIterator<Item = Record>) -> Self {
        Self {
            records: records.into_iter().collect(),
            cap: 1_000_000,
            newest_first: true,
            inclusive_end: false,
            requests: 0,
        }
    }

    pub(crate) fn cap(mut self, cap: usize) -> Self {
        self.cap = cap;
        self
    }

    /// Answers at a time with numbers of records; at most `cap` of them.
    pub(crate) fn ask(&mut self, window: Window, now: i64) -> Vec<usize> {
        self.requests += 1;
        let (from, to) = (window.from().timestamp_millis(), window.to().timestamp_millis());
        let to = to + i64::from(self.inclusive_end);
        let shown = |r: &Record| r.appears <= now && (from..to).contains(&r.at);
        let mut found: Vec<_> =
            (0..self.records.len()).filter(|n| shown(&self.records[*n])).collect();
        found.sort_by_key(|n| self.records[*n].at);
        if self.newest_first {
            found.reverse();
        }
        found.truncate(self.cap);
        found
    }

    pub(crate) fn found(&self, n: usize) -> Found<usize> {
        Found::new(format!("record-{n}"), at(self.records[n].time), n)
    }
}

/// A source as it will be: reads, delivers, saves the position with each batch.
pub(crate) struct Reader {
    pub(crate) config: WindowConfig,
    pub(crate) windows: Windows<usize>,
    pub(crate) saved: Position,
    pub(crate) delivered: Vec<usize>,
}

impl Reader {
    pub(crate) fn new(config: WindowConfig, start: i64, end: Option<i64>) -> Self {
        let windows = Windows::new(config, at(start), end.map(at)).unwrap();
        let saved = windows.position();
        let delivered = Vec::new();
        Self { config, windows, saved, delivered }
    }

    /// Starts again in another process, from what was saved.
    pub(crate) fn restart(&mut self) {
        let cursor = Cursor::encode("model", 1, &self.saved).unwrap();
        let text = serde_json::to_string(&cursor).unwrap();
        let cursor: Cursor = serde_json::from_str(&text).unwrap();
        let position: Position = cursor.decode("model", 1).unwrap();
        assert_eq!(position, self.saved);
        self.windows = Windows::resume(self.config, position).unwrap();
    }

    pub(crate) fn deliver(&mut self, limit: usize) -> bool {
        let mut room = limit;
        let fits = |_: &usize| {
            room = room.wrapping_sub(1);
            room != usize::MAX
        };
        let Some(taken) = self.windows.take(fits) else {
            return false;
        };
        assert!(taken.records.len() <= limit);
        assert!(
            taken.position.closed_to() >= self.saved.closed_to() || self.windows.reopened() > 0
        );
        assert!(taken.position.complete_to() <= taken.position.closed_to());
        self.delivered.extend(taken.records);
        self.saved = taken.position;
        true
    }

    /// Answers one window.
    pub(crate) fn answer(
        &mut self,
        api: &mut Api,
        window: Window,
        now: i64,
    ) -> audit_core::Result<()> {
        let found = api.ask(window, now);
        if found.len() == api.cap {
            return self.windows.full(window);
        }
        let found: Vec<_> = found.into_iter().map(|n| api.found(n)).collect();
        self.windows.accept(window, found)?;
        self.windows.finish(window)
    }

    /// Reads until there is nothing to do at this time.
    pub(crate) fn run(&mut self, api: &mut Api, now: i64) -> audit_core::Result<Next> {
        for _ in 0..1_000_000 {
            match self.windows.next(at(now)) {
                Next::Window(window) => self.answer(api, window, now)?,
                Next::Pending => assert!(self.deliver(7), "pending, but nothing to take"),
                idle_or_end => return Ok(idle_or_end),
            }
            while self.deliver(7) {}
        }
        panic!("no end");
    }

    pub(crate) fn catch_up(&mut self, api: &mut Api, now: i64) {
        let next = self.run(api, now).unwrap();
        assert!(matches!(next, Next::Idle(_) | Next::End), "{next:?}");
    }

    pub(crate) fn assert_all_once(&self, api: &Api) {
        let mut times = HashMap::new();
        self.delivered.iter().for_each(|n| *times.entry(*n).or_insert(0) += 1);
        for (n, record) in api.records.iter().enumerate() {
            let count = times.remove(&n).unwrap_or(0);
            assert_eq!(count, 1, "record {n}: {record:?}");
        }
    }
}
