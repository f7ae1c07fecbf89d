//! Other programs work on the same database.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Source};
use audit_source_sql::SqlSource;
use rusqlite::Connection;

use common::{CLASSIC, Db, batch, limit, message, pass};

#[tokio::test]
async fn a_writer_delays_a_mark_and_the_error_may_be_tried_again() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=20);
    let mut config = db.config();
    config.busy_timeout = Duration::from_millis(20);
    let mut source = SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let one = batch(&mut source, limit(10)).await.unwrap();
    db.app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = source.committed(&one.cursor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("the database is locked") && text.contains("app.db"), "{text}");
    // Reading goes on beside the writer.
    assert_eq!(batch(&mut source, limit(5)).await.unwrap().events.len(), 5);
    db.app.execute_batch("COMMIT").unwrap();
    source.committed(&one.cursor).await.unwrap();
    assert_eq!(db.unsent(), 10);
}

#[tokio::test]
async fn the_application_can_write_between_any_two_reads() {
    let db = Db::new(CLASSIC);
    db.app.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA busy_timeout = 0").unwrap();
    db.insert_many(1..=100);
    let mut source = db.opened().await;
    let mut found = 0;
    for id in 200..210 {
        let read = batch(&mut source, limit(10)).await.unwrap();
        found += read.events.len();
        db.insert(id, &message(id));
        source.committed(&read.cursor).await.unwrap();
        db.execute("UPDATE audit_logs SET created_at = '2024-01-01' WHERE id = ?", [id]);
    }
    found += pass(&mut source, 100, true).await.events.len();
    found += pass(&mut source, 100, true).await.events.len();
    assert_eq!(found, 110);
    assert_eq!(db.unsent(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q02_writers_that_commit_out_of_order_and_roll_back_lose_nothing() {
    const WRITERS: i64 = 6;
    const EACH: i64 = 60;
    let db = Db::new(CLASSIC);
    let path = db.path();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let path = path.clone();
            std::thread::spawn(move || {
                let conn = Connection::open(path).unwrap();
                conn.busy_timeout(Duration::from_secs(20)).unwrap();
                conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
                for n in 0..EACH {
                    // Ids in the reverse of the order of commits, every fourth first rolled back.
                    let id = (EACH - n) * WRITERS + writer;
                    let sql = "INSERT INTO audit_logs VALUES (?, 0, ?, NULL)";
                    if n % 4 == 0 {
                        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
                        conn.execute(sql, (id, "{}")).unwrap();
                        conn.execute_batch("ROLLBACK").unwrap();
                    }
                    conn.execute(sql, (id, message(id))).unwrap();
                }
            })
        })
        .collect();
    let mut source = db.opened().await;
    let mut ids = Vec::new();
    loop {
        let done = writers.iter().all(|writer| writer.is_finished());
        ids.extend(pass(&mut source, 13, true).await.events.into_iter().map(|e| e.id));
        if done {
            ids.extend(pass(&mut source, 13, true).await.events.into_iter().map(|e| e.id));
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ids.len() as i64, WRITERS * EACH);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as i64, WRITERS * EACH);
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn a_dropped_mark_took_effect_or_not_and_can_be_repeated() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=50);
    let mut source = db.opened().await;
    let read = batch(&mut source, limit(50)).await.unwrap();
    for _ in 0..5 {
        let mark = source.committed(&read.cursor);
        _ = tokio::time::timeout(Duration::ZERO, mark).await;
    }
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(db.unsent(), 0);
    assert!(pass(&mut source, 10, true).await.events.is_empty());
}

#[cfg(unix)]
#[tokio::test]
async fn a_restored_backup_is_noticed() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=3);
    let mut source = db.opened().await;
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 3);
    let other = Db::new(CLASSIC);
    other.insert_many(5..=9);
    other.app.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", db.path().display())).unwrap();
    }
    std::fs::rename(other.path(), db.path()).unwrap();
    let error = source.read(limit(10)).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("replaced"), "{error}");
    source.open(None).await.unwrap();
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 5);
}
