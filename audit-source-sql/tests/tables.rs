//! Tables of every shape: ids of all types, flags in all spellings, hostile names, and what is said
//! when something is missing.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::HashSet;

use audit_core::{Error, ErrorKind, Source};
use audit_source_sql::{SqlConfig, SqlSource};

use common::{CLASSIC, Db, pass};

fn source(db: &Db, change: impl FnOnce(&mut SqlConfig)) -> SqlSource {
    let mut config = db.config();
    change(&mut config);
    SqlSource::new(config).unwrap()
}

async fn refused(db: &Db, change: impl FnOnce(&mut SqlConfig)) -> (Error, String) {
    let mut source = source(db, change);
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), source.open(None).await.unwrap_err().kind());
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let text = format!("{error}; {}", error.hint().unwrap_or_default());
    assert!(text.contains("app.db"), "{text}");
    (error, text)
}

#[tokio::test]
async fn ids_of_all_types_with_and_without_a_key() {
    let values = [
        "1",
        "-9223372036854775808",
        "9007199254740993",
        "'0190b5e4-7a2f-7c3d-8e9f-000000000001'",
        "'a b:c@d/é'",
        "'1'",
        "x'0190b5e47a2f'",
        "1.5",
        "''",
        "NULL",
    ];
    for ddl in [
        "CREATE TABLE audit_logs (id, is_sent, message)",
        "CREATE TABLE audit_logs (id UNIQUE, is_sent, message)",
        "CREATE TABLE audit_logs (x INTEGER PRIMARY KEY, id PRIMARY_KEY, is_sent, message)",
    ] {
        let db = Db::new(ddl);
        for value in values {
            db.execute(
                &format!(
                    "INSERT INTO audit_logs (id, is_sent, message) VALUES ({value}, 0, '{{}}')"
                ),
                [],
            );
        }
        let all = pass(&mut db.opened().await, 3, true).await;
        let ids: HashSet<_> = all.ids().into_iter().map(str::to_owned).collect();
        assert_eq!(ids.len(), values.len(), "{ddl}: {ids:?}");
        assert!(ids.iter().all(|id| id.is_ascii() && !id.contains(' ')), "{ids:?}");
        assert_eq!(db.unsent(), 0, "{ddl}");
        assert_eq!(ids.iter().any(|id| id.contains("@1:")), !ddl.contains("UNIQUE"), "{ids:?}");
    }
}

#[tokio::test]
async fn bigint_and_uuid_primary_keys_and_columns_that_hide_the_rowid() {
    for (ddl, first) in [
        ("id BIGINT PRIMARY KEY, is_sent, message", "3"),
        ("id INTEGER PRIMARY KEY DESC, is_sent, message", "3"),
        ("id TEXT PRIMARY KEY, is_sent, message, rowid INT, _rowid_ TEXT", "'3'"),
        ("rowid TEXT, is_sent, message, oid INTEGER PRIMARY KEY, id INT UNIQUE", "3"),
        ("ID INTEGER PRIMARY KEY, Is_Sent, MESSAGE", "3"),
    ] {
        let db = Db::new(&format!("CREATE TABLE audit_logs ({ddl})"));
        for id in [3, 1, 2] {
            db.insert(id, "{}");
        }
        let all = pass(&mut db.opened().await, 2, true).await;
        assert_eq!(all.events.len(), 3, "{ddl}");
        let start = format!("audit_logs:{first}:");
        assert!(all.ids().iter().any(|id| id.starts_with(&start)), "{ddl}: {:?}", all.ids());
        assert_eq!(db.unsent(), 0, "{ddl}");
    }
}

