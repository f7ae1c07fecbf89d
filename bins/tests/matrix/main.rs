//! Every source into every sink through a configuration of `audit run`, killed once in the middle.
//! The books balance, and each event is there exactly once.
//!
//! Real are SQLite and the files always, Kafka, PostgreSQL and MariaDB where `.ci/servers up` has
//! started them; without these their part is skipped, and fails with `AUDIT_LIVE=1`.

#![cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "source-confluent",
    feature = "source-oci",
    feature = "source-port",
    feature = "sink-elastic",
    feature = "sink-file",
    feature = "sink-kafka",
    feature = "sink-report"
))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod effect;
#[path = "../common/elastic.rs"]
mod elastic;
#[path = "../common/oci.rs"]
mod oci;
mod origin;
#[path = "../common/port.rs"]
mod port;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::Ran;
use effect::Effect;
use origin::Origin;
use serde_json::Value;

/// How many good records each source has; some have a bad one beside them.
const EVENTS: usize = 200;
/// The run is killed after so many batches of ten.
const BATCHES: usize = 4;

/// Runs one source into every sink.
fn row(make: impl Fn(&Path) -> Option<Origin>) {
    for effect in Effect::ALL {
        let dir = tempfile::tempdir().unwrap();
        let Some(origin) = make(dir.path()) else { return };
        cell(dir.path(), &origin, effect);
    }
}

fn cell(dir: &Path, origin: &Origin, effect: Effect) {
    let name = format!("{} into {effect:?}", origin.name);
    let Some(place) = effect.place() else { return };
    // One broker serves all cells, and a stream has one runner.
    let stream = origin::unique("cell");
    let config = format!(
        "[pipelines.{stream}]\n{}\n[pipelines.{stream}.source]\n{}\n\
         [pipelines.{stream}.sink]\n{}\n[pipelines.{stream}.limits]\nmax_events = 10\n",
        effect.settings(),
        origin.config,
        place.config,
    );
    fs::write(dir.join("audit.toml"), config).unwrap();

    let killed = kill_in_the_middle(dir);
    let audit = |args: &[&str]| {
        let mut command = audit(dir);
        Ran::of(command.args(args).output().unwrap())
    };
    let ran = audit(&["run", "-c", "audit.toml", "--summary-json"]);
    assert!(matches!(ran.code, 0 | 9), "{name}: {}", ran.err);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    let of = |key: &str| summary["pipelines"][0][key].as_u64().unwrap();
    let accounted = of("delivered") + of("duplicates") + of("dead_lettered") + of("filtered");
    assert_eq!(of("read"), accounted, "{name}: {summary}");
    // One batch at most was repeated, and the killed run had settled the rest.
    assert!(of("duplicates") <= 20, "{name}: {summary}");
    assert!(!killed || of("read") <= (EVENTS + origin.bad) as u64, "{name}: {summary}");

    let ids = place.ids(dir);
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), EVENTS, "{name}: lost");
    assert_eq!(ids.len(), EVENTS, "{name}: twice");
    let letters = audit(&["dead-letters", "list", "-c", "audit.toml", "--json"]).expect(0);
    assert_eq!(letters.out.lines().count(), origin.bad, "{name}: {}", letters.out);
    println!("{name}: {}, {} there already", killed, of("duplicates"));

    let again = audit(&["run", "-c", "audit.toml", "--summary-json"]);
    assert_eq!(again.code, 0, "{name}: {}", again.err);
    assert_eq!(place.ids(dir).len(), EVENTS, "{name}: another run delivered again");
}

fn audit(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audit"));
    command.current_dir(dir).env_remove("AUDIT_CONFIG").env_remove("HOME").stdin(Stdio::null());
    command
}

/// Returns whether the run was killed before its end.
fn kill_in_the_middle(dir: &Path) -> bool {
    let mut child = audit(dir)
        .args(["run", "-c", "audit.toml", "-vv"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let settled = log.lines().map_while(Result::ok).filter(|line| line.contains("batch settled"));
    let seen = settled.take(BATCHES).count();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    seen == BATCHES && !status.success()
}

#[test]
fn from_sqlite() {
    row(|dir| Some(origin::sqlite(dir)));
}

#[test]
fn from_postgresql() {
    row(|_| origin::postgres());
}

#[test]
fn from_mariadb() {
    row(|_| origin::mariadb());
}

#[test]
fn from_port() {
    row(|_| Some(origin::port()));
}

#[test]
fn from_oracle_cloud() {
    row(|dir| Some(origin::oracle_cloud(dir)));
}

#[test]
fn from_confluent() {
    row(|_| origin::confluent());
}

#[test]
fn from_files_of_confluent() {
    row(|dir| Some(origin::confluent_files(dir)));
}
