//! Three processes of `audit run` that share a topic as members of a group, on a real Kafka, while
//! records are written and the processes come and go: stopped in order into files, where a record
//! that is delivered again would show, and killed into a real OpenSearch, where it has no effect.
//!
//! `AUDIT_SOAK_ROUNDS` sets how often (12 rounds by default), and `AUDIT_SOAK_SEED` how. Without the
//! servers that `.ci/servers up` starts it is skipped; with `AUDIT_LIVE=1` it fails then.

#![cfg(all(feature = "source-confluent", feature = "sink-elastic", feature = "sink-file"))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "tests of the sink use the rest")]
#[path = "../../audit-sink-elastic/tests/common/live.rs"]
mod live;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use live::Live;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::{Value, json};

const PROCESSES: usize = 3;
const PARTITIONS: i32 = 6;
const ROUNDS: u64 = 12;

#[tokio::test]
async fn what_is_handed_over_in_order_is_delivered_once() {
    let Some(topic) = Topic::new("in-order").await else { return };
    let writer = Writer::start(&topic);
    let mut all: Vec<_> = (0..PROCESSES)
        .map(|n| Process::new(&topic, n, "type = \"file\"\npath = \"out.ndjson\""))
        .collect();
    let delivered = |all: &[Process]| all.iter().flat_map(Process::lines).collect::<Vec<_>>();
    // Each in turn is stopped when it has had its share, and comes again.
    all.iter_mut().for_each(Process::start);
    for turn in 0..number("AUDIT_SOAK_ROUNDS").unwrap_or(ROUNDS) as usize {
        let process = &mut all[turn % PROCESSES];
        let before = process.lines().len();
        wait_for(|| process.lines().len() > before).await;
        process.stop();
        process.start();
    }
    let written = writer.stop();
    wait_for(|| delivered(&all).len() >= written).await;
    all.iter_mut().for_each(Process::stop);
    topic.remove().await;
    let mut times = BTreeMap::new();
    for line in delivered(&all) {
        let event: Value = serde_json::from_str(&line).unwrap();
        *times.entry(event["id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let again: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
    assert!(again.is_empty(), "delivered again: {again:?}");
    assert_eq!(times.len(), written, "lost");
}

#[tokio::test]
async fn what_is_killed_loses_nothing_and_repeats_have_no_effect() {
    let test = "what_is_killed_loses_nothing_and_repeats_have_no_effect";
    let seed = number("AUDIT_SOAK_SEED").unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let Some(live) = Live::find(test) else { return };
    let Some(topic) = Topic::new("killed").await else { return };
    let settings = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}});
    live.json("PUT", &live.index, Some(settings)).await;
    let url = std::env::var("AUDIT_TEST_OPENSEARCH_URL").unwrap();
    let sink = format!("type = \"elastic\"\nhosts = [\"{url}\"]\nindex = \"{}\"", live.index);
    let writer = Writer::start(&topic);
    let mut all: Vec<_> = (0..PROCESSES).map(|n| Process::new(&topic, n, &sink)).collect();
    let (mut kills, mut stops) = (0, 0);
    for _ in 0..number("AUDIT_SOAK_ROUNDS").unwrap_or(ROUNDS) {
        all.iter_mut().for_each(Process::start);
        tokio::time::sleep(Duration::from_millis(random.below(600))).await;
        let victim = &mut all[random.below(PROCESSES as u64) as usize];
        if random.below(3) > 0 {
            kills += 1;
            victim.kill();
        } else {
            stops += 1;
            victim.stop();
        }
    }
    let written = writer.stop();
    all.iter_mut().for_each(Process::start);
    let began = Instant::now();
    while live.count().await < written as u64 && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    all.iter_mut().for_each(Process::stop);
    let (count, documents) = (live.count().await as usize, live.documents().await);
    live.ask("DELETE", &live.index, None).await;
    topic.remove().await;
    println!("seed {seed}: {kills} killed, {stops} stopped, {written} records");
    assert_eq!(count, written, "lost");
    // A search shows ten thousand at most.
    let known = documents.iter().all(|(id, _)| id.starts_with("00000000-0000-4000-8000-"));
    assert!(known && documents.len() == written.min(10_000), "{}", documents.len());
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

const PATIENCE: Duration = Duration::from_secs(40);

async fn wait_for(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A topic that nobody else uses.
struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    /// Makes it. Without a broker the test is skipped, unless one was promised.
    async fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let Ok(brokers) = std::env::var("AUDIT_TEST_KAFKA") else {
            assert!(std::env::var("AUDIT_LIVE").is_err(), "AUDIT_TEST_KAFKA is not set");
            println!("{test}: skipped, AUDIT_TEST_KAFKA is not set");
            return None;
        };
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let topic = Self { brokers, name: format!("kafka-group-{process}-{next}") };
        let new = NewTopic::new(&topic.name, PARTITIONS, TopicReplication::Fixed(1));
        let made = topic.admin().create_topics(&[new], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        Some(topic)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("linger.ms", "0");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    async fn remove(&self) {
        let (admin, options) = (self.admin(), AdminOptions::new());
        let _removed = admin.delete_groups(&[&self.name], &options).await;
        let _removed = admin.delete_topics(&[&self.name], &options).await;
    }
}

/// Writes one record after another until it is stopped.
struct Writer {
    going: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Writer {
    fn start(topic: &Topic) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let (more, name) = (Arc::clone(&going), topic.name.clone());
        let producer: ThreadedProducer<DefaultProducerContext> = topic.client().create().unwrap();
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while more.load(Ordering::Relaxed) {
                let text = format!(
                    r#"{{"id":"00000000-0000-4000-8000-{written:012}","source":"s","specversion":"1.0","type":"t","time":"2026-03-04T05:06:07Z"}}"#
                );
                let record = BaseRecord::<(), String>::to(&name).payload(&text);
                producer.send(record.partition(written as i32 % PARTITIONS)).unwrap();
                written += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            producer.flush(Duration::from_secs(20)).unwrap();
            written
        });
        Self { going, thread }
    }

    fn stop(self) -> usize {
        self.going.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A directory with a configuration, and the process that runs in it, if one does.
struct Process {
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Process {
    fn new(topic: &Topic, number: usize, sink: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let Topic { brokers, name } = topic;
        let config = format!(
            "[pipelines.member-{number}]\nfollow = true\nformat = \"canonical\"\n\
             [pipelines.member-{number}.source]\ntype = \"confluent\"\nbrokers = \"{brokers}\"\n\
             topic = \"{name}\"\ngroup = \"{name}\"\npoll_interval = \"20ms\"\n\
             properties = {{ \"session.timeout.ms\" = 1500, \"heartbeat.interval.ms\" = 200 }}\n\
             [pipelines.member-{number}.sink]\n{sink}\n\
             [pipelines.member-{number}.limits]\nmax_events = 20\n"
        );
        fs::write(dir.path().join("audit.toml"), config).unwrap();
        Self { dir, child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.dir.path(), name)
    }

    /// Starts it, unless it runs.
    fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_audit"));
        command
            .args(["run", "-c", "audit.toml"])
            .current_dir(self.dir.path())
            .env_remove("AUDIT_CONFIG")
            .env_remove("HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        self.has_ended_by(&child.wait().unwrap(), 9);
    }

    /// Stops it as a service manager does, and waits for its end.
    fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.has_ended_by(&child.wait().unwrap(), 15);
    }

    /// A process that was too young to mind a signal ends by it.
    fn has_ended_by(&self, status: &std::process::ExitStatus, signal: i32) {
        use std::os::unix::process::ExitStatusExt as _;
        let expected = status.signal() == Some(signal) || signal == 15 && status.success();
        let log = || fs::read_to_string(self.path("log")).unwrap();
        assert!(expected, "it ended by itself, with {status}:\n{}", log());
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("out.ndjson")).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _killed = child.kill();
            let _status = child.wait();
        }
    }
}

/// A small generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
