use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::SourceHarness;
use crate::{
    AuditEvent, Batch, Cursor, DeadLetter, Error, ErrorKind, EventId, Limit, Raw, Read, Result,
    Source,
};

/// An upstream in memory whose [`sources`](SourceHarness::source) keep the whole contract.
///
/// It behaves as one of the three families of upstream there are, so that the suite and a pipeline
/// can be tried on each. Clones share the records.
#[derive(Clone, Debug)]
pub struct MemoryUpstream {
    state: Arc<Mutex<State>>,
    family: Family,
}

#[derive(Clone, Copy, Debug)]
enum Family {
    /// Ordered by time, with a look-back for late records: an API.
    History,
    /// Marks what was committed and finds only the rest: a table with a flag.
    Flags,
    /// So many logs, each with its offsets.
    Partitions(usize),
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Entry>,
    faults: VecDeque<ErrorKind>,
    clock: i64,
    ended: bool,
    told: Option<Cursor>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    time: i64,
    body: String,
    committed: bool,
}

/// How far behind the newest record read a late one is still found, in seconds.
const LOOK_BACK: i64 = 100;

const KIND: &str = "testkit-memory";

/// What a cursor says, for all three families.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// History: the newest time read.
    newest: Option<i64>,
    /// History: what was read within the look-back. Flags: what was handed out and is not marked.
    ids: BTreeSet<String>,
    /// Partitions: the next offset of each.
    offsets: BTreeMap<usize, usize>,
}

impl MemoryUpstream {
    /// Makes an upstream with a history that can be read again, and a look-back of 100 s.
    pub fn history() -> Self {
        Self::new(Family::History)
    }

    /// Makes an upstream that marks committed records and no longer finds them.
    pub fn flags() -> Self {
        Self::new(Family::Flags)
    }

    /// Makes an upstream of so many logs (at least one), in which records appear in turn.
    pub fn partitions(count: usize) -> Self {
        Self::new(Family::Partitions(count.max(1)))
    }

    /// Says that there will never be more records: sources end where they would have been idle.
    #[must_use]
    pub fn ending(self) -> Self {
        self.lock().ended = true;
        self
    }

    /// Returns the cursor that a source was told of last.
    pub fn told(&self) -> Option<Cursor> {
        self.lock().told.clone()
    }

    /// Returns id and exact text of every record, good and bad.
    pub fn records(&self) -> Vec<(EventId, String)> {
        let state = self.lock();
        state.records.iter().map(|r| (EventId::new(r.id.as_str()), r.body.clone())).collect()
    }

    /// Makes a new source on this upstream.
    pub fn connect(&self) -> Box<dyn Source> {
        Box::new(MemorySource { upstream: self.clone(), position: None })
    }

