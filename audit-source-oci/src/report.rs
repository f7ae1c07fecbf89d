use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// What a source did that its batches do not show; clones share it.
///
/// Take it from [`OciSource::report`](crate::OciSource::report) before the source goes into a
/// pipeline. Figures count from the making of the source; what is read again counts again.
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
    /// Ranges that could not be read and were left out, with `allow_gaps`.
    pub gaps: Vec<Gap>,
}

/// A range of one compartment that could not be read: its events are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
