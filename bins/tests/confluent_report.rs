//! `confluent-report analyze` and `cleanup` in the place of the scripts they replace: each of their
//! faults, by number, and what people may throw at it.

#![cfg(all(feature = "source-confluent", feature = "sink-file", feature = "sink-report"))]
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/confluent.rs"]
mod confluent;

use std::fs;
use std::io::{Read, Write};

use confluent::{Site, record};
use serde_json::{Value, json};

/// A record with a method and whatever else is in `data`.
fn event(id: &str, time: &str, mut data: Value, method: &str) -> String {
    data["methodName"] = json!(method);
    json!({"id": id, "source": "crn:///", "time": time, "type": "x", "data": data}).to_string()
}

fn authorize(id: &str, principal: &str, operation: &str) -> String {
    let data = json!({
        "authenticationInfo": {"principal": principal},
        "authorizationInfo": {"granted": true, "operation": operation},
    });
    event(id, "2026-11-20T09:00:00Z", data, "mds.Authorize")
}

const JSON: [&str; 2] = ["--format", "text,json"];

fn analyze(site: &Site, files: &[&str], more: &[&str]) -> common::Ran {
    site.run(&[&["analyze"], files, &JSON[..], more].concat())
}

fn label(site: &Site, section: &str, label: &str) -> u64 {
    let counts = site.counts("reports");
    counts.iter().filter(|(key, _)| key.1 == section && key.2 == label).map(|(_, n)| n).sum()
}

/// R-01: the whole classic layout of known records.
#[test]
fn r01_the_reports_of_known_records() {
    let site = Site::new();
    site.lines("events", (0..400).map(record));
    let ran = analyze(
        &site,
        &["events"],
        &["--section", "auth_events,signin_fail,signin_success,other_events"],
    );
    let ran = ran.expect(0).says("400 events from 2026-11-14 to 2026-11-20");
    insta::assert_snapshot!("last_day", ran.out);
    let files: Vec<_> =
        site.reports("reports").into_keys().map(|p| p.display().to_string()).collect();
    insta::assert_snapshot!("files", files.join("\n"));
    for line in ran.out.lines().skip(1) {
        assert_eq!(line.chars().count(), 174, "{line:?}");
    }
}

/// Records of Confluent Platform 5.4, published in vdesabou/kafka-docker-playground (MIT).
const PUBLISHED: &str = include_str!("data/confluent_platform.ndjson");

