use async_trait::async_trait;

use crate::{AuditEvent, Error, Result};

/// A place audit events go to.
///
/// # Contract
///
/// Each rule is a test of the conformance suite (`testkit`), under the number given.
///
/// 1. When [`write`](Self::write) returns, every event that the report does not name is durable.
///    For a sink that is the pipeline's [`Checkpoint`](crate::Checkpoint) as well (one transaction
///    holds both), this holds from the return of `save`. (K1)
/// 2. Writing an event again has no second effect. A sink that cannot tell (a pipe) says so with
///    [`deduplicates`](Self::deduplicates). (K2)
/// 3. The payload arrives byte for byte in the chosen format. (K3)
/// 4. A failed event is named by its index, and its neighbours are durable all the same. (K4)
/// 5. After `Err` nothing is known; the same events are sent again, and none is lost or doubled. (K5)
/// 6. Each failure has the kind and retry class that fit it: what may succeed later is retryable,
///    what never will is not. (K6)
/// 7. An empty slice is `Ok` and sends nothing. (K7)
/// 8. Events of one key keep their order. (K8)
/// 9. A line break inside a payload does not make two records. (K9)
/// 10. No secret shows in `Debug` or `Display` of sink, configuration or errors. (K10)
#[async_trait]
pub trait Sink: Send + Sync {
    /// Finds out whether a run could work: reachable, authorised, the topic or index is there.
    /// Changes nothing.
    async fn check(&self) -> Result<()>;

    /// Writes events and returns when they are durable; the report names those that are not.
    ///
    /// `Err` is about the sink as a whole (unreachable, unauthorised, full): the caller sends all of
    /// them again, or stops.
    async fn write(&self, events: &[AuditEvent]) -> Result<Written>;

    /// Ends the run: publishes what is only visible when complete. Not called after a crash or a run
    /// that failed, so nothing may be lost without it; may be called more than once.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Returns whether a repeated event has no second effect.
    fn deduplicates(&self) -> bool {
        true
    }
}

/// What became of the events of one [`Sink::write`]: all delivered but those named here.
#[derive(Debug, Default)]
#[must_use]
pub struct Written {
    /// The places of those in the slice that were there already, from an earlier try; each once.
    pub duplicates: Vec<usize>,
    /// The events that were not delivered, each once.
    pub failures: Vec<Failure>,
}

impl Written {
    /// Says that all events are durable and new.
    pub fn all() -> Self {
        Self::default()
    }
}

/// One event that was not delivered.
#[derive(Debug)]
pub struct Failure {
    /// Its place in the slice that was written.
    pub index: usize,
    /// Why; [`Error::retry`] says whether it may be sent again.
    pub error: Error,
}
