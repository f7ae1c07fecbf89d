use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Figures of a source that its batches do not show. Clones see the same figures.
#[derive(Clone, Debug, Default)]
pub struct Report(Arc<Mutex<Counts>>);

/// The figures of a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Records that were left out because they had come before, byte for byte.
    pub repeats: u64,
    /// Records that do not say, in a way that can be read, when they happened: their events have the
    /// time at which Kafka stored them.
    pub without_time: u64,
    /// What was removed before it was read, and gone over because of `allow_gaps`.
    pub gaps: Vec<Gap>,
    /// The partitions that are read here: those that the group gave, or all.
    pub partitions: BTreeSet<i32>,
    /// How much is still to be read.
    pub backlog: Backlog,
}

/// Records that are lost: a partition's offsets from `from` up to but without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The partition.
    pub partition: i32,
    /// The first offset lost.
    pub from: i64,
    /// The first offset that is there again.
    pub to: i64,
}

/// How much is still to be read, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Offsets between the position and the end that each partition had when it was last asked.
    pub unread: u64,
    /// When Kafka stored the records that were read last, in the partition that is behind most. What
    /// is unread is not older. `None`: nothing was read yet, or all was.
    pub oldest: Option<DateTime<Utc>>,
    /// How long until the topic's retention may begin to remove unread records. `None`: nothing is
    /// known to be unread, or the topic keeps its records for ever.
    pub time_to_loss: Option<Duration>,
}

impl Report {
    /// Returns the figures of now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches how far reading is behind.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// When the last record read was stored.
    pub(crate) stored: BTreeMap<i32, DateTime<Utc>>,
}

impl Lag {
    pub(crate) fn backlog(
        &self,
        next: &BTreeMap<i32, i64>,
        ends: &BTreeMap<i32, i64>,
        retention: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Backlog {
        let behind = |partition: &i32| {
            let (next, end) = (next.get(partition)?, ends.get(partition)?);
            u64::try_from(end.saturating_sub(*next)).ok().filter(|unread| *unread > 0)
        };
        let unread = ends.keys().filter_map(behind).sum();
        let oldest =
            self.stored.iter().filter(|(p, _)| behind(p).is_some()).map(|(_, at)| *at).min();
        let time_to_loss = oldest.zip(retention.filter(|kept| *kept != Duration::MAX)).map(
            |(oldest, retention)| {
                retention.saturating_sub((now - oldest).to_std().unwrap_or_default())
            },
        );
        Backlog { unread, oldest, time_to_loss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l06_the_time_to_loss_is_that_of_the_partition_furthest_behind() {
        let at = |hours| DateTime::UNIX_EPOCH + chrono::Duration::hours(hours);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let lag = Lag { stored: BTreeMap::from([(0, at(1)), (1, at(5)), (2, at(7))]) };
        let ends = BTreeMap::from([(0, 10), (1, 10), (2, 10), (3, 10)]);
        let next = BTreeMap::from([(0, 10), (1, 4), (2, 9), (3, 10)]);
        let backlog = lag.backlog(&next, &ends, Some(hours(24)), at(9));
        assert_eq!((backlog.unread, backlog.oldest), (7, Some(at(5))), "the first is read");
        assert_eq!(backlog.time_to_loss, Some(hours(20)));
        let late = lag.backlog(&next, &ends, Some(hours(24)), at(100));
        assert_eq!(late.time_to_loss, Some(Duration::ZERO));
        assert_eq!(lag.backlog(&next, &ends, Some(Duration::MAX), at(9)).time_to_loss, None);
        assert_eq!(lag.backlog(&ends, &ends, Some(hours(24)), at(9)), Backlog::default());
    }
}
