use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{Filter, Observer, Progress, Stopping, Summary};
use crate::retry::Backoff;
use crate::{
    AuditEvent, Batch, Checkpoint, Clock, Cursor, DeadLetter, DeadLetters, Error, ErrorKind,
    Failure, Result, RetryPolicy, Revision, Sink, StreamId, Written,
};

/// The far side of a pipeline: everything a batch passes until it is settled.
pub(super) struct Outlet {
    pub(super) stream: StreamId,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) checkpoint: Arc<dyn Checkpoint>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(super) filter: Option<Filter>,
    pub(super) observer: Observer,
    pub(super) retry: RetryPolicy,
    pub(super) clock: Clock,
}

/// A batch that is durable and whose cursor is saved.
pub(super) struct Settled {
    pub(super) counts: Summary,
    pub(super) revision: Option<Revision>,
    pub(super) took: Duration,
}

/// What became of a batch that was to be settled.
pub(super) enum Settling {
    /// There was none.
    Nothing,
    /// It is settled, up to this cursor.
    Done(Settled, Cursor),
    /// A stop was requested and it could not be finished without waiting: the checkpoint has not
    /// moved, and the next run reads it again.
    Abandoned,
}

/// Why a step gave up.
enum Halt {
    Failed(Error),
    Stopped,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Outlet {
    pub(super) fn observe(&self, progress: Progress<'_>) {
        (self.observer)(progress);
    }

    /// Makes a batch durable, in the sink or in the dead letters, then saves its cursor.
    pub(super) async fn settle(
        &self,
        batch: Batch,
        after: Option<Revision>,
        stopping: &Stopping,
    ) -> Result<Settling> {
        match self.try_settle(batch, after, stopping).await {
            Ok((settled, cursor)) => Ok(Settling::Done(settled, cursor)),
            Err(Halt::Stopped) => Ok(Settling::Abandoned),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn try_settle(
        &self,
        batch: Batch,
        after: Option<Revision>,
        stopping: &Stopping,
    ) -> Result<(Settled, Cursor), Halt> {
        let started = Instant::now();
        let mut counts = count(&batch);
        let Batch { mut events, rejected: mut letters, cursor } = batch;
        if let (None, Some(letter)) = (&self.dead_letters, letters.first()) {
            return Err(no_dead_letters(letter).into());
        }
        self.filter(&mut events, &mut counts);
        self.deliver(events, &mut letters, &mut counts, stopping).await?;
        self.bury(letters, &mut counts, stopping).await?;
        let revision = self.save(&cursor, after, &mut counts, stopping).await?;
        let took = started.elapsed();
        Ok((Settled { counts, revision: Some(revision), took }, cursor))
    }

    /// Counts a batch as if it had been delivered.
    pub(super) fn pretend(&self, batch: Batch, revision: Option<Revision>) -> Settling {
        let mut counts = count(&batch);
        counts.dead_lettered = batch.rejected.len() as u64;
        for letter in &batch.rejected {
            warn!(id = %letter.id(), reason = letter.reason, "would go to the dead letters");
        }
        let kept = |event: &&AuditEvent| self.filter.as_ref().is_none_or(|keep| keep(event));
        counts.delivered = batch.events.iter().filter(kept).count() as u64;
        counts.filtered = batch.events.len() as u64 - counts.delivered;
        Settling::Done(Settled { counts, revision, took: Duration::ZERO }, batch.cursor)
    }

    fn filter(&self, events: &mut Vec<AuditEvent>, counts: &mut Summary) {
        if let Some(keep) = &self.filter {
            let before = events.len();
            events.retain(keep);
            counts.filtered += (before - events.len()) as u64;
        }
    }

    /// Writes the events until each is durable or has become a dead letter.
    async fn deliver(
        &self,
        mut events: Vec<AuditEvent>,
        letters: &mut Vec<DeadLetter>,
        counts: &mut Summary,
        stopping: &Stopping,
    ) -> Result<(), Halt> {
        let mut backoff = self.retry.start();
        let mut attempts = 0;
        let began = self.clock.now();
        while !events.is_empty() {
            attempts += 1;
            let written = match self.sink.write(&events).await {
                Ok(written) => written,
                Err(error) => {
                    self.wait_before_retry(error, &mut backoff, counts, stopping).await?;
                    continue;
                }
            };
            let before = events.len();
            let Judged { retry, rejected, delay_for } = judge(&mut events, written, counts)?;
            if retry.len() < before {
                // The other side takes what it can: the rest may come soon.
                backoff = self.retry.start_soon();
            }
            let mut give_up = rejected;
            match delay_for {
                // Only these events fail while their neighbours pass: when their time is over they
                // make way, rather than hold up everything behind them.
                Some(error) => match self.pause(&error, &mut backoff, counts, stopping).await? {
                    Waited::Enough => events = retry.into_iter().map(|(event, _)| event).collect(),
                    Waited::GaveUp => {
                        give_up.extend(retry);
                        events = Vec::new();
                    }
                },
                None => events = Vec::new(),
            }
            let now = self.clock.now();
            for (event, error) in give_up {
                let mut letter = DeadLetter::event(event, &error, attempts);
                (letter.first_at, letter.last_at) = (began, now);
                if self.dead_letters.is_none() {
                    return Err(no_dead_letters(&letter).into());
                }
                letters.push(letter);
            }
        }
        Ok(())
    }

    /// Keeps the dead letters. A store that is full holds up the pipeline; it drops nothing.
    async fn bury(
        &self,
        mut letters: Vec<DeadLetter>,
        counts: &mut Summary,
        stopping: &Stopping,
    ) -> Result<(), Halt> {
        let Some(store) = self.dead_letters.as_ref().filter(|_| !letters.is_empty()) else {
            return Ok(());
        };
        let now = self.clock.now();
        for letter in letters.iter_mut().filter(|l| l.attempts == 0) {
            (letter.first_at, letter.last_at) = (now, now);
        }
        for letter in &letters {
            warn!(id = %letter.id(), reason = letter.reason, "record goes to the dead letters");
        }
        let mut backoff = self.retry.start();
        while let Err(error) = store.put(&letters).await {
            self.wait_before_retry(error, &mut backoff, counts, stopping).await?;
        }
        counts.dead_lettered += letters.len() as u64;
        Ok(())
    }

    async fn save(
        &self,
        cursor: &Cursor,
        after: Option<Revision>,
        counts: &mut Summary,
        stopping: &Stopping,
    ) -> Result<Revision, Halt> {
        let mut backoff = self.retry.start();
        loop {
            let error = match self.checkpoint.save(&self.stream, cursor, after).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            // A save that took effect but whose answer was lost looks like a rival's when repeated.
            if error.kind() == ErrorKind::Conflict
                && backoff.failures() > 0
                && let Some((saved, revision)) = self.checkpoint.load(&self.stream).await?
                && saved == *cursor
            {
                return Ok(revision);
            }
            self.wait_before_retry(error, &mut backoff, counts, stopping).await?;
        }
    }

    /// Waits before a call is made again that failed as a whole, or fails with its error.
    async fn wait_before_retry(
        &self,
        error: Error,
        backoff: &mut Backoff,
        counts: &mut Summary,
        stopping: &Stopping,
    ) -> Result<(), Halt> {
        match self.pause(&error, backoff, counts, stopping).await? {
            Waited::Enough => Ok(()),
            Waited::GaveUp => Err(error.into()),
        }
    }

    async fn pause(
        &self,
        error: &Error,
        backoff: &mut Backoff,
        counts: &mut Summary,
        stopping: &Stopping,
    ) -> Result<Waited, Halt> {
        let Some(delay) = backoff.next(error) else {
            return Ok(Waited::GaveUp);
        };
        counts.retries += 1;
        warn!(%error, ?delay, attempt = backoff.failures(), "delivery failed, trying again");
        self.observe(Progress::Retrying { error, delay });
        if stopping.sleep(delay).await { Err(Halt::Stopped) } else { Ok(Waited::Enough) }
    }
}

enum Waited {
    Enough,
    GaveUp,
}

/// What a sink's report means for the events it was given.
struct Judged {
    retry: Vec<(AuditEvent, Error)>,
    rejected: Vec<(AuditEvent, Error)>,
    /// The failure among `retry` that asks for the longest wait.
    delay_for: Option<Error>,
}

/// Sorts the events that failed from those that are durable.
fn judge(
    events: &mut Vec<AuditEvent>,
    written: Written,
    counts: &mut Summary,
) -> Result<Judged, Halt> {
    let Written { duplicates, mut failures } = written;
    failures.sort_by_key(|f| f.index);
    let mut named: Vec<_> = failures.iter().map(|f| f.index).chain(duplicates.clone()).collect();
    named.sort_unstable();
    let named_twice = named.windows(2).any(|pair| pair[0] == pair[1]);
    let beyond = named.last().is_some_and(|index| *index >= events.len());
    if named_twice || beyond {
        return Err(Error::new(ErrorKind::Unexpected, "the sink's report does not fit the batch")
            .with("events", events.len())
            .with("failures", failures.len())
            .with("duplicates", duplicates.len())
            .with_hint("this is a defect of the sink; nothing was marked as delivered")
            .into());
    }
    counts.duplicates += duplicates.len() as u64;
    counts.delivered += (events.len() - failures.len() - duplicates.len()) as u64;

    let mut judged = Judged { retry: Vec::new(), rejected: Vec::new(), delay_for: None };
    let mut failures = failures.into_iter().peekable();
    for (index, event) in events.drain(..).enumerate() {
        let Some(Failure { error, .. }) = failures.next_if(|f| f.index == index) else {
            continue;
        };
        if error.is_retryable() {
            judged.retry.push((event, error));
        } else {
            judged.rejected.push((event, error));
        }
    }
    judged.delay_for = judged.retry.iter().map(|(_, e)| e).max_by_key(|e| asked(e)).map(|error| {
        Error::new(error.kind(), error.message())
            .with("events", judged.retry.len())
            .with_retry(error.retry())
    });
    Ok(judged)
}

/// How long an error asks to wait; nothing is shortest.
fn asked(error: &Error) -> Option<Duration> {
    match error.retry() {
        crate::Retry::After(delay) => Some(delay),
        _ => None,
    }
}

fn count(batch: &Batch) -> Summary {
    let payloads = batch.events.iter().map(|e| e.raw.get().len());
    let bodies = batch.rejected.iter().map(|l| l.body().len());
    Summary {
        read: (batch.events.len() + batch.rejected.len()) as u64,
        drifted: batch.events.iter().filter(|e| e.drift.is_some()).count() as u64,
        batches: 1,
        bytes: payloads.chain(bodies).sum::<usize>() as u64,
        latest: batch.events.iter().map(|e| e.time).max(),
        ..Summary::default()
    }
}

fn no_dead_letters(letter: &DeadLetter) -> Error {
    Error::new(ErrorKind::Rejected, format!("a record cannot be delivered: {}", letter.reason))
        .with("id", letter.id())
        .with_hint("configure dead letters to keep such records and go on with the rest")
}
