//! The lines of the builder, compared with those of the Python package it replaces, and the
//! builder's state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use audit_core::logger::{
    AuditLogger, AuditRecord, Emitter, HttpResponse, Level, Limits, Mask, Masking, Shape, User,
};
use audit_core::{ActionKind, Clock, ErrorKind, EventId, Outcome};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Made by `data/logger/generate.py` from real runs of datapunt_audit_log 0.4.0.
const LINES: &str = include_str!("data/logger/lines.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    calls: Vec<(String, Arguments)>,
    line: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    reason: String,
    headers: Option<Pairs>,
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    email: String,
    roles: Option<Vec<String>>,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    realm: String,
    #[serde(default)]
    object_name: String,
    kwargs: Option<Box<RawValue>>,
    #[serde(default)]
    results: Option<Box<RawValue>>,
    #[serde(default)]
    msg: String,
}

/// An object whose order counts.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn call(logger: &mut AuditLogger, name: &str, a: &Arguments) {
    match name {
        "set_http_request" => logger.set_http_request(&a.method, &a.url, &a.user_agent),
        "set_http_response" => {
            let headers = a.headers.as_ref().map(|Pairs(pairs)| {
                let pairs = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                pairs.collect::<Vec<_>>()
            });
            logger.set_http_response(a.status_code, &a.reason, headers.as_deref())
        }
        "set_user" => {
            let roles = a.roles.as_ref();
            let roles = roles.map(|r| r.iter().map(String::as_str).collect::<Vec<_>>());
            let authenticated = a.authenticated;
            logger.set_user(authenticated, &a.provider, &a.email, roles.as_deref(), &a.ip, &a.realm)
        }
        "set_filter" => logger.set_filter(&a.object_name, &a.kwargs),
        "set_results" => logger.set_results(&a.results),
        "debug" => logger.debug(a.msg.as_str()),
        "info" => logger.info(a.msg.as_str()),
        "warning" => logger.warning(a.msg.as_str()),
        "error" => logger.error(a.msg.as_str()),
        "critical" => logger.critical(a.msg.as_str()),
        other => panic!("no such call: {other}"),
    };
}

#[test]
fn writes_the_lines_of_the_python_package() {
    let cases: Vec<Case> = serde_json::from_str(LINES).unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let mut logger = AuditLogger::new();
        for (name, arguments) in &case.calls {
            call(&mut logger, name, arguments);
        }
        let record = logger.record().unwrap();
        assert_eq!(record.to_json_line().unwrap(), case.line, "{}", case.name);
        let mut out = b"x".to_vec();
        record.append_line(&mut out).unwrap();
        assert_eq!(out.split_off(1), case.line.as_bytes(), "{}", case.name);
    }
}

#[test]
fn floats_of_rust_are_written_like_python_s() {
    let cases: Vec<Case> = serde_json::from_str(LINES).unwrap();
    let case = cases.iter().find(|c| c.name == "results floats").unwrap();
    let line: Value = serde_json::from_str(&case.line).unwrap();
    let floats: Vec<f64> = serde_json::from_value(line["audit"]["results"].clone()).unwrap();
    let mut logger = AuditLogger::new();
    let record = logger.set_results(floats).record().unwrap();
    assert_eq!(record.to_json_line().unwrap(), case.line);
}

#[test]
fn what_json_does_not_have_becomes_null() {
    let mut logger = AuditLogger::new();
    let record = logger.set_results([f64::NAN, f64::INFINITY]).record();
    assert_eq!(record.unwrap().results_json(), Some("[null, null]"));
}

#[test]
fn a_value_that_is_not_json_fails_every_record_until_it_is_replaced() {
    let bad = HashMap::from([((1, 2), 3)]);
    let mut logger = AuditLogger::new();
    logger.set_filter("Book", &bad).set_results(&bad).info("x");
    for _ in 0..2 {
        let error = logger.record().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("filter"), "{error}");
    }
    let error = logger.set_filter("Book", ()).record().unwrap_err();
    assert!(error.to_string().contains("results"), "{error}");
    assert!(logger.set_results(()).record().is_ok());
}

#[test]
fn the_logger_keeps_its_state_but_neither_id_nor_time() {
    let now = DateTime::from_timestamp_millis(1_665_664_496_789).unwrap();
    let given: DateTime<Utc> = now - chrono::TimeDelta::days(1);
    let mut logger = AuditLogger::new().with_clock(Clock::from_fn(move || now));
    logger.user(User::authenticated("ada@example.com"));
    logger.id(EventId::new("first")).time(given).warning("one");
    let first = logger.record().unwrap();
    let second = logger.record().unwrap();
    assert_eq!((first.id().as_str(), first.time()), ("first", given));
    assert_eq!(second.time(), now);
    assert_ne!(second.id(), first.id());
    assert_ne!(second.id(), logger.record().unwrap().id());
    assert_eq!(first.to_json_line().unwrap(), second.to_json_line().unwrap());
    assert_eq!(second.level(), Level::Warning);
    logger.id(EventId::new("third"));
    assert_ne!(logger.clone().record().unwrap().id().as_str(), "third");
    assert_eq!(logger.record().unwrap().id().as_str(), "third");
    let changed = logger.info("two").record().unwrap();
    assert_eq!((first.message(), changed.message()), ("one", "two"), "records do not change");
}

