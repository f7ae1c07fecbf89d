use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// What a source did that its batches do not show; clones share it.
///
/// Take it from [`OciSource::report`](crate::OciSource::report) before the source goes into a
/// pipeline. Figures count from the making of the source, and what is read again counts again. The gaps
/// are those up to where reading is, also of the processes before: the cursor holds them.
#[derive(Clone, Default)]
pub struct Report(Arc<Mutex<Counts>>);

/// The figures of a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Windows read to their end, each for one compartment in one region.
    pub windows: u64,
    /// Pages fetched.
    pub pages: u64,
    /// Requests that failed and were sent again.
    pub retries: u64,
    /// Events left out because their names were not asked for.
    pub filtered: u64,
    /// Events left out because the same one, byte for byte, had come shortly before.
    pub repeated: u64,
    /// Ranges that could not be read and were left out, with `allow_gaps`; each as long as it goes on.
    pub gaps: Vec<Gap>,
}

/// A range of one compartment that could not be read: its events are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Gap {
    /// The region.
    pub region: String,
    /// The compartment's OCID.
    pub compartment: String,
    /// The first instant that is missing, in time of processing.
    pub from: DateTime<Utc>,
    /// The first instant behind it.
    pub to: DateTime<Utc>,
    /// Why it could not be read.
    pub reason: String,
}

impl Gap {
    /// Adds it to others; the one that it goes on from becomes longer.
    pub(crate) fn join(self, others: &mut Vec<Self>) {
        let before = others.iter_mut().find(|gap| {
            gap.to == self.from && gap.region == self.region && gap.compartment == self.compartment
        });
        match before {
            Some(gap) => gap.to = self.to,
            None => others.push(self),
        }
    }
}

impl Report {
    /// Returns the figures as they are now.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// Returns the ranges that were left out.
    pub fn gaps(&self) -> Vec<Gap> {
        self.lock().gaps.clone()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Report").field(&self.counts()).finish()
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let Self { region, compartment, .. } = self;
        let (from, to) = (time(self.from), time(self.to));
        write!(f, "[{from}, {to}) of {compartment} in {region}: {}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_gap_that_goes_on_is_one_gap() {
        let mut gaps = Vec::new();
        for (compartment, from) in [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("a", 5)] {
            let from = DateTime::UNIX_EPOCH + TimeDelta::minutes(from);
            let (region, reason) = ("r".to_owned(), String::new());
            let to = from + TimeDelta::minutes(1);
            Gap { region, compartment: compartment.to_owned(), from, to, reason }.join(&mut gaps);
        }
        let minutes = |time: DateTime<Utc>| time.timestamp() / 60;
        let found: Vec<_> =
            gaps.iter().map(|g| (&*g.compartment, minutes(g.from), minutes(g.to))).collect();
        assert_eq!(found, [("a", 0, 3), ("b", 0, 2), ("a", 5, 6)]);
    }
}
