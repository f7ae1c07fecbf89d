use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// Passes a request to stop to everything that waits.
#[derive(Debug)]
pub(super) struct Stopping {
    requested: watch::Sender<bool>,
}

impl Stopping {
    pub(super) fn new() -> Self {
        Self { requested: watch::Sender::new(false) }
    }

    pub(super) fn request(&self) {
        self.requested.send_replace(true);
    }

    pub(super) fn requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns once a stop is requested.
    pub(super) async fn wait(&self) {
        let mut requested = self.requested.subscribe();
        if requested.wait_for(|requested| *requested).await.is_err() {
            // The sender lives in `self`, so this cannot be; not to stop is the safe answer.
            std::future::pending::<()>().await;
        }
    }

    /// Does something that may be dropped; nothing when a stop was requested before it was done.
    pub(super) async fn unless_requested<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            done = work => Some(done),
        }
    }

    /// Returns when this much time has passed since a stop was requested.
    pub(super) async fn wait_and(&self, time: Duration) {
        self.wait().await;
        tokio::time::sleep(time).await;
    }

    /// Waits; true when a stop was requested before the time was over.
    pub(super) async fn sleep(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.wait()).await.is_ok()
    }
}