    fn new(family: Family) -> Self {
        Self { state: Arc::default(), family }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, time: i64, good: bool) -> EventId {
        let mut state = self.lock();
        let number = state.records.len();
        let id = format!("memory-{number}");
        // The bad ones are cut off.
        let end = if good { "}" } else { "" };
        let body = format!(r#"{{"id":"{id}","n":{number}.10,"at":{time}{end}"#);
        state.records.push(Entry { id: id.clone(), time, body, committed: false });
        EventId::new(id)
    }

    fn tick(&self) -> i64 {
        let mut state = self.lock();
        state.clock += 1;
        state.clock
    }

    fn fault(&self) -> Result<()> {
        match self.lock().faults.pop_front() {
            Some(kind) => Err(Error::new(kind, "injected fault").while_doing("read the upstream")),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl SourceHarness for MemoryUpstream {
    async fn source(&mut self) -> Box<dyn Source> {
        self.connect()
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        (0..records).map(|_| self.add(self.tick(), true)).collect()
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let time = self.tick();
        (0..records).map(|_| self.add(time, true)).collect()
    }

    async fn payload(&mut self, id: &EventId) -> Option<String> {
        let state = self.lock();
        state.records.iter().find(|r| r.id == id.as_str()).map(|r| r.body.clone())
    }

    async fn seed_bad(&mut self) -> bool {
        self.add(self.tick(), false);
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        let time = self.lock().clock - 2;
        (!matches!(self.family, Family::Partitions(_))).then(|| self.add(time, true))
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        self.lock().faults.push_back(kind);
        true
    }
}

#[derive(Debug)]
struct MemorySource {
    upstream: MemoryUpstream,
    position: Option<Position>,
}

impl MemorySource {
    /// Returns the records behind a position, in order, each with the position behind it.
    fn behind(&self, position: &Position) -> Vec<(Entry, Position)> {
        let state = self.upstream.lock();
        let all = state.records.iter().cloned().enumerate();
        let mut next = position.clone();
        let mut advance = |entry: Entry, step: &dyn Fn(&mut Position, &Entry)| {
            step(&mut next, &entry);
            (entry, next.clone())
        };
        match self.upstream.family {
            Family::History => {
                let oldest = position.newest.map_or(i64::MIN, |newest| newest - LOOK_BACK);
                let mut found: Vec<_> = all.filter(|(_, r)| r.time >= oldest).collect();
                found.retain(|(_, r)| !position.ids.contains(&r.id));
                found.sort_by_key(|(n, r)| (r.time, *n));
                let times: BTreeMap<_, _> =
                    state.records.iter().map(|r| (r.id.clone(), r.time)).collect();
                let step = |next: &mut Position, entry: &Entry| {
                    let newest = next.newest.map_or(entry.time, |newest| newest.max(entry.time));
                    next.newest = Some(newest);
                    next.ids.insert(entry.id.clone());
                    next.ids.retain(|id| times.get(id).is_some_and(|t| *t >= newest - LOOK_BACK));
                };
                found.into_iter().map(|(_, entry)| advance(entry, &step)).collect()
            }
            Family::Flags => {
                let open = all.filter(|(_, r)| !r.committed && !position.ids.contains(&r.id));
                let marked: BTreeSet<_> =
                    state.records.iter().filter(|r| r.committed).map(|r| r.id.clone()).collect();
                let step = |next: &mut Position, entry: &Entry| {
                    next.ids.insert(entry.id.clone());
                    next.ids.retain(|id| !marked.contains(id));
                };
                open.map(|(_, entry)| advance(entry, &step)).collect()
            }
            Family::Partitions(count) => {
                let offset = |log: usize| position.offsets.get(&log).copied().unwrap_or(0);
                let mut found: Vec<_> =
                    all.filter(|(n, _)| n / count >= offset(n % count)).collect();
                // One log after the other, as clients deliver them.
                found.sort_by_key(|(n, _)| (n % count, *n));
                let numbers: BTreeMap<_, _> =
                    found.iter().map(|(n, r)| (r.id.clone(), *n)).collect();
                let step = |next: &mut Position, entry: &Entry| {
                    let n = numbers.get(&entry.id).copied().unwrap_or_default();
                    next.offsets.insert(n % count, n / count + 1);
                };
                found.into_iter().map(|(_, entry)| advance(entry, &step)).collect()
            }
        }
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.position = None;
        yield_now().await;
        self.upstream.fault()?;
        let position = from.map(|cursor| cursor.decode::<Position>(KIND, 1)).transpose()?;
        self.position = Some(position.unwrap_or_default());
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let Some(position) = self.position.clone() else {
            return Err(Error::new(ErrorKind::Unexpected, "read before open"));
        };
        yield_now().await;
        self.upstream.fault()?;
        let (mut batch, mut bytes) = (None::<(Batch, Position)>, 0);
        for (entry, behind) in self.behind(&position) {
            let record = event(&entry);
            let size = record.as_ref().map_or_else(|letter| letter.body().len(), AuditEvent::size);
            let records = batch.as_ref().map_or(0, |(b, _)| b.events.len() + b.rejected.len());
            let full = records >= limit.max_events || bytes + size > limit.max_bytes;
            if records > 0 && full {
                break;
            }
            bytes += size;
            let cursor = Cursor::encode(KIND, 1, &behind)?;
            let (batch, last) =
                batch.get_or_insert((Batch::new(Vec::new(), cursor.clone()), Position::default()));
            match record {
                Ok(event) => batch.events.push(event),
                Err(letter) => batch.rejected.push(letter),
            }
            (batch.cursor, *last) = (cursor, behind);
        }
        yield_now().await;
        match batch {
            Some((batch, position)) => {
                self.position = Some(position);
                Ok(Read::Batch(batch))
            }
            None if self.upstream.lock().ended => Ok(Read::End),
            None => Ok(Read::Idle(Duration::from_millis(1))),
        }
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        yield_now().await;
        let position: Position = cursor.decode(KIND, 1)?;
        let mut state = self.upstream.lock();
        state.told = Some(cursor.clone());
        if matches!(self.upstream.family, Family::Flags) {
            for record in state.records.iter_mut().filter(|r| position.ids.contains(&r.id)) {
                record.committed = true;
            }
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

fn event(entry: &Entry) -> Result<AuditEvent, DeadLetter> {
    let id = EventId::new(entry.id.as_str());
    let time = DateTime::from_timestamp(1_700_000_000 + entry.time, 0).unwrap_or_default();
    match Raw::parse(entry.body.as_str()) {
        Ok(raw) => Ok(AuditEvent::new(id, "memory".into(), time, raw)),
        Err(error) => Err(DeadLetter::record(id, entry.body.as_bytes(), &error)),
    }
}
