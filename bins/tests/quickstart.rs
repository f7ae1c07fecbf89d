//! `audit quickstart`, as a newcomer runs it.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::Lab;

#[test]
fn ships_everything_then_only_what_is_new() {
    let lab = Lab::new(0);
    lab.audit(&["quickstart", "--events", "300"])
        .expect(0)
        .says("has written 300 audit events")
        .says("quickstart: all delivered")
        .says("now holds 300 events, each once");
    assert_eq!(lab.lines("audit-quickstart/audit.ndjson").len(), 300);
    lab.audit(&["quickstart", "--events", "300"])
        .expect(0)
        .says("has 300 rows")
        .says("30 new events were added")
        .says("now holds 330 events, each once");
    let mut lines = lab.lines("audit-quickstart/audit.ndjson");
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 330);
    assert!(lines[0].starts_with(r#"{"audit_event": {"origin": "library-backoffice""#));
}

#[test]
fn every_command_it_suggests_works() {
    let lab = Lab::new(0);
    let said = lab.audit(&["quickstart", "--events", "100"]).expect(0).err;
    assert!(suggested(&said).iter().any(|c| c.contains(" --broken 1")), "{said}");
    for command in suggested(&said) {
        // The last batch of the one with a broken row has a dead letter, and says so.
        let code = if command.contains("--broken") { 9 } else { 0 };
        let ran = lab.shell(&command).expect(code);
        if code == 9 {
            for command in suggested(&ran.err).iter().filter(|c| c.contains("dead-letters")) {
                let listed = lab.shell(command).expect(0).says("1 dead letter");
                assert!(listed.out.contains("JSON"), "{}", listed.out);
            }
        }
    }
}

fn suggested(said: &str) -> Vec<String> {
    let (_, next) = said.split_once("Try next:\n").unwrap();
    let commands = next.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    commands.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn says_nothing_when_asked_to_be_quiet() {
    let lab = Lab::new(0);
    let ran = lab.audit(&["quickstart", "--events", "10", "--quiet"]).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let lab = Lab::new(0);
    lab.audit(&["quickstart", "--dir", "/proc/nowhere"]).expect(3).says("/proc/nowhere");
}
