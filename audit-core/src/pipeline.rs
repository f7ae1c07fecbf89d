mod deliver;
mod progress;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::deliver::{Outlet, Settled, Settling};
pub use self::progress::{Progress, Summary};
use self::stop::Stopping;
use crate::retry::Backoff;
use crate::{
    AuditEvent, Batch, Checkpoint, Clock, Cursor, DeadLetters, Error, Limit, Read, Result,
    RetryPolicy, Revision, Sink, Source, StreamId,
};

/// How long progress without records may wait for records, with which it is saved.
const HOLD: Duration = Duration::from_secs(1);

/// Moves events from one source to one sink, and owns the progress.
///
/// At every instant, also of a process that is killed:
///
/// > told to the source ≤ saved in the checkpoint ≤ durable in the sink or in the dead letters
///
/// So nothing is lost, and a crash repeats at most the batch in flight, which has no effect in a
/// sink that [deduplicates](Sink::deduplicates). The next batch is read while the last is written;
/// the order of commits is the order of reads. A batch without records only moves the position: it is
/// saved along with the next one that has some, within about a second, and before the source rests,
/// ends or is opened again.
///
/// ```
/// # use std::sync::Arc;
/// # use audit_core::{MemoryCheckpoint, Pipeline, Sink, Source};
/// # async fn ship(source: Box<dyn Source>, sink: Arc<dyn Sink>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let checkpoint = Arc::new(MemoryCheckpoint::new());
/// let summary = Pipeline::new("orders".parse()?, source, sink, checkpoint)
///     .run(std::future::pending())
///     .await?;
/// println!("{} delivered", summary.delivered);
/// # Ok(()) }
/// ```
pub struct Pipeline {
    source: Box<dyn Source>,
    outlet: Outlet,
    limit: Limit,
    max_events: Option<u64>,
    follow: bool,
    dry_run: bool,
    grace: Duration,
}

