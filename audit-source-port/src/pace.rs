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
    /// What `Retry-After` asks for.
    pub(crate) retry_after: Option<Duration>,
    /// How long the present period of the rate limit goes on.
    reset: Option<Duration>,
    /// Nothing is left of the rate limit in this period.
    used_up: bool,
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
            retry_after: asked.map(|wait| wait.min(MAX_WAIT)),
            reset: reset.or_else(period).map(|wait| wait.min(MAX_WAIT)),
            used_up: number("x-ratelimit-remaining") == Some(0),
        }
    }

    /// Returns how long nothing more is to be asked, if the rate limit is what stands in the way.
    pub(crate) fn pause(&self, status: u16) -> Option<Duration> {
        let wait = match status {
            429 => self.retry_after.or(self.reset),
            _ if self.used_up => self.reset,
            _ => None,
        };
        wait.filter(|wait| !wait.is_zero())
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
        self.date.is_some_and(|date| time - date > TimeDelta::seconds(1))
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
        let pause = |pairs: &[(&'static str, &str)]| pace(pairs).pause(429);
        assert_eq!(pace(&[]).date, Some(at(AT)));
        assert_eq!(pause(&[]), None);
        assert_eq!(pause(&[("retry-after", "3")]), seconds(3));
        let date = [("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")];
        assert_eq!(pause(&date), seconds(3));
        assert_eq!(pause(&[("x-ratelimit-reset", &reset)]), seconds(40));
        assert_eq!(pause(&[("x-ratelimit-reset", &reset), ("retry-after", "7")]), seconds(7));
        assert_eq!(pause(&[("x-ratelimit-reset", "5")]), None, "it has passed");
        assert_eq!(pause(&[("x-ratelimit-period", "60")]), seconds(60));
        assert_eq!(pause(&[("retry-after", "99999999999")]), Some(MAX_WAIT));
        assert_eq!(pause(&[("retry-after", "soon"), ("x-ratelimit-reset", "-")]), None);
    }

    #[test]
    fn a_rate_limit_stands_in_the_way_only_when_it_is_used_up() {
        let reset = (AT + 40).to_string();
        let limit = |left| [("x-ratelimit-reset", reset.as_str()), ("x-ratelimit-remaining", left)];
        assert_eq!(pace(&limit("1")).pause(200), None);
        assert_eq!(pace(&limit("0")).pause(200), Some(Duration::from_secs(40)));
        let failed = pace(&limit("7"));
        assert_eq!((failed.pause(503), failed.retry_after), (None, None), "another matter");
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
        // As far as a header can be from all others.
        for odd in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            clock.learn(Some(odd));
            assert!(!clock.is_to_come(odd) && (clock.now() - odd).abs() <= TimeDelta::seconds(1));
        }
        clock.learn(None);
        assert_eq!(clock.now(), DateTime::<Utc>::MAX_UTC);
        assert!(!clock.is_to_come(at(AT + 900)), "nobody knows");
        clock.learn(Some(at(AT)));
        assert_eq!(clock.now(), at(AT));
    }
}
