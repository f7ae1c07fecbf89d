use std::time::Duration;

use audit_core::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// A longer wait is cut to this: the next try asks again.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// `Date` has whole seconds: clocks this near to each other agree, as far as can be told.
const AGREE: TimeDelta = TimeDelta::seconds(1);

/// What an answer says about time: when it was made, and when the next may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The server's time, whole seconds.
    pub(crate) date: Option<DateTime<Utc>>,
    /// What `Retry-After` asks for, else what the rate limit leaves.
    pub(crate) wait: Option<Duration>,
    /// The rate limit is used up.
    pub(crate) used_up: bool,
}

impl Pace {
    /// Reads `Date`, `Retry-After` and `x-ratelimit-*`; `now` stands in for a missing `Date`.
    pub(crate) fn of(headers: &HeaderMap, now: DateTime<Utc>) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name| text(name)?.parse::<u32>().ok();
        let date = text(DATE.as_str()).and_then(time);
        let base = date.unwrap_or(now);
        let until = |at: DateTime<Utc>| (at - base).to_std().unwrap_or_default();
        let asked = text(RETRY_AFTER.as_str()).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => time(value).map(until),
        });
        let reset = text("x-ratelimit-reset")
            .and_then(|seconds| DateTime::from_timestamp(seconds.parse().ok()?, 0))
            .map(until);
        let period = || number("x-ratelimit-period").map(|n| Duration::from_secs(n.into()));
        Self {
            date,
            wait: asked.or(reset).or_else(period).map(|wait| wait.min(MAX_WAIT)),
            used_up: number("x-ratelimit-remaining") == Some(0),
        }
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.to_utc())
}

/// The server's clock, as far as its answers tell.
///
/// What is asked for by time ends at *its* present: with a local clock that is ahead, windows would
/// be closed that are still to be filled.
#[derive(Clone, Debug)]
pub(crate) struct ServerClock {
    local: Clock,
    offset: TimeDelta,
    date: Option<DateTime<Utc>>,
}

impl ServerClock {
    pub(crate) fn new(local: Clock) -> Self {
        Self { local, offset: TimeDelta::zero(), date: None }
    }

    /// Returns the server's time, or a little less; the local time as long as nothing is known.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let local = self.local.now();
        local.checked_add_signed(self.offset).unwrap_or(local)
    }

    pub(crate) fn local(&self) -> DateTime<Utc> {
        self.local.now()
    }

    /// Notes the time of an answer that has just arrived.
    pub(crate) fn learn(&mut self, date: Option<DateTime<Utc>>) {
        self.date = date;
        let Some(date) = date else { return };
        let ahead = date - self.local.now();
        let agrees = ahead <= TimeDelta::zero() && ahead >= -AGREE;
        self.offset = if agrees { TimeDelta::zero() } else { ahead };
    }

    /// Returns whether a time had not come yet on the server when it made the last answer.
    pub(crate) fn is_to_come(&self, time: DateTime<Utc>) -> bool {
        self.date.is_some_and(|date| time > date + TimeDelta::seconds(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn pace(pairs: &[(&'static str, &str)]) -> Pace {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        Pace::of(&headers, at(0))
    }

    #[test]
    fn every_way_to_ask_for_patience_is_understood() {
        let reset = (AT + 40).to_string();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(pace(&[]).date, Some(at(AT)));
        assert_eq!(pace(&[]).wait, None);
        assert_eq!(pace(&[("retry-after", "3")]).wait, seconds(3));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")];
        assert_eq!(pace(&date).wait, seconds(3));
        assert_eq!(pace(&[("x-ratelimit-reset", &reset)]).wait, seconds(40));
        assert_eq!(pace(&[("x-ratelimit-reset", "5"), ("retry-after", "7")]).wait, seconds(7));
        assert_eq!(pace(&[("x-ratelimit-reset", "5")]).wait, seconds(0), "it has passed");
        assert_eq!(pace(&[("x-ratelimit-period", "60")]).wait, seconds(60));
        assert_eq!(pace(&[("retry-after", "99999999999")]).wait, Some(MAX_WAIT));
        assert_eq!(pace(&[("retry-after", "soon"), ("x-ratelimit-reset", "-")]).wait, None);
        assert!(pace(&[("x-ratelimit-remaining", "0")]).used_up);
        assert!(!pace(&[("x-ratelimit-remaining", "1")]).used_up);
    }

    #[test]
    fn d18_the_server_s_clock_counts_and_small_differences_do_not() {
        let mut clock = ServerClock::new(Clock::from_fn(|| at(AT)));
        assert_eq!(clock.now(), at(AT));
        for (date, now) in [(AT - 1, AT), (AT - 300, AT - 300), (AT + 1, AT + 1), (AT, AT)] {
            clock.learn(Some(at(date)));
            assert_eq!(clock.now(), at(now));
            assert!(clock.is_to_come(at(date + 2)) && !clock.is_to_come(at(date + 1)));
        }
        clock.learn(None);
        assert_eq!(clock.now(), at(AT));
        assert!(!clock.is_to_come(at(AT + 900)), "nobody knows");
    }
}
