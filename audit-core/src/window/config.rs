use std::time::Duration;

use super::span::{ceil, floor, millis};
use crate::{Error, ErrorKind, Result};

/// How an API is to be read by windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowConfig {
    /// The smallest step of the API's time filter, in whole milliseconds.
    pub granularity: Duration,
    /// The longest window to ask for.
    pub max_span: Duration,
    /// The longest window to ask for at the very beginning and after an empty one, where there may be
    /// nothing for years; never shorter than `max_span`. For a source that can find out cheaply
    /// whether a window is empty, and else calls it [`full`](super::Windows::full).
    pub max_empty_span: Duration,
    /// How many records one answer holds, if that is limited: windows then only grow as long as the
    /// next answer is likely to fit.
    pub answer_limit: Option<usize>,
    /// How late a record may appear and still be found: what is younger is read again.
    pub look_back: Duration,
    /// How far behind the time reading stays, for an API that is slow to show what happened.
    pub settle: Duration,
    /// How long after one sweep began the next may.
    pub poll: Duration,
    /// At most this many ids are remembered, here and in the position.
    pub seen_limit: usize,
    /// Whether the API's filter is on the time that records carry. If so, records in the middle of
    /// a window need not be remembered once it is complete, and records exactly at its end are,
    /// so that it does not matter whether the API takes `to` as inclusive.
    pub filters_record_time: bool,
}

impl WindowConfig {
    /// Creates a configuration with windows of up to a day, empty or not, answers of any size, no
    /// settle time, 10 minutes look-back, a minute between sweeps, and 20,000 ids, for an API that
    /// filters on the records' own time.
    pub fn new(granularity: Duration) -> Self {
        Self {
            granularity,
            max_span: Duration::from_secs(24 * 60 * 60),
            max_empty_span: Duration::ZERO,
            answer_limit: None,
            look_back: Duration::from_secs(10 * 60),
            settle: Duration::ZERO,
            poll: Duration::from_secs(60),
            seen_limit: 20_000,
            filters_record_time: true,
        }
    }

    /// Sets [`max_span`](Self::max_span); at least one granule.
    #[must_use]
    pub fn max_span(mut self, max_span: Duration) -> Self {
        self.max_span = max_span;
        self
    }

    /// Sets [`max_empty_span`](Self::max_empty_span).
    #[must_use]
    pub fn max_empty_span(mut self, max_empty_span: Duration) -> Self {
        self.max_empty_span = max_empty_span;
        self
    }

    /// Sets [`answer_limit`](Self::answer_limit).
    #[must_use]
    pub fn answer_limit(mut self, answer_limit: usize) -> Self {
        self.answer_limit = Some(answer_limit);
        self
    }

    /// Sets [`look_back`](Self::look_back).
    #[must_use]
    pub fn look_back(mut self, look_back: Duration) -> Self {
        self.look_back = look_back;
        self
    }

    /// Sets [`settle`](Self::settle).
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Sets [`poll`](Self::poll).
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Sets [`seen_limit`](Self::seen_limit).
    #[must_use]
    pub fn seen_limit(mut self, seen_limit: usize) -> Self {
        self.seen_limit = seen_limit;
        self
    }

    /// Sets [`filters_record_time`](Self::filters_record_time).
    #[must_use]
    pub fn filters_record_time(mut self, filters_record_time: bool) -> Self {
        self.filters_record_time = filters_record_time;
        self
    }
}

/// The configuration as the arithmetic needs it: milliseconds, multiples of the granularity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) granule: i64,
    pub(super) max_span: i64,
    pub(super) max_empty_span: i64,
    pub(super) answer_limit: Option<usize>,
    pub(super) look_back: i64,
    pub(super) settle: i64,
    pub(super) poll: i64,
    /// How far the clock may step without harm; at least a second.
    pub(super) tolerance: i64,
}

impl Scale {
    /// # Errors
    /// [`ErrorKind::Config`] for a granularity that is not a positive number of milliseconds.
    pub(super) fn of(config: &WindowConfig) -> Result<Self> {
        let granule = millis(config.granularity);
        if granule == 0 || !config.granularity.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(Error::new(
                ErrorKind::Config,
                "a window's granularity must be whole milliseconds",
            )
            .with("granularity", humantime::format_duration(config.granularity)));
        }
        let look_back = ceil(millis(config.look_back), granule);
        let settle = millis(config.settle);
        let max_span = floor(millis(config.max_span), granule).max(granule);
        Ok(Self {
            granule,
            max_span,
            max_empty_span: floor(millis(config.max_empty_span), granule).max(max_span),
            answer_limit: config.answer_limit,
            look_back,
            settle,
            poll: millis(config.poll),
            tolerance: look_back.max(settle).max(1_000),
        })
    }

    /// Returns how long windows may be after one of this length that held so many records, when they
    /// were as long as `span` before.
    ///
    /// They grow to twice their length, as long as the next answer will likely be full to three
    /// quarters at most.
    pub(super) fn grow(&self, span: i64, length: i64, records: usize) -> i64 {
        let most = if records == 0 { self.max_empty_span } else { self.max_span };
        if length < span {
            return span.min(most);
        }
        let fitting = match (self.answer_limit, i128::try_from(records)) {
            (Some(limit), Ok(1..)) => {
                let fitting = i128::from(length) * (limit as i128 * 3 / 4) / records as i128;
                floor(i64::try_from(fitting).unwrap_or(i64::MAX), self.granule)
            }
            _ => i64::MAX,
        };
        span.saturating_mul(2).min(fitting).max(span).min(most)
    }
}
