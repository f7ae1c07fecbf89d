//! Kills a writing process at random moments: no line torn, lost or repeated.
//!
//! This test program is its own child: it starts itself again with the path in the environment.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use audit_core::Sink;
use common::{NAMES, events, numbers, run, sink};

const PATH: &str = "AUDIT_SINK_FILE_CRASH_PATH";
const FROM: &str = "AUDIT_SINK_FILE_CRASH_FROM";

/// A small generator, so that a failing round can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// The child: writes batches, each beginning with half of the last, and tells what is durable.
#[test]
fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(PATH) else { return };
    let mut next: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    run(async {
        let sink = sink(Path::new(&path));
        let mut random = Random(next + 1);
        let mut out = std::io::stdout();
        loop {
            let len = 1 + random.next(400);
            let batch = events(next.saturating_sub(len / 2)..next + len);
            let _written = sink.write(&batch).await.unwrap();
            next += len;
            writeln!(out, "acknowledged {next}").unwrap();
            out.flush().unwrap();
            if random.next(8) == 0 {
                sink.close().await.unwrap();
            }
        }
    });
}

/// Starts the child, kills it after a moment, and returns what it acknowledged.
fn killed_run(path: &Path, from: u64, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut last = from;
    let mut line = String::new();
    // From its first word on, so that the time is spent writing.
    while !line.contains("acknowledged") && out.read_line(&mut line).unwrap() > 0 {}
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    out.read_to_string(&mut line).unwrap();
    for word in line.lines().filter_map(|line| line.split_once("acknowledged ")) {
        last = word.1.parse().unwrap_or(last);
    }
    last
}

fn kill_rounds(name: &str, rounds: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut acknowledged = 0;
    for round in 0..rounds {
        let after = Duration::from_micros(random.next(30_000));
        let seen = killed_run(&path, acknowledged, after);
        assert!(seen > acknowledged, "round {round}: nothing was written");
        acknowledged = seen;
        let check = || {
            // What is published is whole at any time.
            if name.contains(".json") {
                let found = numbers(&path);
                assert!(found.iter().copied().eq(0..found.len() as u64), "round {round}");
            }
            run(async {
                let sink = sink(&path);
                sink.check().await.unwrap();
                sink.close().await.unwrap();
            });
            numbers(&path)
        };
        let found = check();
        let len = found.len() as u64;
        assert!(found.iter().copied().eq(0..len), "round {round}: torn, lost or repeated");
        assert!(len >= acknowledged, "round {round}: {len} of {acknowledged} acknowledged");
    }
}

#[test]
fn d02_d03_s13_ndjson_survives_kill_9() {
    kill_rounds("a.ndjson", 50);
}

#[test]
fn d02_d03_s13_gzip_survives_kill_9() {
    kill_rounds("a.ndjson.gz", 15);
}

#[test]
fn d02_d03_s13_zstd_survives_kill_9() {
    kill_rounds("a.ndjson.zst", 15);
}

#[test]
fn d02_d03_s13_an_array_survives_kill_9() {
    kill_rounds("a.json", 30);
    kill_rounds(NAMES[5], 10);
}
