//! `port-to-kafka` in the place of the exporter it replaces: the same variables and files, and for
//! each fault of that program what happens now.

#![cfg(all(feature = "source-port", feature = "sink-kafka"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/port.rs"]
mod port;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use audit_core::Clock;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use common::{Ran, wait_for};
use port::fake::{FakePort, Fault, Json, Record, sample, sample_id};
use port::mock::Mock;
use port::reading::{Isolation, Stored, read};
use rdkafka::ClientConfig;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// An organization, a cluster, and a directory to run in.
struct Site {
    api: FakePort,
    kafka: Mock,
    dir: TempDir,
    _runtime: Runtime,
}

/// Some time ago, so that everything has settled.
fn past() -> DateTime<Utc> {
    Clock::system().now() - TimeDelta::hours(5)
}

impl Site {
    /// With so many records, a second apart.
    fn new(records: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let api = runtime.block_on(FakePort::start(Clock::system()));
        let kafka = Mock::start();
        for topic in ["port-logs", "other"] {
            kafka.order(move |cluster| cluster.create_topic(topic, 1, 1).unwrap());
        }
        let site = Self { api, kafka, dir: tempfile::tempdir().unwrap(), _runtime: runtime };
        let first = past().timestamp_millis();
        site.api.add_samples(0, (0..records as i64).map(|n| first + n * 1000));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, variables: &[(&str, &str)], args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_port-to-kafka"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PORT_API_URL", self.api.url())
            .env("PORT_CLIENT_ID", "client")
            .env("PORT_CLIENT_SECRET", "s3cret-canary")
            .env("KAFKA_SERVER", &self.kafka.brokers)
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        Ran::of(self.command(variables, args).output().unwrap())
    }

    fn send(&self) -> Ran {
        self.run(&[], &[])
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(&[], args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn messages(&self, topic: &str) -> Vec<Stored> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.brokers);
        read(&config, topic, Isolation::Uncommitted)
    }

    fn keys(&self) -> Vec<String> {
        self.messages("port-logs").into_iter().map(|m| m.key.unwrap_or_default()).collect()
    }
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(sample_id).collect()
}

/// Faults 5, 10 and 11: no key to recognise a repeat by, newest first, no order for one entity.
#[test]
fn fault_05_10_11_each_record_is_one_message_with_key_headers_and_time_oldest_first() {
    let site = Site::new(3);
    site.send().expect(0).says("delivered");
    let messages = site.messages("port-logs");
    assert_eq!(messages.iter().map(|m| m.key.clone().unwrap()).collect::<Vec<_>>(), ids(0..3));
    let first = &messages[0];
    assert_eq!(site.api.lock().text_of(&sample_id(0)).unwrap(), first.value, "byte for byte");
    let time = DateTime::from_timestamp_millis(first.timestamp.unwrap()).unwrap();
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    assert!(first.value.contains(&time), "{first:?}");
    assert!(first.headers.iter().any(|(_, value)| *value == sample_id(0)), "{first:?}");
    site.send().expect(0).says("nothing new");
    assert_eq!(site.messages("port-logs").len(), 3);

    let variables = [
        ("KAFKA_TOPIC", "other"),
        ("KAFKA_KEY", "entity"),
        ("AUDIT_STREAM", "x"),
        ("LAST_PROCESSED_FILE", "x.txt"),
    ];
    site.run(&variables, &[]).expect(0);
    let other = site.messages("other");
    assert_eq!(other[1].key.as_deref(), Some("environment-1"));
}

#[test]
fn the_variables_and_flags_of_the_replaced_program_mean_the_same() {
    let site = Site::new(10);
    let fixed = "Bearer fixed-canary";
    site.api.lock().fixed_token = Some("fixed-canary".to_owned());
    let at = |n: i64| {
        let state = site.api.lock();
        let text = state.text_of(&sample_id(n as u64)).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        record["trigger"]["at"].as_str().unwrap().to_owned()
    };
    let (third, eighth) = (at(3), at(8));
    let sixth = DateTime::parse_from_rfc3339(&at(6)).unwrap() - TimeDelta::milliseconds(500);
    let sixth = sixth.to_rfc3339();
    for token in [fixed, "fixed-canary"] {
        let variables = [
            ("PORT_CLIENT_ID", ""),
            ("PORT_CLIENT_SECRET", ""),
            ("PORT_API_TOKEN", token),
            ("KAFKA_TOPIC", "other"),
            ("FROM_DATE", third.as_str()),
            ("TO_DATE", eighth.as_str()),
            ("AUDIT_LIMIT", "2"),
        ];
        site.run(&variables, &["-t", &sixth]).expect(0);
    }
    let keys: Vec<_> = site.messages("other").into_iter().map(|m| m.key.unwrap()).collect();
    // The flag goes before the variable; a range that is asked for again is sent again.
    assert_eq!(keys, [ids(3..6), ids(3..6)].concat());
    assert!(!site.path("last_processed.txt").exists(), "a range that begins somewhere is apart");
    assert!(site.api.lock().seen.iter().all(|seen| seen.query.contains("limit=2")));
    // The stream itself is where it was: at the beginning.
    site.send().expect(0);
    assert_eq!(site.keys(), ids(0..10));
}