#[test]
fn an_event_has_what_the_record_knows() {
    let mut logger = AuditLogger::new();
    logger
        .application("shop")
        .correlation_id("r-1")
        .set_http_request("DELETE", "https://shop.example/books/1", "curl/8")
        .set_http_response(403, "Forbidden", None)
        .user(User::authenticated("ada@example.com").ip(" 10.0.0.1 "))
        .set_filter("Book", json!({"id": 1}))
        .named_action("book.destroy", ActionKind::Delete)
        .error("Destroy book");
    let record = logger.record().unwrap();
    for shape in Shape::ALL {
        let event = record.to_event("shop-log", *shape).unwrap();
        assert_eq!(event.id, *record.id());
        assert_eq!(event.time, record.time());
        assert_eq!(&*event.source, "shop-log");
        assert_eq!(event.raw.get(), record.to_line(*shape).unwrap());
        assert_eq!(event.action.kind, ActionKind::Delete);
        assert_eq!(event.actor.unwrap().email.as_deref(), Some("ada@example.com"));
        assert_eq!(event.target.unwrap().kind.as_deref(), Some("Book"));
        assert_eq!(event.outcome, Outcome::Denied);
        assert_eq!(event.origin.ip, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(event.origin.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(event.origin.via.as_deref(), Some("shop"));
        assert_eq!(event.origin.correlation_id.as_deref(), Some("r-1"));
        assert_eq!(event.message.as_deref(), Some("Destroy book"));
    }
    let record = logger.user(User::anonymous().ip("unknown, spoofed"));
    let event = record.record().unwrap().to_event("x", Shape::Audit);
    assert_eq!(event.unwrap().origin.ip, None);
}

#[test]
fn the_status_code_tells_the_outcome_unless_it_is_set() {
    let mut logger = AuditLogger::new();
    let mut outcome = |code| {
        logger.http_response((code, ""));
        logger.record().unwrap().outcome()
    };
    assert_eq!(outcome(204), Outcome::Success);
    assert_eq!(outcome(302), Outcome::Success);
    assert_eq!(outcome(401), Outcome::Denied);
    assert_eq!(outcome(403), Outcome::Denied);
    assert_eq!(outcome(404), Outcome::Failure);
    assert_eq!(outcome(500), Outcome::Failure);
    assert_eq!(outcome(100), Outcome::Unknown);
    logger.outcome(Outcome::Success);
    assert_eq!(logger.record().unwrap().outcome(), Outcome::Success);
}

#[derive(Default)]
struct Kept(Mutex<Vec<AuditRecord>>);

impl Emitter for Kept {
    fn emit(&self, record: &AuditRecord) -> audit_core::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
        Ok(())
    }
}

#[test]
fn every_level_is_sent_and_each_send_is_a_record_of_its_own() {
    let kept = Arc::new(Kept::default());
    let mut logger = AuditLogger::new().with_emitter(kept.clone());
    logger.debug("d").send_log().unwrap();
    logger.info("i").send_log().unwrap();
    logger.warning("w").send_log().unwrap();
    logger.error("e").send_log().unwrap();
    logger.critical("c").send_log().unwrap();
    logger.id(EventId::new("again")).send_log().unwrap();
    logger.send_log().unwrap();
    let records = kept.0.lock().unwrap();
    let levels: Vec<_> = records.iter().map(|r| r.level().as_str()).collect();
    let critical = "CRITICAL";
    assert_eq!(levels, ["DEBUG", "INFO", "WARNING", "ERROR", critical, critical, critical]);
    assert_eq!(records[5].id().as_str(), "again");
    let ids: std::collections::HashSet<_> = records.iter().map(|r| r.id().clone()).collect();
    assert_eq!(ids.len(), 7);
}

#[test]
fn what_is_below_the_level_is_not_sent() {
    let kept = Arc::new(Kept::default());
    let mut logger = AuditLogger::new().with_emitter(kept.clone()).with_level(Level::Warning);
    logger.debug("d").send_log().unwrap();
    logger.info("i").send_log().unwrap();
    logger.warning("w").send_log().unwrap();
    assert_eq!(kept.0.lock().unwrap().len(), 1);
}

#[test]
fn a_bad_value_is_told_and_nothing_is_sent() {
    let kept = Arc::new(Kept::default());
    let mut logger = AuditLogger::new().with_emitter(kept.clone());
    let bad = HashMap::from([((1, 2), 3)]);
    assert_eq!(logger.set_results(&bad).send_log().unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(logger.diff(&1, &bad).send_log().unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(kept.0.lock().unwrap().is_empty());
    logger.diff(&json!({"a": 1}), &json!({"a": 2})).send_log().unwrap();
    assert_eq!(kept.0.lock().unwrap()[0].results_json(), Some(r#"{"changes": {"a": [1, 2]}}"#));
}

#[test]
fn secrets_are_masked_whichever_way_they_are_set() {
    let response = HttpResponse::new(200, "OK").header("Set-Cookie", "canary").header("A", "b");
    let kwargs = json!({"a": [{"password": "canary"}], "b": 1});
    let mut plain = AuditLogger::new();
    plain
        .set_http_request("GET", "https://x/?token=canary&q=1", "")
        .set_http_response(200, "OK", Some(&[("Set-Cookie", "canary"), ("A", "b")]))
        .set_filter("Book", &kwargs)
        .set_results(&kwargs);
    let mut typed = AuditLogger::new();
    typed
        .http_request(("GET", "https://x/?token=canary&q=1"))
        .http_response(response)
        .filter(audit_core::logger::Filter::new("Book", &kwargs).unwrap())
        .set_results(&kwargs);
    let lines = [plain, typed].map(|mut logger| logger.record().unwrap().to_json_line().unwrap());
    assert_eq!(lines[0], lines[1]);
    assert!(!lines[0].contains("canary"), "{}", lines[0]);
    assert!(lines[0].contains(r#""headers": {"Set-Cookie": "***", "A": "b"}"#), "{}", lines[0]);
    assert!(lines[0].contains("?token=***&q=1"), "{}", lines[0]);

    let mut off = AuditLogger::new().with_masking(Masking::none().with("b", Mask::Drop));
    let line = off.set_results(&kwargs).record().unwrap().to_json_line().unwrap();
    assert!(line.contains(r#""results": {"a": [{"password": "canary"}]}"#), "{line}");
}

#[test]
fn what_is_too_large_is_cut_whichever_way_it_is_set() {
    let limits = Limits::default().max_text_bytes(20).max_json_bytes(50);
    let mut logger = AuditLogger::new().with_limits(limits);
    let large = "x".repeat(100);
    logger
        .set_http_request("GET", &large, "")
        .http_response(HttpResponse::new(200, "OK").header("h", large.as_str()))
        .user(User::authenticated(large.as_str()).roles([large.as_str()]))
        .set_filter("Book", &large)
        .set_results(&large)
        .info(&large);
    let record = logger.record().unwrap();
    let line = record.to_json_line().unwrap();
    assert_eq!(record.message(), format!("{}…[+80 bytes]", "x".repeat(20)));
    assert_eq!(record.results_json(), Some(r#"{"omitted_bytes": 102}"#));
    assert!(!line.contains(&"x".repeat(21)), "{line}");
}

/// With `AUDIT_TEST_PYTHON` set to an interpreter that has the package, its lines are made anew.
#[test]
fn the_golden_lines_are_what_the_python_package_writes() {
    let Some(python) = std::env::var_os("AUDIT_TEST_PYTHON") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/logger/generate.py");
    let output = std::process::Command::new(python).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(cases(&String::from_utf8(output.stdout).unwrap()), cases(LINES));
}

proptest! {
    #[test]
    fn every_shape_is_one_ascii_line_of_json(
        texts in prop::collection::vec(any::<String>(), 8), code in any::<u16>(), flag in any::<bool>(),
    ) {
        let [a, b, c, d, e, f, g, h] = texts.as_slice() else { unreachable!() };
        let mut logger = AuditLogger::new();
        logger
            .set_http_request(a, b, c)
            .set_http_response(code, d, Some(&[(e, f)]))
            .set_user(flag, c, g, Some(&[h, a]), b, d)
            .set_filter(e, json!({ f.as_str(): g }))
            .set_results(&texts)
            .application(h.as_str())
            .named_action(a.as_str(), ActionKind::Other)
            .critical(b.as_str());
        let record = logger.record().unwrap();
        for shape in Shape::ALL {
            let line = record.to_line(*shape).unwrap();
            prop_assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", line);
            let value: Value = serde_json::from_str(&line).unwrap();
            if *shape == Shape::Canonical {
                prop_assert_eq!(value["raw"].to_string(), {
                    let line: Value = serde_json::from_str(&record.to_json_line()?)?;
                    line.to_string()
                });
                prop_assert_eq!(value["id"].as_str(), Some(record.id().as_str()));
            } else if *shape != Shape::AuditEvent {
                prop_assert_eq!(&value["audit"]["results"], &json!(texts));
                prop_assert_eq!(&value["audit"]["message"], b);
                prop_assert_eq!(&value["audit"]["user"]["roles"], &json!([h, a]));
                prop_assert_eq!(&value["audit"]["http_response"]["headers"][e], f);
            } else {
                prop_assert_eq!(&value["audit_event"]["operation"], a);
            }
        }
    }
}
