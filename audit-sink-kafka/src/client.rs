use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_core::{AuditEvent, Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{
    DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, warn};

use crate::error::{self, Trouble};
use crate::record::{Record, Rules};
use crate::settings::Settings;
use crate::verdict::Verdict;

/// How long the library may be late with its verdicts, beyond the time it was given.
const GRACE: Duration = Duration::from_secs(30);

/// A connection to the cluster whose every report is counted.
pub(crate) struct Producer {
    inner: ThreadedProducer<Context>,
    patience: Duration,
    transactional: bool,
}

/// A record that was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Its place in what was produced.
    pub(crate) index: usize,
    pub(crate) code: Code,
    /// Whether it was never sent: then this is about the record, and not about a batch.
    pub(crate) unsent: bool,
}

impl Failed {
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::of(self.code)
    }

    /// Whether it was refused together with the others of its batch.
    pub(crate) fn is_of_a_batch(&self) -> bool {
        !self.unsent && self.verdict() == Verdict::Rejected
    }

    /// Whether it was given up for the sake of something else.
    pub(crate) fn is_purged(&self) -> bool {
        matches!(self.code, Code::PurgeQueue | Code::PurgeInflight)
    }
}

impl Producer {
    /// Makes a producer; it connects by itself. May block for a moment.
    pub(crate) fn new(config: &ClientConfig, settings: &Settings) -> Result<Self> {
        let inner = config
            .create_with_context::<_, ThreadedProducer<_>>(Context::default())
            .map_err(|e| error::of_kafka(&e, None))?;
        // Without a producer id nothing is sent. The library asks for one with each answer about
        // topics, provided it is connected by then, and else only after half a second.
        for _ in 0..3 {
            let topic = Some(settings.rules.topic.as_str());
            if inner.client().fetch_metadata(topic, Duration::from_millis(250)).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        let transactional = config.get("transactional.id").is_some();
        let patience = settings.delivery_timeout.saturating_add(GRACE);
        Ok(Self { inner, patience, transactional })
    }

    /// Produces the events and waits until the cluster has answered for each.
    ///
    /// If this is dropped, records may still be on their way; the next call does not mistake their
    /// reports for its own. With `impatient` it gives up when the connection is refused for good.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if the library owes an answer, which it should not.
    pub(crate) async fn produce(
        &self,
        events: &[&AuditEvent],
        rules: &Rules,
        impatient: bool,
    ) -> Result<Vec<Failed>> {
        let context = self.inner.context();
        let first = context.expect(events.len());
        let mut value = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let sent = match rules.record(event, first.wrapping_add(index), &mut value) {
                Ok(record) => self.enqueue(record).await,
                Err(_) => Err(Code::ValueSerialization),
            };
            if let Err(code) = sent {
                context.tally().fail(Failed { index, code, unsent: true });
            }
            // The source may read meanwhile.
            if index % 512 == 511 {
                yield_now().await;
            }
        }
        self.settle(impatient).await
    }

    /// Produces one record that is no event.
    pub(crate) async fn produce_one(
        &self,
        topic: &str,
        key: &str,
        value: &[u8],
    ) -> Result<Option<Failed>> {
        let context = self.inner.context();
        let number = context.expect(1);
        let record = Record::with_opaque_to(topic, number).key(key.as_bytes()).payload(value);
        if let Err(code) = self.enqueue(record).await {
            context.tally().fail(Failed { index: 0, code, unsent: true });
        }
        Ok(self.settle(false).await?.pop())
    }

    /// Hands a record to the library, once it has room for it.
    async fn enqueue(&self, mut record: Record<'_>) -> std::result::Result<(), Code> {
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    let context = self.inner.context();
                    context.tally().wake_at_next = true;
                    // The time is for a report that came just before.
                    let _late =
                        timeout(Duration::from_millis(20), context.changed.notified()).await;
                }
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
            }
        }
    }

    async fn settle(&self, impatient: bool) -> Result<Vec<Failed>> {
        let context = self.inner.context();
        let deadline = Instant::now() + self.patience;
        loop {
            {
                let mut tally = context.tally();
                if tally.left == 0 {
                    return Ok(std::mem::take(&mut tally.failed));
                }
            }
            let refused = impatient && context.is_refused();
            if refused || self.transactional && context.tally().is_spoiled() {
                self.inner.purge(PurgeConfig::default().queue().inflight());
            }
            if tokio::time::timeout_at(deadline, context.changed.notified()).await.is_err() {
                return Err(Error::new(ErrorKind::Timeout, "the client library owes an answer"));
            }
        }
    }

    /// Returns what the connections last complained of, since [`forgive`](Self::forgive).
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.inner.context().trouble()
    }

    /// Forgets complaints: records came through.
    pub(crate) fn forgive(&self) {
        *lock(&self.inner.context().trouble) = None;
    }

    /// Whether the library has given this producer up; a new one may go on.
    pub(crate) fn is_dead(&self) -> bool {
        self.inner.client().fatal_error().is_some()
    }
}

/// The calls of a transaction. All but [`begin`](Self::begin) block.
impl Producer {
    /// Shuts out earlier producers of the same id, and ends what they left open.
    pub(crate) fn take_over(&self) -> Result<()> {
        let mut slice = Duration::from_millis(250);
        self.persist(|producer| {
            // In slices: a refused login shows beside the call.
            slice = (slice * 2).min(Duration::from_secs(5));
            producer.init_transactions(slice)
        })
    }

    pub(crate) fn begin(&self) -> Result<()> {
        self.inner.begin_transaction().map_err(|e| self.inner.context().explain(&e))
    }

