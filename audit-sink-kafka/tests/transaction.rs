//! Events and checkpoint in one transaction: the contracts of sink and checkpoint on a real broker,
//! since a mocked one only acknowledges transactions. See `live.rs` for when tests are skipped.
#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{
    CHECKPOINT_RULES, CheckpointHarness, Damage, MemoryUpstream, SINK_RULES, Save, SinkHarness,
    Verdict, When, World, crash_at_every_call, stop_at_every_call, survive_random_faults,
};
use audit_core::{Checkpoint, Cursor, ErrorKind, EventId, Result, Revision, Sink, StreamId};
use audit_sink_kafka::{KafkaConfig, KafkaSink, Property, TransactionalSink};
use common::{Faults, Faulty, Isolation, Live};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const CANARY: &str = "canary-51c7";

macro_rules! live {
    ($test:literal) => {
        match Live::with_topics($test, 1) {
            Some(live) => live,
            None => return,
        }
    };
}

fn cursor(n: usize) -> Cursor {
    Cursor::encode("test", 1, &n).unwrap()
}

/// One checkpoint for all streams: each stream has its own sink, as each has its own pipeline.
struct PerStream {
    config: KafkaConfig,
    prefix: String,
    sinks: Mutex<HashMap<StreamId, Arc<TransactionalSink>>>,
}

impl PerStream {
    /// Streams of one test are kept from those of another, which may run beside it.
    fn own(&self, stream: &StreamId) -> (Arc<TransactionalSink>, StreamId) {
        let mut sinks = self.sinks.lock().unwrap();
        let name = format!("{}.{stream}", self.prefix);
        let name: StreamId = name.chars().take(100).collect::<String>().parse().unwrap();
        let make = || TransactionalSink::new(self.config.clone(), name.clone()).unwrap();
        let sink = sinks.entry(name.clone()).or_insert_with(|| Arc::new(make()));
        (Arc::clone(sink), name)
    }
}

#[async_trait]
impl Checkpoint for PerStream {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let (sink, name) = self.own(stream);
        sink.load(&name).await
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let (sink, name) = self.own(stream);
        sink.save(&name, cursor, after).await
    }
}

struct Progress {
    live: Live,
}

impl Progress {
    fn start(rule: &str) -> Option<Self> {
        Some(Self { live: Live::with_topics(rule, 1)? })
    }

    fn make(&self) -> Arc<PerStream> {
        let (config, prefix) = (self.live.transactional(), self.live.topic.clone());
        Arc::new(PerStream { config, prefix, sinks: Mutex::default() })
    }

    /// Puts a record under the stream's key, as another program might.
    fn place(&self, stream: &StreamId, value: &[u8]) {
        let producer: BaseProducer = self.live.client().create().unwrap();
        let (_, name) = self.make().own(stream);
        let record = BaseRecord::to(&self.live.checkpoints).key(name.as_str()).payload(value);
        producer.send(record).unwrap();
        producer.flush(Duration::from_secs(5)).unwrap();
    }

    fn last(&self) -> String {
        let client = self.live.client();
        let stored = common::read(&client, &self.live.checkpoints, Isolation::Committed);
        stored.last().unwrap().value.clone()
    }
}

#[async_trait]
impl CheckpointHarness for Progress {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        self.make()
    }

    async fn rival(&mut self) -> Option<Arc<dyn Checkpoint>> {
        Some(self.make())
    }

    async fn damage(&mut self, stream: &StreamId, damage: Damage) -> bool {
        let whole = self.last();
        let damaged = match damage {
            Damage::Truncated => whole.chars().take(whole.len() - 9).collect(),
            Damage::BitFlip => whole.replace("\"offset\":3", "\"offset\":2"),
            Damage::Empty => String::new(),
            Damage::NewerVersion => whole.replacen("\"version\":1", "\"version\":2", 1),
            _ => return false,
        };
        assert_ne!(whole, damaged);
        self.place(stream, damaged.as_bytes());
        true
    }

    async fn crash(&mut self, save: &Save, step: usize) -> bool {
        let checkpoint = self.make();
        // Its thread would take the stream over after its death, which only the dead of a real
        // process do not: see `kill.rs`.
        checkpoint.load(&save.stream).await.unwrap();
        let saved = checkpoint.save(&save.stream, &save.cursor, save.after);
        let cut = Duration::from_micros(500 * step as u64);
        tokio::time::timeout(cut, saved).await.is_err() && step < 25
    }

    async fn unwritable(&mut self) -> Option<Arc<dyn Checkpoint>> {
        let mut config = self.live.transactional();
        config.brokers = vec!["127.0.0.1:1".to_owned()];
        config.delivery_timeout = Duration::from_secs(1);
        let sinks = Mutex::default();
        Some(Arc::new(PerStream { config, prefix: "x".to_owned(), sinks }))
    }
}

