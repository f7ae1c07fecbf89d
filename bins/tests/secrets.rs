//! A canary in every credential that a configuration may hold: it shows in no log, error, metric, dead
//! letter, checkpoint or process list, whether the other side takes it or not.

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
    feature = "metrics"
))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/elastic.rs"]
mod elastic;
#[path = "common/port.rs"]
mod port;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use audit_core::Clock;
use common::{Lab, snapshot};
use elastic::Cluster;
use port::fake::FakePort;
use rusqlite::types::Value;

const CANARY: &str = "c4n4ry-5ecret";
const SQLITE: &str = "type = \"sql\"\nurl = \"sqlite://app.db\"";
const FILE: &str = "type = \"file\"\npath = \"out.ndjson\"";
/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:1";

fn pipeline(source: &str, sink: &str) -> String {
    format!(
        "[pipelines.orders]\nretry = {{ max_attempts = 2, initial = \"1ms\" }}\n\
         [pipelines.orders.source]\n{source}\n[pipelines.orders.sink]\n{sink}\n"
    )
}

/// Runs and checks a configuration with everything logged, and looks for the canary everywhere.
fn assert_hidden(lab: &Lab, text: &str) {
    assert!(text.contains(CANARY), "no canary in {text}");
    lab.config(text);
    let always = ["run", "-c", "audit.toml", "-vvv", "--metrics-addr", "127.0.0.1:0"];
    for format in ["text", "json"] {
        let mut child = lab
            .command(&[&always[..], &["--log-format", format]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 {
            seen.extend_from_slice(line.as_bytes());
            if line.contains("serving /metrics") {
                seen.extend(metrics(&line));
            }
            line.clear();
        }
        child.stdout.take().unwrap().read_to_end(&mut seen).unwrap();
        child.wait().unwrap();
        assert_absent(&seen, text);
    }
    let ran = lab.audit(&["check", "-c", "audit.toml", "-vvv"]);
    assert_absent(format!("{}{}", ran.out, ran.err).as_bytes(), text);
    for (path, content) in snapshot(&lab.path(".")) {
        if !path.ends_with("audit.toml") {
            assert_absent(&content, &path.display().to_string());
        }
    }
}

/// Asks for the metrics, if the process still lives.
fn metrics(line: &str) -> Vec<u8> {
    let address: String = line
        .split("127.0.0.1:")
        .nth(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap();
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(format!("127.0.0.1:{address}")) {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let asked =
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        if asked.is_ok() && stream.read_to_end(&mut answer).is_err() {
            answer.clear();
        }
    }
    answer
}

#[track_caller]
fn assert_absent(bytes: &[u8], what: &str) {
    let found = bytes.windows(CANARY.len()).position(|window| window == CANARY.as_bytes());
    if let Some(at) = found {
        let around = &bytes[at.saturating_sub(300)..(at + 100).min(bytes.len())];
        panic!("the secret shows: {}\n{what}", String::from_utf8_lossy(around));
    }
}

/// Each with the port closed, so that errors have a reason to say too much.
#[test]
fn n04_of_sources() {
    let lab = Lab::new(1);
    fs::write(lab.path("key.pem"), "no key").unwrap();
    for source in [
        format!("type = \"sql\"\nurl = \"postgres://u:{CANARY}@{NOWHERE}/db\""),
        format!("type = \"sql\"\nurl = \"postgres://u@{NOWHERE}/db\"\npassword = \"{CANARY}\""),
        format!("type = \"sql\"\nurl = \"mysql://u:{CANARY}@{NOWHERE}/db\""),
        format!("type = \"sql\"\nurl = \"mysql://u@{NOWHERE}/db\"\npassword = \"{CANARY}\""),
        format!("type = \"sql\"\nurl = \"oracle://u:{CANARY}@{NOWHERE}/db\""),
        format!(
            "type = \"port\"\nurl = \"http://{NOWHERE}\"\nallow_http = true\nclient_id = \"c\"\nclient_secret = \"{CANARY}\""
        ),
        format!(
            "type = \"port\"\nurl = \"http://{NOWHERE}\"\nallow_http = true\ntoken = \"{CANARY}\""
        ),
        format!(
            "type = \"port\"\nurl = \"http://api.example\"\nallow_http = true\ntoken = \"t\"\nproxy = \"http://u:{CANARY}@{NOWHERE}\""
        ),
        format!(
            "type = \"oci\"\nregion = \"eu-frankfurt-1\"\ntenancy = \"t\"\nuser = \"u\"\nfingerprint = \"f\"\nkey = \"{CANARY}\""
        ),
        format!(
            "type = \"oci\"\nregion = \"eu-frankfurt-1\"\ntenancy = \"t\"\nuser = \"u\"\nfingerprint = \"f\"\nkey_file = \"key.pem\"\npass_phrase = \"{CANARY}\""
        ),
        format!(
            "type = \"confluent\"\nbrokers = \"{NOWHERE}\"\ntimeout = \"1s\"\nsasl = {{ mechanism = \"PLAIN\", user = \"u\", password = \"{CANARY}\" }}"
        ),
        format!(
            "type = \"confluent\"\nbrokers = \"{NOWHERE}\"\ntimeout = \"1s\"\ntls = {{ client_cert_file = \"key.pem\", client_key_file = \"key.pem\", key_password = \"{CANARY}\" }}"
        ),
        format!(
            "type = \"confluent\"\nbrokers = \"{NOWHERE}\"\ntimeout = \"1s\"\nproperties = {{ \"ssl.keystore.password\" = \"{CANARY}\" }}"
        ),
    ] {
        assert_hidden(&lab, &pipeline(&source, FILE));
    }
}

#[test]
fn n04_of_sinks_and_checkpoints() {
    let lab = Lab::new(3);
    fs::write(lab.path("key.pem"), "no key").unwrap();
    lab.add_value(9, Value::Text("not JSON".to_owned()));
    for sink in [
        format!("type = \"elastic\"\nhosts = [\"http://u:{CANARY}@{NOWHERE}\"]\nindex = \"a\""),
        format!(
            "type = \"elastic\"\nhosts = [\"http://{NOWHERE}\"]\nindex = \"a\"\nusername = \"u\"\npassword = \"{CANARY}\""
        ),
        format!(
            "type = \"elastic\"\nhosts = [\"http://{NOWHERE}\"]\nindex = \"a\"\napi_key = \"{CANARY}\""
        ),
        format!(
            "type = \"kafka\"\nbrokers = [\"{NOWHERE}\"]\ntopic = \"a\"\ndelivery_timeout = \"1s\"\nsasl = {{ mechanism = \"SCRAM-SHA-256\", user = \"u\", password = \"{CANARY}\" }}"
        ),
        format!(
            "type = \"kafka\"\nbrokers = [\"{NOWHERE}\"]\ntopic = \"a\"\ndelivery_timeout = \"1s\"\ntls = {{ client_cert_file = \"key.pem\", client_key_file = \"key.pem\", key_password = \"{CANARY}\" }}"
        ),
        format!(
            "type = \"kafka\"\nbrokers = [\"{NOWHERE}\"]\ntopic = \"a\"\ndelivery_timeout = \"1s\"\nproperties = {{ \"ssl.key.password\" = \"{CANARY}\" }}"
        ),
    ] {
        assert_hidden(&lab, &pipeline(SQLITE, &sink));
    }
    for checkpoint in [
        format!("checkpoint = {{ type = \"sql\", url = \"postgres://u:{CANARY}@{NOWHERE}/db\" }}"),
        format!(
            "checkpoint = {{ type = \"sql\", url = \"mysql://u@{NOWHERE}/db\", password = \"{CANARY}\" }}"
        ),
    ] {
        let text = pipeline(SQLITE, FILE);
        assert_hidden(
            &lab,
            &text.replace("[pipelines.orders]", &format!("[pipelines.orders]\n{checkpoint}")),
        );
    }
}

/// Taken by the other side, refused by it, and repeated by it in an error.
#[test]
fn n04_when_they_are_used() {
    let lab = Lab::new(3);
    lab.add_value(9, Value::Text("not JSON".to_owned()));
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let api = runtime.block_on(FakePort::start(Clock::system()));
    api.add_samples(0, [Clock::system().now().timestamp_millis() - 3_600_000]);
    let elastic = |hosts: String| {
        format!("type = \"elastic\"\nhosts = [\"{hosts}\"]\nindex = \"a\"\napi_key = \"{CANARY}\"")
    };
    cluster.lock().authorization = Some(format!("ApiKey {CANARY}"));
    assert_hidden(&lab, &pipeline(SQLITE, &elastic(cluster.url())));
    cluster.lock().authorization = Some("ApiKey other".to_owned());
    lab.add(4, 1);
    assert_hidden(&lab, &pipeline(SQLITE, &elastic(cluster.url())));
    let port = format!(
        "type = \"port\"\nurl = \"{}\"\nallow_http = true\nclient_id = \"client\"\nclient_secret = \"{CANARY}\"",
        api.url()
    );
    assert_hidden(&lab, &pipeline(&port, FILE));
    api.lock().pair = ("client".to_owned(), CANARY.to_owned());
    assert_hidden(&lab, &pipeline(&port, FILE));
}