/// M-01
#[test]
fn m01_published_records_are_counted_as_they_are() {
    let site = Site::new();
    site.lines("events", PUBLISHED.lines());
    let ran = site.run(&["analyze", "events", "--format", "csv,text"]).expect(0);
    assert!(ran.err.contains("5 events from 2020-03-31 to 2020-03-31"), "{}", ran.err);
    insta::assert_snapshot!(site.read("reports/2020-03-31.csv"), @r"
    date,section,label,hour,count
    2020-03-31,OTHER_EVENTS,kafka.FetchConsumer,10,3
    2020-03-31,OTHER_EVENTS,kafka.ListOffsets,10,2
    2020-03-31,CLIENT_ADDRESSES,192.168.176.4,10,5
    2020-03-31,PRINCIPALS,admin,10,5
    ");
}

/// R-02
#[test]
fn r02_the_order_of_lines_and_files_and_their_packing_change_nothing() {
    let site = Site::new();
    site.lines("a", (0..600).map(record));
    site.lines("b", (0..600).rev().map(record));
    site.lines("c", (0..250).map(record));
    site.lines("d", (250..600).map(record));
    let pack = fs::File::create(site.path("c.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(pack, flate2::Compression::fast());
    gzip.write_all(site.read("c").as_bytes()).unwrap();
    gzip.finish().unwrap();
    fs::write(site.path("d.zst"), zstd::encode_all(site.read("d").as_bytes(), 1).unwrap()).unwrap();
    let all = ["--format", "text,csv,json,html", "-q"];
    let mut found = Vec::new();
    for files in [&["a"][..], &["b"], &["c", "d"], &["d.zst", "c.gz"], &["a", "c.gz"]] {
        let reports = format!("reports-{}", found.len());
        site.run(&[&["analyze"], files, &all[..], &["--reports", &reports]].concat()).expect(0);
        found.push(site.reports(&reports));
    }
    for other in &found[1..] {
        assert!(*other == found[0]);
    }
}

/// R-03: a day is one of UTC, whatever the time's own zone.
#[test]
fn r03_days_and_hours_are_utc() {
    let site = Site::new();
    let times = [
        "2026-11-20T23:59:59.999999999Z",
        "2026-11-21T00:30:00+02:00",
        "2026-11-20T22:00:00-05:00",
        "2026-03-29T02:30:00+01:00",
    ];
    site.lines(
        "events",
        times.iter().zip(0..).map(|(t, n)| event(&format!("{n}"), t, json!({}), "m")),
    );
    analyze(&site, &["events"], &[]).expect(0);
    let counts = site.counts("reports");
    let hours: Vec<_> = counts
        .keys()
        .filter(|k| k.1 == "OTHER_EVENTS")
        .map(|k| format!("{} {}", k.0, k.3))
        .collect();
    assert_eq!(hours, ["2026-03-29 1", "2026-11-20 22", "2026-11-20 23", "2026-11-21 3"]);
}

#[test]
fn fault_03_an_event_that_was_downloaded_twice_counts_once() {
    let site = Site::new();
    site.lines("events", (0..300).chain(100..400).map(record));
    analyze(&site, &["events"], &[]).expect(0);
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 400);
}

#[test]
fn fault_04_a_bad_line_costs_only_itself() {
    let site = Site::new();
    let mut lines: Vec<String> = (0..50).map(record).collect();
    lines.insert(5, "{\"id\":\"cut".to_owned());
    lines.insert(20, "not json at all".to_owned());
    lines.insert(40, "{\"time\":null,\"data\":{}}".to_owned());
    site.lines("events", lines);
    analyze(&site, &["events"], &[]).expect(9).says("rejected");
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 50);
    let rejects: Vec<Value> = site
        .read("work/rejects.ndjson")
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rejects.len(), 3);
    analyze(&site, &["events"], &[]).expect(9);
    assert_eq!(site.read("work/rejects.ndjson").lines().count(), 3, "made anew");
}

#[test]
fn fault_05_principals_of_every_shape_are_counted() {
    let site = Site::new();
    let day = "2026-11-20T09:00:00Z";
    let object = json!({"email": "o@example.com", "confluentUser": {"resourceId": "u-1"}});
    let granted = json!({"granted": true, "operation": "Alter"});
    let signin = |principal: &Value, result: &str| json!({"authenticationInfo": {"principal": principal, "result": result}});
    let mut outer = signin(&json!("User:u-3"), "SUCCESS");
    outer["clientAddress"] = json!([{"ip": "192.0.2.1"}]);
    site.lines(
        "events",
        [
            event(
                "1",
                day,
                json!({"authenticationInfo": {"principal": object}, "authorizationInfo": granted}),
                "mds.Authorize",
            ),
            event("2", day, signin(&json!("User:u-2"), "SUCCESS"), "SignIn"),
            event("3", day, outer, "SignIn"),
            event("4", day, signin(&object, "FAILURE"), "SignIn"),
            event("5", day, json!({}), "Whatever"),
        ],
    );
    analyze(&site, &["events"], &[]).expect(0);
    assert_eq!(site.total("reports", "AUTH_EVENTS"), 1);
    assert_eq!(site.total("reports", "SIGNIN_SUCCESS"), 2);
    assert_eq!(label(&site, "SIGNIN_FAIL", "o@example.com"), 1, "no error is named");
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 5);
}

