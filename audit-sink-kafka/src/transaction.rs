use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Checkpoint, Clock, Cursor, Error, ErrorKind, Failure, Result, Revision, Sink,
    StreamId, Written,
};
use tokio::sync::Mutex;
use tracing::{debug, info};

use crate::KafkaConfig;
use crate::client::{Failed, Producer, retire};
use crate::config::TransactionConfig;
use crate::error;
use crate::journal;
use crate::progress;
use crate::settings::Settings;
use crate::tls::Stamp;
use crate::topic::{self, Use};
use crate::verdict::Verdict;

/// Writes events and their checkpoint in one Kafka transaction: see the [crate's
/// documentation](crate).
///
/// It is a sink and a checkpoint, and is given twice to the pipeline of its stream. `write` produces
/// into an open transaction, `save` adds the checkpoint and commits; a reader with
/// `isolation.level=read_committed` sees both or neither. The transactional id is
/// `<checkpoint topic>/<stream>`: a newer runner of the stream shuts out an older one, whose calls then
/// end in [`ErrorKind::Conflict`].
pub struct TransactionalSink {
    settings: Arc<Settings>,
    transaction: TransactionConfig,
    stream: StreamId,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    producer: Option<Arc<Producer>>,
    /// The certificate files that the producer was made with.
    stamp: Stamp,
    /// Since when a transaction is open.
    open: Option<Instant>,
    /// Whether the stream was taken over since `load`.
    owned: bool,
    /// What is committed, which no other runner can change without shutting this one out.
    known: Option<(Cursor, Revision)>,
    /// What the last `save` tried to commit, if it never learned whether it did.
    attempt: Option<(Cursor, Revision)>,
    /// Events that `write` has answered for and that are not committed. If the transaction fails,
    /// they go into the next one: the pipeline does not give them again.
    staged: Vec<AuditEvent>,
    /// A call began and did not end: what became of the transaction is unknown.
    uncertain: bool,
    /// The broker refused a batch, so that each record is sent alone.
    alone: bool,
    /// Another runner has taken over the stream.
    lost: bool,
}

impl TransactionalSink {
    /// Creates the sink and checkpoint of one stream. Touches nothing outside: the first call
    /// connects.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when an option cannot be meant, or `transaction` is not given.
    pub fn new(config: KafkaConfig, stream: StreamId) -> Result<Self> {
        let Some(transaction) = config.transaction.clone() else {
            return Err(Error::new(ErrorKind::Config, "no topic for the checkpoints is given")
                .with("option", "transaction"));
        };
        let settings = Arc::new(Settings::parse(config)?);
        let (clock, state) = (Clock::system(), Mutex::default());
        Ok(Self { settings, transaction, stream, clock, state })
    }

