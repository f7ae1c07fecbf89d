use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::config::Scale;
use super::position::Marks;
use super::seen::Seen;
use super::span::{ceil, duration, floor};
use super::sweep::{Sweep, not_its_turn};
use super::{Position, Window, WindowConfig};
use crate::Result;

/// Plans windows, tells new records from known ones, and knows the position behind each batch.
///
/// `T` is whatever the source makes of a record. The [module](super) has the rules.
///
/// ```
/// use std::time::Duration;
///
/// use audit_core::window::{Found, Next, WindowConfig, Windows};
/// use chrono::{DateTime, TimeDelta, Utc};
///
/// # fn main() -> audit_core::Result<()> {
/// let day = DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default();
/// let end = Some(day + TimeDelta::days(1));
/// let config = WindowConfig::new(Duration::from_millis(1)).max_span(Duration::from_secs(43_200));
/// let mut windows = Windows::new(config, day, end)?;
/// let now = day + TimeDelta::days(30);
///
/// let Next::Window(morning) = windows.next(now) else { unreachable!() };
/// assert_eq!(morning.to_string(), "[2026-01-01T00:00:00Z, 2026-01-01T12:00:00Z)");
/// // The API answers, newest first:
/// let nine = Found::new("b", day + TimeDelta::hours(9), "ann signed in");
/// let eight = Found::new("a", day + TimeDelta::hours(8), "bob signed in");
/// windows.accept(morning, [nine, eight])?;
/// windows.finish(morning)?;
///
/// let Some(taken) = windows.take(|_| true) else { unreachable!() };
/// assert_eq!(taken.records, ["bob signed in", "ann signed in"]);
/// // With the records goes the position behind them, from which another process goes on:
/// let mut windows: Windows<&str> = Windows::resume(config, taken.position)?;
/// let Next::Window(afternoon) = windows.next(now) else { unreachable!() };
/// assert_eq!(afternoon.from(), morning.to());
/// windows.finish(afternoon)?;
/// assert!(windows.take(|_| true).is_some(), "an empty window is progress as well");
/// assert_eq!(windows.next(now), Next::End);
/// # Ok(())
/// # }
/// ```
pub struct Windows<T> {
    scale: Scale,
    filters_record_time: bool,
    marks: Marks,
    seen: Seen,
    /// The length of the next window: halved when an answer is cut off, longer when one is not.
    span: i64,
    /// How many records were accepted for the window at the front.
    answered: usize,
    sweep: Option<Sweep>,
    last_sweep: Option<i64>,
    outbox: VecDeque<Item<T>>,
    waiting: HashSet<Arc<str>>,
    reopened: u64,
}

enum Item<T> {
    Record { id: Arc<str>, until: i64, record: T },
    Closed { closed: i64, complete: i64, swept_at: i64 },
}

/// One record that an API returned.
#[derive(Clone, Debug)]
pub struct Found<T> {
    id: Arc<str>,
    time: DateTime<Utc>,
    filed: DateTime<Utc>,
    record: T,
}

impl<T> Found<T> {
    /// Creates one of the id that tells it from all others, and the time it carries.
    pub fn new(id: impl Into<Arc<str>>, time: DateTime<Utc>, record: T) -> Self {
        Self { id: id.into(), time, filed: time, record }
    }

    /// Sets the time under which the API may return it again, where that may be another than the one
    /// it carries: until reading has passed it, the record is remembered.
    #[must_use]
    pub fn filed_at(mut self, filed: DateTime<Utc>) -> Self {
        self.filed = filed;
        self
    }
}

/// What a source is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Ask the API for this window.
    Window(Window),
    /// Finish the windows under way, and take what is there.
    Pending,
    /// Nothing before this much time has passed; then ask again.
    Idle(Duration),
    /// The end is reached.
    End,
}

/// How many of the records offered were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records that will be delivered.
    pub new: usize,
    /// Records that are known already. A page without a new record, which is not the first of its
    /// window, is a sign that the API repeats itself.
    pub known: usize,
}

/// Records to deliver, and the position behind them.
#[derive(Clone, Debug)]
pub struct Taken<T> {
    /// The records, window by window, and oldest first in what was accepted at once. May be none:
    /// the position moved all the same.
    pub records: Vec<T>,
    /// From where to go on once these are safe.
    pub position: Position,
}