/// A flag goes before the environment, the environment before `.env`, and `.env` is searched upwards.
#[test]
fn a_file_of_variables_is_found_above_and_gives_way_to_the_environment_and_to_flags() {
    let site = Site::new(3);
    let below = site.path("a/b");
    fs::create_dir_all(&below).unwrap();
    fs::write(site.path(".env"), "KAFKA_TOPIC=other\nAUDIT_LIMIT=2\nAUDIT_STREAM=from-env\n")
        .unwrap();
    let run = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = site.command(variables, args);
        Ran::of(command.current_dir(&below).output().unwrap()).expect(0)
    };
    let topics = || ["other", "port-logs"].map(|topic| site.messages(topic).len());
    run(&[], &[]).says("from-env");
    assert_eq!(topics(), [3, 0]);
    // Each stream begins at the beginning.
    let variables = [("KAFKA_TOPIC", "port-logs"), ("LAST_PROCESSED_FILE", "two.txt")];
    run(&variables, &["--stream", "two"]).says("two");
    assert_eq!(topics(), [3, 3]);
    let flags = ["--kafka-topic", "other", "--stream", "three", "--last-processed-file", "3.txt"];
    run(&variables, &flags).says("three");
    assert_eq!(topics(), [6, 3]);
    assert!(site.api.lock().seen.iter().all(|seen| !seen.query.contains("limit=1000")));
    assert!(below.join("last_processed.txt").exists(), "where it runs, as ever");
}

/// Faults 1, 2 and 6: the second after the newest record was lost, a late one too; a file that was
/// cut off meant everything anew.
#[test]
fn fault_01_02_06_starts_where_the_old_program_stopped_and_keeps_its_file() {
    let site = Site::new(0);
    let base = past().timestamp_millis();
    site.api.add_samples(0, [base, base + 2000, base + 2000, base + 2900, base + 5000]);
    // The old program had sent up to base + 2000, and would have begun a second later.
    let stored = DateTime::from_timestamp_millis(base + 3000).unwrap();
    let stored = stored.to_rfc3339_opts(SecondsFormat::Millis, true);
    fs::write(site.path("last_processed.txt"), &stored).unwrap();
    site.send().expect(0);
    assert_eq!(site.keys(), ids(1..5));

    // A late one, of a time that was read before.
    let late = Clock::system().now().timestamp_millis() - 300_000;
    site.api.add_samples(99, [late]);
    let now = Clock::system().now().timestamp_millis() - 1000;
    site.api.add_samples(50, [now]);
    site.send().expect(0);
    assert_eq!(site.keys()[4..], ids([99, 50]));
    let file = fs::read_to_string(site.path("last_processed.txt")).unwrap();
    let kept = DateTime::parse_from_rfc3339(&file).unwrap();
    assert!(kept > DateTime::parse_from_rfc3339(&stored).unwrap(), "{file}");
    assert!(file.ends_with('Z') && file.len() == "2025-01-31T10:30:00.000Z".len(), "{file:?}");

    let other = Site::new(1);
    fs::write(other.path("last_processed.txt"), "2025-01-31T10:3").unwrap();
    other.send().expect(7).says("last_processed.txt");
    assert!(other.keys().is_empty());
}

/// Fault 3: of more records than one answer holds, the older ones were lost.
#[test]
fn fault_03_more_records_than_one_answer_holds_all_come() {
    let site = Site::new(500);
    site.api.lock().cap = 50;
    site.run(&[("AUDIT_LIMIT", "50")], &[]).expect(0);
    assert_eq!(site.keys(), ids(0..500));
}

