//! A real process that ships, killed (SIGKILL) at any moment, again and again.
//!
//! This program starts itself: with `AUDIT_KILL_ROLE` it is the one that ships and is killed.
//! `AUDIT_SOAK_ROUNDS=200` makes 200 kills instead of the 20 of a normal run, however many streams
//! come to their end meanwhile; `AUDIT_SOAK_SEED=7` makes them at other moments.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a failed test, and a soak says what it did"
)]

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::{
    Actor, AuditEvent, Batch, Checkpoint, Cursor, EventId, FileCheckpoint, Limit, Pipeline, Raw,
    Read, Result, Sink, Source, StreamId,
};
use audit_sink_kafka::{KafkaConfig, KafkaSink, Key, TransactionConfig, TransactionalSink};
use chrono::DateTime;
use common::{Isolation, Live, Mock, Stored, read};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const EVENTS: usize = 20_000;
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
            let mut event = AuditEvent::new(id, "counting".into(), DateTime::UNIX_EPOCH, raw);
            event.actor = Some(Actor { id: Some(key(n).into()), ..Actor::default() });
            Ok(event)
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

/// The key of an event, which it shares with others.
fn key(n: usize) -> String {
    format!("user-{}", n % 23)
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
    config.key = Key::Actor;
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
    let source = Counting(0, EVENTS);
    let pipeline = Pipeline::new(stream, Box::new(source), sink, checkpoint)
        .limit(Limit::default().events(BATCH));
    let end = runtime.block_on(pipeline.run(std::future::pending()));
    end.unwrap_or_else(|e| panic!("kind {}: {e}", e.error.kind()));
}

/// One stream that is to be shipped whole, whatever happens to the processes that ship it.
struct Shipper {
    role: &'static str,
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

    /// Kills one process after another until one comes to its end before, or so many are killed, and
    /// lets the last one finish. Returns how many were killed.
    fn kill_and_finish(&self, moments: &mut Moments, most: usize) -> usize {
        for killed in 0..most {
            let mut child = self.start();
            std::thread::sleep(moments.next());
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            if output.status.signal().is_none() {
                assert_finished(&output);
                return killed;
            }
        }
        finish(self.start());
        most
    }
}

fn finish(child: Child) {
    assert_finished(&child.wait_with_output().unwrap());
}

fn assert_finished(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// When to kill: anywhere from before the first record to a few hundred batches later. It follows
/// from a seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Duration::from_millis(60 + (self.0 >> 33) % 350)
    }
}

/// Kills as often as asked for, with a new stream whenever the one before was shipped whole.
///
/// A stream is given how many kills to make at most; it returns how many it made, and how many
/// records it found besides the events. Nothing means that there is no server.
fn soak(kills: usize, mut stream: impl FnMut(&mut Moments, usize) -> Option<(usize, usize)>) {
    let seed = std::env::var("AUDIT_SOAK_SEED").map_or(0x5eed, |seed| seed.parse().unwrap());
    let (mut moments, mut killed, mut more, mut streams) = (Moments(seed), 0, 0, 0);
    while killed < kills {
        let Some((here, records)) = stream(&mut moments, kills - killed) else { return };
        (killed, more, streams) = (killed + here, more + records, streams + 1);
        assert!(streams <= kills, "the processes end too soon to be killed");
    }
    println!("{killed} kills in {streams} streams of {EVENTS} events, {more} more records");
}

fn rounds() -> usize {
    let given = std::env::var("AUDIT_SOAK_ROUNDS").ok();
    given.map_or(20, |rounds| rounds.parse().unwrap())
}

fn number(stored: &Stored) -> usize {
    let (_, n) = stored.header("id").split_once('/').unwrap();
    n.parse().unwrap()
}

