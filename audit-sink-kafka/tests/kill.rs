//! A real process that ships, killed (SIGKILL) at any moment, again and again.
//!
//! This program starts itself: with `AUDIT_KILL_ROLE` it is the one that ships and is killed.
//! `AUDIT_SOAK_ROUNDS=200` kills more often than the 25 times of a normal run.
#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Batch, Checkpoint, Cursor, EventId, FileCheckpoint, Limit, Pipeline, Raw, Read,
    Result, Sink, Source, StreamId,
};
use audit_sink_kafka::{KafkaConfig, KafkaSink, TransactionConfig, TransactionalSink};
use chrono::DateTime;
use common::{Isolation, Live, Mock, Stored, read};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const BATCH: usize = 40;

/// Counts to its second number, and takes a little time for it.
struct Counting(usize, usize);

#[async_trait]
impl Source for Counting {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.0 = from.map_or(Ok(0), |cursor| cursor.decode("counting", 1))?;
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        if self.0 >= self.1 {
            return Ok(Read::End);
        }
        let end = (self.0 + limit.max_events).min(self.1);
        let event = |n: usize| {
            let raw = Raw::parse(format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(100)))?;
            let id = EventId::new(format!("counting/{n}"));
            Ok(AuditEvent::new(id, "counting".into(), DateTime::UNIX_EPOCH, raw))
        };
        let events = (self.0..end).map(event).collect::<Result<Vec<_>>>()?;
        self.0 = end;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Read::Batch(Batch::new(events, Cursor::encode("counting", 1, &self.0)?)))
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// The process that is killed. Ends with success when all is shipped.
#[test]
fn the_process_that_is_killed() {
    let Ok(role) = std::env::var("AUDIT_KILL_ROLE") else { return };
    let stream: StreamId = variable("AUDIT_KILL_STREAM").parse().unwrap();
    let mut config =
        KafkaConfig::new(&variable("AUDIT_KILL_BROKERS"), variable("AUDIT_KILL_TOPIC"));
    config.delivery_timeout = Duration::from_secs(10);
    let (sink, checkpoint): (Arc<dyn Sink>, Arc<dyn Checkpoint>) = match role.as_str() {
        "transactional" => {
            config.transaction = Some(TransactionConfig::new(variable("AUDIT_KILL_CHECKPOINTS")));
            let both = Arc::new(TransactionalSink::new(config, stream.clone()).unwrap());
            (both.clone(), both)
        }
        _ => {
            let checkpoint = FileCheckpoint::open(variable("AUDIT_KILL_CHECKPOINTS"));
            (Arc::new(KafkaSink::new(config).unwrap()), Arc::new(checkpoint))
        }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let source = Counting(0, variable("AUDIT_KILL_EVENTS").parse().unwrap());
    let pipeline = Pipeline::new(stream, Box::new(source), sink, checkpoint)
        .limit(Limit::default().events(BATCH));
    let end = runtime.block_on(pipeline.run(std::future::pending()));
    end.unwrap_or_else(|e| panic!("kind {}: {e}", e.error.kind()));
}

struct Shipper {
    role: &'static str,
    events: usize,
    brokers: String,
    topic: String,
    stream: String,
    checkpoints: String,
}

impl Shipper {
    fn start(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env("AUDIT_KILL_ROLE", self.role)
            .env("AUDIT_KILL_EVENTS", self.events.to_string())
            .env("AUDIT_KILL_BROKERS", &self.brokers)
            .env("AUDIT_KILL_TOPIC", &self.topic)
            .env("AUDIT_KILL_STREAM", &self.stream)
            .env("AUDIT_KILL_CHECKPOINTS", &self.checkpoints)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until there are more records than when it began to.
    fn wait_for_progress(&self) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("isolation.level", "read_uncommitted");
        let client: BaseConsumer = config.create().unwrap();
        let end = |partition| {
            let answer = client.fetch_watermarks(&self.topic, partition, Duration::from_secs(5));
            answer.unwrap().1
        };
        let records = || (0..3).map(end).sum::<i64>();
        let (before, deadline) = (records(), Instant::now() + Duration::from_secs(20));
        while records() <= before + 100 {
            assert!(Instant::now() < deadline, "nothing is written");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills one process after another, at moments that follow from a seed, and lets the last one
    /// finish. Returns how many were killed before they had finished.
    fn kill_and_finish(&self, rounds: usize) -> usize {
        let (mut seed, mut killed) = (0x5eed_u64, 0);
        for _ in 0..rounds {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut child = self.start();
            std::thread::sleep(Duration::from_millis(60 + (seed >> 33) % 350));
            child.kill().unwrap();
            killed += usize::from(!child.wait().unwrap().success());
        }
        finish(self.start());
        killed
    }
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn rounds() -> usize {
    let given = std::env::var("AUDIT_SOAK_ROUNDS").ok();
    given.map_or(25, |rounds| rounds.parse().unwrap())
}

fn number(stored: &Stored) -> usize {
    let (_, n) = stored.header("id").split_once('/').unwrap();
    n.parse().unwrap()
}

/// Counts each event; key, header and payload of each copy have to be those of the event.
fn copies(stored: &[Stored]) -> BTreeMap<usize, usize> {
    let mut copies = BTreeMap::new();
    for stored in stored {
        let n = number(stored);
        assert_eq!(stored.key.as_deref(), Some(stored.header("id")));
        assert!(stored.value.starts_with(&format!(r#"{{"n":{n},"#)), "{stored:?}");
        *copies.entry(n).or_default() += 1;
    }
    copies
}

/// What is in a partition for the first time is in order.
fn assert_order(stored: &[Stored]) {
    let mut seen = HashSet::new();
    let mut last: HashMap<i32, usize> = HashMap::new();
    for stored in stored {
        let n = number(stored);
        if seen.insert(n) {
            let before = last.insert(stored.partition, n);
            assert!(before.is_none_or(|before| before < n), "{before:?} before {n}");
        }
    }
}

#[test]
fn d01_a_killed_process_loses_nothing_and_repeats_what_was_in_flight() {
    let mock = Mock::with_topic(4);
    let dir = tempfile::tempdir().unwrap();
    let shipper = Shipper {
        role: "idempotent",
        events: 20_000,
        brokers: mock.brokers.clone(),
        topic: "audit".to_owned(),
        stream: "counting".to_owned(),
        checkpoints: dir.path().to_str().unwrap().to_owned(),
    };
    let killed = shipper.kill_and_finish(rounds());
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &mock.brokers);
    let stored = read(&client, "audit", Isolation::Uncommitted);
    let copies = copies(&stored);
    assert_eq!(copies.len(), shipper.events, "after {killed} kills");
    let repeats = stored.len() - shipper.events;
    assert!(repeats <= killed * BATCH, "{repeats} repeats after {killed} kills");
    assert_order(&stored);
    println!("{killed} kills, {repeats} repeats");
}

fn transactional(live: &Live, events: usize) -> Shipper {
    Shipper {
        role: "transactional",
        events,
        brokers: live.brokers.clone(),
        topic: live.topic.clone(),
        stream: live.topic.clone(),
        checkpoints: live.checkpoints.clone(),
    }
}

fn assert_once(live: &Live, events: usize, what: &str) {
    let stored = live.read(Isolation::Committed);
    let copies = copies(&stored);
    let twice: Vec<_> = copies.iter().filter(|(_, n)| **n > 1).take(5).collect();
    assert_eq!((copies.len(), stored.len()), (events, events), "{what}: {twice:?}");
    assert_order(&stored);
}

#[test]
fn i06_a_killed_process_leaves_each_event_exactly_once() {
    let Some(live) = Live::with_topics("i06_a_killed_process", 3) else { return };
    let killed = transactional(&live, 20_000).kill_and_finish(rounds());
    assert_once(&live, 20_000, &format!("{killed} kills"));
    let all = live.read(Isolation::Uncommitted).len();
    println!("{killed} kills, {} records of transactions that were undone", all - 20_000);
}

#[test]
fn i06_a_zombie_that_wakes_up_is_shut_out() {
    let Some(live) = Live::with_topics("i06_a_zombie", 3) else { return };
    let shipper = transactional(&live, 20_000);
    for round in 0..3_u64 {
        // Each is known to own the stream when it has written.
        let zombie = shipper.start();
        shipper.wait_for_progress();
        std::thread::sleep(Duration::from_millis(5 * round));
        signal(&zombie, "-STOP");
        let mut successor = shipper.start();
        shipper.wait_for_progress();
        signal(&zombie, "-CONT");
        let output = zombie.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("kind conflict"), "the zombie ended with: {text}");
        assert!(successor.try_wait().unwrap().is_none(), "it lives on");
        successor.kill().unwrap();
        successor.wait().unwrap();
    }
    finish(shipper.start());
    assert_once(&live, 20_000, "three zombies");
}

#[test]
fn i06_of_two_twins_one_ends_in_a_conflict() {
    let Some(live) = Live::with_topics("i06_of_two_twins", 3) else { return };
    let shipper = transactional(&live, 20_000);
    let older = shipper.start();
    shipper.wait_for_progress();
    let newer = shipper.start();
    let end = older.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&end.stderr);
    assert!(text.contains("kind conflict"), "the older one ended with: {text}");
    finish(newer);
    assert_once(&live, 20_000, "two twins");
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !Command::new("kill").args([signal, &id]).status().unwrap().success() {
        assert!(Instant::now() < deadline);
    }
}
