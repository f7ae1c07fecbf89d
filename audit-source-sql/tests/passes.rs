//! What a source of rows with a flag has to survive: late commits, changes between read and mark,
//! crashes between any two steps.
#![cfg(feature = "sqlite")]

mod common;

use audit_core::{Cursor, Source};
use rusqlite::Connection;

use common::{CLASSIC, Db, batch, limit, message, pass};

/// Q-01: A takes the lower id, B commits first, the source reads, then A commits.
#[tokio::test]
async fn q01_a_row_with_a_lower_id_that_is_committed_later_is_read() {
    let db = Db::new(CLASSIC);
    db.insert_many([2, 3]);
    let mut source = db.opened().await;
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 2);

    let late = Connection::open(db.path()).unwrap();
    late.execute_batch("BEGIN IMMEDIATE").unwrap();
    late.execute("INSERT INTO audit_logs VALUES (1, 0, ?, NULL)", [message(1)]).unwrap();
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 0, "not committed yet");
    late.execute_batch("COMMIT").unwrap();
    let found = pass(&mut source, 10, true).await;
    assert_eq!(found.raw(), [message(1)]);
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 0);
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn rows_inserted_before_and_behind_the_position_come_once() {
    let db = Db::new(CLASSIC);
    db.insert_many((10..110).step_by(2));
    let mut source = db.opened().await;
    let first = batch(&mut source, limit(20)).await.unwrap();
    db.insert_many((-5..60).step_by(2).filter(|id| id % 2 != 0));
    db.insert(1000, &message(1000));
    let mut ids: Vec<_> = first.events.into_iter().map(|e| e.id).collect();
    source.committed(&first.cursor).await.unwrap();
    for _ in 0..3 {
        ids.extend(pass(&mut source, 7, true).await.events.into_iter().map(|e| e.id));
    }
    assert_eq!(ids.len(), 50 + 33 + 1);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50 + 33 + 1);
    assert_eq!(db.unsent(), 0);
}

/// Q-05, by the fast and the careful way of marking: nothing that was not read is marked.
#[tokio::test]
async fn q05_a_row_updated_between_read_and_mark_is_not_lost() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=300);
    let mut source = db.opened().await;
    let read = batch(&mut source, limit(200)).await.unwrap();
    let changed = r#"{"audit_event":{"operation":"UPDATE"}}"#;
    db.execute("UPDATE audit_logs SET message = ? WHERE id IN (7, 150)", [changed]);
    db.execute("DELETE FROM audit_logs WHERE id = 8", []);
    db.execute("UPDATE audit_logs SET created_at = '2020-01-01' WHERE id = 9", []);
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(db.unsent(), 103);
    // The same pass goes on, and the next one finds them, as events of their own.
    assert_eq!(pass(&mut source, 1000, true).await.events.len(), 100);
    let again = pass(&mut source, 1000, true).await;
    assert_eq!(again.raw(), [changed.to_owned(), message(9), changed.to_owned()]);
    for (event, old) in again.events.iter().zip([6, 8, 149]) {
        assert_ne!(event.id, read.events[old].id);
    }
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn q05_also_after_a_crash_between_read_and_mark() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=20);
    let read = batch(&mut db.opened().await, limit(10)).await.unwrap();
    db.execute("UPDATE audit_logs SET message = '{}' WHERE id = 3", []);
    // The crash: delivered and saved, but not marked. Then the next process.
    let mut source = db.source();
    source.open(Some(&read.cursor)).await.unwrap();
    assert_eq!(db.unsent(), 20, "open changes nothing");
    source.committed(&read.cursor).await.unwrap();
    let rest = pass(&mut source, 100, true).await;
    assert!(rest.raw().contains(&"{}"), "the changed row comes");
    let repeated = rest.events.iter().filter(|e| read.events.iter().any(|r| r.id == e.id));
    assert_eq!(repeated.count(), 9, "the unchanged ones come again under the same ids");
    assert_eq!(db.unsent(), 0);
}

#[tokio::test]
async fn a_crash_between_save_and_mark_repeats_nothing() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=20);
    let read = batch(&mut db.opened().await, limit(10)).await.unwrap();
    let text = serde_json::to_string(&read.cursor).unwrap();
    let cursor: Cursor = serde_json::from_str(&text).unwrap();
    let mut source = db.source();
    source.open(Some(&cursor)).await.unwrap();
    source.committed(&cursor).await.unwrap();
    assert_eq!(db.unsent(), 10);
    source.committed(&cursor).await.unwrap();
    assert_eq!(pass(&mut source, 100, true).await.events.len(), 10);
}

