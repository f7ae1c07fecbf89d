use std::sync::mpsc::{Sender, channel};

use audit_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

type Job = Box<dyn FnOnce() + Send>;

/// One thread that parses pages, beside the tasks that fetch and write.
///
/// Always the same one: allocators keep memory for each thread, and batches made by many threads in turn
/// would occupy several times what they need.
pub(crate) struct Worker(Sender<Job>);

impl Worker {
    /// Starts it; it ends when this is dropped.
    pub(crate) fn start() -> Self {
        let (jobs, queue) = channel::<Job>();
        drop(spawn_blocking(move || queue.into_iter().for_each(|job| job())));
        Self(jobs)
    }

    /// Does something there, and waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        // If nobody waits any more, the result does not matter.
        let sent = self.0.send(Box::new(move || drop(done.send(job()))));
        let gone = || Error::new(ErrorKind::Unexpected, "reading a page was interrupted");
        sent.map_err(|_| gone())?;
        result.await.map_err(|_| gone())
    }
}
