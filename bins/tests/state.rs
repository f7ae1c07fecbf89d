//! `audit dead-letters` and `audit checkpoint`.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;

use common::{Lab, config, message};
use rusqlite::types::Value as Sql;
use serde_json::Value;

/// Good rows 1, 2, 7, and four that no event can be made of between them.
fn lab_with_broken_rows() -> Lab {
    let lab = Lab::new(2);
    lab.add_value(3, Sql::Text("{\"cut\": \u{1b}]0;owned\u{7} off".into()));
    lab.add_value(4, Sql::Null);
    lab.add_value(5, Sql::Blob(b"\xff\xfe not text".to_vec()));
    lab.add_value(6, Sql::Text(format!("{{\"big\": \"{}", "x".repeat(10 << 20))));
    lab.add(7, 1);
    lab
}

fn listed(lab: &Lab) -> Vec<Value> {
    let ran = lab.audit(&["dead-letters", "list", "-c", "audit.toml", "--json"]).expect(0);
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn bad_rows_go_to_the_dead_letters_and_the_rest_goes_on() {
    let lab = lab_with_broken_rows();
    lab.run().expect(9).says("done, with dead letters");
    let mut expected = [1, 2, 7].map(message).to_vec();
    let mut lines = lab.lines("out.ndjson");
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    assert_eq!(lab.unsent(), 0);

    let letters = listed(&lab);
    assert_eq!(letters.len(), 4);
    let bytes: Vec<_> = letters.iter().map(|l| l["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.iter().any(|b| *b > 10 << 20), "the big one is kept whole: {bytes:?}");
    let table = lab.audit(&["dead-letters", "list", "-c", "audit.toml"]).expect(0);
    assert!(table.out.lines().count() == 5 && table.err == "4 dead letters\n", "{}", table.out);

    let id = letters[0]["id"].as_str().unwrap();
    let show = |more: &[&str]| {
        lab.audit(&[&["dead-letters", "show", "-c", "audit.toml", id], more].concat()).expect(0)
    };
    let shown = show(&[]).out;
    assert!(shown.contains("\\u{1b}]0;owned\\u{7}") && !shown.contains('\x1b'), "{shown}");
    assert_eq!(show(&["--body"]).out, "{\"cut\": \u{1b}]0;owned\u{7} off");
    let binary = letters[2]["id"].as_str().unwrap();
    let path = "state/orders.dead-letters.ndjson";
    let mut show = lab.command(&["dead-letters", "show", "--path", path, binary]);
    let shown = common::Ran::of(show.env("AUDIT_CONFIG", "missing.toml").output().unwrap());
    let shown = shown.expect(0).out;
    assert!(shown.contains("\\xff\\xfe not text"), "{shown}");

    // Another record of the same id, which an upstream may well make.
    let text = fs::read_to_string(lab.path(path)).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let (body, other) = (first["body"].to_string(), "\"another\"");
    let line = text.lines().next().unwrap().replace(&body, other);
    assert_ne!(line, text.lines().next().unwrap());
    fs::write(lab.path(path), format!("{text}{line}\n")).unwrap();
    let shown = lab.audit(&["dead-letters", "show", "-c", "audit.toml", id]).expect(0).out;
    assert!(shown.contains("owned") && shown.contains("another"), "{shown}");

    lab.audit(&["dead-letters", "show", "-c", "audit.toml", "nope"]).expect(3);
    lab.audit(&["dead-letters", "list", "--path", "nope"]).expect(3);
    lab.audit(&["dead-letters", "list"]).expect(2);
}

#[test]
fn a_replay_delivers_what_was_mended() {
    let lab = lab_with_broken_rows();
    lab.run().expect(9);
    // Nothing was mended: all four come back as they were.
    lab.audit(&["dead-letters", "replay", "-c", "audit.toml"]).expect(9);
    assert_eq!(listed(&lab).len(), 4);

    let path = lab.path("state/orders.dead-letters.ndjson");
    let text = fs::read_to_string(&path).unwrap();
    let mended: Vec<_> = text
        .lines()
        .map(|line| {
            let mut letter: Value = serde_json::from_str(line).unwrap();
            if letter["body"].as_str().is_some_and(|body| body.starts_with("{\"cut\"")) {
                letter["body"] = r#"{"mended": true}"#.into();
            }
            letter.to_string() + "\n"
        })
        .collect();
    fs::write(&path, mended.concat()).unwrap();
    lab.audit(&["dead-letters", "replay", "-c", "audit.toml"]).expect(9);
    assert_eq!(listed(&lab).len(), 3);
    let lines = lab.lines("out.ndjson");
    assert_eq!(lines.len(), 4);
    assert!(lines.contains(&r#"{"mended": true}"#.to_owned()), "{lines:?}");
    lab.run().expect(0).says("nothing new");
}

#[test]
fn without_dead_letters_the_first_bad_row_stops_it() {
    let lab = lab_with_broken_rows();
    lab.config(&config("out.ndjson", "dead_letters = false"));
    lab.run().expect(8).says("configure dead letters");
    assert_eq!(lab.unsent(), 7, "nothing may be marked behind it");
    lab.audit(&["dead-letters", "list", "-c", "audit.toml"]).expect(3);
    let check = lab.audit(&["check", "-c", "audit.toml"]).expect(0);
    assert!(check.out.contains("switched off"), "{}", check.out);
}

#[test]
fn a_checkpoint_is_shown_and_set() {
    let lab = Lab::new(5);
    let show = |more: &[&str]| {
        lab.audit(&[&["checkpoint", "show", "-c", "audit.toml"], more].concat()).expect(0).out
    };
    let set = |more: &[&str]| {
        lab.audit(
            &[&["checkpoint", "set", "-c", "audit.toml", "--reason", "a drill"], more].concat(),
        )
    };
    assert!(show(&[]).contains("nothing saved yet"));
    set(&["--previous"]).expect(3).says("no earlier save");
    lab.run().expect(0);
    lab.add(6, 5);
    lab.run().expect(0);
    let saved: Value = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!(saved["revision"], 2);

    fs::write(lab.path("cursor.json"), saved["cursor"].to_string()).unwrap();
    set(&["--previous"]).expect(0).says("revision 3");
    assert!(show(&[]).contains("set by hand: a drill"));
    set(&["--file", "cursor.json"]).expect(0);
    let again: Value = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!(again["cursor"], saved["cursor"]);
    set(&["--cursor", "{}"]).expect(3).says("not a cursor");
    set(&["--cursor", r#"{"kind":"port","version":1,"position":{}}"#]).expect(0);
    lab.run().expect(3).says("belongs to another source");
    set(&["--file", "cursor.json"]).expect(0);
    lab.run().expect(0);
    lab.holds_each_once("out.ndjson", 10);
}

#[test]
fn a_damaged_or_newer_checkpoint_is_an_error_with_a_way_out() {
    let lab = Lab::new(5);
    lab.run().expect(0);
    lab.add(6, 5);
    lab.run().expect(0);
    lab.add(11, 1);
    let path = lab.path("state/orders.checkpoint");
    let text = fs::read_to_string(&path).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_ne!(newer, text);
    for broken in [text.get(..text.len() / 2).unwrap(), "", newer.as_str()] {
        fs::write(&path, broken).unwrap();
        let command = "audit checkpoint set --config audit.toml --pipeline orders --previous";
        lab.run().expect(7).says("state/orders.checkpoint").says(command);
        lab.audit(&["checkpoint", "show", "-c", "audit.toml"]).expect(7);
        lab.audit(&["check", "-c", "audit.toml"]).expect(7);
        assert_eq!(lab.unsent(), 1, "never start over by itself");
    }
    let set = ["checkpoint", "set", "-c", "audit.toml", "--previous", "--reason", "damaged"];
    lab.audit(&set).expect(0);
    lab.run().expect(0);
    lab.holds_each_once("out.ndjson", 11);
}
