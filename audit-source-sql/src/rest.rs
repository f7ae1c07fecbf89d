use std::time::Duration;

use audit_core::Read;
use tokio::time::{Instant, timeout};

#[cfg(feature = "postgres")]
use crate::postgres::listen::Listener;

/// The time between two passes.
///
/// It is up to the caller to let it pass, unless somebody listens for new rows: then reading is
/// waiting for them, and the caller is told to come back at once.
#[derive(Debug)]
pub(crate) struct Rest {
    poll: Duration,
    since: Option<Instant>,
    #[cfg(feature = "postgres")]
    listener: Option<Listener>,
}

impl Rest {
    pub(crate) fn new(poll: Duration) -> Self {
        Self {
            poll,
            since: None,
            #[cfg(feature = "postgres")]
            listener: None,
        }
    }

    /// Ends a rest before its time when the listener hears of new rows.
    #[cfg(feature = "postgres")]
    pub(crate) fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Begins to rest.
    pub(crate) fn begin(&mut self) -> Read {
        self.since = Some(Instant::now());
        self.again()
    }

    /// Says when to ask again.
    pub(crate) fn again(&self) -> Read {
        Read::Idle(if self.listens() { Duration::ZERO } else { self.poll })
    }

    /// Returns whether it is time for a pass, after at most `most`.
    pub(crate) async fn is_over(&mut self, most: Duration) -> bool {
        let Some(since) = self.since.filter(|_| self.listens()) else { return true };
        let left = self.poll.saturating_sub(since.elapsed());
        let heard = timeout(left.min(most), self.heard()).await.is_ok();
        let over = heard || left <= most;
        if over {
            self.since = None;
        }
        over
    }

    #[cfg(feature = "postgres")]
    fn listens(&self) -> bool {
        self.listener.is_some()
    }

    #[cfg(not(feature = "postgres"))]
    fn listens(&self) -> bool {
        false
    }

    async fn heard(&self) {
        #[cfg(feature = "postgres")]
        if let Some(listener) = &self.listener {
            return listener.heard().await;
        }
        std::future::pending().await
    }
}
