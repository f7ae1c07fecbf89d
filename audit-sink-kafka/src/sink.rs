use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Failure, Result, Retry, Sink, Written};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::KafkaConfig;
use crate::client::{Failed, Producer, retire};
use crate::error;
use crate::settings::Settings;
use crate::tls::Stamp;
use crate::topic::{self, Use, blocking};
use crate::verdict::Verdict;

/// Writes events to a topic with an idempotent producer: see the [crate's documentation](crate).
pub struct KafkaSink {
    settings: Arc<Settings>,
    state: Mutex<State>,
    /// Something was stored: the connection and the rights are good.
    proven: AtomicBool,
}

#[derive(Default)]
struct State {
    producer: Option<Arc<Producer>>,
    /// The certificate files that the producer was made with.
    stamp: Stamp,
    topic_is_there: bool,
    /// The topic takes no batch as large as the library makes them.
    alone: bool,
}

impl KafkaSink {
    /// Creates a sink. Touches nothing outside: the first call connects.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when an option cannot be meant.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        if config.transaction.is_some() {
            return Err(Error::new(ErrorKind::Config, "this sink knows no transactions")
                .with("option", "transaction")
                .with_hint("make a `TransactionalSink`, which is the checkpoint as well"));
        }
        let settings = Arc::new(Settings::parse(config)?);
        Ok(Self { settings, state: Mutex::default(), proven: AtomicBool::new(false) })
    }

    async fn write_all(&self, events: &[AuditEvent]) -> Result<Written> {
        // One write at a time: the library keeps the order of what it is given.
        let mut state = self.state.lock().await;
        if !state.topic_is_there {
            topic::ensure(&self.settings, &self.settings.rules.topic, Use::Events).await?;
            state.topic_is_there = true;
        }
        let result = self.deliver(&mut state, events).await;
        // After a failure of the whole, a new producer owes nothing and has given nothing up.
        if result.is_err() || state.producer.as_ref().is_some_and(|producer| producer.is_dead()) {
            retire(state.producer.take());
        }
        result
    }

    /// Returns the producer; a new one if there is none, or if the certificates on disk are others.
    async fn producer(&self, state: &mut State) -> Result<Arc<Producer>> {
        let stamp = self.settings.tls.stamp();
        if let Some(producer) = &state.producer
            && stamp == state.stamp
        {
            return Ok(Arc::clone(producer));
        }
        match (self.connect(state.alone).await, &state.producer) {
            (Ok(producer), old) => {
                if old.is_some() {
                    info!("certificates changed, connecting anew");
                }
                retire(state.producer.take());
                state.stamp = stamp;
                Ok(Arc::clone(state.producer.insert(Arc::new(producer))))
            }
            // Perhaps they are being replaced right now. What is connected stays so.
            (Err(error), Some(old)) => {
                warn!(%error, "the changed certificates cannot be used yet");
                Ok(Arc::clone(old))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn connect(&self, alone: bool) -> Result<Producer> {
        let settings = Arc::clone(&self.settings);
        blocking(move || {
            settings.tls.check()?;
            Producer::new(&settings.producer(None, alone), &settings)
        })
        .await
    }

    async fn deliver(&self, state: &mut State, events: &[AuditEvent]) -> Result<Written> {
        let producer = self.producer(state).await?;
        let impatient = !self.proven.load(Ordering::Relaxed);
        let all: Vec<_> = events.iter().collect();
        let mut failed = producer.produce(&all, &self.settings.rules, impatient).await?;
        if !state.alone && failed.iter().any(Failed::is_of_a_batch) {
            failed = self.try_alone(state, &all, failed).await?;
        }
        if failed.len() < events.len() {
            self.proven.store(true, Ordering::Relaxed);
            producer.forgive();
        }
        self.judge(events, failed, &producer)
    }

    /// Finds the records that a broker refuses among those of the batches that it refused for them.
    async fn try_alone(
        &self,
        state: &mut State,
        events: &[&AuditEvent],
        mut failed: Vec<Failed>,
    ) -> Result<Vec<Failed>> {
        failed.sort_unstable_by_key(|f| f.index);
        let (again, mut judged): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(Failed::is_of_a_batch);
        let some = again.iter().filter_map(|f| events.get(f.index).copied()).collect::<Vec<_>>();
        let producer = self.connect(true).await?;
        let still = producer.produce(&some, &self.settings.rules, false).await?;
        let size = again.iter().any(|f| f.code == Code::MessageSizeTooLarge);
        if still.is_empty() && size {
            warn!(
                topic = self.settings.rules.topic,
                "the topic takes no batch of this size, so each record is sent alone; set \
                 `batch.size` to the topic's `max.message.bytes`"
            );
            state.alone = true;
            retire(state.producer.replace(Arc::new(producer)));
        } else {
            retire(producer);
        }
        let place = |f: Failed| Some(Failed { index: again.get(f.index)?.index, ..f });
        judged.extend(still.into_iter().filter_map(place));
        Ok(judged)
    }

    /// Says which events failed, or that the cluster did.
    ///
    /// When nothing came through and no event is at fault, the sink as a whole fails: the caller
    /// waits for the cluster, and gives no good event up.
    fn judge(
        &self,
        events: &[AuditEvent],
        failed: Vec<Failed>,
        producer: &Producer,
    ) -> Result<Written> {
        let trouble = producer.trouble();
        let at_fault = failed.iter().any(|f| f.verdict() == Verdict::Rejected);
        if let Some(first) = failed.first() {
            debug!(failed = failed.len(), of = events.len(), code = ?first.code, "records failed");
            if failed.len() == events.len() && !at_fault {
                let error = error::of_code(first.code, trouble.as_ref());
                let error = error.with("topic", &self.settings.rules.topic);
                // Credentials that worked and do not any more are being changed: wait for it.
                let wait = error.kind() == ErrorKind::Auth && self.proven.load(Ordering::Relaxed);
                return Err(if wait { error.with_retry(Retry::Backoff) } else { error });
            }
        }
        let mut written = Written::all();
        for failed in failed {
            let error = error::of_code(failed.code, trouble.as_ref());
            // What is not the event's own fault is tried again, whatever it is.
            let held = failed.verdict() != Verdict::Rejected && !error.is_retryable();
            let error = if held { error.with_retry(Retry::Backoff) } else { error };
            written.failures.push(Failure { index: failed.index, error });
        }
        Ok(written)
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn check(&self) -> Result<()> {
        let topic = &self.settings.rules.topic;
        let found = topic::look(&self.settings, topic).await;
        match found.map_err(|e| e.while_doing("check the topic"))? {
            Some(partitions) => debug!(topic, partitions, "the topic is there"),
            None if self.settings.create_topic.is_some() => debug!(topic, "it will be created"),
            None => return Err(topic::missing(topic)),
        }
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::all());
        }
        self.write_all(events).await.map_err(|e| e.while_doing("write to Kafka"))
    }

    async fn close(&self) -> Result<()> {
        // All reports are in: there is nothing to flush.
        retire(self.state.lock().await.producer.take());
        Ok(())
    }

    /// A log keeps what it is given: a repeat is a second record, with the same key and `id`.
    fn deduplicates(&self) -> bool {
        false
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("brokers", &self.settings.brokers)
            .field("topic", &self.settings.rules.topic)
            .finish_non_exhaustive()
    }
}