#[test]
fn fault_06_a_count_is_never_cut() {
    let site = Site::new();
    let line = |n: u64| {
        format!(r#"{{"id":"{n}","time":"2026-11-20T09:00:00Z","data":{{"methodName":"m"}}}}"#)
    };
    site.lines("events", (0..123_456).map(line));
    let ran = analyze(&site, &["events"], &["--section", "other_events"]).expect(0);
    assert!(ran.out.contains(" 123456 "), "{}", ran.out);
}

#[test]
fn fault_07_labels_that_begin_alike_stay_apart() {
    let site = Site::new();
    let long = "User:u-".to_owned() + &"0123456789".repeat(4);
    let lines =
        [authorize("1", &format!("{long}a"), "Op"), authorize("2", &format!("{long}b"), "Op")];
    site.lines("events", lines);
    let ran = analyze(&site, &["events"], &["--section", "auth_events"]).expect(0);
    for end in ["a-Op", "b-Op"] {
        assert_eq!(ran.out.matches(&format!("9{end}")).count(), 1, "{}", ran.out);
    }
}

#[test]
fn fault_08_and_10_a_second_run_changes_nothing() {
    let site = Site::new();
    site.lines("events", (0..500).map(record));
    analyze(&site, &["events"], &[]).expect(0);
    let first = site.reports("reports");
    analyze(&site, &["events"], &[]).expect(0);
    assert!(site.reports("reports") == first);
}

#[test]
fn fault_09_a_run_that_saw_less_takes_nothing_away_and_says_so() {
    let site = Site::new();
    site.lines("events", (0..500).map(record));
    site.lines("less", (0..100).map(record));
    analyze(&site, &["events"], &[]).expect(0);
    let best = site.reports("reports");
    analyze(&site, &["less"], &[]).expect(0).says("kept: an earlier run saw more");
    assert!(site.reports("reports") == best);
}

#[test]
fn fault_11_successes_are_successes() {
    let site = Site::new();
    site.lines("events", (0..400).map(record));
    analyze(&site, &["events"], &[]).expect(0);
    let (fail, success) =
        (site.total("reports", "SIGNIN_FAIL"), site.total("reports", "SIGNIN_SUCCESS"));
    assert_eq!(
        (fail, fail + success),
        ((0..400).filter(|n| n % 4 == 1 && n % 11 == 0).count() as u64, 100)
    );
}

#[test]
fn fault_12_the_newest_download_is_the_newest() {
    let site = Site::new();
    site.lines("data/Zeta_audit_logs_20261101000000", (0..10).map(record));
    site.lines("data/Acme_audit_logs_20261102000000", (0..20).map(record));
    site.lines("data/cc_audit_logs_20261103000000.dbf", ["a database that a crash left"]);
    analyze(&site, &[], &[]).expect(0).says("from data/Acme_audit_logs_20261102000000");
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 20);
}

#[test]
fn fault_13_the_exit_code_says_what_happened() {
    let site = Site::new();
    site.run(&[]).expect(2);
    site.run(&["analyze"]).expect(3).says("confluent-report download");
    site.run(&["analyze", "no-such-file"]).expect(3).says("no-such-file");
    site.run(&["analyze", "--format", "pdf"]).expect(2).says("text, csv, json, html");
    site.run(&["analyze", "--from-elastic", "http://localhost:1"]).expect(2).says("--index");
    site.lines("events", (0..10).map(record));
    site.run(&["analyze", "events", "--section", "events"]).expect(2).says("auth_events");
    let whole = site.read("events");
    let pack = zstd::encode_all(whole.as_bytes(), 1).unwrap();
    fs::write(site.path("cut.zst"), &pack[..pack.len() / 2]).unwrap();
    site.run(&["analyze", "cut.zst"]).expect(7).says("cut off");
    for args in [&["--help"][..], &["analyze", "--help"], &["completions", "bash"], &["man"]] {
        assert!(!site.run(args).expect(0).out.is_empty());
    }
}

#[test]
fn fault_14_what_the_cli_prints_between_records_is_no_record_and_a_record_that_says_so_is_one() {
    let site = Site::new();
    let spoken = event("h", "2026-11-20T09:00:00Z", json!({"note": "Headers: []"}), "m");
    let lines = [record(0), "% Headers: [ce_id=1]".to_owned(), "Headers: []".to_owned(), spoken];
    site.lines("events", lines);
    analyze(&site, &["events"], &[]).expect(0);
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 2);
}

