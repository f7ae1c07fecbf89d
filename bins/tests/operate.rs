//! What an operator does while `audit run` runs: look at its metrics and its health, and change its
//! configuration.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file", feature = "metrics"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Lab, Ran, assert_each_once, config, message, signal, wait_for};
use rusqlite::types::Value;

/// A run that follows, its log as it comes, and where its metrics are.
struct Running {
    child: Child,
    log: Receiver<String>,
    address: String,
}

impl Running {
    fn start(lab: &Lab, args: &[&str]) -> Self {
        let always = ["run", "-c", "audit.toml", "--follow", "--metrics-addr", "127.0.0.1:0"];
        let mut child = lab
            .command(&[&always, args].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| sender.send(l)));
        let line = wait_for_line(&log, "serving /metrics");
        let address = line.split("address=").nth(1).unwrap().trim().to_owned();
        Self { child, log, address }
    }

    /// Returns status and body.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Returns the value of one series.
    fn metric(&self, series: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map(|value| value.trim().parse().unwrap())
    }

    fn of_orders(&self, name: &str) -> Option<f64> {
        self.metric(&format!("audit_{name}{{pipeline=\"orders\"}}"))
    }

    fn stop(self) -> Ran {
        signal(&self.child, "-TERM");
        let output = self.child.wait_with_output().unwrap();
        let mut ran = Ran::of(output);
        ran.err = self.log.iter().collect::<Vec<_>>().join("\n");
        ran
    }
}

fn wait_for_line(log: &Receiver<String>, words: &str) -> String {
    loop {
        let line = log.recv_timeout(Duration::from_secs(30)).unwrap();
        if line.contains(words) {
            return line;
        }
    }
}

