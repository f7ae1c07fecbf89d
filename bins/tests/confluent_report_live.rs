//! `confluent-report` against a real broker with TLS and a login, and a real OpenSearch.
//!
//! `AUDIT_SOAK_ROUNDS` sets how often a download is killed (10), `AUDIT_SOAK_EVENTS` of how many
//! events it is (20,000).

#![cfg(all(feature = "source-confluent", feature = "sink-file", feature = "sink-report"))]
#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may"
)]

mod common;
#[path = "common/confluent.rs"]
mod confluent;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use confluent::{Site, Topic, record, variable};
use serde_json::{Value, json};

/// The records of all downloads, one a line.
fn lines(site: &Site) -> Vec<String> {
    let mut all = Vec::new();
    for name in site.downloads() {
        let file = BufReader::new(fs::File::open(site.path(&name)).unwrap());
        all.extend(file.lines().map(Result::unwrap));
    }
    all
}

#[track_caller]
fn holds_each_once(site: &Site, events: u64) {
    let mut lines = lines(site);
    assert_eq!(lines.len() as u64, events);
    lines.sort();
    let mut expected: Vec<_> = (0..events).map(record).collect();
    expected.sort();
    assert!(lines == expected, "not the same records");
}

/// The script went on for 50 seconds from the oldest record, and lost the newest; each run began anew.
#[test]
fn fault_01_and_02_a_download_has_the_newest_records_and_the_next_goes_on_behind_them() {
    let Some(topic) = Topic::new(3) else { return };
    let site = Site::new();
    topic.produce((0..2000).map(record));
    let organization = ["--organization", "My Org"];
    let download = [&["download"], &organization[..]].concat();
    topic.run(&site, &download).expect(0).says("2,000");
    holds_each_once(&site, 2000);
    let name = site.downloads().pop().unwrap();
    assert!(name.starts_with("data/MyOrg_audit_logs_20") && name.len() == 36, "{name}");

    topic.produce((2000..2500).map(record));
    topic.run(&site, &download).expect(0);
    holds_each_once(&site, 2500);
    assert_eq!(site.downloads(), [name], "the same file");
    topic.run(&site, &download).expect(0).says("nothing new");

    topic.run(&site, &[&download[..], &["--restart", "-q"]].concat()).expect(0);
    let both = site.downloads();
    assert_eq!(both.len(), 2);
    assert_eq!(site.read(&both[1]).lines().count(), 2500);

    // What is analysed is the newest; given both, each event counts once.
    site.run(&["analyze", "--format", "json", "-q"]).expect(0);
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 2500);
    let both: Vec<_> = both.iter().map(String::as_str).collect();
    let more = ["--reports", "both", "--format", "json"];
    site.run(&[&["analyze"], &both[..], &more[..]].concat()).expect(0);
    assert_eq!(site.counts("both"), site.counts("reports"));
}

#[test]
fn what_retention_removed_is_an_error_that_names_it_or_is_told() {
    let Some(topic) = Topic::new(1) else { return };
    let site = Site::new();
    topic.produce((0..10).map(record));
    topic.run(&site, &["download"]).expect(0);
    topic.produce((10..30).map(record));
    topic.remove_before(0, 25);
    let ran = topic.run(&site, &["download"]).expect(7);
    assert!(ran.err.contains("lost from offset: 10, up to offset: 24"), "{}", ran.err);
    assert!(ran.err.contains("--allow-gaps"), "{}", ran.err);
    let allowed = topic.run(&site, &["download", "--allow-gaps"]).expect(10);
    assert!(allowed.err.contains("lost: partition 0, offsets 10 to 24"), "{}", allowed.err);
    assert_eq!(lines(&site).len(), 15);
}

#[test]
fn records_that_are_no_json_are_kept_apart_and_told() {
    let Some(topic) = Topic::new(1) else { return };
    let site = Site::new();
    topic.produce([record(0).as_bytes(), b"\xff\xfe", b"{", record(1).as_bytes()]);
    topic.run(&site, &["download"]).expect(9).says("dead letters");
    holds_each_once(&site, 2);
    let letters = format!("{}.dead-letters.ndjson", site.downloads()[0]);
    assert_eq!(site.read(&letters).lines().count(), 2);
}