    /// Stamps checkpoints with the time of this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Reads the saved cursor without taking the stream over: for a look while another runs.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub async fn peek(&self) -> Result<Option<(Cursor, Revision)>> {
        journal::last(&self.settings, &self.stream, &self.transaction.checkpoint_topic).await
    }

    /// Returns a producer that owns the stream and knows what is committed.
    async fn ready(&self, state: &mut State) -> Result<Arc<Producer>> {
        if state.lost {
            return Err(self.taken_over());
        }
        let stamp = self.settings.tls.stamp();
        let changed = state.open.is_none() && stamp != state.stamp;
        if let Some(producer) = &state.producer
            && !changed
            && !state.uncertain
        {
            return Ok(Arc::clone(producer));
        }
        // What was open is resolved by the next producer of the same id: it is the one way out of
        // every uncertain state.
        retire(state.producer.take());
        (state.open, state.uncertain) = (None, true);
        topic::ensure(&self.settings, &self.settings.rules.topic, Use::Events).await?;
        topic::ensure(&self.settings, &self.transaction.checkpoint_topic, Use::Checkpoints).await?;
        let (settings, id, alone) = (Arc::clone(&self.settings), self.stream.clone(), state.alone);
        let producer = topic::blocking(move || {
            settings.tls.check()?;
            let config = settings.producer(Some(&id), alone);
            let producer = Producer::new(&config, &settings)?;
            producer.take_over()?;
            Ok(Arc::new(producer))
        })
        .await?;
        let found = self.peek().await?;
        if state.owned && found != state.known {
            if found.is_none() || found != state.attempt {
                state.lost = true;
                return Err(self.taken_over());
            }
            // The commit that seemed to have failed took effect.
            state.staged.clear();
        }
        debug!(stream = %self.stream, revision = ?revision(&found), "took over the stream");
        (state.known, state.stamp) = (found, stamp);
        (state.owned, state.uncertain) = (true, false);
        Ok(Arc::clone(state.producer.insert(producer)))
    }

    /// Returns a producer with an open transaction that holds all that is staged.
    async fn begin(&self, state: &mut State) -> Result<Arc<Producer>> {
        let producer = self.ready(state).await?;
        if state.open.is_none() {
            state.uncertain = true;
            producer.begin()?;
            state.open = Some(Instant::now());
            let staged: Vec<_> = state.staged.iter().collect();
            self.produce(&producer, &staged).await?;
            state.uncertain = false;
        }
        Ok(producer)
    }

    /// Ends the transaction without effect, after a failure that it then explains.
    async fn abandon(&self, state: &mut State, error: Error) -> Error {
        let age = state.open.map(|since| since.elapsed()).unwrap_or_default();
        let aborted = self.abort(state).await;
        let fenced = error.kind() == ErrorKind::Conflict
            || aborted.is_err_and(|e| e.kind() == ErrorKind::Conflict);
        if !fenced {
            return error;
        }
        if age >= self.transaction.timeout {
            // The cluster ended it for its age, which looks the same. Taking over again shows
            // whether there was another runner.
            return Error::new(ErrorKind::Unavailable, "the transaction was open for too long")
                .with("timeout", humantime::format_duration(self.transaction.timeout));
        }
        state.lost = true;
        retire(state.producer.take());
        self.taken_over()
    }

    /// Ends the transaction without effect; the next one has a producer of its own, since this one
    /// may still purge what it is given.
    async fn abort(&self, state: &mut State) -> Result<()> {
        let Some(producer) = state.producer.clone().filter(|_| state.open.is_some()) else {
            return Ok(());
        };
        state.uncertain = true;
        topic::blocking(move || producer.abort()).await?;
        retire(state.producer.take());
        state.open = None;
        Ok(())
    }

    /// Produces events that are known to be good.
    async fn produce(&self, producer: &Producer, events: &[&AuditEvent]) -> Result<()> {
        match producer.produce(events, &self.settings.rules, false).await?.first() {
            Some(failed) => Err(error::of_code(failed.code, producer.trouble().as_ref())),
            None => Ok(()),
        }
    }

    /// Produces new events into the transaction, and returns those that are refused for good.
    ///
    /// A broker refuses whole batches, and a refusal costs the transaction: then it begins anew, with
    /// each record alone, and without those that are refused.
    async fn put(&self, state: &mut State, events: &[&AuditEvent]) -> Result<Vec<Failure>> {
        let mut failures: Vec<Failure> = Vec::new();
        let mut left: Vec<(usize, &AuditEvent)> = events.iter().copied().enumerate().collect();
        loop {
            let producer = self.begin(state).await?;
            state.uncertain = true;
            let batch: Vec<_> = left.iter().map(|(_, event)| *event).collect();
            let failed = producer.produce(&batch, &self.settings.rules, false).await?;
            let error = |f: &Failed| error::of_code(f.code, producer.trouble().as_ref());
            let refused = failed.iter().any(Failed::is_of_a_batch);
            // A refusal takes along what was not sent yet.
            let other =
                |f: &&Failed| f.verdict() != Verdict::Rejected && !(refused && f.is_purged());
            if let Some(failed) = failed.iter().find(other) {
                return Err(error(failed));
            }
            let alone = state.alone;
            let at_fault = |f: &&Failed| f.unsent || alone && f.is_of_a_batch();
            let mut gone = HashSet::new();
            for failed in failed.iter().filter(at_fault) {
                let Some((index, _)) = left.get(failed.index) else { continue };
                failures.push(Failure { index: *index, error: error(failed) });
                gone.insert(*index);
            }
            left.retain(|(index, _)| !gone.contains(index));
            if !refused {
                return Ok(failures);
            }
            state.alone = true;
            self.abort(state).await?;
        }
    }

    async fn commit(&self, state: &mut State, cursor: &Cursor, next: Revision) -> Result<()> {
        let producer = self.begin(state).await?;
        state.uncertain = true;
        let value = progress::encode(&self.stream, cursor, next, self.clock.now())?;
        let topic = &self.transaction.checkpoint_topic;
        let failed = producer.produce_one(topic, self.stream.as_str(), value.as_bytes()).await?;
        if let Some(failed) = failed {
            let error = error::of_code(failed.code, producer.trouble().as_ref());
            return Err(error.with("topic", topic));
        }
        topic::blocking(move || producer.commit()).await
    }

    fn taken_over(&self) -> Error {
        Error::new(ErrorKind::Conflict, "another runner of this stream has taken over")
            .with("stream", &self.stream)
            .with_hint("run only one pipeline a stream; the newer one goes on")
    }

    fn own(&self, stream: &StreamId) -> Result<()> {
        if *stream == self.stream {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "this checkpoint is that of another stream")
            .with("stream", stream)
            .with("its own", &self.stream))
    }
}

