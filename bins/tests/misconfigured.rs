//! What is wrong with a configuration is found by `audit check`, which names the key and the way out.

#![cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-confluent",
    feature = "source-oci",
    feature = "source-port",
    feature = "sink-elastic",
    feature = "sink-file",
    feature = "sink-kafka",
    feature = "sink-report"
))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/elastic.rs"]
mod elastic;
#[path = "common/port.rs"]
mod port;

use std::fs;

use audit_core::Clock;
use common::{Lab, Ran};
use elastic::Cluster;
use port::fake::FakePort;

const SQLITE: &str = "type = \"sql\"\nurl = \"sqlite://app.db\"";
const FILE: &str = "type = \"file\"\npath = \"out.ndjson\"";

/// A configuration with one fault.
struct Case {
    text: String,
    code: i32,
    /// What the message has to name: the key, or the thing.
    names: Vec<&'static str>,
    /// What its help has to say.
    help: &'static str,
}

fn case(text: String, code: i32, names: &[&'static str], help: &'static str) -> Case {
    Case { text, code, names: names.to_vec(), help }
}

/// With a table of the pipeline, of its source and its sink.
fn pipeline(keys: &str, source: &str, sink: &str) -> String {
    format!(
        "[pipelines.orders]\n{keys}\n[pipelines.orders.source]\n{source}\n\
         [pipelines.orders.sink]\n{sink}\n"
    )
}

fn keys(keys: &str) -> String {
    pipeline(keys, SQLITE, FILE)
}

fn table(table: &str, key: &str) -> String {
    format!("{}[pipelines.orders.{table}]\n{key}\n", keys(""))
}

fn source(text: &str) -> String {
    pipeline("", text, FILE)
}

fn sink(text: &str) -> String {
    pipeline("", SQLITE, text)
}

/// What the file itself says wrong.
fn files() -> Vec<Case> {
    vec![
        case("pipelines = [".into(), 3, &["audit.toml:1"], ""),
        case("state_dir = \"s\"".into(), 3, &["no pipeline"], "[pipelines.NAME]"),
        case(format!("state_dirr = \"s\"\n{}", keys("")), 3, &["state_dirr"], "state_dir"),
        case(keys("folow = true"), 3, &["folow", "pipelines.orders"], "follow"),
        case(keys("").replace("orders", "\"or ders\""), 3, &["or ders"], "letters, digits"),
        case(
            "[pipelines.a]\nsink = { type = \"file\", path = \"o\" }".into(),
            3,
            &["pipelines.a.source"],
            "source",
        ),
        case(source("url = \"sqlite://app.db\""), 3, &["pipelines.orders.source", "type"], "type"),
        case(source("type = \"sqll\""), 3, &["sqll", "pipelines.orders.source"], "sql"),
        case(sink("type = \"kafak\""), 3, &["kafak", "pipelines.orders.sink"], "kafka"),
        case(
            source("type = \"sql\"\nurl = \"${AUDIT_TEST_NOT_SET}\""),
            3,
            &["AUDIT_TEST_NOT_SET", "pipelines.orders.source.url"],
            ".env",
        ),
        case(
            source("type = \"sql\"\nurl = \"${file:no-such}\""),
            3,
            &["no-such", "pipelines.orders.source.url"],
            "",
        ),
        case(keys("grace = \"5\""), 3, &["grace", "audit.toml:2"], ""),
        case(keys("format = \"jsonn\""), 3, &["format"], "canonical"),
        case(keys("dead_letters = true"), 3, &["dead_letters"], ""),
        case(table("limits", "max_bytes = \"4 apples\""), 3, &["max_bytes"], ""),
        case(table("limits", "max_evnts = 1"), 3, &["max_evnts", "limits"], "max_events"),
        case(table("retry", "max_attempts = -1"), 3, &["max_attempts"], ""),
    ]
}

/// What adapters find in their own tables, without asking anybody.
fn adapters() -> Vec<Case> {
    vec![
        case(source(&format!("{SQLITE}\ntabel = \"x\"")), 3, &["tabel"], "table"),
        case(
            source("type = \"sql\"\nurl = \"oracle://h/db\""),
            3,
            &["pipelines.orders.source"],
            "sqlite",
        ),
        case(source(&format!("{SQLITE}\nnotify_channel = \"x\"")), 3, &["notify_channel"], ""),
        case(source("type = \"port\""), 3, &["pipelines.orders.source"], "client_id"),
        case(
            source("type = \"port\"\ntoken = \"t\"\nurl = \"http://api.example\""),
            3,
            &["pipelines.orders.source"],
            "https",
        ),
        case(
            source("type = \"oci\"\nstart = \"2026-02-01\"\nend = \"2026-01-01\""),
            3,
            &["end"],
            "",
        ),
        case(source("type = \"confluent\"\nbrokers = \"\""), 3, &["brokers"], ""),
        case(source("type = \"confluent-files\"\nfiles = []"), 3, &["files"], ""),
        case(sink("type = \"file\"\npath = \"\""), 3, &["path"], ""),
        case(
            sink("type = \"elastic\"\nhosts = [\"ftp://es\"]\nindex = \"a\""),
            3,
            &["hosts"],
            "hosts",
        ),
        case(
            sink("type = \"elastic\"\nhosts = [\"http://es\"]\nindex = \"Audit\""),
            3,
            &["index"],
            "audit",
        ),
        case(sink("type = \"kafka\"\nbrokers = [\"b:9092\"]\ntopic = \"a b\""), 3, &["topic"], ""),
        case(
            sink(
                "type = \"kafka\"\nbrokers = [\"b:9092\"]\ntopic = \"a\"\nproperties = { \"linger.sm\" = 5 }",
            ),
            3,
            &["linger.sm"],
            "linger.ms",
        ),
        case(
            sink(
                "type = \"kafka\"\nbrokers = [\"b:9092\"]\ntopic = \"a\"\ntls = { client_cert_file = \"c.pem\" }",
            ),
            3,
            &["client_key_file"],
            "",
        ),
        case(sink("type = \"report\"\npath = \"r\"\nformats = [\"pdf\"]"), 3, &["formats"], "html"),
    ]
}

/// What is only found by asking.
fn places() -> Vec<Case> {
    vec![
        case(source("type = \"sql\"\nurl = \"sqlite://none.db\""), 3, &["none.db"], ""),
        case(source(&format!("{SQLITE}\ntable = \"nothing\"")), 3, &["nothing"], "table"),
        case(source(&format!("{SQLITE}\nsent_column = \"nothing\"")), 3, &["nothing"], ""),
        case(
            source("type = \"sql\"\nurl = \"postgres://u:p@127.0.0.1:1/db\""),
            5,
            &["127.0.0.1"],
            "",
        ),
        case(source("type = \"oci\"\nconfig_file = \"no-such\""), 3, &["no-such"], ""),
        case(
            source("type = \"confluent\"\nbrokers = \"127.0.0.1:1\"\ntimeout = \"1s\""),
            5,
            &["127.0.0.1:1"],
            "",
        ),
        case(
            source("type = \"confluent-files\"\nfiles = [\"no-such.ndjson\"]"),
            3,
            &["no-such.ndjson"],
            "",
        ),
        case(sink("type = \"file\"\npath = \"none/out.ndjson\""), 3, &["none"], ""),
        case(sink("type = \"file\"\npath = \".\""), 3, &["."], ""),
        case(
            sink("type = \"elastic\"\nhosts = [\"http://127.0.0.1:1\"]\nindex = \"a\""),
            5,
            &["127.0.0.1:1"],
            "",
        ),
        case(
            sink(
                "type = \"elastic\"\nhosts = [\"https://es\"]\nindex = \"a\"\nca_file = \"none.pem\"",
            ),
            3,
            &["none.pem"],
            "",
        ),
        case(
            sink("type = \"kafka\"\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"a\""),
            5,
            &["127.0.0.1:1"],
            "",
        ),
        case(
            sink(
                "type = \"kafka\"\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"a\"\ntls = { ca_file = \"none.pem\" }",
            ),
            3,
            &["none.pem"],
            "",
        ),
        case(keys("checkpoint = \"app.db\""), 3, &["app.db"], ""),
        case(keys("dead_letters = \"app.db/letters\""), 3, &["app.db"], ""),
    ]
}

fn assert_found(lab: &Lab, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for Case { text, code, names, help } in cases {
        lab.config(&text);
        let ran = lab.audit(&["check", "--config", "audit.toml", "--color", "never"]);
        let said = format!("{}{}", ran.out, ran.err);
        let helped = said.split_once("help:").map(|(_, help)| help);
        let mut note = |what: String| wrong.push(format!("{what}\n{text}\n{said}"));
        if ran.code != code {
            note(format!("exit code {} and not {code}", ran.code));
        }
        if let Some(name) = names.iter().find(|name| !said.contains(**name)) {
            note(format!("`{name}` is not named"));
        }
        if !helped.is_some_and(|helped| helped.contains(help)) {
            note(format!("no help with `{help}`"));
        }
        if said.contains("s3cret") {
            note("a credential shows".to_owned());
        }
    }
    assert!(wrong.is_empty(), "{} of:\n{}", wrong.len(), wrong.join("\n----\n"));
}

#[test]
fn o01_in_the_file() {
    assert_found(&Lab::new(1), files());
}

#[test]
fn o01_in_the_tables_of_adapters() {
    assert_found(&Lab::new(1), adapters());
}

#[test]
fn o01_in_what_they_point_to() {
    assert_found(&Lab::new(1), places());
}

#[test]
fn o01_no_file_and_damaged_state() {
    let lab = Lab::new(1);
    let ran = lab.audit(&["check", "--config", "no-such.toml"]).expect(3);
    assert!(ran.err.contains("no-such.toml"), "{}", ran.err);
    lab.run().expect(0);
    fs::write(lab.path("state/orders.checkpoint"), "{").unwrap();
    let ran: Ran = lab.audit(&["check", "--config", "audit.toml"]).expect(7);
    assert!(ran.out.contains("orders.checkpoint") && ran.out.contains("--previous"), "{}", ran.out);
}

#[test]
fn o01_credentials_that_are_refused() {
    let lab = Lab::new(1);
    let cluster = Cluster::start();
    cluster.lock().authorization = Some("ApiKey right".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let api = runtime.block_on(FakePort::start(Clock::system()));
    let (hosts, url) = (cluster.url(), api.url());
    assert_found(
        &lab,
        vec![
            case(
                sink(&format!(
                    "type = \"elastic\"\nhosts = [\"{hosts}\"]\nindex = \"a\"\napi_key = \"s3cret\""
                )),
                4,
                &["127.0.0.1"],
                "api_key",
            ),
            case(
                source(&format!(
                    "type = \"port\"\nurl = \"{url}\"\nallow_http = true\nclient_id = \"nobody\"\nclient_secret = \"s3cret\""
                )),
                4,
                &["orders: source"],
                "client",
            ),
        ],
    );
}
