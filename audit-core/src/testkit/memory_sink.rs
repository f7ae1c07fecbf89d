use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::task::yield_now;

use super::{SinkHarness, When};
use crate::{AuditEvent, Error, ErrorKind, EventId, Failure, Result, Sink, Written};

/// A destination in memory whose [`sinks`](SinkHarness::sink) keep the whole contract. Clones share
/// the records.
#[derive(Clone, Debug)]
pub struct MemoryDestination {
    state: Arc<Mutex<State>>,
    deduplicates: bool,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<(EventId, String)>,
    requests: usize,
    calls: VecDeque<(ErrorKind, When)>,
    items: BTreeMap<EventId, VecDeque<ErrorKind>>,
}

impl MemoryDestination {
    /// Makes one that knows an event by its id.
    pub fn new() -> Self {
        Self { state: Arc::default(), deduplicates: true }
    }

    /// Makes one that appends whatever comes, as a pipe does.
    pub fn pipe() -> Self {
        Self { deduplicates: false, ..Self::new() }
    }

    /// Makes a new sink on this destination.
    pub fn connect(&self) -> Arc<dyn Sink> {
        Arc::new(MemorySink { destination: self.clone() })
    }

    /// Returns id and payload of each record, in the order of arrival.
    pub fn records(&self) -> Vec<(EventId, String)> {
        self.lock().stored.clone()
    }

    /// Makes the next call fail as a whole; calls add up.
    pub fn fail_next_call(&self, kind: ErrorKind, when: When) {
        self.lock().calls.push_back((kind, when));
    }

    /// Makes the next write of an event fail; calls for one event add up.
    pub fn fail_next_write_of(&self, id: &EventId, kind: ErrorKind) {
        self.lock().items.entry(id.clone()).or_default().push_back(kind);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let state = &mut *self.lock();
        state.requests += 1;
        let fault = state.calls.pop_front();
        let failed = |kind| Error::new(kind, "injected fault");
        if let Some((kind, When::Before)) = fault {
            return Err(failed(kind));
        }
        let mut written = Written::all();
        for (index, event) in events.iter().enumerate() {
            if let Some(kind) = state.items.get_mut(&event.id).and_then(VecDeque::pop_front) {
                written.failures.push(Failure { index, error: failed(kind) });
            } else if self.deduplicates && state.stored.iter().any(|(id, _)| *id == event.id) {
                written.duplicates.push(index);
            } else {
                state.stored.push((event.id.clone(), event.raw.get().to_owned()));
            }
        }
        match fault {
            Some((kind, _)) => Err(failed(kind)),
            None => Ok(written),
        }
    }
}

impl Default for MemoryDestination {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SinkHarness for MemoryDestination {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        self.connect()
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        self.records()
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        for (id, kind) in items {
            self.fail_next_write_of(id, *kind);
        }
        true
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        self.fail_next_call(kind, when);
        true
    }

    fn requests(&self) -> Option<usize> {
        Some(self.lock().requests)
    }
}

#[derive(Debug)]
struct MemorySink {
    destination: MemoryDestination,
}

#[async_trait]
impl Sink for MemorySink {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::all());
        }
        yield_now().await;
        self.destination.write(events)
    }

    fn deduplicates(&self) -> bool {
        self.destination.deduplicates
    }
}
