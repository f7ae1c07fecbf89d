//! `audit run` is killed at random moments over a growing table; a clean run then ends it. Each row
//! is in the output exactly once, and every row is marked.
//!
//! `AUDIT_SOAK_ROUNDS` sets how often it is killed (200 for plain NDJSON, less for the others), and
//! `AUDIT_SOAK_SEED` which moments these are.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/random.rs"]
mod random;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use common::{Lab, assert_each_once, config};
use random::{Random, rounds};

const ROWS_A_ROUND: u32 = 40;
/// After this many kills it begins anew, so that the table stays small.
const KILLS_A_LAB: u32 = 50;

fn soak(output: &str, kills: u32, read: fn(&Lab, &str) -> Vec<String>) {
    let (kills, mut random) = (rounds(kills), Random::new());
    let (mut done, mut runs) = (0, 0);
    while done < kills {
        let this = KILLS_A_LAB.min(kills - done);
        runs += soak_one(output, this, &mut random, read);
        done += this;
    }
    println!("{output}: killed {kills} times in {runs} runs, seed {}", random.seed);
}

/// Returns how many runs it took to kill that many before they ended by themselves.
fn soak_one(
    output: &str,
    kills: u32,
    random: &mut Random,
    read: fn(&Lab, &str) -> Vec<String>,
) -> u32 {
    let lab = Lab::new(0);
    lab.config(&config(output, "[pipelines.orders.limits]\nmax_events = 10"));
    let (mut rows, mut killed, mut runs) = (0, 0, 0);
    // How long a run takes, in microseconds, as far as is known: so that the moments are spread over
    // its whole life, on a fast machine as on a slow one.
    let mut life = 60_000;
    while killed < kills {
        assert!(runs < 20 * kills, "only {killed} of {runs} runs were killed before their end");
        runs += 1;
        lab.add(rows + 1, ROWS_A_ROUND);
        rows += ROWS_A_ROUND;
        let mut child = lab
            .command(&["run", "--config", "audit.toml", "--quiet"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(life)));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => {
                killed += 1;
                life += life / 20;
            }
            Some(code) => {
                assert_eq!(code, 0);
                life -= life / 5;
            }
        }
    }
    lab.run().expect(0);
    assert_eq!(lab.unsent(), 0);
    assert_each_once(read(&lab, output), rows);
    runs
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn ndjson() {
    soak("out.ndjson", 200, |lab, name| lab.lines(name));
}

#[test]
fn gzip() {
    soak("out.ndjson.gz", 30, |lab, name| {
        let mut text = String::new();
        let file = File::open(lab.path(name)).unwrap();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        lines(&text)
    });
}

#[test]
fn zstd() {
    soak("out.ndjson.zst", 30, |lab, name| {
        let text = zstd::decode_all(File::open(lab.path(name)).unwrap()).unwrap();
        lines(&String::from_utf8(text).unwrap())
    });
}

#[test]
fn json_array() {
    soak("out.json", 30, |lab, name| {
        let text = std::fs::read(lab.path(name)).unwrap();
        let events: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&text).unwrap();
        events.iter().map(|event| event.get().to_owned()).collect()
    });
}
