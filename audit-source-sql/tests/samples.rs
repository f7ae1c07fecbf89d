//! Published records, loaded into a table, come out byte for byte.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use audit_core::{ActionKind, Outcome};
use serde_json::Value;
use serde_json::value::RawValue;

use common::{CLASSIC, Db, pass};

/// The records of a file, each as the text it is there.
fn raw_list(text: &str) -> Vec<String> {
    let list: Vec<&RawValue> = serde_json::from_str(text).unwrap();
    list.into_iter().map(|raw| raw.get().to_owned()).collect()
}

/// Loads records as TEXT and as BLOB and compares what comes out.
async fn survive(records: &[String]) -> Vec<audit_core::AuditEvent> {
    let mut events = Vec::new();
    for kind in ["TEXT", "BLOB"] {
        let db = Db::new(CLASSIC);
        for record in records {
            let sql = format!("INSERT INTO audit_logs (message) VALUES (CAST(? AS {kind}))");
            db.execute(&sql, [record]);
        }
        let all = pass(&mut db.opened().await, 3, true).await;
        assert_eq!(all.raw(), records, "{kind}");
        assert!(all.rejected.is_empty());
        assert_eq!(db.unsent(), 0);
        events = all.events;
    }
    events
}

#[tokio::test]
async fn structured_log_transfer_messages() {
    let records = raw_list(include_str!("data/structured_log_transfer_messages.json"));
    let events = survive(&records).await;
    assert_eq!(events[0].time.timestamp_millis(), 1_665_664_496_789);
    assert_eq!(events[0].action.kind, ActionKind::Update);
    assert_eq!(events[0].outcome, Outcome::Success);
    let actor = events[0].actor.as_ref().unwrap();
    assert_eq!(actor.id.as_deref(), Some("42"));
    assert_eq!(events[0].origin.ip, Some("1.2.3.4".parse().unwrap()));
    assert_eq!(events[1].outcome, Outcome::Denied);
    assert_eq!(events[1].origin.ip, None);
    assert_eq!(events[1].actor.as_ref().unwrap().id, None);
}

#[tokio::test]
async fn structured_log_transfer_rows_share_their_id() {
    // The README's table: `id int` without a key, and two rows with id 1.
    let db = Db::new("CREATE TABLE audit_logs (id int, is_sent boolean, message json)");
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("data/structured_log_transfer_readme_rows.json"))
            .unwrap();
    let mut messages = Vec::new();
    for row in &rows {
        let sent = !matches!(row["is_sent"], Value::Bool(false) | Value::Number(_));
        let message = row["message"].to_string();
        db.execute("INSERT INTO audit_logs VALUES (?, ?, ?)", (row["id"].as_i64(), sent, &message));
        messages.push(message);
    }
    let all = pass(&mut db.opened().await, 10, true).await;
    assert_eq!(all.raw(), messages);
    assert!(all.events[0].id.as_str().starts_with("audit_logs:1@1:"), "{}", all.events[0].id);
    assert!(all.events[1].id.as_str().starts_with("audit_logs:1@2:"), "{}", all.events[1].id);
    assert_eq!(all.events[1].time.to_rfc3339(), "2022-10-13T09:34:56+00:00");
}

#[tokio::test]
async fn resilient_logger_documents() {
    let text = include_str!("data/resilient_logger_documents.json");
    let documents: Vec<serde_json::Map<String, Value>> = serde_json::from_str(text).unwrap();
    let whole = raw_list(text);
    assert_eq!(documents.len(), whole.len());
    survive(&whole).await;
    let inner: Vec<_> = documents.iter().map(|d| d["document"].to_string()).collect();
    let events = survive(&inner).await;
    assert_eq!(events[0].action.kind, ActionKind::Create);
    assert_eq!(events[0].target.as_ref().unwrap().kind.as_deref(), Some("Tag"));
    assert_eq!(events[0].target.as_ref().unwrap().scope.as_deref(), Some("dev"));
    let actor = events[0].actor.as_ref().unwrap();
    assert_eq!(actor.email.as_deref(), Some("ada@example.com"));
}

#[tokio::test]
async fn django_auditlog_rows() {
    for text in [
        include_str!("data/django_auditlog_rows_default.json"),
        include_str!("data/django_auditlog_rows_json.json"),
    ] {
        #[derive(serde::Deserialize)]
        struct Dump<'a> {
            #[serde(borrow)]
            auditlog_logentry: Vec<&'a RawValue>,
        }
        let dump: Dump<'_> = serde_json::from_str(text).unwrap();
        let rows: Vec<_> = dump.auditlog_logentry.iter().map(|r| r.get().to_owned()).collect();
        assert!(rows.len() > 5);
        survive(&rows).await;
    }
}