fn revision(known: &Option<(Cursor, Revision)>) -> Option<Revision> {
    known.as_ref().map(|(_, revision)| *revision)
}

#[async_trait]
impl Sink for TransactionalSink {
    async fn check(&self) -> Result<()> {
        let create = self.settings.create_topic.is_some();
        for topic in [&self.settings.rules.topic, &self.transaction.checkpoint_topic] {
            let found = topic::look(&self.settings, topic).await;
            if found.map_err(|e| e.while_doing("check the topic"))?.is_none() && !create {
                return Err(topic::missing(topic));
            }
        }
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::all());
        }
        let mut state = self.state.lock().await;
        // What is staged is in the transaction already, or goes into the next one.
        let staged: HashSet<_> = state.staged.iter().map(|event| event.id.clone()).collect();
        let (new, old): (Vec<_>, Vec<_>) =
            events.iter().enumerate().partition(|(_, event)| !staged.contains(&event.id));
        let duplicates = old.into_iter().map(|(place, _)| place).collect();
        let (places, new): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let mut failures = match self.put(&mut state, &new).await {
            Ok(failures) => failures,
            Err(error) => {
                let error = self.abandon(&mut state, error).await;
                return Err(error.while_doing("write to Kafka"));
            }
        };
        let refused: HashSet<_> = failures.iter().map(|f| f.index).collect();
        let kept = new.iter().enumerate().filter(|(n, _)| !refused.contains(n));
        state.staged.extend(kept.map(|(_, event)| (*event).clone()));
        state.uncertain = false;
        for failure in &mut failures {
            failure.index = places.get(failure.index).copied().unwrap_or(failure.index);
        }
        Ok(Written { duplicates, failures })
    }

    async fn close(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        // What is not committed was given up by the pipeline, and is read again by its next run.
        if let Err(error) = self.abort(&mut state).await {
            info!(%error, "the open transaction is left to its time-out");
        }
        retire(state.producer.take());
        state.staged.clear();
        Ok(())
    }

    /// A log keeps what it is given. A pipeline repeats nothing that a transaction has committed.
    fn deduplicates(&self) -> bool {
        false
    }
}

#[async_trait]
impl Checkpoint for TransactionalSink {
    /// Takes the stream over, which ends an older runner, and reads what was last committed.
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.own(stream)?;
        let mut state = self.state.lock().await;
        if state.lost {
            return self.peek().await;
        }
        // The caller goes on from what is saved: nothing else counts any more.
        (state.owned, state.uncertain, state.attempt) = (false, true, None);
        state.staged.clear();
        self.ready(&mut state).await.map_err(|e| e.while_doing("take over the stream"))?;
        Ok(state.known.clone())
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        self.own(stream)?;
        let mut state = self.state.lock().await;
        self.ready(&mut state).await.map_err(|e| e.while_doing("take over the stream"))?;
        let found = revision(&state.known);
        let next = Revision(after.map_or(1, |r| r.0 + 1));
        // Asked again for what took effect, though the answer was lost.
        if state.attempt.is_some() && state.attempt == state.known && found == Some(next) {
            let same = state.known.as_ref().is_some_and(|(known, _)| known == cursor);
            if same {
                return Ok(next);
            }
        }
        if found != after {
            let _ended_with_the_next_producer = self.abort(&mut state).await;
            let show = |r: Option<Revision>| r.map_or("none".to_owned(), |r| r.0.to_string());
            return Err(Error::new(
                ErrorKind::Conflict,
                "the checkpoint was changed by another runner",
            )
            .while_doing("save the checkpoint")
            .with("stream", stream)
            .with("expected revision", show(after))
            .with("found revision", show(found))
            .with_hint("run only one pipeline a stream; start this one again to go on"));
        }
        state.attempt = Some((cursor.clone(), next));
        if let Err(error) = self.commit(&mut state, cursor, next).await {
            let error = self.abandon(&mut state, error).await;
            return Err(error.while_doing("save the checkpoint"));
        }
        state.staged.clear();
        state.known = state.attempt.take();
        (state.open, state.uncertain) = (None, false);
        if std::mem::take(&mut state.alone) {
            // The next transaction may be of good records only.
            retire(state.producer.take());
        }
        Ok(next)
    }
}

impl fmt::Debug for TransactionalSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalSink")
            .field("brokers", &self.settings.brokers)
            .field("topic", &self.settings.rules.topic)
            .field("checkpoint_topic", &self.transaction.checkpoint_topic)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