/// Faults 4 and 15: what Kafka did not take was lost, and counted as sent.
#[test]
fn fault_04_15_what_kafka_does_not_take_is_kept() {
    let site = Site::new(2);
    let time = past().timestamp_millis() + 10_000;
    let large = sample(7, time)
        .replace("\"message\":\"\"", &format!("\"message\":\"{}\"", "x".repeat(1_100_000)));
    site.api.lock().add(Record { at: time, appears: time, json: Json::Kept(large) });
    site.send().expect(9);
    assert_eq!(site.keys(), ids(0..2));
    let ran = site.run(&[], &["dead-letters", "list"]).expect(0);
    assert!(ran.out.contains(&sample_id(7)), "{}", ran.out);
    // With a limit that takes it, it goes out.
    site.run(&[], &["dead-letters", "replay", "--kafka-max-record-bytes", "2000000"]).expect(0);
    assert_eq!(site.keys(), ids([0, 1, 7]));
}

/// Fault 7: two runs at once both sent, and wrote over each other.
#[test]
fn fault_07_a_second_run_of_the_stream_is_refused() {
    let site = Site::new(3);
    let mut first = site.start(&["--follow"]);
    wait_for(|| site.messages("port-logs").len() == 3);
    site.send().expect(6);
    common::signal(&first, "-TERM");
    assert_eq!(first.wait().unwrap().code(), Some(0));
}

/// Faults 8, 12 and 14, and exit codes.
#[test]
fn fault_08_12_14_what_cannot_be_meant_is_named_before_anything_is_sent() {
    let site = Site::new(1);
    for (variable, value) in [
        ("AUDIT_LIMIT", "5&x=1"),
        ("AUDIT_LIMIT", "0"),
        ("FROM_DATE", "2025-1-1"),
        ("TO_DATE", "1700000000"),
        ("KAFKA_SERVER", " "),
        ("KAFKA_SSL_CLIENT_CERT", "client.crt"),
        ("KAFKA_SASL_USERNAME", "ann"),
    ] {
        let ran = site.run(&[(variable, value)], &[]).expect(3);
        let named = match variable {
            "KAFKA_SSL_CLIENT_CERT" => "KAFKA_SSL_CLIENT_KEY",
            "KAFKA_SASL_USERNAME" => "KAFKA_SASL_PASSWORD",
            variable => variable,
        };
        assert!(ran.err.contains(named), "{}", ran.err);
    }
    site.run(&[("PORT_CLIENT_ID", "")], &[]).expect(3).says("PORT_CLIENT_ID");
    site.run(&[("FROM_DATE", "2025-02-01"), ("TO_DATE", "2025-01-01")], &[]).expect(3);
    let ran = site.run(&[("PORT_CLIENT_SECRET", "wrong-canary")], &[]).expect(4);
    assert!(!ran.err.contains("wrong-canary"));
    site.api.fail(Fault::status(403));
    site.send().expect(4);
    site.run(&[("KAFKA_SSL_CA_CERT", "/no/such.crt")], &[]).expect(3).says("/no/such.crt");
    assert!(site.keys().is_empty());
}

/// Faults 9 and 13: a page in memory whole; and no daemon, no dry run.
#[test]
fn fault_15_it_follows_and_can_do_nothing_at_all() {
    let site = Site::new(2);
    site.run(&[], &["--dry-run"]).expect(0).says("would be delivered");
    site.run(&[], &["check"]).expect(0);
    assert!(site.keys().is_empty() && !site.path("state").exists());
    assert!(!site.path("last_processed.txt").exists());
    let mut child = site.start(&["--follow", "--poll-interval", "50ms"]);
    wait_for(|| site.messages("port-logs").len() == 2);
    let now = Clock::system().now().timestamp_millis() - 500;
    site.api.add_samples(10, [now]);
    wait_for(|| site.messages("port-logs").len() == 3);
    common::signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn no_credential_shows_anywhere() {
    let site = Site::new(1);
    let variables = [("KAFKA_SASL_PASSWORD", "kafka-canary"), ("KAFKA_SASL_USERNAME", "ann")];
    let mut shown = String::new();
    for args in [
        &["-vvv", "--dry-run"][..],
        &["check", "-X", "sasl.oauthbearer.client.secret=x-canary"],
        &["--help"],
    ] {
        let mut command = site.command(&variables, args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        _ = child.kill();
        let output = child.wait_with_output().unwrap();
        shown += &String::from_utf8_lossy(&output.stdout);
        shown += &String::from_utf8_lossy(&output.stderr);
    }
    assert!(!shown.contains("canary"), "{shown}");
}