/// N-04
#[test]
fn a_wrong_secret_is_told_as_such_and_never_shown() {
    let Some(topic) = Topic::new(1) else { return };
    let site = Site::new();
    fs::write(site.path("secret"), "canary-of-a-secret\n").unwrap();
    let args = ["--api-secret-file", "secret", "-vvv"];
    for command in ["download", "check"] {
        let ran = topic.run(&site, &[&[command], &args[..]].concat()).expect(4);
        assert!(!(ran.out + &ran.err).contains("canary"));
    }
    let ran = site.run(&["download", "--bootstrap-servers", "localhost:1"]).expect(3);
    assert!(ran.err.contains("CONFLUENT_API_KEY"), "{}", ran.err);
    let ran = site.run(&["download"]).expect(3);
    assert!(ran.err.contains("CONFLUENT_BOOTSTRAP_SERVERS"), "{}", ran.err);
}

#[test]
fn check_finds_out_and_writes_nothing() {
    let Some(topic) = Topic::new(1) else { return };
    let site = Site::new();
    let ran = topic.run(&site, &["check"]).expect(0);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert_eq!(fs::read_dir(site.path("")).unwrap().count(), 0);
    let ran = topic.run(&site, &["check", "--topic", "no-such-topic"]).expect(3);
    assert!(ran.out.contains("failed"), "{}", ran.out);
}

#[test]
fn a_download_that_follows_ends_cleanly_on_a_signal() {
    let Some(topic) = Topic::new(2) else { return };
    let site = Site::new();
    topic.produce((0..100).map(record));
    let mut command = topic.command(&site, &["download", "--follow"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    common::wait_for(|| lines(&site).len() == 100);
    topic.produce((100..150).map(record));
    common::wait_for(|| lines(&site).len() == 150);
    common::signal(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    holds_each_once(&site, 150);
}

#[test]
fn the_topic_a_download_of_it_and_a_cluster_that_holds_it_have_the_same_report() {
    let Some(topic) = Topic::new(3) else { return };
    let site = Site::new();
    topic.produce((0..3000).map(record));
    topic.run(&site, &["download", "-q"]).expect(0);
    fn analyze<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["analyze"], more, &["--format", "text,csv,json,html"]].concat()
    }
    site.run(&analyze(&[])).expect(0);
    let local = site.reports("reports");
    assert!(local.len() > 7 * 4, "{:?}", local.keys());
    topic.run(&site, &analyze(&["--from-topic", "--reports", "topic"])).expect(0);
    assert!(site.reports("topic") == local);
}

/// Records as received, indexed without a template; their principals are texts, since one field of an
/// index holds texts or objects, not both.
#[test]
fn a_cluster_that_holds_the_records_has_the_same_report() {
    let Some(url) = variable("AUDIT_TEST_OPENSEARCH_URL") else { return };
    let site = Site::new();
    let records: Vec<_> = (0..3000)
        .map(|n| {
            let mut record: Value = serde_json::from_str(&record(n)).unwrap();
            let data = &mut record["data"];
            data["authenticationInfo"]["principal"] = json!(format!("User:u-{}", n % 17));
            data["requestMetadata"] =
                json!({"clientAddress": [{"ip": format!("192.0.2.{}", n % 5)}]});
            record.to_string()
        })
        .collect();
    site.lines("events", &records);
    site.run(&["analyze", "events", "--format", "text,csv,json,html", "-q"]).expect(0);
    let index = Index::new(&url, &records);
    let all = ["--format", "text,csv,json,html", "--reports", "cluster"];
    let from = ["analyze", "--from-elastic", &url, "--index", &index.name];
    let ran = site.run(&[&from[..], &all].concat()).expect(0);
    assert!(ran.err.contains("3,000 events from 2026-11-14 to 2026-11-20"), "{}", ran.err);
    assert_eq!(site.counts("cluster"), site.counts("reports"));
    assert!(site.reports("cluster") == site.reports("reports"));

    let ran = site.run(&["analyze", "--from-elastic", &url, "--index", "no-such-index"]).expect(3);
    assert!(ran.err.contains("no such index"), "{}", ran.err);
    let canary = "http://ann:canary@localhost:1";
    let ran = site.run(&["analyze", "--from-elastic", canary, "--index", "x"]).expect(3);
    assert!(!ran.err.contains("canary"), "{}", ran.err);
}

/// Principals of every shape, through a pipeline into the cluster: one field holds their identity.
#[cfg(feature = "sink-elastic")]
#[test]
fn a_cluster_that_a_pipeline_filled_knows_every_principal() {
    let Some(url) = variable("AUDIT_TEST_OPENSEARCH_URL") else { return };
    let site = Site::new();
    site.lines("events", (0..1000).map(record));
    let word = json!({"type": "keyword"});
    let index = Index::empty(
        &url,
        "canonical",
        json!({"dynamic": false, "properties": {
            "time": {"type": "date"},
            "action": {"properties": {"name": word, "kind": word}},
            "actor": {"properties": {"id": word, "email": word}},
            "outcome": word,
            "origin": {"properties": {"ip": {"type": "ip"}}},
        }}),
    );
    site.lines(
        "audit.toml",
        [
            "[pipelines.fill]\nformat = \"canonical\"",
            "[pipelines.fill.source]\ntype = \"confluent-files\"\nfiles = [\"events\"]",
            "[pipelines.fill.sink]\ntype = \"elastic\"",
            &format!("hosts = [\"{url}\"]\nindex = \"{}\"", index.name),
        ],
    );
    let mut audit = Command::new(env!("CARGO_BIN_EXE_audit"));
    audit.args(["run", "--config", "audit.toml"]).current_dir(site.path("")).env_clear();
    common::Ran::of(audit.output().unwrap()).expect(0);
    index.ask("POST", "/_refresh", String::new());
    let sections =
        "signin_success,other_events,client_addresses,principals,new_principals,new_methods";
    let all = ["--format", "text,csv,json,html", "--section", sections, "-q"];
    site.run(&[&["analyze", "events"], &all[..]].concat()).expect(0);
    let from = ["analyze", "--from-elastic", &url, "--index", &index.name, "--fields", "canonical"];
    site.run(&[&from[..], &all, &["--reports", "cluster"]].concat()).expect(0);
    assert_eq!(site.total("cluster", "OTHER_EVENTS"), 1000);
    assert_eq!(site.counts("cluster"), site.counts("reports"));
    assert!(site.reports("cluster") == site.reports("reports"));
}

/// An index of a real cluster, removed with it.
struct Index {
    url: String,
    name: String,
}

impl Index {
    fn empty(url: &str, test: &str, mappings: Value) -> Self {
        let name = format!("confluent-report-{}-{test}", std::process::id());
        let index = Self { url: url.to_owned(), name };
        index.ask("PUT", "", json!({ "mappings": mappings }).to_string());
        index
    }

    fn new(url: &str, lines: &[String]) -> Self {
        let index = Self::empty(url, "received", json!({}));
        let mut body = String::new();
        for line in lines {
            body += "{\"create\":{}}\n";
            body += line;
            body.push('\n');
        }
        let answer = index.ask("POST", "/_bulk?refresh=true", body);
        assert_eq!(answer["errors"], false, "{answer}");
        index
    }

    fn ask(&self, method: &str, path: &str, body: String) -> Value {
        let url = format!("{}/{}{path}", self.url, self.name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = client.request(method.parse().unwrap(), url);
            let request = request.header("content-type", "application/json").body(body);
            let bytes = request.send().await.unwrap().bytes().await.unwrap();
            serde_json::from_slice(&bytes).unwrap()
        })
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.ask("DELETE", "", String::new());
    }
}