impl<T> Windows<T> {
    /// Begins at `start`, and ends before `end` or never.
    ///
    /// Both are widened to the granularity, so records just outside them may be delivered.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a granularity that is not a positive
    /// number of milliseconds.
    pub fn new(
        config: WindowConfig,
        start: DateTime<Utc>,
        end: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        let scale = Scale::of(&config)?;
        let start = floor(start.timestamp_millis(), scale.granule);
        let marks =
            Marks { closed: start, complete: start, end: None, swept_at: None, leapt_at: None };
        let mut windows = Self::at(config, scale, marks);
        windows.retarget(end);
        Ok(windows)
    }

    /// Goes on from a position, also one of another process or another configuration.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn resume(config: WindowConfig, position: Position) -> Result<Self> {
        let scale = Scale::of(&config)?;
        let end = position.end();
        let (mut marks, seen) = position.into_parts();
        marks.complete = floor(marks.complete.min(marks.closed), scale.granule);
        marks.closed = floor(marks.closed, scale.granule);
        let mut windows = Self::at(config, scale, marks);
        windows.retarget(end);
        for (until, ids) in seen {
            for id in ids {
                windows.seen.insert(id, until);
            }
        }
        Ok(windows)
    }

    fn at(config: WindowConfig, scale: Scale, marks: Marks) -> Self {
        Self {
            scale,
            filters_record_time: config.filters_record_time,
            marks,
            seen: Seen::new(config.seen_limit),
            span: scale.max_empty_span,
            answered: 0,
            sweep: None,
            last_sweep: None,
            outbox: VecDeque::new(),
            waiting: HashSet::new(),
            reopened: 0,
        }
    }

    /// Sets another end: for the next of several runs, each of which ends at its own time.
    pub fn retarget(&mut self, end: Option<DateTime<Utc>>) {
        self.marks.end = end.map(|end| {
            let within = !end.timestamp_subsec_nanos().is_multiple_of(1_000_000);
            let millis = end.timestamp_millis().saturating_add(i64::from(within));
            ceil(millis, self.scale.granule)
        });
    }

    /// Returns what to do next. `now` is the server's time where it is known, else the clock's.
    ///
    /// Several windows may be asked for before the first is finished.
    pub fn next(&mut self, now: DateTime<Utc>) -> Next {
        if self.sweep.is_none()
            && let Err(next) = self.begin_sweep(now.timestamp_millis())
        {
            return next;
        }
        let window = self.sweep.as_mut().and_then(|sweep| sweep.ask(self.span, &self.scale));
        window.map_or(Next::Pending, Next::Window)
    }

    fn begin_sweep(&mut self, now: i64) -> Result<(), Next> {
        let Scale { granule, settle, poll, .. } = self.scale;
        if !self.outbox.is_empty() {
            return Err(Next::Pending);
        }
        if self.marks.end.is_some_and(|end| self.marks.closed >= end) {
            return Err(Next::End);
        }
        if self.marks.begin_sweep(now, self.scale.tolerance) {
            self.reopened += 1;
            self.last_sweep = None;
        }
        let since_last = self.last_sweep.map(|last| now.saturating_sub(last));
        if let Some(since) = since_last
            && (0..poll).contains(&since)
        {
            return Err(Next::Idle(duration(poll - since)));
        }
        let settled = floor(now.saturating_sub(settle), granule);
        let to = self.marks.end.map_or(settled, |end| end.min(settled));
        if to <= self.marks.closed {
            let due = self.marks.closed.saturating_add(granule.saturating_add(settle));
            let wait = due.saturating_sub(now).clamp(1, poll.max(1_000));
            return Err(Next::Idle(duration(wait)));
        }
        self.last_sweep = Some(now);
        self.sweep = Some(Sweep::new(now, self.marks.complete, to, &self.scale));
        Ok(())
    }

    /// Returns the window whose records are to be accepted next, if any is under way. Answers that
    /// come earlier than their turn have to wait.
    pub fn front(&self) -> Option<Window> {
        self.sweep.as_ref().and_then(Sweep::front)
    }

    /// Takes records that the API returned for a window, in any order: all of them at once, or page
    /// by page. They are sorted oldest first, each page by itself.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`](crate::ErrorKind::Unexpected) when the window is not
    /// [`front`](Self::front).
    pub fn accept(
        &mut self,
        window: Window,
        records: impl IntoIterator<Item = Found<T>>,
    ) -> Result<Accepted> {
        let sweep = self.sweep.as_ref().ok_or_else(|| not_its_turn(window))?;
        sweep.expect(window)?;
        let recent = sweep.now.saturating_sub(self.scale.tolerance)..=sweep.now;
        let mut accepted = Accepted::default();
        let mut new = Vec::new();
        for found in records {
            if recent.contains(&found.time.timestamp_millis()) {
                // Somebody else's clock agrees with ours.
                self.marks.leapt_at = None;
            }
            if self.seen.contains(&found.id) || !self.waiting.insert(found.id.clone()) {
                accepted.known += 1;
            } else {
                accepted.new += 1;
                new.push(found);
            }
        }
        self.answered = self.answered.saturating_add(accepted.new + accepted.known);
        new.sort_by_key(|found| found.time);
        for Found { id, filed, record, .. } in new {
            let until = self.until(window, filed.timestamp_millis());
            self.outbox.push_back(Item::Record { id, until, record });
        }
        Ok(accepted)
    }

    /// Returns until which position a record of a window may be read again.
    fn until(&self, window: Window, time: i64) -> i64 {
        if self.filters_record_time && (window.from..=window.to).contains(&time) {
            let granule = self.scale.granule;
            floor(time, granule).saturating_add(granule)
        } else {
            window.to
        }
    }

    /// Closes a window: all its records were accepted.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn finish(&mut self, window: Window) -> Result<()> {
        let sweep = self.sweep.as_mut().ok_or_else(|| not_its_turn(window))?;
        sweep.finish(window)?;
        self.outbox.push_back(Item::Closed {
            closed: window.to,
            complete: window.to.min(sweep.complete),
            swept_at: sweep.now,
        });
        if sweep.is_over() {
            self.sweep = None;
        }
        let records = std::mem::take(&mut self.answered);
        self.span = self.scale.grow(self.span, window.len(), records);
        Ok(())
    }

    /// Halves a window whose answer was cut off, or may have been. Its first half comes next.
    ///
    /// What was accepted of it already stays, and is known when it is read again.
    ///
    /// # Errors
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) when it is as small as the granularity,
    /// so that its records cannot be had. [`ErrorKind::Unexpected`](crate::ErrorKind::Unexpected)
    /// when it is not under way.
    pub fn full(&mut self, window: Window) -> Result<()> {
        let sweep = self.sweep.as_mut().ok_or_else(|| not_its_turn(window))?;
        self.span = sweep.halve(window, &self.scale)?;
        self.answered = 0;
        Ok(())
    }

    /// Gives a window back that could not be read: it is the next to be asked for.
    pub fn failed(&mut self, window: Window) {
        if let Some(sweep) = &mut self.sweep {
            sweep.failed(window);
            self.answered = 0;
        }
    }

    /// Takes the records there are while they fit, and the position behind them; nothing when there
    /// is neither a record nor progress.
    ///
    /// `fits` is asked once for each record, in order, and is to count it if it does.
    pub fn take(&mut self, mut fits: impl FnMut(&T) -> bool) -> Option<Taken<T>> {
        let mut records = Vec::new();
        let mut moved = false;
        while let Some(item) = self
            .outbox
            .pop_front_if(|item| !matches!(item, Item::Record { record, .. } if !fits(record)))
        {
            moved = true;
            match item {
                Item::Record { id, until, record } => {
                    self.waiting.remove(&id);
                    self.seen.insert(id, until);
                    records.push(record);
                }
                Item::Closed { closed, complete, swept_at } => {
                    self.marks.close(closed, complete, swept_at);
                    self.seen.prune(self.marks.complete);
                }
            }
        }
        moved.then(|| Taken { records, position: self.position() })
    }

    /// Returns the position behind all that was taken.
    pub fn position(&self) -> Position {
        Position::of(&self.marks, self.seen.groups())
    }

    /// Returns how many ids were forgotten early, for lack of room; their records may be delivered
    /// again. Worth a warning when it grows.
    pub fn forgotten(&self) -> u64 {
        self.seen.forgotten()
    }

    /// Returns how often reading went back because the clock had leapt ahead and fell back.
    pub fn reopened(&self) -> u64 {
        self.reopened
    }
}

impl<T> fmt::Debug for Windows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("marks", &self.marks)
            .field("sweep", &self.sweep)
            .field("waiting", &self.waiting.len())
            .field("forgotten", &self.seen.forgotten())
            .finish_non_exhaustive()
    }
}