/// Judges by every rule at once: most of the time is spent waiting.
async fn judge_progress(rules: &[&str]) {
    let mut broken = Vec::new();
    for rule in CHECKPOINT_RULES.iter().filter(|r| rules.iter().any(|p| r.name().starts_with(p))) {
        let Some(mut progress) = Progress::start(rule.name()) else { return };
        broken.extend(rule.judge(&mut progress).await.err());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_c02_c03_c07_what_is_saved_is_loaded() {
    judge_progress(&["c01", "c02", "c03", "c07"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_one_of_two_racing_saves_wins() {
    judge_progress(&["c04"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_save_that_is_cut_off_is_whole_or_not_there() {
    judge_progress(&["c05"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_c08_damage_and_a_dead_broker_are_errors() {
    judge_progress(&["c06", "c08"]).await;
}

/// Sink and checkpoint are one thing, which each life makes anew.
#[derive(Clone)]
struct Both {
    live: Arc<Live>,
    current: Arc<Mutex<Option<Arc<TransactionalSink>>>>,
    saved: Arc<Mutex<Option<Revision>>>,
    faults: Faults,
    config: KafkaConfig,
    /// As a pipeline uses it, nothing is ever there twice.
    deduplicates: bool,
}

impl Both {
    fn start(test: &str) -> Option<Self> {
        let live = Live::with_topics(test, 1)?;
        let mut config = live.transactional();
        config.properties.insert("sasl.password".to_owned(), Property::from(CANARY));
        Some(Self {
            live: Arc::new(live),
            current: Arc::default(),
            saved: Arc::default(),
            faults: Faults::default(),
            config,
            deduplicates: false,
        })
    }

    fn stream(&self) -> StreamId {
        // The one that the crash tests run.
        let name = if self.deduplicates { "testkit" } else { self.live.topic.as_str() };
        name.parse().unwrap()
    }

    fn renew(&self) -> Arc<TransactionalSink> {
        let stream = self.live.topic.parse().unwrap();
        let new = Arc::new(TransactionalSink::new(self.config.clone(), stream).unwrap());
        *self.current.lock().unwrap() = Some(Arc::clone(&new));
        new
    }
}

/// The stream of the crash tests has one name in all tests; here it gets that of the test's topic.
struct Renamed(Arc<TransactionalSink>, StreamId);

#[async_trait]
impl Checkpoint for Renamed {
    async fn load(&self, _stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.0.load(&self.1).await
    }

    async fn save(
        &self,
        _stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        self.0.save(&self.1, cursor, after).await
    }
}

#[async_trait]
impl CheckpointHarness for Both {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        Arc::new(Renamed(self.renew(), self.live.topic.parse().unwrap()))
    }
}

#[async_trait]
impl SinkHarness for Both {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let current = self.current.lock().unwrap().clone();
        let sink: Arc<dyn Sink> = match current.filter(|_| self.deduplicates) {
            Some(sink) => sink,
            None => self.renew(),
        };
        let faults = Arc::clone(&self.faults);
        Arc::new(Faulty { sink, faults, too_large: 1_100_000, deduplicates: self.deduplicates })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let stored = self.live.read(Isolation::Committed).into_iter();
        stored.map(|s| (EventId::new(s.header("id")), s.value)).collect()
    }

    async fn written(&mut self, _sink: &Arc<dyn Sink>) {
        let sink = self.current.lock().unwrap().clone().unwrap();
        let after = *self.saved.lock().unwrap();
        let saved = sink.save(&self.stream(), &cursor(1), after).await.unwrap();
        *self.saved.lock().unwrap() = Some(saved);
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        let possible = items.iter().all(|(_, kind)| *kind == ErrorKind::Rejected);
        if possible {
            let ids = items.iter().map(|(id, _)| id.clone());
            self.faults.lock().unwrap().oversize.extend(ids);
        }
        possible
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let mut faults = self.faults.lock().unwrap();
        match (kind, when) {
            (ErrorKind::Unavailable, When::Before) => {
                let mut config = self.config.clone();
                config.brokers = vec!["127.0.0.1:1".to_owned()];
                config.delivery_timeout = Duration::from_secs(1);
                config.transaction = None;
                faults.instead = Some(Arc::new(KafkaSink::new(config).unwrap()));
            }
            _ => return false,
        }
        true
    }

    fn canary(&self) -> Option<String> {
        Some(CANARY.to_owned())
    }

    async fn texts(&mut self) -> Vec<String> {
        vec![format!("{:#?} {:?}", self.config, self.renew())]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_of_a_sink_holds() {
    let mut broken = Vec::new();
    for rule in SINK_RULES {
        let Some(mut both) = Both::start(rule.name()) else { return };
        broken.extend(rule.judge(&mut both).await.err());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

async fn world() -> World {
    let both = Both { deduplicates: true, ..Both::start("world").unwrap() };
    World::new(MemoryUpstream::history(), both.clone(), both)
}

fn holds(verdict: Verdict) {
    if let Err(violation) = verdict {
        panic!("{violation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_each_event_is_there_once_after_a_death_at_any_call() {
    let _live = live!("i06_each_event_is_there_once_after_a_death_at_any_call");
    holds(crash_at_every_call(world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_each_event_is_there_once_after_a_clean_end_at_any_call() {
    let _live = live!("i06_each_event_is_there_once_after_a_clean_end_at_any_call");
    holds(stop_at_every_call(world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_each_event_is_there_once_after_random_deaths_and_failures() {
    let _live = live!("i06_each_event_is_there_once_after_random_deaths_and_failures");
    holds(survive_random_faults(world, 0..3).await);
}
