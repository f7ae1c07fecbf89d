use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::violation::{OrViolation, ensure, exactly, whole};
use super::{
    CheckpointHarness, Fuse, FusedCheckpoint, FusedDeadLetters, FusedSink, FusedSource,
    MemoryDestination, MemoryProgress, MemoryUpstream, Probe, SinkHarness, SourceHarness, Verdict,
    Violation, When,
};
use crate::{
    Checkpoint, DeadLetters, Error, EventId, Limit, MemoryDeadLetters, Pipeline, RetryPolicy, Sink,
    Source, StreamId,
};

/// What a pipeline is made of, in one of its lives.
#[non_exhaustive]
pub struct Parts {
    /// The stream's name.
    pub stream: StreamId,
    /// Where events come from.
    pub source: Box<dyn Source>,
    /// Where they go to.
    pub sink: Arc<dyn Sink>,
    /// Where progress is kept.
    pub checkpoint: Arc<dyn Checkpoint>,
    /// Where undeliverable records go.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// How much is read at a time.
    pub limit: Limit,
    /// Resolves when the run shall end cleanly.
    pub stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("stream", &self.stream).finish_non_exhaustive()
    }
}

type Running = Pin<Box<dyn Future<Output = Result<(), Error>>>>;
type Runner = Box<dyn Fn(Parts) -> Running>;

/// An upstream, a destination and what lies between: all that outlives the death of a process.
pub struct World {
    source: Box<dyn SourceHarness>,
    sink: Box<dyn SinkHarness>,
    checkpoint: Box<dyn CheckpointHarness>,
    dead_letters: Box<dyn Fn() -> Arc<dyn DeadLetters>>,
    runner: Runner,
    probe: Probe,
    good: Vec<EventId>,
    bad: usize,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("good", &self.good).finish_non_exhaustive()
    }
}

impl World {
    /// Joins three harnesses.
    pub fn new(
        source: impl SourceHarness + 'static,
        sink: impl SinkHarness + 'static,
        checkpoint: impl CheckpointHarness + 'static,
    ) -> Self {
        let letters: Arc<MemoryDeadLetters> = Arc::default();
        Self {
            source: Box::new(source),
            sink: Box::new(sink),
            checkpoint: Box::new(checkpoint),
            dead_letters: Box::new(move || letters.clone()),
            runner: Box::new(|parts| Box::pin(pipeline(parts))),
            probe: Probe::new(),
            good: Vec::new(),
            bad: 0,
        }
    }

    /// Puts a source among parts in memory.
    pub fn of_source(source: impl SourceHarness + 'static) -> Self {
        Self::new(source, MemoryDestination::new(), MemoryProgress::new())
    }

    /// Puts a sink among parts in memory.
    pub fn of_sink(sink: impl SinkHarness + 'static) -> Self {
        Self::new(MemoryUpstream::history(), sink, MemoryProgress::new())
    }

    /// Puts a checkpoint among parts in memory.
    pub fn of_checkpoint(checkpoint: impl CheckpointHarness + 'static) -> Self {
        Self::new(MemoryUpstream::history(), MemoryDestination::new(), checkpoint)
    }

    /// Keeps the dead letters elsewhere than in memory; `open` is called for each life.
    #[must_use]
    pub fn dead_letters(mut self, open: impl Fn() -> Arc<dyn DeadLetters> + 'static) -> Self {
        self.dead_letters = Box::new(open);
        self
    }

    /// Runs something else than [`Pipeline`] over the parts: to try a broken one.
    #[must_use]
    pub fn runner<F>(mut self, run: impl Fn(Parts) -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), Error>> + 'static,
    {
        self.runner = Box::new(move |parts| Box::pin(run(parts)));
        self
    }

    async fn seed(&mut self) {
        self.good.extend(self.source.seed(3).await);
        self.bad += usize::from(self.source.seed_bad().await);
        self.good.extend(self.source.seed_tied(3).await);
        self.good.extend(self.source.seed(1).await);
    }

    /// Lives once: until the work is done, an error ends it, or the fuse blows.
    async fn live(&mut self, fuse: &Fuse) -> Verdict<Result<(), Error>> {
        let probe = || self.probe.clone();
        let stream = "testkit".parse().or_violation("making a stream name")?;
        let limit = self.source.limit().events(2);
        let source = self.source.source().await;
        let checkpoint = self.checkpoint.checkpoint().await;
        let sink = self.sink.sink().await;
        let parts = Parts {
            stream,
            source: Box::new(FusedSource::new(source, fuse.clone(), probe())),
            sink: Arc::new(FusedSink::new(sink, fuse.clone(), probe())),
            checkpoint: Arc::new(FusedCheckpoint::new(checkpoint, fuse.clone(), probe())),
            dead_letters: Arc::new(FusedDeadLetters::new(
                (self.dead_letters)(),
                fuse.clone(),
                probe(),
            )),
            limit,
            stop: Box::pin({
                let fuse = fuse.clone();
                async move { fuse.stopped().await }
            }),
        };
        let life = (self.runner)(parts);
        let life = async {
            tokio::select! {
                biased;
                () = fuse.blown() => Ok(()),
                result = life => result,
            }
        };
        let hung = || Violation::new("the pipeline hangs: it did nothing for 60 s");
        let result = timeout(Duration::from_secs(60), life).await.map_err(|_| hung())?;
        self.probe.verdict()?;
        Ok(result)
    }

