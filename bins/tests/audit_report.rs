//! `audit report`: counts what a source has, and leaves no trace.

#![cfg(all(
    feature = "source-confluent",
    feature = "source-sql-sqlite",
    feature = "sink-file",
    feature = "sink-report"
))]
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/confluent.rs"]
mod confluent;

use std::fs;

use common::{Lab, config, snapshot};
use confluent::{Site, record};

fn events(lab: &Lab, reports: &str) -> u64 {
    let text = |path: &std::path::Path| fs::read_to_string(path).unwrap();
    let of_day = |path: &std::path::Path| {
        let counts: Vec<serde_json::Value> = serde_json::from_str(&text(path)).unwrap();
        let own = counts.iter().filter(|c| c["section"] == "OTHER_EVENTS");
        own.map(|c| c["count"].as_u64().unwrap()).sum::<u64>()
    };
    let files = snapshot(&lab.path(reports)).into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|e| e == "json")).map(|p| of_day(&p)).sum()
}

#[test]
fn a_table_is_counted_and_no_row_marked_no_progress_saved() {
    let lab = Lab::new(250);
    lab.add_value(1000, rusqlite::types::Value::Text("{".to_owned()));
    let report = ["report", "--config", "audit.toml", "--format", "json"];
    lab.audit(&report).expect(9).says("250 events").says("rejected");
    assert_eq!(events(&lab, "reports"), 250);
    assert_eq!(lab.unsent(), 251, "no row is marked");
    assert!(!lab.path("state").exists() && !lab.path("out.ndjson").exists());
    assert_eq!(lab.lines("work/rejects.ndjson").len(), 1);

    // The pipeline runs as if nothing had been, and what it has sent is not there any more.
    lab.run().expect(9);
    lab.holds_each_once("out.ndjson", 250);
    lab.audit(&report).expect(0).says("no events");
    assert_eq!(events(&lab, "reports"), 250, "the report is kept");
    let keyset = config("out.ndjson", "").replace("url =", "mode = \"keyset\"\nurl =");
    lab.config(&keyset);
    lab.audit(&[&report[..], &["--reports", "again"]].concat()).expect(9);
    assert_eq!(events(&lab, "again"), 250);
}

#[test]
fn what_a_pipeline_wrote_in_the_canonical_format_has_the_report_of_its_source() {
    let lab = Lab::new(300);
    lab.config(&config("out.ndjson.zst", "format = \"canonical\""));
    lab.audit(&["report", "--config", "audit.toml", "--reports", "source"]).expect(0);
    lab.run().expect(0);
    lab.audit(&["report", "out.ndjson.zst", "--reports", "file"]).expect(0).says("300 events");
    let below = |name: &str| {
        let root = lab.path(name);
        let strip = move |(p, text): (std::path::PathBuf, Vec<u8>)| {
            (p.strip_prefix(&root).unwrap().to_owned(), text)
        };
        let all = snapshot(&lab.path(name)).into_iter().map(strip);
        all.filter(|(path, _)| !path.starts_with(".state")).collect::<Vec<_>>()
    };
    assert!(below("source").len() > 9);
    assert!(below("source") == below("file"));
}

/// One way goes through events and a pipeline, the other straight from the lines to the counts.
#[test]
fn records_of_confluent_have_the_same_bytes_by_either_way() {
    let site = Site::new();
    let mut lines: Vec<_> = (0..2000).map(record).collect();
    lines.insert(77, "no record".to_owned());
    site.lines("events", &lines);
    let all = ["--format", "text,csv,json,html", "-q"];
    site.run(&[&["analyze", "events", "--reports", "scan"], &all[..]].concat()).expect(9);
    let mut audit = std::process::Command::new(env!("CARGO_BIN_EXE_audit"));
    audit.args(["report", "events", "--reports", "events-way"]).args(all);
    let ran = audit.current_dir(site.path("")).env_clear().output().unwrap();
    common::Ran::of(ran).expect(9);
    assert!(site.reports("scan").len() > 20);
    assert!(site.reports("scan") == site.reports("events-way"));
}

#[test]
fn what_is_not_said_is_asked_for() {
    let lab = Lab::new(1);
    lab.audit(&["report"]).expect(3).says("--config");
    lab.audit(&["report", "no-such-file"]).expect(3).says("no-such-file");
    lab.audit(&["report", "--config", "audit.toml", "--pipeline", "none"]).expect(3).says("none");
    // A pipeline counts into a directory of its own.
    let sink = "[pipelines.orders.sink]\ntype = \"report\"\npath = \"reports\"\n";
    let text = config("x", "");
    let text = text.split("[pipelines.orders.sink]").next().unwrap();
    lab.config(&format!("{text}{sink}"));
    lab.run().expect(0);
    lab.audit(&["report", "--config", "audit.toml"]).expect(6).says("directory of its own");
}