#[test]
fn fault_15_no_row_is_blank_or_short() {
    let site = Site::new();
    let data = json!({"authenticationInfo": {"principal": {"email": "a"}, "result": "FAILURE"}});
    site.lines(
        "events",
        [
            event("1", "2026-11-20T09:00:00Z", data, "SignIn"),
            event("2", "2026-11-20T09:00:00Z", json!({}), ""),
            event("3", "2026-11-20T09:00:00Z", json!({}), "x"),
        ],
    );
    let ran = analyze(&site, &["events"], &[]).expect(0);
    for line in ran.out.lines().skip(1) {
        assert_eq!(line.chars().count(), 174, "{line:?}");
        assert!(!line.trim().is_empty());
    }
}

#[test]
fn fault_16_nothing_to_count_is_told_and_no_error() {
    let site = Site::new();
    site.lines::<&str>("events", []);
    analyze(&site, &["events"], &[]).expect(0).says("no events");
    assert!(!site.path("reports").exists());
    let ran = analyze(&site, &["events"], &["--summary-json"]).expect(0);
    insta::assert_snapshot!(ran.out, @r#"{"days":[],"events":0,"exit_code":0,"rejected":0,"repeats":0}"#);
}

#[test]
fn fault_17_nothing_is_written_elsewhere() {
    let site = Site::new();
    site.lines("events", (0..50).map(record));
    let temporary = site.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = site.command(&["analyze", "events", "-q"]);
    common::Ran::of(command.env("TMPDIR", &temporary).output().unwrap()).expect(0);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let mut names: Vec<_> =
        fs::read_dir(site.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["events", "reports", "tmp"]);
}

/// The class was decided by words anywhere in the line.
#[test]
fn fault_18_words_elsewhere_in_a_record_do_not_make_its_class() {
    let site = Site::new();
    let data = json!({
        "authenticationInfo": {"principal": "User:u-1", "result": "SUCCESS"},
        "resourceName": "topic=mds.Authorize SignIn FAILURE", "methodName2": "SignIn",
    });
    site.lines("events", [event("1", "2026-11-20T09:00:00Z", data, "kafka.CreateTopics")]);
    analyze(&site, &["events"], &[]).expect(0);
    for section in ["AUTH_EVENTS", "SIGNIN_FAIL", "SIGNIN_SUCCESS"] {
        assert_eq!(site.total("reports", section), 0, "{section}");
    }
}

#[test]
fn fault_19_cleanup_asks_and_removes_only_what_the_program_wrote() {
    let site = Site::new();
    site.lines("elsewhere/precious", ["1"]);
    site.lines("data/mine.txt", ["1"]);
    site.lines("data/Acme_audit_logs_20261102000000", ["a download of the scripts"]);
    site.lines("data/own_audit_logs_20261102000000", [record(0)]);
    site.lines("data/.own_audit_logs_20261102000000.journal", ["{}"]);
    site.lines("data/.own_audit_logs_20261102000000.download/confluent-report.json", ["{}"]);
    site.lines("bad", ["{"]);
    analyze(&site, &["bad"], &[]).expect(9);
    site.lines("good", [record(0)]);
    analyze(&site, &["good"], &["--rejects", "other"]).expect(0);
    let reports = site.reports("reports");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let data = site.path("data");
        symlink(site.path("elsewhere"), data.join(".own_audit_logs_20261102000000.download/link"))
            .unwrap();
        symlink(site.path("elsewhere"), data.join(".trap_audit_logs_20261102000000.download"))
            .unwrap();
        symlink(site.path("elsewhere/precious"), data.join("trap_audit_logs_20261102000000"))
            .unwrap();
    }
    site.run(&["cleanup"]).expect(3).says("--yes");
    assert!(site.path("data/own_audit_logs_20261102000000").exists());
    site.run(&["cleanup", "--yes"]).expect(0).says("reports are kept");
    assert!(!site.path("data/own_audit_logs_20261102000000").exists());
    assert!(!site.path("data/.own_audit_logs_20261102000000.download").exists());
    assert!(!site.path("work").exists());
    for kept in ["elsewhere/precious", "data/mine.txt", "data/Acme_audit_logs_20261102000000"] {
        assert!(site.path(kept).exists(), "{kept}");
    }
    assert!(site.reports("reports") == reports);
    site.run(&["cleanup", "--yes"]).expect(0).says("nothing to remove");
}

