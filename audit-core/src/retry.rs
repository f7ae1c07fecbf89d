use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::{Error, Retry};

/// How long and how often a failed call is tried again.
///
/// Delays double from `initial` to `max`, with jitter so that many instances do not come back at
/// once; a `Retry-After` of the other side is a lower bound of its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The first delay.
    pub initial: Duration,
    /// The longest delay, unless the other side asks for a longer one.
    pub max: Duration,
    /// Give up after this many tries in all.
    pub max_attempts: u32,
    /// Give up when the next try would begin later than this after the first failure.
    pub max_elapsed: Duration,
}

impl Default for RetryPolicy {
    /// 25 ms doubling to 30 s, for at most 50 tries and 15 minutes.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(25),
            max: Duration::from_secs(30),
            max_attempts: 50,
            max_elapsed: Duration::from_secs(15 * 60),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Sets [`initial`](Self::initial).
    #[must_use]
    pub fn initial(mut self, initial: Duration) -> Self {
        self.initial = initial;
        self
    }

    /// Sets [`max`](Self::max).
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets [`max_attempts`](Self::max_attempts); 0 counts as 1.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts.max(1);
        self
    }

    /// Sets [`max_elapsed`](Self::max_elapsed).
    #[must_use]
    pub fn max_elapsed(mut self, max_elapsed: Duration) -> Self {
        self.max_elapsed = max_elapsed;
        self
    }

    /// As [`start`](Self::start), when the other side has just taken a part: the rest is small, and
    /// there is room again soon.
    pub(crate) fn start_soon(self) -> Backoff {
        Self { initial: self.initial / 10, ..self }.start()
    }

    pub(crate) fn start(self) -> Backoff {
        let delays = ExponentialBuilder::new()
            .with_min_delay(self.initial)
            .with_max_delay(self.max)
            .without_max_times()
            .with_jitter()
            .build();
        Backoff { policy: self, delays, failures: 0, since: None }
    }
}

/// The delays of one call that keeps failing.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    delays: ExponentialBackoff,
    failures: u32,
    since: Option<Instant>,
}

impl Backoff {
    /// Returns how long to wait before the next try, or nothing when it is time to give up.
    pub(crate) fn next(&mut self, error: &Error) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.max_attempts {
            return None;
        }
        let own = self.delays.next().unwrap_or(self.policy.max);
        let delay = match error.retry() {
            Retry::Never => return None,
            Retry::Backoff => own,
            Retry::After(asked) => asked.max(own),
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        (since.elapsed().saturating_add(delay) <= self.policy.max_elapsed).then_some(delay)
    }

    /// Returns how often the call has failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn delays(policy: RetryPolicy, error: &Error) -> Vec<Duration> {
        let mut backoff = policy.start();
        std::iter::from_fn(|| backoff.next(error)).take(1000).collect()
    }

    #[tokio::test]
    async fn grows_with_jitter_to_the_maximum_and_ends() {
        let policy = RetryPolicy::default().max_attempts(13);
        let delays = delays(policy, &Error::new(ErrorKind::Unavailable, ""));
        assert_eq!(delays.len(), 12);
        assert!(delays[0] >= policy.initial && delays[0] <= 2 * policy.initial, "{delays:?}");
        assert!(delays.iter().all(|d| *d <= 2 * policy.max), "{delays:?}");
        assert!(delays[11] >= policy.max, "25 ms doubled eleven times is more: {delays:?}");
    }

    #[tokio::test]
    async fn waits_as_long_as_asked_but_not_beyond_the_bound() {
        let asked = |s| {
            Error::new(ErrorKind::RateLimited, "").with_retry(Retry::After(Duration::from_secs(s)))
        };
        let policy = RetryPolicy::default().max_attempts(3);
        assert!(delays(policy, &asked(60)).iter().all(|d| *d >= Duration::from_secs(60)));
        assert_eq!(delays(policy, &asked(16 * 60)), [], "longer than all the time there is");
    }

    #[tokio::test]
    async fn a_server_that_always_says_now_is_waited_for_as_long_as_any_other() {
        let asked = Error::new(ErrorKind::RateLimited, "").with_retry(Retry::After(Duration::ZERO));
        let policy = RetryPolicy::default();
        let all: Duration = delays(policy, &asked).iter().sum();
        assert!(all >= policy.max_elapsed, "given up after {all:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_end_is_not_begun() {
        let mut backoff = RetryPolicy::default().start();
        assert!(backoff.next(&Error::new(ErrorKind::Unavailable, "")).is_some());
        tokio::time::advance(Duration::from_secs(2)).await;
        let asked = Error::new(ErrorKind::RateLimited, "").with_retry(Retry::After(Duration::MAX));
        assert_eq!(backoff.next(&asked), None);
    }

    #[tokio::test]
    async fn a_final_error_is_not_tried_again() {
        assert_eq!(delays(RetryPolicy::default(), &Error::new(ErrorKind::Auth, "")), []);
        assert_eq!(delays(RetryPolicy::never(), &Error::new(ErrorKind::Timeout, "")), []);
    }
}
