//! The table of django-auditlog on SQLite: records, versions of the table, and marks.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use audit_core::{ActionKind, AuditEvent, ErrorKind, Outcome, Source};
use audit_source_sql::{Changes, Layout, Operation, SqlConfig, SqlSource};
use serde_json::Value;

use common::{Db, pass};

/// What the rows refer to.
const AROUND: &str = r#"
CREATE TABLE auth_user (id integer PRIMARY KEY, password text, username text, first_name text,
    last_name text, email text);
CREATE TABLE django_content_type (id integer PRIMARY KEY, app_label text, model text);
INSERT INTO auth_user VALUES (1, 'canary', 'ada', 'Ada', 'Lovelace', 'ada@example.com');
INSERT INTO django_content_type VALUES (7, 'lib_app', 'tag'), (8, 'lib_app', 'book');
"#;

/// The table of version 3.
const TABLE: &str = "CREATE TABLE auditlog_logentry (id integer PRIMARY KEY, object_pk varchar(255), \
    object_id bigint, object_repr text, action smallint, timestamp datetime, actor_id integer, \
    content_type_id integer, remote_addr char(39), additional_data text, serialized_data text, \
    cid varchar(255), changes_text text NOT NULL DEFAULT '', changes text)";

fn db(table: &str) -> Db {
    let db = Db::new(table);
    db.app.execute_batch(AROUND).unwrap();
    db
}

fn config(db: &Db) -> SqlConfig {
    let mut config = db.config();
    config.layout = Layout::DjangoAuditlog;
    config.origin = "library".to_owned();
    config.environment = "test".to_owned();
    config
}

async fn opened(config: SqlConfig) -> SqlSource {
    let mut source = SqlSource::new(config).unwrap();
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    source
}

async fn all(db: &Db, change: impl FnOnce(&mut SqlConfig)) -> Vec<AuditEvent> {
    let mut config = config(db);
    change(&mut config);
    let pass = pass(&mut opened(config).await, 3, false).await;
    assert!(pass.rejected.is_empty(), "{:?}", pass.rejected);
    pass.events
}

async fn refused(config: SqlConfig) -> String {
    let mut source = SqlSource::new(config).unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    format!("{error} {}", error.hint().unwrap_or_default())
}

fn unsent(db: &Db) -> i64 {
    db.one(
        "SELECT count(*) FROM auditlog_logentry \
         WHERE additional_data -> '$.is_sent' IS NOT 'true'",
    )
}

/// Loads the rows of a published dump.
fn load(dump: &str) -> Db {
    let dump: Value = serde_json::from_str(dump).unwrap();
    let db = db(dump["ddl_sqlite"].as_str().unwrap());
    for row in dump["auditlog_logentry"].as_array().unwrap() {
        let row = row.as_object().unwrap();
        let names: Vec<_> = row.keys().map(String::as_str).collect();
        let values: Vec<_> = row
            .values()
            .map(|value| match value {
                Value::Null => rusqlite::types::Value::Null,
                Value::Number(n) => n.as_i64().unwrap().into(),
                other => other.as_str().unwrap().to_owned().into(),
            })
            .collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO auditlog_logentry ({}) VALUES ({marks})", names.join(", "));
        db.execute(&sql, rusqlite::params_from_iter(values));
    }
    db
}

