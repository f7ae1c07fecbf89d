//! `audit run` and `audit check` over a real database and real files.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use common::{Lab, Ran, assert_each_once, config, message, signal, snapshot, wait_for};
use serde_json::Value;

#[test]
fn ships_what_is_new_and_then_nothing() {
    let lab = Lab::new(250);
    lab.run().expect(0).says("orders: all delivered").says("250");
    lab.holds_each_once("out.ndjson", 250);
    assert_eq!(lab.unsent(), 0);
    lab.run().expect(0).says("orders: nothing new");
    lab.add(251, 10);
    lab.run().expect(0);
    lab.holds_each_once("out.ndjson", 260);
    let mode = |name| fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out.ndjson"), mode("state/orders.checkpoint")), (0o600, 0o600));
}

#[test]
fn a_dry_run_and_a_check_write_nothing() {
    let lab = Lab::new(20);
    drop(lab.db()); // the write-ahead log is gone with its last user
    let before = snapshot(&lab.path("."));
    lab.audit(&["run", "-c", "audit.toml", "--dry-run"])
        .expect(0)
        .says("dry run, nothing written")
        .says("would be delivered");
    let ran = lab.audit(&["check", "-c", "audit.toml"]).expect(0);
    for line in ["configuration", "orders: source", "orders: sink", "orders: dead letters"] {
        assert!(ran.out.contains(&format!("ok      {line}")), "{}", ran.out);
    }
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| -> Vec<_> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    let after = snapshot(&lab.path("."));
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "content changed");
}

