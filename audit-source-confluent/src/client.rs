mod group;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audit_core::{Error, ErrorKind, Result};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, error, warn};

use self::group::Membership;
pub(crate) use self::group::{Change, Start};
use crate::error::{self, Trouble};
use crate::settings::Settings;

/// A connection to the cluster that reads from positions of our own. Its calls block.
pub(crate) struct Client {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
    timeout: Duration,
    /// Whether a group decides what is assigned.
    grouped: bool,
    /// Tells the group how far its partitions are done, once it is joined.
    teller: Option<JoinHandle<()>>,
}

/// What the broker keeps of a partition: offsets from `low`, up to but without `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// What came next.
pub(crate) enum Next<'a> {
    Message(BorrowedMessage<'a>),
    /// The end of a partition, as it is now.
    End(i32),
    /// A position is not in its partition any more.
    Gone,
    Nothing,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let consumer = settings
            .client()?
            .create_with_context(Context::default())
            .map_err(|e| error::of_kafka(&e, None))?;
        let consumer = Arc::new(consumer);
        let config = &settings.config;
        let grouped = config.group.is_some();
        let (topic, timeout) = (config.topic.clone(), config.timeout);
        Ok(Self { consumer, topic, timeout, grouped, teller: None })
    }

    /// Stops reading. Not for a member of a group.
    pub(crate) fn unassign(&self) -> Result<()> {
        self.consumer.unassign().map_err(|e| self.explain(&e))
    }

    /// Forgets what connections complained of.
    pub(crate) fn calm(&self) {
        *self.consumer.context().trouble() = None;
    }

    /// Asks for the topic's partitions.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the topic is not there.
    pub(crate) fn partitions(&self) -> Result<Vec<i32>> {
        let metadata = self.ask(|time| self.consumer.fetch_metadata(Some(&self.topic), time))?;
        let Some(topic) = metadata.topics().first() else {
            return Err(error::of_code(Code::UnknownTopic, None));
        };
        if let Some(code) = topic.error() {
            return Err(error::of_code(code.into(), None));
        }
        let mut all: Vec<_> = topic.partitions().iter().map(|partition| partition.id()).collect();
        all.sort_unstable();
        if all.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "the topic has no partition yet"));
        }
        Ok(all)
    }

    /// Asks what is kept of a partition.
    pub(crate) fn kept(&self, partition: i32) -> Result<Kept> {
        self.ask(|time| self.consumer.fetch_watermarks(&self.topic, partition, time))
            .map(|(low, high)| Kept { low, high })
            .map_err(|e| e.with("partition", partition))
    }

    /// Reads on from these positions.
    pub(crate) fn assign(&self, positions: &BTreeMap<i32, i64>) -> Result<()> {
        self.list(positions)
            .and_then(|list| self.consumer.assign(&list))
            .map_err(|e| self.explain(&e))
    }

    fn list(&self, positions: &BTreeMap<i32, i64>) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        Ok(list)
    }

    /// Waits for what comes next, at most so long.
    ///
    /// # Errors
    /// Of a partition that cannot be read. What becomes of connections is [`trouble`](Self::trouble).
    pub(crate) fn next(&self, wait: Duration) -> Result<Next<'_>> {
        match self.consumer.poll(wait) {
            None => Ok(Next::Nothing),
            Some(Ok(message)) => {
                *self.consumer.context().trouble() = None;
                Ok(Next::Message(message))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                *self.consumer.context().trouble() = None;
                Ok(Next::End(partition))
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Ok(Next::Gone),
                // Told of in detail by `Context::error`.
                Some(code) if of_connection(code) || of_coordinator(code) => Ok(Next::Nothing),
                // Asked for by the library, though no group is used.
                Some(Code::GroupAuthorizationFailed) if !self.grouped => Ok(Next::Nothing),
                // What was ours is taken next.
                Some(Code::PollExceeded) if self.grouped => Ok(Next::Nothing),
                _ => Err(self.explain(&error)),
            },
        }
    }

    /// Returns what the connections last complained of, as an error.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.consumer.context().trouble().as_ref().map(Trouble::error)
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.consumer.context().trouble().as_ref().is_some_and(Trouble::is_final)
    }

    fn explain(&self, error: &KafkaError) -> Error {
        error::of_kafka(error, self.consumer.context().trouble().as_ref())
    }

    /// Repeats a question in slices, as a refused login shows beside the call. Nothing may be
    /// assigned, or records would be lost here.
    fn ask<T>(
        &self,
        question: impl Fn(Duration) -> std::result::Result<T, KafkaError>,
    ) -> Result<T> {
        let began = Instant::now();
        let mut slice = Duration::from_millis(250);
        loop {
            let left = self.timeout.saturating_sub(began.elapsed());
            let error = match question(slice.min(left)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code();
            let passing = code.is_some_and(|code| {
                of_connection(code)
                    || of_coordinator(code)
                    || matches!(code, Code::OperationTimedOut | Code::RequestTimedOut)
            });
            if self.is_idle() {
                // What went wrong with connections is behind lines of the log in the same queue.
                let enough = Instant::now() + Duration::from_millis(20);
                while Instant::now() < enough {
                    drop(self.consumer.poll(Duration::from_millis(5)));
                }
            }
            if !passing || self.is_refused() || began.elapsed() >= self.timeout {
                return Err(self.explain(&error));
            }
            slice = (slice * 2).min(Duration::from_secs(1));
        }
    }

    fn is_idle(&self) -> bool {
        self.consumer.assignment().is_ok_and(|list| list.count() == 0)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Asks how long the topic keeps its records; `None` if it keeps them for ever, or will not tell.
pub(crate) async fn retention(settings: &Settings) -> Option<Duration> {
    let topic = &settings.config.topic;
    let admin: AdminClient<Context> =
        settings.client().ok()?.create_with_context(Context::default()).ok()?;
    let options = AdminOptions::new().request_timeout(Some(settings.config.timeout));
    let answer = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await;
    retire(admin);
    let resource = answer.ok()?.into_iter().next()?.ok()?;
    let millis: i64 = resource.get("retention.ms")?.value.as_ref()?.parse().ok()?;
    Some(u64::try_from(millis).map_or(Duration::MAX, Duration::from_millis))
}

/// Ends a client without waiting for its threads, which take a moment.
pub(crate) fn retire<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

fn of_connection(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::Authentication
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::SaslAuthenticationFailed
            | Code::SSL
            | Code::UnsupportedSASLMechanism
    )
}

/// Whether it passes once the group has a coordinator again.
fn of_coordinator(code: Code) -> bool {
    matches!(
        code,
        Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
    )
}

/// What librdkafka calls back.
#[derive(Default)]
pub(crate) struct Context {
    trouble: Mutex<Option<Trouble>>,
    membership: Membership,
}

impl Context {
    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, new: Trouble) {
        let mut trouble = self.trouble();
        if trouble.as_ref().is_none_or(|old| new.outweighs(old)) {
            *trouble = Some(new);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // That a broker hangs up on the first request is a line of the log only.
        if facility == "FAIL" && message.contains("APIVERSION_QUERY") {
            let (_, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.note(Trouble::new(Code::BrokerTransportFailure, reason));
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(target: "librdkafka", facility, message);
            }
            _ if facility == "CONFWARN" => debug!(target: "librdkafka", facility, message),
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", facility, message);
            }
            _ => debug!(target: "librdkafka", facility, message),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if of_connection(code) {
            debug!(target: "librdkafka", ?code, reason, "a connection failed");
            self.note(Trouble::new(code, reason));
        }
    }
}
