use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Failure, Result, Retry, Sink, Written};
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
        let producer = self.producer(&mut state).await?;
        let result = self.deliver(&producer, events).await;
        let result = result.and_then(|failed| {
            if failed.len() < events.len() {
                self.proven.store(true, Ordering::Relaxed);
                producer.forgive();
            }
            self.judge(events, &failed, &producer)
        });
        // After a failure of the whole, a new producer owes nothing and has given nothing up.
        if result.is_err() || producer.is_dead() {
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
        let settings = Arc::clone(&self.settings);
        let made = blocking(move || {
            settings.tls.check()?;
            Producer::new(&settings.producer(None), &settings)
        });
        match (made.await, &state.producer) {
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

    /// Produces the events, and finds those that are at fault themselves.
    async fn deliver(&self, producer: &Producer, events: &[AuditEvent]) -> Result<Vec<Failed>> {
        let impatient = !self.proven.load(Ordering::Relaxed);
        let rules = &self.settings.rules;
        let all: Vec<_> = events.iter().collect();
        let mut failed = producer.produce(&all, rules, impatient).await?;
        failed.sort_unstable_by_key(|f| f.index);
        // A broker refuses a whole batch for one record in it. Alone, only that one fails again.
        let mut judged = Vec::with_capacity(failed.len());
        for failed in failed {
            if failed.unsent || failed.verdict() != Verdict::Rejected {
                judged.push(failed);
                continue;
            }
            let alone = all.get(failed.index..=failed.index).unwrap_or_default();
            let again = producer.produce(alone, rules, false).await?;
            judged.extend(again.into_iter().map(|a| Failed { index: failed.index, ..a }));
        }
        Ok(judged)
    }

    /// Says which events failed, or that the cluster did.
    ///
    /// When nothing came through and no event is at fault, the sink as a whole fails: the caller
    /// waits for the cluster, and gives no good event up.
    fn judge(
        &self,
        events: &[AuditEvent],
        failed: &[Failed],
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