/// R-05
#[test]
fn r05_hostile_labels_act_nowhere() {
    let site = Site::new();
    let hostile = [
        "=cmd|'/C calc'!A0",
        "\u{1b}]0;owned\u{7}",
        "<script>alert(1)</script>",
        "a\u{202e}b",
        "line\nbreak",
        "-1+2",
        "\u{0}",
    ];
    site.lines(
        "events",
        hostile.iter().enumerate().map(|(n, label)| authorize(&n.to_string(), label, label)),
    );
    let ran = site.run(&["analyze", "events", "--format", "text,csv,json,html"]).expect(0);
    let reports = site.reports("reports");
    let files = reports.into_iter().map(|(name, text)| (name.display().to_string(), text));
    for (name, text) in files.chain([("stdout".to_owned(), ran.out)]) {
        let harmless = |c: char| !c.is_control() || c == '\n';
        assert!(text.chars().all(harmless), "{name}");
        assert!(!text.contains('\u{202e}'), "{name}");
        assert!(!name.ends_with(".html") || !text.contains("<script>alert"), "{name}");
        let calculates =
            |line: &str| line.split(',').any(|field| field.starts_with(['=', '+', '@']));
        assert!(!name.ends_with(".csv") || !text.lines().any(calculates), "{name}");
    }
}

/// N-05, M-06
#[test]
fn n05_what_is_no_record_is_bounded_and_rejected() {
    let site = Site::new();
    let deep = "[".repeat(200_000);
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(9 << 20));
    let mut bytes = Vec::new();
    for line in [
        record(0).as_bytes(),
        deep.as_bytes(),
        long.as_bytes(),
        b"\xff\xfe\xfd",
        b"{\"a\":NaN}",
        b"{\"id\":\"\\ud800\"}",
        record(1).as_bytes(),
    ] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    fs::write(site.path("events"), &bytes).unwrap();
    let bomb = zstd::encode_all(std::io::repeat(b'x').take(64 << 20), 1).unwrap();
    fs::write(site.path("bomb.zst"), bomb).unwrap();
    analyze(&site, &["events", "bomb.zst"], &[]).expect(9);
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 2);
    assert_eq!(site.read("work/rejects.ndjson").lines().count(), 6);
}

/// M-02, M-03
#[test]
fn m03_missing_new_and_retyped_fields_cost_nothing_else() {
    let site = Site::new();
    let day = "2026-11-20T09:00:00Z";
    site.lines("events", [
        json!({"id": 7, "time": day, "data": "text"}).to_string(),
        json!({"id": "a", "time": day, "data": {"methodName": ["x"], "new": {"deep": [1]}}}).to_string(),
        json!({"id": "b", "time": day}).to_string(),
        json!({"time": day, "data": {"method_name": "flink.Op", "authentication_info": {"principal": {"confluent_user": {"resource_id": "u-1"}}}}}).to_string(),
    ]);
    analyze(&site, &["events"], &[]).expect(0);
    assert_eq!(site.total("reports", "OTHER_EVENTS"), 4);
    assert_eq!(label(&site, "OTHER_EVENTS", "flink.Op"), 1);
    assert_eq!(label(&site, "PRINCIPALS", "u-1"), 1);
}

/// R-04: beyond a limit labels are counted together, and said.
#[test]
fn r04_labels_without_end_are_bounded_and_counted() {
    let site = Site::new();
    site.lines("events", (0..300).map(|n| authorize(&n.to_string(), &format!("User:u-{n}"), "Op")));
    let more = ["--max-labels", "10", "--section", "auth_events"];
    let ran = analyze(&site, &["events"], &more).expect(0);
    assert!(ran.out.contains("(all other labels)"), "{}", ran.out);
    assert_eq!(site.total("reports", "AUTH_EVENTS"), 300);
}
