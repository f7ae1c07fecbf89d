use std::time::Duration;

use crate::{AuditEvent, Cursor, DeadLetter};

/// How much one read may return. The bounds of a pipeline's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// At most this many records, good and bad together. At least 1.
    pub max_events: usize,
    /// Stop adding records once their sizes reach this many bytes. One record may exceed it alone.
    pub max_bytes: usize,
    /// Wait at most this long for a first record.
    pub max_wait: Duration,
}

impl Default for Limit {
    /// 10,000 records, 2 MiB, one second.
    fn default() -> Self {
        Self { max_events: 10_000, max_bytes: 2 << 20, max_wait: Duration::from_secs(1) }
    }
}

impl Limit {
    /// Sets [`max_events`](Self::max_events); 0 counts as 1.
    #[must_use]
    pub fn events(mut self, max_events: usize) -> Self {
        self.max_events = max_events.max(1);
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets [`max_wait`](Self::max_wait); more than a day counts as a day.
    #[must_use]
    pub fn wait(mut self, max_wait: Duration) -> Self {
        // Far beyond it there is no such point in time.
        self.max_wait = max_wait.min(Duration::from_secs(24 * 60 * 60));
        self
    }
}

/// What one read of a source returned.
#[derive(Debug)]
#[must_use]
pub enum Read {
    /// Records, and the position after them.
    Batch(Batch),
    /// Nothing new; ask again after this long.
    Idle(Duration),
    /// There will never be more.
    End,
}

/// Records in order, and the cursor that stands behind the last of them.
///
/// Good and bad records together are what was read; a cursor with neither is progress without
/// records (an empty window), and is saved along with the next records, or within a second.
#[derive(Debug)]
pub struct Batch {
    /// The good records.
    pub events: Vec<AuditEvent>,
    /// Records that could not be made an event; they go to the dead letters.
    pub rejected: Vec<DeadLetter>,
    /// Where to go on once all of these are accounted for.
    pub cursor: Cursor,
}

impl Batch {
    /// Creates a batch without bad records.
    pub fn new(events: Vec<AuditEvent>, cursor: Cursor) -> Self {
        Self { events, rejected: Vec::new(), cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_end_is_a_day() {
        let limit = Limit::default().events(0).wait(Duration::MAX);
        assert_eq!((limit.max_events, limit.max_wait), (1, Duration::from_secs(86_400)));
    }
}
