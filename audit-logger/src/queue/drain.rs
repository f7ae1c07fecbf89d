use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use audit_core::{
    Checkpoint, DeadLetters, Error, ErrorKind, Pipeline, Result, Sink, Source, StreamId, Summary,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::{Queue, Store};

/// Rests between a run that failed and the next.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

pub(super) struct Parts {
    pub(super) queue: Queue,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) checkpoint: Arc<dyn Checkpoint>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
}

/// Starts the thread that delivers.
pub(super) fn start(parts: Parts) -> Result<QueueGuard> {
    let cannot = |e: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "cannot start the thread that delivers audit records")
            .because(e)
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let stream = "queue".parse()?;
    let (stop, stopped) = watch::channel(false);
    let (done, ended) = sync_channel(1);
    let queue = parts.queue.clone();
    let deliver = move || {
        deliver(&runtime, &parts, &stream, &stopped);
        parts.queue.abandon();
        // What it holds, a spool's lock, is free once the guard has ended.
        drop((parts, runtime));
        // The guard may be gone.
        done.try_send(()).unwrap_or_default();
    };
    thread::Builder::new().name("audit-queue".to_owned()).spawn(deliver).map_err(cannot)?;
    Ok(QueueGuard { queue, stop, ended })
}

/// Runs one pipeline after the other, until one ends with the queue.
fn deliver(runtime: &Runtime, parts: &Parts, stream: &StreamId, stopped: &watch::Receiver<bool>) {
    let mut rest = FIRST_REST;
    while !*stopped.borrow() {
        let run = catch_unwind(AssertUnwindSafe(|| run(runtime, parts, stream, stopped.clone())));
        let error = match run {
            Ok(Ok(_)) => return,
            Ok(Err((error, summary))) => {
                if summary.delivered > 0 {
                    rest = FIRST_REST;
                }
                error
            }
            Err(_) => Error::new(ErrorKind::Unexpected, "the sink panicked"),
        };
        tracing::error!(%error, ?rest, "audit records cannot be delivered, trying again");
        parts.queue.fail_callers(&error);
        let mut stopped = stopped.clone();
        let stopped = stopped.wait_for(|stopped| *stopped);
        if runtime.block_on(async { tokio::time::timeout(rest, stopped).await.is_ok() }) {
            return;
        }
        rest = (rest * 2).min(LONGEST_REST);
    }
}

fn run(
    runtime: &Runtime,
    parts: &Parts,
    stream: &StreamId,
    mut stopped: watch::Receiver<bool>,
) -> Result<Summary, (Error, Summary)> {
    let config = &parts.queue.config;
    let source: Box<dyn Source> = parts.queue.source();
    let (sink, checkpoint) = (parts.sink.clone(), parts.checkpoint.clone());
    let pipeline = Pipeline::new(stream.clone(), source, sink, checkpoint)
        .dead_letters(parts.dead_letters.clone())
        .limit(config.limit)
        .retry(config.retry)
        // The guard waits for that long before it asks for the end.
        .grace(Duration::ZERO)
        .follow(true);
    let stop = async move {
        // The guard that is gone cannot stop anything.
        if stopped.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    runtime.block_on(Box::pin(pipeline.run(stop))).map_err(|e| (e.error, e.summary))
}

impl Queue {
    fn fail_callers(&self, error: &Error) {
        if let Store::Memory(memory) = &self.store {
            memory.fail_callers(error);
        }
    }

    fn abandon(&self) {
        if let Store::Memory(memory) = &self.store {
            memory.abandon();
        }
    }
}

/// Delivers what is in a [`Queue`] before it lets the program go on: keep it until the end of `main`.
///
/// When it is dropped, also by a panic, the queue takes no more, and what is in it is delivered, for
/// at most the [grace](crate::QueueConfig::grace). Then callers that still wait get an error, a spool
/// keeps the rest for the next process, and what else is left counts as lost.
#[must_use = "dropped at once, it closes the queue"]
pub struct QueueGuard {
    queue: Queue,
    stop: watch::Sender<bool>,
    ended: Receiver<()>,
}

impl Drop for QueueGuard {
    fn drop(&mut self) {
        self.queue.close();
        if self.ended.recv_timeout(self.queue.config.grace).is_ok() {
            return;
        }
        tracing::warn!("audit records were not delivered in time, ending without");
        self.stop.send_replace(true);
        // A sink that blocks its thread cannot be ended.
        if self.ended.recv_timeout(Duration::from_secs(1)).is_err() {
            self.queue.abandon();
        }
    }
}

impl fmt::Debug for QueueGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueGuard").field(&self.queue).finish()
    }
}
