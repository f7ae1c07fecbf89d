//! What the configuration's errors say, and what no output ever says.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;

use common::{Lab, config};

/// A credential that must not show anywhere.
const CANARY: &str = "c4n4ry-hunter2";

#[track_caller]
fn refused(text: &str, error: &str) {
    let lab = Lab::new(0);
    lab.config(text);
    let ran = lab.run().expect(3);
    assert_eq!(ran.err, error, "\n{text}");
    assert_eq!(ran.out, "");
}

#[test]
fn unknown_keys_are_named_with_file_line_and_what_was_meant() {
    let good = config("out.ndjson", "");
    refused(
        &good.replace("path =", "pth ="),
        "error: audit.toml:9: unknown key `pth` in [pipelines.orders.sink]\n  \
         help: did you mean `path`? valid here: path, format, layout, compression, level\n",
    );
    refused(
        &config("out.ndjson", "folow = true"),
        "error: audit.toml:2: unknown key `folow` in [pipelines.orders]\n  \
         help: did you mean `follow`? valid here: source, sink, follow, format, checkpoint, \
         dead_letters, limits, retry, grace\n",
    );
    refused(
        &format!("statedir = 1\n{good}"),
        "error: audit.toml:1: unknown key `statedir` at the top\n  \
         help: did you mean `state_dir`? valid here: state_dir, pipelines\n",
    );
    refused(
        &config("out.ndjson", "limits.max_event = 1"),
        "error: audit.toml:2: unknown key `max_event` in [pipelines.orders.limits]\n  \
         help: did you mean `max_events`? valid here: max_events, max_bytes, max_wait\n",
    );
    refused(
        &good.replace("\"sql\"", "\"sqll\""),
        "error: unknown type `sqll` (key: pipelines.orders.source, file: audit.toml)\n  \
         help: did you mean `sql`? valid here: confluent, confluent-files, oci, port, sql\n",
    );
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let at_2 = |what: &str| format!("error: audit.toml:2: {what}\n");
    let cases = [
        (
            "limits.max_bytes = \"4 parsec\"",
            "not a size: write bytes, or a number with kB, KiB, MB, MiB, GB or GiB (key: pipelines.orders.limits.max_bytes)\n  help: correct the value of `max_bytes`",
        ),
        (
            "grace = \"soon\"",
            "not a duration: write a number and its unit, as in `5s` (key: pipelines.orders.grace)\n  help: correct the value of `grace`",
        ),
        (
            "dead_letters = true",
            "invalid value: boolean `true`, expected the path of a file, or false to stop at the first such record (key: pipelines.orders.dead_letters)\n  help: correct the value of `dead_letters`",
        ),
    ];
    for (line, error) in cases {
        refused(&config("out.ndjson", line), &at_2(error));
    }
    refused(
        &config("out.ndjson", "")
            .replace("orders]", "\"no/such\"]")
            .replace("orders.", "\"no/such\"."),
        "error: not a usable stream name (name: no/such, key: pipelines.no/such)\n  \
         help: use 1 to 100 letters, digits, dots, underscores or hyphens\n",
    );
}

#[test]
fn variables_are_taken_from_the_environment_and_from_dot_env() {
    let lab = Lab::new(4);
    lab.config(&config("${OUT_FILE}.ndjson", "").replace("app.db", "${DB_FILE}"));
    lab.run().expect(3).says(
        "error: read the configuration: the variable is not set (variable: OUT_FILE, key: \
         pipelines.orders.sink.path, at: audit.toml:9)\n  help: set it in the environment or in \
         a `.env` file",
    );
    fs::write(lab.path(".env"), "OUT_FILE=from-env-file\nDB_FILE=app.db\n").unwrap();
    let mut command = lab.command(&["run", "-c", "audit.toml"]);
    common::Ran::of(command.env("OUT_FILE", "from-environment").output().unwrap()).expect(0);
    lab.holds_each_once("from-environment.ndjson", 4);

    // Also from below, and what a value holds is not read as TOML.
    lab.add(5, 1);
    fs::create_dir(lab.path("sub")).unwrap();
    let mut command = lab.command(&["run", "-c", "../audit.toml"]);
    command.current_dir(lab.path("sub")).env("OUT_FILE", "a\"\nlevel = 3 #");
    common::Ran::of(command.output().unwrap()).expect(0);
    assert_eq!(lab.lines("a\"\nlevel = 3 #.ndjson"), [common::message(5)]);

    fs::write(lab.path(".env"), format!("A B C {CANARY}\n")).unwrap();
    let ran = lab.run().expect(3).says("`.env`");
    assert!(!ran.err.contains(CANARY), "{}", ran.err);
}

#[test]
fn a_secret_shows_in_no_output() {
    let lab = Lab::new(3);
    let good = config("out.ndjson", "");
    let url = |url: &str| good.replace("sqlite://app.db", url);
    let texts = [
        good.replace("app.db", "app.db?password=${SECRET}"),
        url("oracle://user:${SECRET}@db.example/app"),
        url("postgres://user:${SECRET}@db.example:port/app"),
        url("mysql://user:${SECRET}@db.example/app?sslmod=${SECRET}"),
        url("postgres://user:a/${SECRET}@db.example/app"),
        // A path is no credential and errors name it; but these are mistyped URLs, not paths.
        url("postgres:/user:${SECRET}@db.example/app"),
        url("user:${SECRET}@db.example/app"),
        url("mysql//user:${SECRET}@db.example/app"),
        good.replace("poll_interval = \"20ms\"", "poll_interval = \"${SECRET}\""),
        good.replace("type = \"file\"", "type = \"file\"\nlevel = \"${SECRET}\""),
        good.replace("type = \"file\"", "type = \"file\"\nlayout = \"${SECRET}\""),
        good.replace("type = \"file\"", &format!("type = \"file\"\nlevel = \"{CANARY}\"")),
        good.replace("type = \"file\"", &format!("type = \"file\"\nlevel = \"{CANARY}")),
        good.replace("type = \"file\"", &format!("type = \"file\"\n{CANARY}")),
        config("out.ndjson", "follow = \"${SECRET}\""),
        config("out.ndjson", "limits.max_bytes = \"${SECRET}\""),
    ];
    for text in texts {
        lab.config(&text);
        for args in [
            &["run", "-c", "audit.toml", "-vvv"][..],
            &["run", "-c", "audit.toml", "-vvv", "--log-format", "json"],
            &["check", "-c", "audit.toml", "-vvv"],
            &["dead-letters", "list", "-c", "audit.toml"],
            &["checkpoint", "show", "-c", "audit.toml", "--json"],
        ] {
            let ran = common::Ran::of(lab.command(args).env("SECRET", CANARY).output().unwrap());
            let both = format!("{}{}", ran.out, ran.err);
            assert!(!both.contains(CANARY), "{args:?}\n{text}\n{both}");
        }
    }
    let leak = common::snapshot(&lab.path(".")).into_iter().find(|(path, content)| {
        path.file_name().is_some_and(|name| name != "audit.toml")
            && content.windows(CANARY.len()).any(|w| w == CANARY.as_bytes())
    });
    assert!(leak.is_none(), "{:?}", leak.map(|(path, _)| path));
}
