use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::Error;

/// What a run has done. Counts only what is settled, so that the books balance at any time:
/// read = delivered + duplicates + dead-lettered + filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Records the source handed out, good and bad.
    pub read: u64,
    /// Events that are durable in the sink and were not there before.
    pub delivered: u64,
    /// Events that were in the sink already, from an earlier try.
    pub duplicates: u64,
    /// Records kept in the dead letters.
    pub dead_lettered: u64,
    /// Events that the filter left out.
    pub filtered: u64,
    /// Events among those read whose [`drift`](crate::AuditEvent::drift) is set. They are delivered all
    /// the same.
    pub drifted: u64,
    /// Batches settled.
    pub batches: u64,
    /// Calls that failed and were made again.
    pub retries: u64,
    /// Payload bytes of the records read.
    pub bytes: u64,
    /// The latest event time seen.
    pub latest: Option<DateTime<Utc>>,
    /// Whether a stop was requested before the source had no more.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Returns whether every record read is accounted for.
    pub fn balances(&self) -> bool {
        self.read == self.delivered + self.duplicates + self.dead_lettered + self.filtered
    }

    /// Adds what a later batch or run has done.
    pub fn add(&mut self, later: &Self) {
        self.read += later.read;
        self.delivered += later.delivered;
        self.duplicates += later.duplicates;
        self.dead_lettered += later.dead_lettered;
        self.filtered += later.filtered;
        self.drifted += later.drifted;
        self.batches += later.batches;
        self.retries += later.retries;
        self.bytes += later.bytes;
        self.latest = self.latest.max(later.latest);
        self.interrupted = later.interrupted;
        self.elapsed += later.elapsed;
    }
}

/// What an observer of a run is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A batch was read.
    Read {
        /// Until when the oldest unread record is kept, as [`Source::kept_until`] says.
        ///
        /// [`Source::kept_until`]: crate::Source::kept_until
        kept_until: Option<DateTime<Utc>>,
    },
    /// A batch is settled.
    Settled {
        /// The sums so far.
        total: &'a Summary,
        /// How long it took to deliver this batch and to save its cursor, with all retries.
        took: Duration,
    },
    /// A call failed and is made again after the delay.
    Retrying {
        /// Why it failed. Rate limiting is one reason among others.
        error: &'a Error,
        /// How long it waits.
        delay: Duration,
    },
    /// The source has nothing new; it is asked again after this long.
    Idle(Duration),
}
