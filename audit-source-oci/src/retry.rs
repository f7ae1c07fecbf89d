use std::time::Duration;

use audit_core::Retry;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::config::OciConfig;
use crate::error::Failure;

/// The first delay; they double.
const FIRST: Duration = Duration::from_millis(500);
/// The longest, unless the service asks for a longer one.
const LONGEST: Duration = Duration::from_secs(30);

/// The tries of one request.
pub(crate) struct Attempts {
    left: u32,
    retry_for: Duration,
    since: Option<Instant>,
    delays: ExponentialBackoff,
}

impl Attempts {
    pub(crate) fn new(config: &OciConfig) -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .without_max_times()
            .with_jitter()
            .build();
        Self { left: config.max_attempts, retry_for: config.retry_for, since: None, delays }
    }

    /// Waits before the next try, or gives the failure back when there is none.
    pub(crate) async fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        self.left = self.left.saturating_sub(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        let own = self.delays.next().unwrap_or(LONGEST);
        let delay = match failure.error.retry() {
            Retry::After(asked) => asked.max(own),
            Retry::Backoff | Retry::Never => own,
        };
        if self.left == 0
            || !failure.may_pass()
            || since.elapsed().saturating_add(delay) > self.retry_for
        {
            return Err(failure);
        }
        tracing::debug!(error = %failure.error, ?delay, "a request failed, trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