/// Counts each event; key, header and payload of each copy have to be those of the event, and all
/// events have to be there.
fn copies(stored: &[Stored]) -> BTreeMap<usize, usize> {
    let mut copies = BTreeMap::new();
    for stored in stored {
        let n = number(stored);
        assert_eq!(stored.key, Some(key(n)));
        assert!(stored.value.starts_with(&format!(r#"{{"n":{n},"#)), "{stored:?}");
        *copies.entry(n).or_default() += 1;
    }
    assert_eq!(copies.len(), EVENTS, "events are missing");
    copies
}

/// Each key has one partition, and what is there for the first time is in order.
fn assert_order(stored: &[Stored]) {
    let (mut seen, mut places) = (HashSet::new(), HashMap::new());
    let mut last: HashMap<i32, usize> = HashMap::new();
    for stored in stored {
        let n = number(stored);
        let place = places.entry(key(n)).or_insert(stored.partition);
        assert_eq!(*place, stored.partition, "{} has two partitions", key(n));
        if seen.insert(n) {
            let before = last.insert(stored.partition, n);
            assert!(before.is_none_or(|before| before < n), "{before:?} before {n}");
        }
    }
}

/// Returns how many records are repeats. Each kill repeats the one batch that was in flight, or a
/// part of it.
fn assert_repeats(stored: &[Stored], killed: usize) -> usize {
    let copies = copies(stored);
    assert_order(stored);
    let mut batches: BTreeMap<usize, usize> = BTreeMap::new();
    for (n, copies) in copies {
        let most = batches.entry(n / BATCH).or_default();
        *most = copies.max(*most);
    }
    let repeated: usize = batches.values().map(|most| most - 1).sum();
    assert!(repeated <= killed, "{repeated} batches were repeated after {killed} kills");
    stored.len() - EVENTS
}

fn idempotent(brokers: &str, topic: &str, dir: &Path) -> Shipper {
    Shipper {
        role: "idempotent",
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        stream: "counting".to_owned(),
        checkpoints: dir.to_str().unwrap().to_owned(),
    }
}

#[test]
fn d01_a_killed_process_loses_nothing_and_repeats_what_was_in_flight() {
    soak(rounds(), |moments, most| {
        let live = Live::with_topics("d01_a_killed_process", 4)?;
        let dir = tempfile::tempdir().unwrap();
        let shipper = idempotent(&live.brokers, &live.topic, dir.path());
        let killed = shipper.kill_and_finish(moments, most);
        Some((killed, assert_repeats(&live.read(Isolation::Uncommitted), killed)))
    });
}

/// The same, with nothing but this machine.
#[test]
fn d01_a_killed_process_loses_nothing_in_a_mocked_cluster_either() {
    soak(10, |moments, most| {
        let (mock, dir) = (Mock::with_topic(4), tempfile::tempdir().unwrap());
        let killed = idempotent(&mock.brokers, "audit", dir.path()).kill_and_finish(moments, most);
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &mock.brokers);
        let stored = read(&client, "audit", Isolation::Uncommitted);
        Some((killed, assert_repeats(&stored, killed)))
    });
}

fn transactional(live: &Live) -> Shipper {
    Shipper {
        role: "transactional",
        brokers: live.brokers.clone(),
        topic: live.topic.clone(),
        stream: live.topic.clone(),
        checkpoints: live.checkpoints.clone(),
    }
}

fn assert_once(live: &Live) {
    let stored = live.read(Isolation::Committed);
    let copies = copies(&stored);
    let twice: Vec<_> = copies.iter().filter(|(_, n)| **n > 1).take(5).collect();
    assert_eq!(stored.len(), EVENTS, "these are there more than once: {twice:?}");
    assert_order(&stored);
}

#[test]
fn i06_a_killed_process_leaves_each_event_exactly_once() {
    soak(rounds(), |moments, most| {
        let live = Live::with_topics("i06_a_killed_process", 3)?;
        let killed = transactional(&live).kill_and_finish(moments, most);
        assert_once(&live);
        // Of transactions that were undone.
        Some((killed, live.read(Isolation::Uncommitted).len() - EVENTS))
    });
}

#[test]
fn i06_a_zombie_that_wakes_up_is_shut_out() {
    let Some(live) = Live::with_topics("i06_a_zombie", 3) else { return };
    let shipper = transactional(&live);
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
    assert_once(&live);
}

#[test]
fn i06_of_two_twins_one_ends_in_a_conflict() {
    let Some(live) = Live::with_topics("i06_of_two_twins", 3) else { return };
    let shipper = transactional(&live);
    let older = shipper.start();
    shipper.wait_for_progress();
    let newer = shipper.start();
    let end = older.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&end.stderr);
    assert!(text.contains("kind conflict"), "the older one ended with: {text}");
    finish(newer);
    assert_once(&live);
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !Command::new("kill").args([signal, &id]).status().unwrap().success() {
        assert!(Instant::now() < deadline);
    }
}
