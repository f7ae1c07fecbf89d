//! A sink that meets a fault in its next write.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::{AuditEvent, EventId, Raw, Result, Sink, Written};

type Bend = Box<dyn FnOnce() + Send>;

/// What befalls the next write.
#[derive(Default)]
pub(crate) struct Fault {
    /// Events that are made too large on their way.
    pub oversize: BTreeSet<EventId>,
    /// Done before the write, and after it.
    pub around: Option<(Bend, Bend)>,
    /// Written in place of the sink.
    pub instead: Option<Arc<dyn Sink>>,
    /// The answer that arrives in place of a good one.
    pub answer: Option<audit_core::Error>,
}

/// Shared by a harness and the sinks it hands out.
pub(crate) type Faults = Arc<Mutex<Fault>>;

pub(crate) struct Faulty {
    pub sink: Arc<dyn Sink>,
    pub faults: Faults,
    /// How large an event is made that is to be refused.
    pub too_large: usize,
    /// Whether a repeat has no second effect, as a pipeline uses this sink.
    pub deduplicates: bool,
}

#[async_trait]
impl Sink for Faulty {
    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return self.sink.write(events).await;
        }
        let fault = std::mem::take(&mut *self.faults.lock().unwrap());
        let mut events = events.to_vec();
        for event in events.iter_mut().filter(|e| fault.oversize.contains(&e.id)) {
            event.raw = Raw::parse(format!("\"{}\"", "x".repeat(self.too_large))).unwrap();
        }
        let (before, after) = fault.around.unwrap_or_else(|| (Box::new(|| ()), Box::new(|| ())));
        before();
        let sink = fault.instead.as_ref().unwrap_or(&self.sink);
        let answer = sink.write(&events).await;
        after();
        match fault.answer {
            Some(error) if answer.is_ok() => Err(error),
            _ => answer,
        }
    }

    async fn close(&self) -> Result<()> {
        self.sink.close().await
    }

    fn deduplicates(&self) -> bool {
        self.deduplicates
    }
}