#[test]
fn follows_until_a_signal_and_reports_as_json() {
    let lab = Lab::new(5);
    let args = ["run", "-c", "audit.toml", "--follow", "--summary-json"];
    for (name, first) in [("-TERM", 6), ("-INT", 11)] {
        let mut command = lab.command(&args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(|| lab.unsent() == 0);
        lab.add(first, 5);
        wait_for(|| lab.unsent() == 0);
        signal(&child, name);
        let ran = Ran::of(child.wait_with_output().unwrap()).expect(0).says("orders: stopped");
        let summary: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(summary["exit_code"], 0);
        let pipeline = &summary["pipelines"][0];
        assert_eq!(pipeline["interrupted"], true);
        assert_eq!(pipeline["read"], pipeline["delivered"]);
    }
    lab.holds_each_once("out.ndjson", 15);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let lab = Lab::new(1);
    // A pipe that nobody reads holds the write up for ever.
    lab.config(&config("-", ""));
    lab.add(2, 5_000);
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut command = lab.command(&["run", "-c", "audit.toml"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It has begun to write; the pipe holds less than there is.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        signal(&child, name);
        let log = BufReader::new(child.stderr.take().unwrap());
        let stopping = |line: std::io::Result<String>| line.unwrap().contains("stopping");
        assert!(log.lines().any(stopping), "the first signal asks for a clean stop");
        assert!(child.try_wait().unwrap().is_none(), "it should wait for the batch in flight");
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn a_second_runner_is_a_conflict() {
    let lab = Lab::new(3);
    let mut first = lab.follow();
    lab.run().expect(6).says("another process").says("help:");
    let set = ["checkpoint", "set", "-c", "audit.toml", "--previous", "--reason", "x"];
    lab.add(4, 1);
    wait_for(|| lab.unsent() == 0);
    lab.audit(&set).expect(6);
    lab.audit(&["checkpoint", "show", "-c", "audit.toml"]).expect(0);
    first.kill().unwrap();
    first.wait().unwrap();
    lab.run().expect(0);
    lab.holds_each_once("out.ndjson", 4);
}

#[test]
fn several_pipelines_run_in_one_process() {
    let lab = Lab::new(40);
    fs::copy(lab.path("app.db"), lab.path("other.db")).unwrap();
    let second =
        config("other.ndjson", "").replace("orders", "other").replace("app.db", "other.db");
    lab.config(&format!("{}{second}", config("out.ndjson", "")));
    lab.audit(&["run", "-c", "audit.toml", "-p", "other"]).expect(0);
    assert_eq!(lab.lines("out.ndjson").len(), 0);
    lab.run().expect(0).says("orders: all delivered").says("other: nothing new");
    lab.holds_each_once("out.ndjson", 40);
    lab.holds_each_once("other.ndjson", 40);

    // One that fails does not keep the other from its work, and decides the exit code.
    lab.add(41, 5);
    fs::remove_file(lab.path("other.db")).unwrap();
    lab.run().expect(3).says("orders: all delivered").says("other: failed");
    lab.holds_each_once("out.ndjson", 45);
}

#[test]
fn stdout_is_for_data_alone() {
    let lab = Lab::new(30);
    lab.config(&config("-", ""));
    lab.audit(&["run", "-c", "audit.toml", "--summary-json"]).expect(3).says("needs stdout");
    let ran = lab.run().expect(0).says("all delivered");
    assert_each_once(ran.out.lines().map(str::to_owned).collect(), 30);
}

#[test]
fn a_reader_that_goes_away_is_quiet_and_loses_nothing() {
    let lab = Lab::new(20_000);
    lab.config(&config("-", "[pipelines.orders.limits]\nmax_events = 100"));
    let ran = lab.shell("$AUDIT run -c audit.toml -q | head -1; exit ${PIPESTATUS[0]}").expect(141);
    assert_eq!(ran.err, "");
    assert!(lab.unsent() > 0, "what was not read must not be marked");
    let ran = lab.shell("$AUDIT dead-letters list -c audit.toml --json >&-").expect(0);
    assert_eq!(ran.err, "");
    let ran = lab.shell("$AUDIT completions bash | true; exit ${PIPESTATUS[0]}");
    assert!([0, 141].contains(&ran.code), "{}", ran.code);
}

#[test]
fn a_full_disk_is_told_and_passes() {
    // The output is larger than the database and its log, so that it is what meets the limit.
    let lab = Lab::new(2_000);
    let more = "format = \"canonical\"\n[pipelines.orders.limits]\nmax_events = 200\n\
                [pipelines.orders.retry]\ninitial = \"10ms\"\nmax_elapsed = \"200ms\"";
    lab.config(&config("out.ndjson", more));
    let limited = "trap '' XFSZ; ulimit -f 1000; exec $AUDIT run -c audit.toml";
    lab.shell(limited).expect(5).says("write to the output file").says("free some space");
    let before = lab.lines("out.ndjson").len();
    assert!((200..2_000).contains(&before), "{before}");
    lab.run().expect(0);
    let raw = |line: String| {
        let (_, raw) = line.split_once("\"raw\":").unwrap();
        raw.strip_suffix('}').unwrap().to_owned()
    };
    assert_each_once(lab.lines("out.ndjson").into_iter().map(raw).collect(), 2_000);
    assert_eq!(lab.unsent(), 0);
    if fs::exists("/dev/full").unwrap() {
        lab.add(2_001, 1);
        lab.config(&config("-", more));
        lab.shell("$AUDIT run -c audit.toml > /dev/full").expect(5);
        lab.shell("$AUDIT man > /dev/full").expect(5);
        assert_eq!(lab.unsent(), 1);
    }
}

#[test]
fn each_failure_has_its_exit_code() {
    let lab = Lab::new(1);
    let bad = |text: &str| {
        lab.config(text);
        (lab.run().code, lab.audit(&["check", "-c", "audit.toml"]).code)
    };
    let good = config("out.ndjson", "");
    assert_eq!(bad(&good.replace("app.db", "missing.db")), (3, 3));
    assert_eq!(bad(&good.replace("type = \"sql\"", "type = \"sql\"\ntable = \"nope\"")), (3, 3));
    assert_eq!(bad(&config("missing/out.ndjson", "")), (3, 3));
    assert_eq!(bad(&config("app.db/out.ndjson", "")), (3, 3));
    assert_eq!(bad(&format!("state_dir = \"app.db/state\"\n{good}")), (3, 3));
    // Only the attempt tells that these cannot be written, whatever the permissions say.
    assert_eq!(bad(&config("/proc/out.ndjson", "")).0, 3);
    assert_eq!(bad(&format!("state_dir = \"/proc/state\"\n{good}")).0, 3);
    assert_eq!(bad(""), (3, 3));
    lab.audit(&["run"]).expect(2);
    lab.audit(&["nonsense"]).expect(2);
    lab.audit(&["run", "-c", "audit.toml", "--once", "--follow"]).expect(2);
    lab.audit(&["run", "-c", "missing.toml"]).expect(3).says("missing.toml");
    lab.audit(&["--version"]).expect(0);
    let help = lab.audit(&["--help"]).expect(0).out;
    for words in ["Examples:", "Exit codes:", "dead letters", "141"] {
        assert!(help.contains(words), "{help}");
    }
    for page in [&["man"][..], &["completions", "zsh"]] {
        assert!(lab.audit(page).expect(0).out.contains("quickstart"));
    }
    lab.audit(&["man", "--dir", "pages"]).expect(0);
    assert!(lab.path("pages/audit-dead-letters-list.1").exists());
}

#[test]
fn the_format_is_chosen_in_the_file() {
    let lab = Lab::new(2);
    lab.config(&config("out.ndjson", "format = \"canonical\""));
    lab.run().expect(0);
    let event: Value = serde_json::from_str(&lab.lines("out.ndjson")[0]).unwrap();
    assert_eq!(event["outcome"], "success");
    assert_eq!(event["action"]["kind"], "update");
    let raw: Value = serde_json::from_str(&message(1)).unwrap();
    assert_eq!(event["raw"], raw);
}