    /// Makes visible what was produced. After an error it may or may not have taken effect.
    pub(crate) fn commit(&self) -> Result<()> {
        // The library counts a record until the report of it is let go, a moment after the last
        // one was counted here; asked before that, it would sleep.
        let deadline = Instant::now() + Duration::from_millis(20);
        while self.inner.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.persist(|producer| producer.commit_transaction(Duration::from_secs(10)))
    }

    pub(crate) fn abort(&self) -> Result<()> {
        self.persist(|producer| producer.abort_transaction(Duration::from_secs(10)))
    }

    /// Repeats a call as long as that is allowed and there is time.
    fn persist(
        &self,
        mut call: impl FnMut(&ThreadedProducer<Context>) -> KafkaResult<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + self.patience.saturating_sub(GRACE);
        loop {
            let Err(error) = call(&self.inner) else {
                self.forgive();
                return Ok(());
            };
            let again = match &error {
                KafkaError::Transaction(inner) => inner.is_retriable(),
                KafkaError::Flush(_) => true,
                _ => false,
            };
            let context = self.inner.context();
            if !again || context.is_refused() || Instant::now() >= deadline {
                return Err(context.explain(&error));
            }
        }
    }
}

/// Ends a client without waiting for its threads, which take a moment.
pub(crate) fn retire<T: Send + 'static>(client: T) {
    drop(tokio::task::spawn_blocking(move || drop(client)));
}

/// What librdkafka calls back.
#[derive(Default)]
pub(crate) struct Context {
    tally: Mutex<Tally>,
    trouble: Mutex<Option<Trouble>>,
    /// The tally is complete, has room again, or there is new trouble.
    changed: Notify,
}

/// The reports that are expected of one batch of records.
///
/// Records are numbered through for the life of a producer, so a late report of an earlier batch,
/// whose write was given up, is told from one of this batch.
#[derive(Debug, Default)]
struct Tally {
    first: usize,
    count: usize,
    left: usize,
    failed: Vec<Failed>,
    wake_at_next: bool,
}

impl Tally {
    /// Returns the record's place in the batch, if it belongs to this one.
    fn place(&self, number: usize) -> Option<usize> {
        let place = number.wrapping_sub(self.first);
        (place < self.count).then_some(place)
    }

    /// Whether a transaction has failed with these records; the others would wait in vain.
    fn is_spoiled(&self) -> bool {
        self.failed.iter().any(|f| !f.unsent)
    }

    fn fail(&mut self, failed: Failed) {
        self.failed.push(failed);
        self.left = self.left.saturating_sub(1);
    }
}

impl Context {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    fn note(&self, new: Trouble) {
        let mut trouble = lock(&self.trouble);
        if trouble.as_ref().is_none_or(|old| new.outweighs(old)) {
            *trouble = Some(new);
            drop(trouble);
            self.changed.notify_one();
        }
    }

    /// Begins a new batch of so many records, and returns the number of the first.
    fn expect(&self, count: usize) -> usize {
        let mut tally = self.tally();
        let first = tally.first.wrapping_add(tally.count);
        *tally = Tally { first, count, left: count, ..Tally::default() };
        first
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut tally = self.tally();
        let Some(place) = tally.place(number) else {
            return;
        };
        let first_failure = result.is_err() && !tally.is_spoiled();
        match result {
            Ok(_) => tally.left = tally.left.saturating_sub(1),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                tally.fail(Failed { index: place, code, unsent: false });
            }
        }
        if tally.left == 0 || first_failure || std::mem::take(&mut tally.wake_at_next) {
            drop(tally);
            self.changed.notify_one();
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
        // That a broker hangs up on the first request is a line of the log only.
        if facility == "FAIL" && message.contains("APIVERSION_QUERY") {
            let (_, reason) = message.split_once("]: ").unwrap_or(("", message));
            self.note(Trouble::new(Code::BrokerTransportFailure, reason));
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        debug!(target: "librdkafka", ?code, reason, "a connection failed");
        self.note(Trouble::new(code, reason));
    }
}

impl ConsumerContext for Context {}

impl Context {
    /// Makes an error that explains itself by what the connections said.
    pub(crate) fn explain(&self, error: &KafkaError) -> Error {
        error::of_kafka(error, self.trouble().as_ref())
    }

    /// Whether waiting cannot help any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.is_final())
    }
}

/// Passes on what librdkafka logs. Its failures reach the caller as errors as well.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", facility, message);
        }
        // A reader is given properties that only a producer has a use for.
        _ if facility == "CONFWARN" => debug!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            warn!(target: "librdkafka", facility, message);
        }
        _ => debug!(target: "librdkafka", facility, message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn late_reports_of_a_dropped_write_are_not_counted(
            before in 0_usize..20,
            late in proptest::sample::subsequence((0..20).collect::<Vec<usize>>(), 0..20),
            count in 1_usize..20,
            start in prop_oneof![Just(0), Just(usize::MAX - 10)],
        ) {
            let context = Context::default();
            context.tally().first = start;
            let dropped = context.expect(before);
            let first = context.expect(count);
            prop_assert_eq!(first, dropped.wrapping_add(before));
            for number in late.into_iter().filter(|n| *n < before) {
                prop_assert_eq!(context.tally().place(dropped.wrapping_add(number)), None);
            }
            for place in 0..count {
                prop_assert_eq!(context.tally().place(first.wrapping_add(place)), Some(place));
            }
            prop_assert_eq!(context.tally().place(first.wrapping_add(count)), None);
        }
    }
}