#[tokio::test]
async fn a_table_without_rowid_and_with_keys_of_all_types() {
    let db = Db::new("CREATE TABLE audit_logs (id PRIMARY KEY, is_sent, message) WITHOUT ROWID");
    for id in ["7", "8", "8.5", "'text'", "CAST(x'ff00' AS TEXT)", "x'ff'", "9"] {
        db.execute(&format!("INSERT INTO audit_logs VALUES ({id}, NULL, '{{}}')"), []);
    }
    let mut source = db.opened().await;
    let all = pass(&mut source, 2, false).await;
    assert_eq!(all.events.len(), 7);
    let last = all.cursors.last().unwrap();
    let mut next = db.source();
    next.open(Some(last)).await.unwrap();
    next.committed(last).await.unwrap();
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn whatever_is_not_true_is_unsent() {
    let db = Db::new("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent, message)");
    for (id, flag) in
        ["NULL", "0", "'0'", "'false'", "''", "0.0", "1", "'1'", "2"].iter().enumerate()
    {
        db.execute(&format!("INSERT INTO audit_logs VALUES ({id}, {flag}, '{{}}')"), []);
    }
    let all = pass(&mut db.opened().await, 100, true).await;
    assert_eq!(all.events.len(), 6);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM audit_logs WHERE is_sent = 1"), 7);
}

#[tokio::test]
async fn hostile_names_are_only_names() {
    let table = "x\"; DROP TABLE audit_logs; --";
    let quoted = table.replace('"', "\"\"");
    let db = Db::new(&format!(
        "CREATE TABLE audit_logs (id); CREATE TABLE \"{quoted}\" \
         (\"i'd]\" TEXT PRIMARY KEY, \"select\" INT, \"a \"\"b\"\"\" TEXT, \"?1\" TEXT)"
    ));
    db.execute(&format!("INSERT INTO \"{quoted}\" VALUES ('k', 0, '{{}}', '2024-05-06')"), []);
    let mut source = source(&db, |config| {
        config.table = Some(table.to_owned());
        config.id_column = "i'd]".to_owned();
        config.sent_column = "select".to_owned();
        config.message_column = "a \"b\"".to_owned();
        config.created_at_column = Some("?1".to_owned());
    });
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    let all = pass(&mut source, 10, true).await;
    assert_eq!(all.events[0].time.to_rfc3339(), "2024-05-06T00:00:00+00:00");
    assert!(all.ids()[0].starts_with("x%22%3B%20DROP%20TABLE%20audit_logs%3B%20--:k:"));
    assert_eq!(db.one::<i64>(&format!("SELECT \"select\" FROM \"{quoted}\"")), 1);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM sqlite_schema WHERE name = 'audit_logs'"), 1);
}

#[tokio::test]
async fn schema_and_table_may_be_given_together() {
    let db = Db::new(CLASSIC);
    db.app
        .execute_batch("CREATE TABLE \"a.b\" (id INTEGER PRIMARY KEY, is_sent, message)")
        .unwrap();
    for name in ["main.audit_logs", "a.b", "main.a.b", "AUDIT_LOGS"] {
        source(&db, |config| config.table = Some(name.to_owned())).check().await.unwrap();
    }
    refused(&db, |config| config.table = Some("other.audit_logs".to_owned())).await;
}

#[tokio::test]
async fn what_is_missing_is_named_with_a_way_out() {
    let db = Db::new(CLASSIC);
    let (_, text) = refused(&db, |config| config.table = Some("audit_log".to_owned())).await;
    assert!(text.contains("no such table") && text.contains("`audit_logs`"), "{text}");
    let (_, text) = refused(&db, |config| config.sent_column = "sent".to_owned()).await;
    assert!(text.contains("sent_column") && text.contains("`is_sent`"), "{text}");
    let (_, text) = refused(&db, |config| config.created_at_column = Some("at".to_owned())).await;
    assert!(text.contains("created_at"), "{text}");
    db.app.execute_batch("CREATE VIEW v AS SELECT * FROM audit_logs").unwrap();
    let (_, text) = refused(&db, |config| config.table = Some("v".to_owned())).await;
    assert!(text.contains("view"), "{text}");
    db.app
        .execute_batch(
            "CREATE TABLE pair (id, b, is_sent, message, PRIMARY KEY (id, b)) WITHOUT ROWID;
         CREATE TABLE made (id INTEGER PRIMARY KEY, x, is_sent AS (x), message)",
        )
        .unwrap();
    refused(&db, |config| config.table = Some("pair".to_owned())).await;
    refused(&db, |config| config.table = Some("made".to_owned())).await;
    let empty = Db::new("");
    let (_, text) = refused(&empty, |_| ()).await;
    assert!(text.contains("no tables"), "{text}");
}

#[tokio::test]
async fn a_missing_file_is_an_error_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let mut source = SqlSource::new(SqlConfig::new(path.to_str().unwrap())).unwrap();
    for error in [source.check().await.unwrap_err(), source.open(None).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("none.db"), "{error}");
    }
    assert!(!path.exists());
    std::fs::write(&path, "this is not a database, but long enough to have a header ......")
        .unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(source.check().await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn the_suggested_index_is_used_and_a_useless_one_is_not() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=50);
    db.app.execute_batch("CREATE INDEX by_flag ON audit_logs (is_sent); ANALYZE").unwrap();
    assert_eq!(pass(&mut db.opened().await, 7, true).await.events.len(), 50);
    db.insert_many(51..=55);
    db.app.execute_batch(
        "CREATE INDEX audit_logs_unsent ON audit_logs (id) WHERE \"is_sent\" IS NOT TRUE; ANALYZE",
    ).unwrap();
    assert_eq!(pass(&mut db.opened().await, 7, true).await.events.len(), 5);
    let plan: String = db
        .app
        .query_row(
            "EXPLAIN QUERY PLAN SELECT id, message FROM audit_logs \
             WHERE is_sent IS NOT TRUE AND id > 5 ORDER BY id",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("audit_logs_unsent"), "{plan}");
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn check_changes_nothing() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=5);
    let before = std::fs::read(db.path()).unwrap();
    let version: i64 = db.one("PRAGMA data_version");
    db.source().check().await.unwrap();
    assert_eq!(db.one::<i64>("PRAGMA data_version"), version);
    assert_eq!(std::fs::read(db.path()).unwrap(), before);
    assert_eq!(db.unsent(), 5);
}