#[test]
fn o05_each_record_counts_in_exactly_one_way() {
    let lab = Lab::new(40);
    lab.add_value(41, Value::Text("not JSON".to_owned()));
    let running = Running::start(&lab, &[]);
    lab.add_value(42, Value::Text(r#"{"audit_event":{"when":"2026-01-05"}}"#.to_owned()));
    wait_for(|| running.of_orders("events_read_total") == Some(42.0));
    let counts = |name| running.of_orders(&format!("events_{name}_total")).unwrap();
    assert_eq!((counts("delivered"), counts("dead_lettered"), counts("drifted")), (41.0, 1.0, 1.0));
    assert_eq!((counts("duplicate"), counts("filtered")), (0.0, 0.0));
    assert!(running.of_orders("read_bytes_total").unwrap() > 40.0 * 300.0);
    assert_eq!(running.of_orders("retries_total"), Some(0.0));
    // 2026-01-05T08:00:00Z, as in every row.
    assert_eq!(running.of_orders("latest_event_timestamp_seconds"), Some(1_767_600_000.0));
    let count = running.of_orders("batch_duration_seconds_count").unwrap();
    assert!(count >= 1.0 && running.of_orders("batch_duration_seconds_sum").unwrap() > 0.0);
    let now = audit_core::Clock::system().now().timestamp() as f64;
    for name in ["checkpoint_timestamp_seconds", "contact_timestamp_seconds"] {
        let age = now - running.of_orders(name).unwrap();
        assert!((-1.0..30.0).contains(&age), "{name}: {age}");
    }
    wait_for(|| {
        running.metric("audit_pipeline_state{pipeline=\"orders\",state=\"idle\"}") == Some(1.0)
    });
    assert_eq!(running.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(running.get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(running.get("/other").0, 404);
    running.stop().expect(9);
}

#[test]
fn o04_a_pipeline_that_is_stuck_is_alive_and_not_ready() {
    let lab = Lab::new(1);
    // A pipe that nobody reads holds the write up for ever.
    lab.config(&config("-", ""));
    lab.add(2, 5_000);
    let mut running = Running::start(&lab, &["--stale-after", "1s"]);
    wait_for(|| running.get("/readyz").0 == 503);
    let (_, why) = running.get("/readyz");
    assert!(why.starts_with("orders: running, last got on "), "{why}");
    assert_eq!(running.get("/healthz").0, 200);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

#[test]
fn a_taken_address_is_an_error_that_names_the_option() {
    let lab = Lab::new(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    lab.audit(&["run", "-c", "audit.toml", "--metrics-addr", &address])
        .expect(3)
        .says(&address)
        .says("--metrics-addr");
}

#[test]
fn o03_a_changed_configuration_is_taken_over_and_a_wrong_one_is_not() {
    let lab = Lab::new(10);
    let running = Running::start(&lab, &[]);
    wait_for(|| lab.unsent() == 0);

    // Wrong in form, wrong in content, and naming what is not there.
    for wrong in [
        "pipelines = 1".to_owned(),
        config("out.ndjson", "typo = 1"),
        config("out.ndjson", "").replace("app.db", "none.db"),
    ] {
        lab.config(&wrong);
        signal(&running.child, "-HUP");
        wait_for_line(&running.log, "going on with the old one");
        lab.add(1 + lab.lines("out.ndjson").len() as u32, 1);
        wait_for(|| lab.unsent() == 0);
    }

    lab.config(&config("second.ndjson", ""));
    signal(&running.child, "-HUP");
    wait_for_line(&running.log, "going on with the new configuration");
    lab.add(14, 6);
    wait_for(|| lab.unsent() == 0);
    // The sums go on, though the second run began at nothing.
    wait_for(|| running.of_orders("events_delivered_total") == Some(19.0));
    running.stop().expect(0).says("19");
    lab.holds_each_once("out.ndjson", 13);
    assert_eq!(lab.lines("second.ndjson"), (14..20).map(message).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_named_in_the_configuration_is_looked_after() {
    let lab = Lab::new(5);
    fs::write(lab.path("place"), "first\n").unwrap();
    lab.config(&config("${file:place}.ndjson", ""));
    let running = Running::start(&lab, &[]);
    wait_for(|| lab.unsent() == 0);
    fs::write(lab.path("place"), "second\n").unwrap();
    wait_for_line(&running.log, "going on with the new configuration");
    lab.add(6, 5);
    wait_for(|| lab.unsent() == 0);
    running.stop().expect(0);
    let both = [lab.lines("first.ndjson"), lab.lines("second.ndjson")].concat();
    assert_each_once(both, 10);
    assert_eq!(lab.lines("second.ndjson").len(), 5);
}

/// Progress in a database: whoever comes second waits for a lease or ends, and a clean end gives the
/// stream back at once.
#[test]
fn two_hosts_on_one_stream_end_with_one() {
    let lab = Lab::new(20);
    let checkpoint =
        "checkpoint = { type = \"sql\", url = \"sqlite://progress.db\", lease = \"2s\" }";
    lab.config(&config("out.ndjson", checkpoint));
    let running = Running::start(&lab, &[]);
    wait_for(|| lab.unsent() == 0);
    // As on another host: the same progress, another output.
    fs::write(lab.path("other.toml"), config("other.ndjson", checkpoint)).unwrap();
    let ran = lab.audit(&["run", "-c", "other.toml"]).expect(6);
    assert!(ran.err.contains("progress.db") || ran.err.contains("holder"), "{}", ran.err);
    running.stop().expect(0);
    lab.add(21, 5);
    let started = std::time::Instant::now();
    lab.audit(&["run", "-c", "other.toml"]).expect(0);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "it waited for a lease that was given back"
    );
    assert_eq!(lab.lines("other.ndjson").len(), 5);

    let shown = lab.audit(&["checkpoint", "show", "-c", "audit.toml", "--json"]).expect(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert!(shown["revision"].as_u64().unwrap() >= 2, "{shown}");
    fs::write(lab.path("cursor.json"), shown["cursor"].to_string()).unwrap();
    let args =
        ["checkpoint", "set", "-c", "audit.toml", "--file", "cursor.json", "--reason", "a test"];
    lab.audit(&args).expect(0).says("set, revision");
    lab.audit(&["check", "-c", "audit.toml"]).expect(0);
    lab.run().expect(0).says("nothing new");
}