#[tokio::test]
async fn two_batches_in_flight_are_marked_one_by_one_or_together() {
    let db = Db::new(CLASSIC);
    db.insert_many((1..=50).chain((60..100).step_by(3)));
    let total = db.unsent();
    let mut source = db.opened().await;
    let one = batch(&mut source, limit(10)).await.unwrap();
    let two = batch(&mut source, limit(10)).await.unwrap();
    source.committed(&one.cursor).await.unwrap();
    assert_eq!(db.unsent(), total - 10);
    let three = batch(&mut source, limit(1000)).await.unwrap();
    source.committed(&two.cursor).await.unwrap();
    assert_eq!(db.unsent(), total - 20);
    assert_eq!(db.one::<i64>("SELECT max(id) FROM audit_logs WHERE is_sent = 1"), 20);
    source.committed(&three.cursor).await.unwrap();
    assert_eq!(db.unsent(), 0);

    db.insert_many(200..=220);
    let mut source = db.opened().await;
    batch(&mut source, limit(10)).await.unwrap();
    let two = batch(&mut source, limit(10)).await.unwrap();
    source.committed(&two.cursor).await.unwrap();
    assert_eq!(db.unsent(), 1);
}

#[tokio::test]
async fn only_rows_that_were_handed_out_are_marked() {
    let db = Db::new(CLASSIC);
    db.insert_many((1..=900).filter(|id| id % 3 != 0));
    let mut source = db.opened().await;
    let read = batch(&mut source, limit(10_000)).await.unwrap();
    // In the gaps of what was read, by somebody else and unseen.
    db.insert_many((1..=900).filter(|id| id % 3 == 0));
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(db.unsent(), 300);
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM audit_logs WHERE is_sent = 1 AND id % 3 = 0"),
        0
    );
}

#[tokio::test]
async fn cursors_stay_small_and_marked_rows_drop_out_of_them() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=3000);
    let mut source = db.opened().await;
    let mut longest = 0;
    while let Some(batch) = batch(&mut source, limit(100)).await {
        longest = longest.max(serde_json::to_string(&batch.cursor).unwrap().len());
    }
    assert!(longest < 120, "one run, although nothing was marked: {longest}");

    let db = Db::new(
        "CREATE TABLE audit_logs (id TEXT PRIMARY KEY, is_sent INT, message) WITHOUT ROWID",
    );
    for id in 0..500 {
        db.execute("INSERT INTO audit_logs VALUES (?, 0, '{}')", [format!("k{id:04}")]);
    }
    let mut source = db.opened().await;
    while let Some(batch) = batch(&mut source, limit(10)).await {
        assert!(serde_json::to_string(&batch.cursor).unwrap().len() < 200);
        source.committed(&batch.cursor).await.unwrap();
    }
}

#[tokio::test]
async fn a_deleted_row_whose_rowid_is_used_again_is_another_record() {
    let db = Db::new(CLASSIC);
    db.insert(1, &message(1));
    let mut source = db.opened().await;
    let read = batch(&mut source, limit(10)).await.unwrap();
    db.execute("DELETE FROM audit_logs", []);
    db.insert(1, &message(2));
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(pass(&mut source, 10, true).await.raw(), [message(2)]);
}

#[tokio::test]
async fn rests_without_searching_until_somebody_commits() {
    let db = Db::new(CLASSIC);
    db.insert_many(1..=5);
    let mut source = db.opened().await;
    assert_eq!(pass(&mut source, 10, true).await.events.len(), 5);
    for _ in 0..3 {
        assert!(batch(&mut source, limit(10)).await.is_none());
    }
    db.insert(6, &message(6));
    let found = pass(&mut source, 10, true).await;
    assert_eq!(found.events.len(), 1);
}

/// D-09: a thousand events of one moment, small batches, a crash behind each.
#[tokio::test]
async fn d09_equal_times_and_a_crash_behind_every_batch() {
    let db = Db::new(CLASSIC);
    db.insert_many((1..=1000).map(|n| n * 1000));
    let (mut ids, mut cursor) = (Vec::new(), None);
    for _ in 0..10 {
        let mut source = db.source();
        source.open(cursor.as_ref()).await.unwrap();
        if let Some(cursor) = &cursor {
            source.committed(cursor).await.unwrap();
        }
        let read = batch(&mut source, limit(100)).await.unwrap();
        ids.extend(read.events.into_iter().map(|e| e.id));
        cursor = Some(read.cursor);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}