/// A download is killed again and again while the topic grows; in the end each event is in the file
/// once.
#[test]
fn killed_at_any_moment_each_event_is_in_the_file_once() {
    let kills = u64::from(random::rounds(10));
    let events = random::number("AUDIT_SOAK_EVENTS").unwrap_or(20_000);
    let Some(topic) = Topic::new(4) else { return };
    let site = Site::new();
    topic.produce((0..events / 2).map(record));
    let (mut killed, mut runs, mut produced) = (0, 0, events / 2);
    // How long a whole run takes, as far as is known.
    let mut life = Duration::from_millis(500 + events / 50);
    while killed < kills && runs < 20 * kills {
        runs += 1;
        let more = (events - produced).min(events / 2 / kills.max(1));
        topic.produce((produced..produced + more).map(record));
        produced += more;
        let mut child =
            topic.command(&site, &["download", "-q"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(life * (runs as u32 * 37 % 100) / 100);
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => {
                killed += 1;
                life += life / 8;
            }
            Some(code) => {
                assert_eq!(code, 0);
                life -= life / 5;
            }
        }
    }
    topic.produce((produced..events).map(record));
    let started = Instant::now();
    topic.run(&site, &["download"]).expect(0);
    let took = started.elapsed();
    assert_eq!(site.downloads().len(), 1, "one file");
    let file = BufReader::new(fs::File::open(site.path(&site.downloads()[0])).unwrap());
    let id = |line: String| {
        let record: Value = serde_json::from_str(&line).unwrap();
        record["id"].as_str().unwrap().trim_start_matches("id-").parse().unwrap()
    };
    let ids: Vec<u64> = file.lines().map(|line| id(line.unwrap())).collect();
    assert_eq!(ids.len() as u64, events);
    let distinct: BTreeSet<_> = ids.into_iter().collect();
    assert_eq!(distinct.len() as u64, events, "an event is there twice");
    assert_eq!(distinct.last(), Some(&(events - 1)));
    println!("killed {killed} times in {runs} runs, {events} events; the last run took {took:?}");
}
