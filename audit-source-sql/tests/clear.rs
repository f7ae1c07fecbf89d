//! Q-07: old rows that are sent are deleted, and no others, whatever their shape.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use audit_core::ErrorKind;
use audit_source_sql::{Cleaner, Layout, SqlConfig};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use tokio::sync::Notify;

use common::{CLASSIC, Db};

const ENTRIES: &str = "CREATE TABLE auditlog_logentry (id integer PRIMARY KEY, timestamp datetime, \
    action smallint, object_pk text, object_repr text, changes text, additional_data text)";

/// Flags, and whether they say that a row is sent.
const FLAGS: [(&str, bool); 12] = [
    ("1", true),
    ("true", true),
    ("2", true),
    ("-1", true),
    ("'1'", true),
    ("NULL", false),
    ("0", false),
    ("false", false),
    ("'true'", false),
    ("'yes'", false),
    ("''", false),
    ("x'01'", false),
];

/// The same for `additional_data`.
const DATA: [(&str, bool); 15] = [
    (r#"'{"is_sent":true}'"#, true),
    (r#"'{"a":[1.10], "is_sent" : true }'"#, true),
    ("NULL", false),
    ("'null'", false),
    ("'{}'", false),
    (r#"'{"other":1}'"#, false),
    (r#"'{"is_sent":false}'"#, false),
    (r#"'{"is_sent":null}'"#, false),
    (r#"'{"is_sent":"true"}'"#, false),
    (r#"'{"is_sent":1}'"#, false),
    (r#"'{"deep":{"is_sent":true}}'"#, false),
    (r#"'[{"is_sent":true}]'"#, false),
    ("'true'", false),
    ("'{cut'", false),
    ("x'00'", false),
];

/// Times, and whether they are before [`before`].
const TIMES: [(&str, bool); 12] = [
    ("'2024-05-06 07:08:08.999999'", true),
    ("'2024-05-06T07:08:08Z'", true),
    ("'2024-05-06T09:08:08.9+02:00'", true),
    ("'2024-05-06'", true),
    ("1714979288", true),
    ("'2024-05-06 07:08:09'", false),
    ("'2024-05-06 07:08:09.000001'", false),
    ("'2024-05-06T07:08:08-00:30'", false),
    ("'2124-05-06 07:08:09'", false),
    ("1714979290", false),
    ("NULL", false),
    ("'long ago'", false),
];

fn before() -> DateTime<Utc> {
    "2024-05-06T07:08:09Z".parse().unwrap()
}

fn config(db: &Db, layout: Layout) -> SqlConfig {
    let mut config = db.config();
    config.layout = layout;
    config.user_table = String::new();
    config.busy_timeout = Duration::from_secs(1);
    config
}

fn cleaner(db: &Db, layout: Layout) -> Cleaner {
    Cleaner::new(config(db, layout)).unwrap()
}

fn rows(db: &Db, table: &str) -> i64 {
    db.one(&format!("SELECT count(*) FROM {table}"))
}

/// Inserts so many sent, old rows into the classic table.
fn old_rows(db: &Db, count: i64) {
    for id in 1..=count {
        db.execute("INSERT INTO audit_logs VALUES (?, 1, '{}', '2024-01-01')", [id]);
    }
}

#[tokio::test]
async fn q07_of_every_flag_and_age_only_sent_and_old_rows_go() {
    for (layout, ddl, flags) in [
        (Layout::AuditTable, CLASSIC.replace("BOOLEAN", ""), &FLAGS[..]),
        (Layout::DjangoAuditlog, ENTRIES.to_owned(), &DATA[..]),
    ] {
        for chunk in [1, 4, 5_000] {
            let db = Db::new(&ddl);
            let table = config(&db, layout).table().to_owned();
            let (mut id, mut expected) = (0, Vec::new());
            for (flag, sent) in flags {
                for (time, old) in TIMES {
                    id += 1;
                    if !(*sent && old) {
                        expected.push(id);
                    }
                    let columns = match layout {
                        Layout::AuditTable => "id, is_sent, created_at",
                        _ => "id, additional_data, timestamp",
                    };
                    let sql =
                        format!("INSERT INTO {table} ({columns}) VALUES ({id}, {flag}, {time})");
                    db.execute(&sql, []);
                }
            }
            let mut cleaner = cleaner(&db, layout).with_chunk(chunk);
            let due = (id - expected.len() as i64) as u64;
            assert_eq!(cleaner.count(before()).await.unwrap(), due);
            assert_eq!(rows(&db, &table), id, "counting deletes nothing");
            let mut told = Vec::new();
            assert_eq!(cleaner.clear(before(), |rows| told.push(rows)).await.unwrap(), due);
            assert_eq!(told.len() as u64, due.div_ceil(chunk as u64));
            assert_eq!(told.last(), Some(&due));
            let ids: String = db.one(&format!(
                "SELECT json_group_array(id) FROM (SELECT id FROM {table} ORDER BY id)"
            ));
            assert_eq!(serde_json::from_str::<Vec<i64>>(&ids).unwrap(), expected);
            assert_eq!(cleaner.clear(before(), |_| panic!("nothing is left")).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn a_clear_that_is_killed_has_deleted_whole_chunks_and_the_next_goes_on() {
    let db = Db::new(CLASSIC);
    old_rows(&db, 100);
    let (mut cleaner, deleted) = (cleaner(&db, Layout::AuditTable).with_chunk(7), Notify::new());
    let clear = cleaner.clear(before(), |_| deleted.notify_one());
    tokio::select! {
        biased;
        () = deleted.notified() => {}
        _ = clear => panic!("was told of no chunk"),
    }
    // A chunk that had begun still ends.
    let mut left = rows(&db, "audit_logs");
    assert!((1..100).contains(&left) && (100 - left) % 7 == 0, "{left}");
    let gone = cleaner.clear(before(), |_| {}).await.unwrap() as i64;
    left = if gone == left { left } else { left - 7 };
    assert_eq!(gone, left);
    assert_eq!(rows(&db, "audit_logs"), 0);
}

#[tokio::test]
async fn a_chunk_that_fails_leaves_the_chunks_before_it_deleted() {
    let db = Db::new(CLASSIC);
    old_rows(&db, 10);
    db.app
        .execute_batch(
            "CREATE TABLE notes (log REFERENCES audit_logs (id)); INSERT INTO notes VALUES (8)",
        )
        .unwrap();
    let mut cleaner = cleaner(&db, Layout::AuditTable).with_chunk(3);
    let mut told = Vec::new();
    let error = cleaner.clear(before(), |rows| told.push(rows)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("another table"), "{error}");
    assert!(error.hint().unwrap().contains("ON DELETE"), "{error}");
    assert_eq!((told, rows(&db, "audit_logs")), (vec![3, 6], 4));
}

#[tokio::test]
async fn without_a_column_of_a_time_nothing_is_deleted() {
    let db = Db::new("CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent, message)");
    db.execute("INSERT INTO audit_logs VALUES (1, 1, '{}')", []);
    let error = cleaner(&db, Layout::AuditTable).clear(before(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.hint().unwrap().contains("created_at_column"), "{error:?}");
    assert_eq!(rows(&db, "audit_logs"), 1);
}

#[tokio::test]
async fn rows_that_are_to_be_sent_again_meanwhile_stay() {
    let db = Db::new(CLASSIC);
    old_rows(&db, 9);
    let mut cleaner = cleaner(&db, Layout::AuditTable).with_chunk(3);
    let app = rusqlite::Connection::open(db.path()).unwrap();
    // Between two chunks, as somebody clears the flag to have rows sent again.
    let resend =
        move |_| _ = app.execute("UPDATE audit_logs SET is_sent = 0 WHERE id > 5", []).unwrap();
    assert_eq!(cleaner.clear(before(), resend).await.unwrap(), 5);
    assert_eq!(db.unsent(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_is_unsent_survives(
        table in prop::collection::vec((0..FLAGS.len(), 0..TIMES.len()), 0..40), chunk in 1..9_usize,
    ) {
        let db = Db::new(&CLASSIC.replace("BOOLEAN", ""));
        for (flag, time) in &table {
            let sql = "INSERT INTO audit_logs (is_sent, created_at) VALUES";
            db.execute(&format!("{sql} ({}, {})", FLAGS[*flag].0, TIMES[*time].0), []);
        }
        let unsent = db.unsent();
        let due = table.iter().filter(|(flag, time)| FLAGS[*flag].1 && TIMES[*time].1).count();
        let mut cleaner = cleaner(&db, Layout::AuditTable).with_chunk(chunk);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let gone = runtime.block_on(cleaner.clear(before(), |_| {})).unwrap();
        prop_assert_eq!(gone, due as u64);
        prop_assert_eq!(db.unsent(), unsent);
        prop_assert_eq!(rows(&db, "audit_logs"), (table.len() - due) as i64);
    }
}