    /// Lives undisturbed to the end, and compares what is there with what has to be.
    async fn heal_and_judge(&mut self) -> Verdict {
        // A source may be idle before it has found everything.
        for _ in 0..=self.source.patience() {
            self.live(&Fuse::never()).await?.or_violation("the healthy run")?;
            self.source.idle(Duration::from_secs(1)).await;
            if self.conserved().await.is_ok() {
                break;
            }
        }
        self.conserved().await?;
        self.live(&Fuse::never()).await?.or_violation("one more run")?;
        self.conserved().await.map_err(|v| v.during("after one more run"))
    }

    async fn conserved(&mut self) -> Verdict {
        let sink = self.sink.sink().await;
        sink.close().await.or_violation("close")?;
        let deduplicates = sink.deduplicates();
        drop(sink);
        let stored = self.sink.stored().await;
        let dead = self.probe.dead();
        let payloads = self.probe.payloads();
        for (id, payload) in &stored {
            let raw = payloads.get(id).map_or("", String::as_str);
            let line = raw.replace(['\n', '\r'], " ");
            ensure(payload == raw || *payload == line, || {
                format!("{id} was handed out as {raw:?} and is stored as {payload:?}")
            })?;
        }
        let kept: BTreeSet<_> = stored.iter().map(|(id, _)| id).collect();
        let delivered: Vec<_> = if deduplicates {
            stored.iter().map(|(id, _)| id).collect()
        } else {
            kept.iter().copied().collect()
        };
        let refused = self.good.iter().filter(|id| dead.contains(*id) && !kept.contains(*id));
        exactly(&self.good, delivered.into_iter().chain(refused))
            .map_err(|v| v.during("delivered or dead-lettered"))?;
        let good: BTreeSet<_> = self.good.iter().collect();
        let bad = dead.iter().filter(|id| !good.contains(id)).count();
        ensure(bad == self.bad, || {
            format!("{} bad records are there, {bad} are in the dead letters", self.bad)
        })
    }
}

/// Kills a pipeline at each of its calls to the outside, before and after the call took effect, and
/// demands that the next life completes the work: every record delivered once or in the dead
/// letters, payloads unchanged, nothing foreign, and the invariant kept at every call.
///
/// `start` makes a new, empty world each time. It ends by itself, when a run makes fewer calls than
/// it would take to kill it.
///
/// # Errors
/// The first violation, with the call at which the process died.
pub async fn crash_at_every_call(start: impl AsyncFn() -> World) -> Verdict {
    for when in When::ALL {
        for call in 0.. {
            let mut world = start().await;
            world.seed().await;
            let fuse = Fuse::at(call, when);
            let at = |v: Violation| {
                let step = match fuse.blown_at() {
                    Some(name) => format!("killed {when:?} call {call} ({name})").to_lowercase(),
                    None => "not killed".to_owned(),
                };
                v.during(step).of("crash_at_every_call")
            };
            world.live(&fuse).await.map_err(at)?.or_violation("the run").map_err(at)?;
            world.heal_and_judge().await.map_err(at)?;
            if !fuse.is_blown() {
                ensure(call > 0, || "the pipeline makes no calls at all".into())?;
                break;
            }
        }
    }
    Ok(())
}

/// Asks a pipeline to stop at each of its calls to the outside, and demands that it ends without an
/// error, that nothing is half done, and that the next run completes the work.
///
/// # Errors
/// The first violation, with the call at which the stop was asked for.
pub async fn stop_at_every_call(start: impl AsyncFn() -> World) -> Verdict {
    for call in 0.. {
        let mut world = start().await;
        world.seed().await;
        let fuse = Fuse::stopping_at(call);
        let at =
            |v: Violation| v.during(format!("stopped at call {call}")).of("stop_at_every_call");
        world.live(&fuse).await.map_err(at)?.or_violation("the run").map_err(at)?;
        world.heal_and_judge().await.map_err(at)?;
        if !fuse.is_stopped() {
            return ensure(call > 0, || "the pipeline makes no calls at all".into());
        }
    }
    Ok(())
}

/// Lets a pipeline live through several lives of random failures and deaths, for each seed, and
/// demands the same as [`crash_at_every_call`].
///
/// # Errors
/// The first violation, with its seed.
pub async fn survive_random_faults(start: impl AsyncFn() -> World, seeds: Range<u64>) -> Verdict {
    for seed in seeds {
        let at = |v: Violation| v.during(format!("seed {seed}")).of("survive_random_faults");
        let mut world = start().await;
        for life in 0..4 {
            world.seed().await;
            let fuse = Fuse::seeded(seed.wrapping_mul(4) + life);
            // An error that ends a disturbed life is no violation; the next one has to cope.
            if let Err(error) = world.live(&fuse).await.map_err(at)? {
                tracing::debug!(seed, life, error = whole(&error), "a life ended early");
            }
        }
        world.heal_and_judge().await.map_err(at)?;
    }
    Ok(())
}

/// Runs the real pipeline, with short delays.
async fn pipeline(parts: Parts) -> Result<(), Error> {
    let delay = Duration::from_millis(1);
    Pipeline::new(parts.stream, parts.source, parts.sink, parts.checkpoint)
        .dead_letters(parts.dead_letters)
        .limit(parts.limit)
        .retry(RetryPolicy::default().initial(delay).max(delay))
        .run(parts.stop)
        .await
        .map(drop)
        .map_err(|e| e.error)
}