type Filter = Box<dyn Fn(&AuditEvent) -> bool + Send + Sync>;
type Observer = Box<dyn Fn(Progress<'_>) + Send + Sync>;

impl Pipeline {
    /// Connects a source, a sink and the place where the stream's progress is kept.
    ///
    /// A sink that keeps the checkpoint in the same transaction as the events is given twice.
    pub fn new(
        stream: StreamId,
        source: Box<dyn Source>,
        sink: Arc<dyn Sink>,
        checkpoint: Arc<dyn Checkpoint>,
    ) -> Self {
        Self {
            source,
            outlet: Outlet {
                stream,
                sink,
                checkpoint,
                dead_letters: None,
                filter: None,
                observer: Box::new(|_| ()),
                retry: RetryPolicy::default(),
                clock: Clock::system(),
            },
            limit: Limit::default(),
            max_events: None,
            follow: false,
            dry_run: false,
            grace: Duration::from_secs(30),
        }
    }

    /// Keeps undeliverable records here and goes on. Without it the first one stops the run.
    #[must_use]
    pub fn dead_letters(mut self, dead_letters: Arc<dyn DeadLetters>) -> Self {
        self.outlet.dead_letters = Some(dead_letters);
        self
    }

    /// Bounds one batch, and so the memory: at most two batches are held at a time.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// Ends the run once so many events are in the sink: delivered, or there already. Dead letters do
    /// not count, so bad records cannot use up what is meant for good ones.
    #[must_use]
    pub fn max_events(mut self, max_events: u64) -> Self {
        self.max_events = Some(max_events);
        self
    }

    /// Sets how long failed calls are tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.outlet.retry = retry;
        self
    }

    /// Goes on when the source has nothing new, until stopped. Else an idle source ends the run.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Reads and maps, but writes nothing: not to the sink, the checkpoint or the source.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Bounds how long a write may take to finish after a stop was requested; 30 s by default.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Delivers only the events for which `keep` is true; the others count as filtered.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&AuditEvent) -> bool + Send + Sync + 'static) -> Self {
        self.outlet.filter = Some(Box::new(keep));
        self
    }

    /// Reports progress: after each batch, and when it waits.
    #[must_use]
    pub fn on_progress(mut self, observer: impl Fn(Progress<'_>) + Send + Sync + 'static) -> Self {
        self.outlet.observer = Box::new(observer);
        self
    }

    /// Takes the time for dead letters from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.outlet.clock = clock;
        self
    }

    /// Runs until the source has no more, an error ends it, or `stop` resolves.
    ///
    /// After `stop` nothing more is read; the batch in flight may finish what it is doing within the
    /// [`grace`](Self::grace) time, and is else abandoned whole, to be read again by the next run.
    ///
    /// # Errors
    /// The first error that cannot be retried, or was retried to the end of the [`RetryPolicy`],
    /// with the [`Summary`] of what was done before. What the summary counts is safe.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary, RunError> {
        let stopping = Stopping::new();
        let stop = async {
            stop.await;
            stopping.request();
            std::future::pending::<()>().await
        };
        let started = Instant::now();
        let mut summary = Summary::default();
        let mut run = Run {
            pipeline: self,
            stopping: &stopping,
            summary: &mut summary,
            started,
            saved_at: started,
            drifted: BTreeSet::new(),
        };
        let result = tokio::select! {
            result = run.drive() => result,
            () = stop => Ok(()), // never: it pends once it has passed the word on
        };
        run.summary.elapsed = started.elapsed();
        let Outlet { checkpoint, stream, .. } = &run.pipeline.outlet;
        if let Err(error) = checkpoint.release(stream).await {
            warn!(%error, "the stream was not given back; others may have to wait for it");
        }
        match result {
            Ok(()) => Ok(summary),
            Err(error) => Err(RunError { error, summary }),
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("stream", &self.outlet.stream)
            .field("limit", &self.limit)
            .field("follow", &self.follow)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// Why a run ended early, and what it had done until then.
#[derive(Debug)]
pub struct RunError {
    /// The error that ended it.
    pub error: Error,
    /// What was delivered and saved before.
    pub summary: Summary,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// One run under way.
struct Run<'a> {
    pipeline: Pipeline,
    stopping: &'a Stopping,
    summary: &'a mut Summary,
    started: Instant,
    /// When the checkpoint was last saved, or the run began.
    saved_at: Instant,
    /// The fields that drifted and were told of.
    drifted: BTreeSet<&'static str>,
}

/// Where the stream stands.
struct Position {
    /// What is saved.
    cursor: Option<Cursor>,
    revision: Option<Revision>,
    /// Whether the source was told so.
    told: bool,
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<()> {
        let outlet = &self.pipeline.outlet;
        let load = outlet.checkpoint.load(&outlet.stream);
        let Some(loaded) = self.stopping.unless_requested(load).await else {
            self.summary.interrupted = true;
            return Ok(());
        };
        let (cursor, revision) = loaded?.unzip();
        info!(stream = %outlet.stream, resumed = cursor.is_some(), "pipeline started");
        let mut position = Position { cursor, revision, told: false };
        let mut pending: Option<Batch> = None;
        let mut failures = outlet.retry.start();
        let mut opened = self.open(&mut position).await?;
        while opened && !self.stopping.requested() && self.room(None) > 0 {
            let held = pending.take_if(|batch| is_empty(batch) && self.saved_at.elapsed() < HOLD);
            let (read, settling) = self.read_while_settling(pending.take(), &mut position).await;
            let settling = match held {
                // Unless the next batch says more, it is saved before anything else happens.
                Some(batch) if !matches!(read, Some(Ok(Read::Batch(_)))) => {
                    let Pipeline { outlet, dry_run, grace, .. } = &self.pipeline;
                    settle(outlet, Some(batch), position.revision, *dry_run, self.stopping, *grace)
                        .await
                }
                _ => settling,
            };
            match settling? {
                Settling::Nothing => {}
                Settling::Done(settled, cursor) => self.record(settled, &mut position, cursor),
                Settling::Abandoned => break,
            }
            match read {
                Some(Ok(Read::Batch(batch))) => {
                    let kept_until = self.pipeline.source.kept_until();
                    self.pipeline.outlet.observe(Progress::Read { kept_until });
                    self.tell_of_drift(&batch);
                    pending = Some(batch);
                }
                Some(Ok(Read::Idle(wait))) if self.pipeline.follow => {
                    self.tell(&mut position).await?;
                    self.pipeline.outlet.observe(Progress::Idle(wait));
                    if self.stopping.sleep(wait).await {
                        break;
                    }
                }
                Some(Ok(Read::Idle(_) | Read::End)) => break,
                // Put off, or stopped; the head of the loop tells which.
                None => {}
                Some(Err(error)) => {
                    opened = self.wait_before_retry(error, &mut failures).await?
                        && self.open(&mut position).await?;
                    continue;
                }
            }
            failures = self.pipeline.outlet.retry.start();
        }
        if opened {
            self.tell(&mut position).await?;
        }
        self.summary.interrupted = self.stopping.requested();
        if self.pipeline.dry_run { Ok(()) } else { self.pipeline.outlet.sink.close().await }
    }

    /// Opens the source and tells it again what is saved, since a crash may have come in between;
    /// false when a stop was requested before that worked.
    async fn open(&mut self, position: &mut Position) -> Result<bool> {
        position.told = position.cursor.is_none();
        let mut failures = self.pipeline.outlet.retry.start();
        loop {
            let open = self.pipeline.source.open(position.cursor.as_ref());
            let opened = match self.stopping.unless_requested(open).await {
                None => return Ok(false),
                Some(Ok(())) => self.tell_once(position).await,
                Some(Err(error)) => Err(error),
            };
            let Err(error) = opened else { return Ok(true) };
            if !self.wait_before_retry(error, &mut failures).await? {
                return Ok(false);
            }
        }
    }

    /// Tells the source what is saved, unless it knows or a stop leaves it no time: then the next
    /// run tells it.
    async fn tell(&mut self, position: &mut Position) -> Result<()> {
        let mut failures = self.pipeline.outlet.retry.start();
        while let Err(error) = self.tell_once(position).await {
            if !self.wait_before_retry(error, &mut failures).await? {
                break;
            }
        }
        Ok(())
    }

    async fn tell_once(&mut self, position: &mut Position) -> Result<()> {
        let Pipeline { source, dry_run, grace, .. } = &mut self.pipeline;
        tell(source.as_mut(), position, *dry_run, self.stopping, *grace).await
    }

    /// Waits before the source is tried again, or gives its error back when it shall not be; false
    /// when a stop was requested.
    async fn wait_before_retry(&mut self, error: Error, failures: &mut Backoff) -> Result<bool> {
        let Some(delay) = failures.next(&error) else {
            return Err(error);
        };
        self.summary.retries += 1;
        warn!(%error, ?delay, attempt = failures.failures(), "the source failed, trying again");
        self.pipeline.outlet.observe(Progress::Retrying { error: &error, delay });
        Ok(!self.stopping.sleep(delay).await)
    }

    /// Tells the source what is saved and reads the next batch, while the last one is written and
    /// its cursor saved. The read is nothing when a stop was requested, or when there is no room for
    /// more until it is known what became of the last batch.
    async fn read_while_settling(
        &mut self,
        pending: Option<Batch>,
        position: &mut Position,
    ) -> (Option<Result<Read>>, Result<Settling>) {
        let room = self.room(pending.as_ref());
        let Pipeline { source, outlet, limit, dry_run, grace, .. } = &mut self.pipeline;
        let (outlet, stopping, revision) = (&*outlet, self.stopping, position.revision);
        let limit = limit.events(limit.max_events.min(room));
        let read = async {
            if room == 0 {
                return None;
            }
            if let Err(error) = tell(source.as_mut(), position, *dry_run, stopping, *grace).await {
                return Some(Err(error));
            }
            stopping.unless_requested(source.read(limit)).await
        };
        tokio::join!(read, settle(outlet, pending, revision, *dry_run, stopping, *grace))
    }

    /// Returns how many events may be read before [`Pipeline::max_events`] are in the sink, if all in
    /// the pending batch get there.
    fn room(&self, pending: Option<&Batch>) -> usize {
        let Some(max) = self.pipeline.max_events else { return usize::MAX };
        let there = self.summary.delivered + self.summary.duplicates;
        let pending = pending.map_or(0, |batch| batch.events.len());
        usize::try_from(max.saturating_sub(there)).unwrap_or(usize::MAX).saturating_sub(pending)
    }

    /// Warns of each field that drifted, once a run: with the first event, for people to look at.
    fn tell_of_drift(&mut self, batch: &Batch) {
        for event in &batch.events {
            if let Some(field) = event.drift.filter(|field| self.drifted.insert(field)) {
                warn!(
                    field,
                    source = %event.source,
                    id = %event.id,
                    "a record lacks a field, or has it in another form: the source may have changed"
                );
            }
        }
    }

    /// Counts what is settled. The source is told with the next read, or at the end.
    fn record(&mut self, settled: Settled, position: &mut Position, cursor: Cursor) {
        let counts = settled.counts;
        self.saved_at = Instant::now();
        self.summary.add(&counts);
        self.summary.elapsed = self.started.elapsed();
        debug!(
            read = counts.read,
            delivered = counts.delivered,
            duplicates = counts.duplicates,
            dead_lettered = counts.dead_lettered,
            "batch settled"
        );
        let total = &*self.summary;
        self.pipeline.outlet.observe(Progress::Settled { total, took: settled.took });
        *position = Position { cursor: Some(cursor), revision: settled.revision, told: false };
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.events.is_empty() && batch.rejected.is_empty()
}

/// Makes a batch durable and saves its cursor; gives up some time after a stop was requested.
async fn settle(
    outlet: &Outlet,
    batch: Option<Batch>,
    revision: Option<Revision>,
    dry_run: bool,
    stopping: &Stopping,
    grace: Duration,
) -> Result<Settling> {
    let Some(batch) = batch else {
        return Ok(Settling::Nothing);
    };
    if dry_run {
        return Ok(outlet.pretend(batch, revision));
    }
    tokio::select! {
        settling = outlet.settle(batch, revision, stopping) => settling,
        () = stopping.wait_and(grace) => Ok(Settling::Abandoned),
    }
}

/// Tells a source what is saved, if it does not know; gives up some time after a stop was requested.
async fn tell(
    source: &mut dyn Source,
    position: &mut Position,
    dry_run: bool,
    stopping: &Stopping,
    grace: Duration,
) -> Result<()> {
    if let Some(cursor) = position.cursor.as_ref().filter(|_| !position.told && !dry_run) {
        tokio::select! {
            told = source.committed(cursor) => told?,
            () = stopping.wait_and(grace) => return Ok(()),
        }
    }
    position.told = true;
    Ok(())
}
