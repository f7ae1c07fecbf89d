//! Kills a counting process at random moments, also while it publishes: no event lost or counted twice.
//!
//! This test program is its own child: it starts itself again with the path in the environment.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use audit_core::Sink;
use audit_sink_report::{ReportSink, Section};
use common::{events, total};

const PATH: &str = "AUDIT_SINK_REPORT_KILL_PATH";
const FROM: &str = "AUDIT_SINK_REPORT_KILL_FROM";

fn sink(path: &Path) -> ReportSink {
    ReportSink::new(common::config(path).sections([Section::OtherEvents])).unwrap()
}

/// A small generator, so that a failing round can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The child: counts batches, each beginning with half of the last, and tells what is durable.
#[tokio::test]
async fn counts_until_it_is_killed() {
    let Ok(path) = std::env::var(PATH) else { return };
    let mut next: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let sink = sink(Path::new(&path));
    let mut random = Random(next + 1);
    let mut out = std::io::stdout();
    loop {
        let len = 1 + random.below(400);
        let _written = sink.write(&events(next.saturating_sub(len / 2)..next + len)).await.unwrap();
        next += len;
        writeln!(out, "acknowledged {next}").unwrap();
        out.flush().unwrap();
        if random.below(3) == 0 {
            sink.close().await.unwrap();
        }
    }
}

/// Starts the child, kills it after a moment, and returns what it acknowledged.
fn killed_run(path: &Path, from: u64, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["counts_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    // From its first word on, so that the time is spent counting.
    while !text.contains("acknowledged") && out.read_line(&mut text).unwrap() > 0 {}
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    out.read_to_string(&mut text).unwrap();
    let words = text.lines().filter_map(|line| line.split_once("acknowledged "));
    words.filter_map(|(_, number)| number.parse().ok()).max().unwrap_or(from)
}

#[tokio::test]
async fn d02_d03_a_killed_process_has_counted_each_event_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut known = 0;
    for round in 0..12 {
        let after = Duration::from_micros(random.below(60_000));
        let acknowledged = killed_run(directory.path(), known, after);
        assert!(acknowledged > known, "round {round}: nothing was counted");
        let sink = sink(directory.path());
        sink.close().await.unwrap();
        known = total(directory.path());
        // What was durable and not yet acknowledged is sent again, as by a pipeline.
        assert!(known >= acknowledged, "round {round}: {known} of {acknowledged} acknowledged");
        let written = sink.write(&events(acknowledged..known)).await.unwrap();
        assert_eq!(written.duplicates.len() as u64, known - acknowledged, "round {round}");
    }
}
