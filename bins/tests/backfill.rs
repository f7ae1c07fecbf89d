//! `audit backfill` and `audit reconcile` over a real database and real files.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[cfg(all(feature = "source-port", feature = "sink-kafka"))]
#[path = "common/port.rs"]
mod port;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use common::{Lab, config, message};
use rusqlite::types::Value as Column;
use serde_json::Value;

/// A row of another day than those of the lab, which are of 2026-01-05T08:00Z.
fn of_day(id: u32, day: u32) -> Column {
    let time = format!("\"date_time\": \"2026-01-{day:02}T08:00:00.000Z\"");
    Column::Text(message(id).replace("\"date_time\": \"2026-01-05T08:00:00.000Z\"", &time))
}

fn range<'a>(command: &'a str, from: &'a str, to: &'a str) -> [&'a str; 7] {
    [command, "-c", "audit.toml", "--from", from, "--to", to]
}

/// Marks rows as sent that were not, as a careless restore does.
fn forget(lab: &Lab, ids: &str) {
    lab.db()
        .execute(&format!("UPDATE audit_logs SET is_sent = 1 WHERE id IN ({ids})"), [])
        .unwrap();
}

#[test]
fn l03_reconcile_delivers_what_is_missing_and_says_how_late() {
    let lab = Lab::new(50);
    forget(&lab, "7, 8, 40");
    lab.run().expect(0);
    assert_eq!(lab.lines("out.ndjson").len(), 47);
    let before = fs::read(lab.path("state/orders.checkpoint")).unwrap();

    let args = range("reconcile", "2026-01-05", "2026-01-06");
    let ran = lab.audit(&args).expect(0).says("3 missing, delivered now");
    assert!(ran.err.contains("2026-01-05T08:00:00Z"), "{}", ran.err);
    lab.holds_each_once("out.ndjson", 50);

    let ran = lab.audit(&[&args[..], &["--quiet", "--summary-json"]].concat()).expect(0);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["missing"]["events"], 0);
    assert_eq!(summary["pipelines"][0]["duplicates"], 50);
    lab.audit(&args).expect(0).says("nothing was missing");
    assert_eq!(fs::read(lab.path("state/orders.checkpoint")).unwrap(), before);
}

#[test]
fn reconcile_that_was_not_read_to_its_end_does_not_say_that_nothing_is_missing() {
    let lab = Lab::new(3);
    lab.run().expect(0);
    lab.add_value(4, Column::Text("not JSON".to_owned()));
    lab.config(&config("out.ndjson", "dead_letters = false"));
    let ran = lab.audit(&range("reconcile", "2026-01-05", "2026-01-06")).expect(8);
    assert!(ran.err.contains("nothing was missing in what was read of it"), "{}", ran.err);
}

#[test]
fn a_backfill_delivers_its_time_alone_and_leaves_the_live_progress() {
    let lab = Lab::new(10);
    for day in 1..=4 {
        lab.add_value(10 + day, of_day(10 + day, day));
    }
    forget(&lab, "11, 12, 13, 14");
    lab.run().expect(0);
    let live = fs::read(lab.path("state/orders.checkpoint")).unwrap();

    let args = range("backfill", "2026-01-02", "2026-01-04");
    lab.audit(&[&args[..], &["--dry-run"]].concat()).expect(0).says("would be delivered");
    assert_eq!(lab.lines("out.ndjson").len(), 10);
    lab.audit(&args).expect(0);
    let lines = lab.lines("out.ndjson");
    assert_eq!(lines.len(), 12);
    assert!(lines[10].contains("2026-01-02T") && lines[11].contains("2026-01-03T"), "{lines:?}");
    lab.audit(&args).expect(0).says("nothing new");
    assert_eq!(fs::read(lab.path("state/orders.checkpoint")).unwrap(), live);
    // Its progress has a place of its own.
    assert!(
        lab.path("state/orders.backfill.20260102T000000Z-20260104T000000Z.checkpoint").exists()
    );
}

#[test]
fn a_backfill_that_was_killed_goes_on() {
    let lab = Lab::new(5_000);
    lab.db().execute("UPDATE audit_logs SET is_sent = 1", []).unwrap();
    lab.config(&config("out.ndjson", "[pipelines.orders.limits]\nmax_events = 10"));
    let args = range("backfill", "2026-01-05", "2026-01-06");
    let mut kills = 0;
    for wait in (20..).step_by(40) {
        let mut child = lab.command(&args).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    lab.audit(&args).expect(0);
    lab.holds_each_once("out.ndjson", 5_000);
}

#[test]
fn a_time_that_is_not_over_and_a_pipe_are_refused() {
    let lab = Lab::new(1);
    for (from, to, why) in [
        ("2026-01-02", "2026-01-01", "ends before it begins"),
        ("2026-01-02", "2999-01-01", "not over yet"),
    ] {
        lab.audit(&range("backfill", from, to)).expect(3).says(why);
        lab.audit(&range("reconcile", from, to)).expect(3).says(why);
    }
    lab.audit(&range("backfill", "yesterday", "2026-01-01")).expect(2).says("2026-01-31");
    lab.config(&config("-", ""));
    let args = range("backfill", "2026-01-05", "2026-01-06");
    lab.audit(&args).expect(3).says("--allow-repeats");
    lab.audit(&range("reconcile", "2026-01-05", "2026-01-06")).expect(3).says("what is missing");
    let ran = lab.audit(&[&args[..], &["--allow-repeats"]].concat()).expect(0);
    assert_eq!(ran.out.lines().count(), 1);
}

/// What a source waits for while it follows was left out of a range that is over.
#[cfg(all(feature = "source-port", feature = "sink-kafka"))]
#[test]
fn a_range_is_read_to_its_end_though_the_source_stays_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clock = audit_core::Clock::system();
    let api = runtime.block_on(port::fake::FakePort::start(clock.clone()));
    let minutes_ago = |n| clock.now() - chrono::TimeDelta::minutes(n);
    api.add_samples(0, [90, 50, 40].map(|n| minutes_ago(n).timestamp_millis()));
    let lab = Lab::new(0);
    lab.config(&format!(
        "[pipelines.orders.source]\ntype = \"port\"\nurl = \"{}\"\nallow_http = true\n\
         client_id = \"client\"\nclient_secret = \"s3cret-canary\"\nsettle = \"1h\"\n\
         [pipelines.orders.sink]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        api.url()
    ));
    let [from, to] = [100, 30].map(|n| minutes_ago(n).to_rfc3339());
    lab.audit(&range("backfill", &from, &to)).expect(0).says("all delivered");
    assert_eq!(lab.lines("out.ndjson").len(), 3);
}