#[tokio::test]
async fn published_rows_become_the_documents_of_the_program_that_was_replaced() {
    let db = load(include_str!("data/django_auditlog_rows_default.json"));
    let mut source = opened(config(&db)).await;
    let pass = pass(&mut source, 3, true).await;
    assert!(pass.rejected.is_empty(), "{:?}", pass.rejected);
    let raw = pass.raw();
    assert_eq!(
        raw[0],
        r#"{"audit_event":{"actor":"Ada Lovelace","date_time":"2026-11-21T02:50:26.521048+00:00","operation":"create","origin":"library","target":"rust","environment":"test","message":{"name": ["None", "rust"], "id": ["None", "1"]}}}"#
    );
    // Escapes of the changes stay as they are stored; those of the other columns are ours.
    assert!(raw[1].contains(r#""target":"Audit, \"logs\" & more — ä","#), "{}", raw[1]);
    assert!(raw[1].contains(r#"["None", "Audit, \"logs\" & more \u2014 \u00e4"]"#), "{}", raw[1]);
    assert!(raw[2].contains(r#""target":"Renamed\nline two","#), "{}", raw[2]);
    assert!(raw[4].contains(r#""operation":"access""#) && raw[4].ends_with(r#""message":null}}"#));
    assert!(raw[5].contains(r#""actor":"unknown""#), "{}", raw[5]);
    assert!(raw[6].contains(r#""operation":"delete""#), "{}", raw[6]);
    assert!(pass.ids()[0].starts_with("auditlog_logentry:1:"), "{:?}", pass.ids());

    let event = &pass.events[0];
    assert_eq!(event.time.to_rfc3339(), "2026-11-21T02:50:26.521048+00:00");
    assert_eq!(event.action.kind, ActionKind::Create);
    assert_eq!(event.action.name.as_deref(), Some("lib_app.tag.create"));
    assert_eq!(event.outcome, Outcome::Success);
    let actor = event.actor.as_ref().unwrap();
    assert_eq!((actor.id.as_deref(), actor.name.as_deref()), (Some("1"), Some("Ada Lovelace")));
    assert_eq!(actor.email.as_deref(), Some("ada@example.com"));
    let target = event.target.as_ref().unwrap();
    assert_eq!((target.id.as_deref(), target.kind.as_deref()), (Some("1"), Some("lib_app.tag")));
    assert_eq!((target.name.as_deref(), target.scope.as_deref()), (Some("rust"), Some("test")));
    assert_eq!(event.origin.ip, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(event.origin.via.as_deref(), Some("library"));
    assert_eq!(pass.events[4].action.kind, ActionKind::Read);
    assert_eq!(pass.events[5].actor, None);
    assert_eq!(pass.events[6].origin.ip, Some("2001:db8::1".parse().unwrap()));
    assert_eq!(unsent(&db), 0);
    assert_eq!(
        db.one::<String>("SELECT DISTINCT additional_data FROM auditlog_logentry"),
        r#"{"is_sent":true}"#
    );
}

#[tokio::test]
async fn operations_as_codes_and_changes_as_text() {
    let db = load(include_str!("data/django_auditlog_rows_json.json"));
    let events = all(&db, |config| {
        config.operation = Operation::Codes;
        config.changes = Changes::Text;
    })
    .await;
    let raw = events[0].raw.get();
    assert!(raw.contains(r#""operation":"0","#), "{raw}");
    assert!(
        raw.ends_with(r#""message":"{\"name\": [null, \"rust\"], \"id\": [null, 1]}"}}"#),
        "{raw}"
    );
    assert_eq!(events[0].action.kind, ActionKind::Create, "the envelope is the same");
    assert!(events[4].raw.get().ends_with(r#""message":null}}"#), "{}", events[4].raw.get());
}

#[tokio::test]
async fn changes_are_spliced_and_never_rewritten() {
    let db = db(TABLE);
    let odd = r#"{"ä":[1.10,123456789012345678901234567890],"a":["\u0041",-0.0,1E400],"a":[]}"#;
    // What is no JSON is text; what was moved to `changes_text` is found there.
    let rows = [
        (Some(odd), "", odd.to_owned()),
        (Some("{cut"), "", r#""{cut""#.to_owned()),
        (None, r#"{"old": ["1", "2"]}"#, r#"{"old": ["1", "2"]}"#.to_owned()),
        (None, "", "null".to_owned()),
        (Some(""), "", "null".to_owned()),
        (Some("null"), "x", "null".to_owned()),
    ];
    for (changes, text, _) in &rows {
        db.execute(
            "INSERT INTO auditlog_logentry (object_repr, action, timestamp, changes, changes_text) \
             VALUES ('スコア', 7, '2024-05-06 07:08:09', ?, ?)",
            (changes, text),
        );
    }
    for (event, (.., message)) in all(&db, |_| {}).await.iter().zip(rows) {
        let raw = event.raw.get();
        assert!(raw.ends_with(&format!(r#""message":{message}}}}}"#)), "{raw}");
        assert!(raw.contains(r#""operation":"7","origin":"library","target":"スコア""#), "{raw}");
        assert!(raw.contains(r#""date_time":"2024-05-06T07:08:09.000000+00:00""#), "{raw}");
        assert_eq!(event.action.kind, ActionKind::Other);
    }
}

#[tokio::test]
async fn the_actor_is_the_full_name_or_the_address_or_unknown() {
    let db = db(TABLE);
    db.app
        .execute_batch(
            "INSERT INTO auth_user (id, first_name, last_name, email) VALUES \
             (2, ' Grace', '', 'grace@example.com'), (3, '', '', 'g@example.com'), \
             (4, '', '', ''), (5, NULL, NULL, NULL);
             INSERT INTO auditlog_logentry (object_repr, action, timestamp, actor_id) \
             SELECT '', 1, '2024-05-06', value FROM json_each('[1, 2, 3, 4, 5, 99, null]')",
        )
        .unwrap();
    let actors = |events: &[AuditEvent]| -> Vec<String> {
        let of = |event: &AuditEvent| {
            let record: Value = serde_json::from_str(event.raw.get()).unwrap();
            record["audit_event"]["actor"].as_str().unwrap().to_owned()
        };
        events.iter().map(of).collect()
    };
    let events = all(&db, |_| {}).await;
    assert_eq!(
        actors(&events),
        ["Ada Lovelace", "Grace", "g@example.com", "", "", "unknown", "unknown"]
    );
    assert_eq!(events[5].actor.as_ref().unwrap().id.as_deref(), Some("99"));
    assert_eq!(events[6].actor, None);

    // A user model of one's own: another key, and no names.
    db.app
        .execute_batch(
            "CREATE TABLE people (uid integer PRIMARY KEY, EMail text); \
             INSERT INTO people VALUES (2, 'p@example.com')",
        )
        .unwrap();
    let events = all(&db, |config| config.user_table = "people".to_owned()).await;
    assert_eq!(actors(&events)[..3], ["unknown", "p@example.com", "unknown"]);
    let events = all(&db, |config| config.user_table = String::new()).await;
    assert_eq!(actors(&events), ["unknown"; 7]);

    let mut wrong = config(&db);
    wrong.user_table = "auth_users".to_owned();
    let text = refused(wrong).await;
    assert!(text.contains("`auth_user`") && text.contains("set `user_table`"), "{text}");
}

#[tokio::test]
async fn a_renamed_user_is_no_other_event() {
    let db = db(TABLE);
    db.execute(
        "INSERT INTO auditlog_logentry (action, timestamp, actor_id, additional_data) \
         VALUES (1, '2024-05-06', 1, '{\"a\": 1.10}')",
        [],
    );
    let mut source = opened(config(&db)).await;
    let batch = common::batch(&mut source, common::limit(9)).await.unwrap();
    db.execute("UPDATE auth_user SET last_name = 'King'", []);
    db.execute("UPDATE auditlog_logentry SET additional_data = '{\"b\":2}'", []);
    source.committed(&batch.cursor).await.unwrap();
    assert_eq!(
        db.one::<String>("SELECT additional_data FROM auditlog_logentry"),
        r#"{"b":2,"is_sent":true}"#,
        "what others wrote meanwhile is kept"
    );
    db.execute("UPDATE auditlog_logentry SET additional_data = NULL", []);
    let again = all(&db, |_| {}).await;
    assert_eq!(again[0].id, batch.events[0].id);
}

#[tokio::test]
async fn nothing_but_true_counts_as_sent_and_nothing_is_in_the_way_for_ever() {
    let db = db(TABLE);
    // What is stored, and what a mark makes of it.
    let shapes: [(&str, &str); 19] = [
        ("NULL", r#"{"is_sent":true}"#),
        ("'null'", r#"{"is_sent":true}"#),
        ("'{}'", r#"{"is_sent":true}"#),
        (r#"'{"x":1.10,"is_sent":false,"ä":["é"]}'"#, r#"{"x":1.10,"is_sent":true,"ä":["é"]}"#),
        (r#"'{"is_sent":null}'"#, r#"{"is_sent":true}"#),
        (r#"'{"is_sent":"true"}'"#, r#"{"is_sent":true}"#),
        (r#"'{"is_sent":"false"}'"#, r#"{"is_sent":true}"#),
        (r#"'{"is_sent":0}'"#, r#"{"is_sent":true}"#),
        (r#"'{"is_sent":1}'"#, r#"{"is_sent":true}"#),
        (r#"'{"is_sent":[true]}'"#, r#"{"is_sent":true}"#),
        (r#"'{"IS_SENT":true}'"#, r#"{"IS_SENT":true,"is_sent":true}"#),
        (r#"'{"deep":{"is_sent":true}}'"#, r#"{"deep":{"is_sent":true},"is_sent":true}"#),
        (r#"'[{"is_sent":true}]'"#, r#"{"is_sent":true,"additional_data":[{"is_sent":true}]}"#),
        ("'true'", r#"{"is_sent":true,"additional_data":true}"#),
        (r#"'"text"'"#, r#"{"is_sent":true,"additional_data":"text"}"#),
        ("12", r#"{"is_sent":true,"additional_data":12}"#),
        ("'{cut'", r#"{"is_sent":true,"additional_data":"{cut"}"#),
        ("''", r#"{"is_sent":true,"additional_data":""}"#),
        ("x'00ff'", r#"{"is_sent":true,"additional_data":"00FF"}"#),
    ];
    let insert = |value: &str| {
        db.execute(&format!("INSERT INTO auditlog_logentry (action, timestamp, additional_data) VALUES (1, '2024-05-06', {value})"), []);
    };
    for (value, _) in shapes {
        insert(value);
    }
    for sent in [r#"'{"is_sent":true}'"#, r#"'{"a":1, "is_sent" : true}'"#] {
        insert(sent);
    }
    let mut source = opened(config(&db)).await;
    assert_eq!(pass(&mut source, 4, true).await.events.len(), shapes.len());
    assert_eq!(pass(&mut source, 4, true).await.events.len(), 0);
    for (id, (value, expected)) in shapes.iter().enumerate() {
        let found: String =
            db.one(&format!("SELECT additional_data FROM auditlog_logentry WHERE id = {}", id + 1));
        assert_eq!(&found, expected, "{value}");
    }
    assert_eq!(opened(config(&db)).await.open(None).await.map_err(|e| e.to_string()), Ok(()));
    assert!(all(&db, |_| {}).await.is_empty());
}

#[tokio::test]
async fn versions_of_the_table() {
    // 2.x: the changes are text, and neither cid nor content types have to be there.
    let db = Db::new(
        "CREATE TABLE auditlog_logentry (id integer PRIMARY KEY, object_pk varchar(255), \
         object_id bigint, object_repr text, action smallint, changes text NOT NULL, \
         timestamp datetime, actor_id integer, content_type_id integer, remote_addr char(39), \
         additional_data text)",
    );
    db.execute(
        "INSERT INTO auditlog_logentry VALUES (1, 'k', NULL, 'r', 3, 'null', '2024-05-06 07:08:09.5', \
         NULL, 7, NULL, NULL)",
        [],
    );
    let mut config = config(&db);
    config.user_table = String::new();
    let mut source = opened(config.clone()).await;
    let read = pass(&mut source, 9, true).await;
    assert!(read.raw()[0].contains(r#""operation":"access""#), "{:?}", read.raw());
    assert_eq!(read.events[0].action.name.as_deref(), Some("access"));
    assert_eq!(unsent(&db), 0);

    // 3.1 and later.
    db.app
        .execute_batch(
            "ALTER TABLE auditlog_logentry ADD COLUMN cid text; \
             ALTER TABLE auditlog_logentry ADD COLUMN actor_email text; \
             UPDATE auditlog_logentry SET additional_data = NULL, cid = 'c-1', actor_email = 'a@x'",
        )
        .unwrap();
    let events = all(&db, |c| *c = config.clone()).await;
    assert_eq!(events[0].origin.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(events[0].actor.as_ref().unwrap().email.as_deref(), Some("a@x"));
    assert!(events[0].raw.get().contains(r#""actor":"unknown""#), "as the old program says");

    for (column, wanted) in [("additional_data", "keyset"), ("changes", "layout")] {
        db.execute(&format!("ALTER TABLE auditlog_logentry DROP COLUMN {column}"), []);
        let text = refused(config.clone()).await;
        assert!(text.contains(column) && text.contains(wanted), "{text}");
    }
}

#[tokio::test]
async fn q06_a_column_that_is_not_utf_8_is_rejected_and_others_pass() {
    let db = db(TABLE);
    for repr in ["'a'", "CAST(x'ff' AS TEXT)", "'b'"] {
        db.execute(&format!("INSERT INTO auditlog_logentry (object_repr, action, timestamp) VALUES ({repr}, 1, '2024-05-06')"), []);
    }
    let all = pass(&mut opened(config(&db)).await, 9, true).await;
    assert_eq!((all.events.len(), all.rejected.len()), (2, 1));
    assert!(all.rejected[0].reason.contains("object_repr"), "{}", all.rejected[0].reason);
    assert_eq!(unsent(&db), 0);
}
