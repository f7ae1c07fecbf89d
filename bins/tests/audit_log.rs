//! `audit-log` as scripts call it.

#![cfg(feature = "logger")]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Ran;
use serde_json::{Value, json};

fn run(dir: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audit-log"));
    command.args(args).current_dir(dir).env_clear();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its options reads nothing.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::of(child.wait_with_output().unwrap())
}

fn record(args: &[&str]) -> String {
    run(Path::new("/"), args, "").expect(0).out
}

#[test]
fn the_line_is_that_of_the_replaced_package() {
    assert_eq!(
        record(&[
            "info",
            "This is a log message",
            "--http-url",
            "https://localhost",
            "--http-user-agent",
            "Test"
        ]),
        concat!(
            r#"{"audit": {"http_request": {"method": "GET", "url": "https://localhost", "user_agent": "Test"}, "#,
            r#""http_response": null, "user": null, "filter": null, "results": null, "type": "INFO", "#,
            r#""message": "This is a log message"}}"#,
            "\n"
        )
    );
}

#[test]
fn every_part_can_be_said() {
    let line = record(&[
        "CRITICAL",
        "ä",
        "--http-method",
        "POST",
        "--http-url",
        "https://x/?token=canary",
        "--http-status",
        "403",
        "--http-reason",
        "Forbidden",
        "--http-header",
        "Set-Cookie: canary",
        "--http-header",
        "X-A: b:c",
        "--user-email",
        "a@example.com",
        "--user-roles",
        "staff,admin",
        "--user-ip",
        "192.0.2.1",
        "--user-provider",
        "oidc",
        "--user-realm",
        "main",
        "--filter-object",
        "Book",
        "--filter-json",
        r#"{"title":"x"}"#,
        "--results-json",
        "[1.50]",
    ]);
    assert!(!line.contains("canary"), "{line}");
    let audit = &serde_json::from_str::<Value>(&line).unwrap()["audit"];
    assert_eq!(audit["type"], "CRITICAL");
    assert_eq!(audit["message"], "ä");
    assert_eq!(audit["http_request"]["method"], "POST");
    assert_eq!(audit["http_response"]["status_code"], 403);
    assert_eq!(audit["http_response"]["headers"]["X-A"], "b:c");
    assert_eq!(
        audit["user"],
        json!({"authenticated": true, "email": "a@example.com", "roles": ["staff", "admin"],
            "ip": "192.0.2.1", "provider": {"name": "oidc", "realm": "main"}})
    );
    assert_eq!(audit["filter"], json!({"object": "Book", "kwargs": {"title": "x"}}));
    assert_eq!(audit["results"], json!([1.5]));

    let event = record(&[
        "info",
        "rotated",
        "--shape",
        "canonical",
        "--action",
        "key.rotate",
        "--action-kind",
        "update",
        "--actor-id",
        "ci",
        "--target-id",
        "k7",
        "--target-type",
        "key",
        "--outcome",
        "denied",
        "--correlation-id",
        "c1",
        "--application",
        "rotate.sh",
        "--id",
        "r-1",
        "--time",
        "2026-01-05T08:00:00Z",
    ]);
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(event["id"], "r-1");
    assert_eq!(event["time"], "2026-01-05T08:00:00Z");
    assert_eq!(event["action"], json!({"name": "key.rotate", "kind": "update"}));
    assert_eq!((&event["outcome"], &event["source"]), (&json!("denied"), &json!("rotate.sh")));
}

#[test]
fn what_cannot_be_meant_is_named_and_nothing_is_written() {
    for (args, named) in [
        (&["info", "m", "--results-json", "{canary"][..], "--results-json"),
        (&["info", "m", "--outcome", "meh"], "--outcome"),
        (&["info", "m", "--http-status", "200", "--http-header", "x"], "--http-header"),
        (&["info", "m", "--pipeline", "x"], "--pipeline"),
        (&["--to", "stderr"], "level"),
    ] {
        let ran = run(Path::new("/"), args, "").expect(3).says(named);
        assert!(ran.out.is_empty() && !ran.err.contains("canary"), "{}", ran.err);
    }
    run(Path::new("/"), &["loud", "m"], "").expect(2);
    run(Path::new("/"), &["info", "m", "--to", "/no/such/dir/x"], "").expect(3);
    let mut command = Command::new("bash");
    let line = format!("{} info m > /dev/full", env!("CARGO_BIN_EXE_audit-log"));
    Ran::of(command.args(["-c", &line]).output().unwrap()).expect(5);
}

#[test]
fn lines_on_stdin_become_records_and_bad_ones_are_named() {
    let input = concat!(
        r#"{"message": "one", "user": {"email": "a@example.com", "provider": "oidc", "realm": "r"}, "level": "warn"}"#,
        "\n\n",
        r#"{"audit": {"http_request": {"method": "GET", "url": "https://x", "user_agent": ""}, "http_response": null,"#,
        r#" "user": null, "filter": null, "results": {"n": 1}, "type": "ERROR", "message": "two"}}"#,
        "\n",
        "{\"message\": \"canary\n",
        r#"{"mesage": "canary"}"#,
        "\n",
        r#"{"message": 7}"#,
        "\n",
        r#"{"message": "three"}"#,
    );
    let ran = run(Path::new("/"), &["--stdin"], input).expect(8);
    let lines: Vec<Value> = ran.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let said: Vec<_> = lines.iter().map(|l| l["audit"]["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["one", "two", "three"]);
    assert_eq!(lines[0]["audit"]["user"]["provider"], json!({"name": "oidc", "realm": "r"}));
    assert_eq!(
        (&lines[0]["audit"]["type"], &lines[1]["audit"]["type"]),
        (&json!("WARNING"), &json!("ERROR"))
    );
    for line in ["line: 4", "line: 5", "line: 6", "unknown field `mesage`"] {
        assert!(ran.err.contains(line), "{line}: {}", ran.err);
    }
    assert!(!ran.err.contains("canary"), "{}", ran.err);
}

#[cfg(all(feature = "sink-file", feature = "source-sql-sqlite"))]
#[test]
fn records_go_to_a_file_or_to_the_sink_of_a_pipeline() {
    let dir = tempfile::tempdir().unwrap();
    for n in ["1", "2"] {
        run(dir.path(), &["info", n, "--to", "plain.ndjson"], "").expect(0);
    }
    let lines =
        |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap().lines().count();
    assert_eq!(lines("plain.ndjson"), 2);

    std::fs::write(dir.path().join("audit.toml"), common::config("out.ndjson", "")).unwrap();
    for n in ["1", "2"] {
        run(dir.path(), &["info", n, "--to", "audit.toml"], "").expect(0);
    }
    run(
        dir.path(),
        &["--stdin", "--to", "audit.toml", "--pipeline", "orders"],
        "{\"message\":\"3\"}\n{\"message\":\"4\"}\n",
    )
    .expect(0);
    assert_eq!(lines("out.ndjson"), 4);
    run(dir.path(), &["info", "x", "--to", "audit.toml", "--pipeline", "other"], "").expect(3);
}
