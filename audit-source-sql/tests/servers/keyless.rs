//! Tables without a key: the README of the program that was replaced makes such a one.

use std::collections::HashSet;

use audit_core::{Cursor, Source};

use crate::db::{Db, Kind, batch, limit, message, pass, servers};

const COLUMNS: &str = "id int, is_sent boolean, message json";

/// Returns the ids of the rows whose flag `IS` this.
async fn ids(db: &mut Db, flag: &str) -> String {
    let mut found = Vec::new();
    for id in 0..10 {
        for _ in 0..db.count(&format!("id = {id} AND is_sent IS {flag}")).await {
            found.push(id.to_string());
        }
    }
    found.join(" ")
}

#[tokio::test]
async fn the_table_of_the_old_readme_is_read_and_marked() {
    for kind in servers() {
        let mut db = Db::new(kind, COLUMNS).await;
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../data/structured_log_transfer_readme_rows.json"))
                .unwrap();
        for row in &rows {
            db.insert(&row["id"].to_string(), &row["message"].to_string()).await;
        }
        let mut source = db.opened().await;
        source.check().await.unwrap();
        let all = pass(&mut source, limit(1), true).await;
        let mut raw = all.raw();
        raw.sort_unstable();
        let mut expected: Vec<_> = rows.iter().map(|row| row["message"].to_string()).collect();
        expected.sort_unstable();
        assert_eq!(raw, expected);
        let ids: HashSet<_> = all.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids.len(), rows.len());
        for id in ids {
            let (start, print) = id.rsplit_once(':').unwrap();
            assert_eq!((start, print.len()), (&*format!("{}:1", db.table), 16), "{id}");
        }
        assert_eq!(db.unsent().await, 0);
        assert!(pass(&mut source, limit(9), true).await.events.is_empty());
        db.done().await;
    }
}

#[tokio::test]
async fn every_row_arrives_once_however_many_share_an_id() {
    for kind in servers() {
        let mut db = Db::new(kind, "id bigint, is_sent boolean, message text").await;
        let rows: Vec<_> =
            (0..2500).map(|n| format!("({}, '{}')", n % 7 - 3, message(n))).collect();
        db.run(&format!("INSERT INTO {{t}} (id, message) VALUES {}", rows.join(", "))).await;
        db.run("INSERT INTO {t} VALUES (NULL, NULL, '{}'), (NULL, false, '[]'), (5, NULL, NULL)")
            .await;
        let mut source = db.opened().await;
        let all = pass(&mut source, limit(700), false).await;
        let raw: HashSet<_> = all.raw().into_iter().collect();
        let ids: HashSet<_> = all.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!((all.events.len(), raw.len(), ids.len()), (2502, 2502, 2502), "{kind:?}");
        assert_eq!(all.rejected.len(), 1, "{kind:?}");
        assert!(pass(&mut source, limit(700), false).await.events.is_empty(), "in flight");
        assert_eq!(db.unsent().await, 2503);
        let all = pass(&mut db.opened().await, limit(700), true).await;
        assert_eq!((all.events.len(), db.unsent().await), (2502, 0), "{kind:?}");
        db.done().await;
    }
}

#[tokio::test]
async fn twins_are_one_event_and_are_marked_together() {
    for kind in servers() {
        let mut db = Db::new(kind, COLUMNS).await;
        for id in [1, 1, 1, 2, 2, 3] {
            db.insert(&id.to_string(), "{}").await;
        }
        let mut source = db.opened().await;
        let mut found = HashSet::new();
        let mut cursor = None;
        while let Some(read) = batch(&mut source, limit(2)).await {
            found.extend(read.events.iter().map(|event| event.id.clone()));
            cursor = Some(read.cursor);
        }
        assert_eq!(found.len(), 3, "{kind:?}");
        // Killed before it could mark: the cursor says what was delivered.
        let mut again = db.source();
        again.open(cursor.as_ref()).await.unwrap();
        assert!(pass(&mut again, limit(9), false).await.events.is_empty(), "{kind:?}");
        again.committed(&cursor.unwrap()).await.unwrap();
        assert_eq!(db.unsent().await, 0, "{kind:?}");
        db.done().await;
    }
}

#[tokio::test]
async fn q05_what_changed_before_the_mark_comes_again() {
    for kind in servers() {
        let mut db = Db::new(kind, COLUMNS).await;
        for id in [1, 2, 3] {
            db.insert(&id.to_string(), &format!("[{id}]")).await;
        }
        let mut source = db.opened().await;
        let read = batch(&mut source, limit(9)).await.unwrap();
        db.run("UPDATE {t} SET message = '[4]' WHERE id = 2").await;
        db.run("UPDATE {t} SET id = 7 WHERE id = 3").await;
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(ids(&mut db, "TRUE").await, "1", "{kind:?}");
        assert!(batch(&mut source, limit(9)).await.is_none(), "the pass ends");
        let again = pass(&mut source, limit(9), true).await;
        let mut raw = again.raw();
        raw.sort_unstable();
        assert_eq!(raw, ["[3]", "[4]"], "{kind:?}");
        assert!(again.events.iter().all(|event| read.events.iter().all(|e| e.id != event.id)));
        assert_eq!(db.unsent().await, 0, "{kind:?}");
        db.done().await;
    }
}

#[tokio::test]
async fn rows_keep_their_names_wherever_the_server_moves_them() {
    let Some(_) = Kind::Postgres.url() else { return };
    for restart in [false, true] {
        let mut db = Db::new(Kind::Postgres, COLUMNS).await;
        for id in [1, 2, 3] {
            db.insert(&id.to_string(), "{}").await;
        }
        let mut source = db.opened().await;
        let read = batch(&mut source, limit(2)).await.unwrap();
        for sql in ["DELETE FROM {t} WHERE id = 3", "UPDATE {t} SET id = id", "VACUUM FULL {t}"] {
            db.run(sql).await;
        }
        db.run("INSERT INTO {t} VALUES (8, false, '{}'), (9, false, '{}')").await;
        if restart {
            let text = serde_json::to_string(&read.cursor).unwrap();
            let cursor: Cursor = serde_json::from_str(&text).unwrap();
            source = db.source();
            source.open(Some(&cursor)).await.unwrap();
        }
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(ids(&mut db, "TRUE").await, "1 2", "and nothing that was not handed out");
        assert_eq!(pass(&mut db.opened().await, limit(9), true).await.events.len(), 2);
        db.done().await;
    }
}

#[tokio::test]
async fn a_table_of_partitions_is_read_too() {
    let Some(_) = Kind::Postgres.url() else { return };
    let mut db = Db::new(Kind::Postgres, COLUMNS).await;
    db.run("DROP TABLE {t}; CREATE TABLE {t} (id int, is_sent boolean, message text) PARTITION BY LIST (id)").await;
    db.run("CREATE TABLE {t}_1 PARTITION OF {t} FOR VALUES IN (1)").await;
    db.run("CREATE TABLE {t}_2 PARTITION OF {t} DEFAULT").await;
    for id in 1..=3 {
        db.insert(&id.to_string(), "{}").await;
    }
    assert_eq!(pass(&mut db.opened().await, limit(2), true).await.events.len(), 3);
    assert_eq!(db.unsent().await, 0);
    db.done().await;
}

#[tokio::test]
async fn old_rows_are_cleared_from_it() {
    for kind in servers() {
        let mut db = Db::new(kind, "id int, is_sent boolean, message text, created_at date").await;
        db.run(
            "INSERT INTO {t} VALUES (1, true, '{}', '2024-01-01'), (1, true, '{}', '2024-01-01'), \
             (1, false, '{}', '2024-01-01'), (2, NULL, '{}', '2024-01-01'), \
             (3, true, NULL, '2024-01-02'), (NULL, true, '{}', '2024-01-02'), \
             (4, true, '{}', '2034-01-01')",
        )
        .await;
        let mut cleaner = audit_source_sql::Cleaner::new(db.config()).unwrap().with_chunk(2);
        let before = "2024-05-06T07:08:09Z".parse().unwrap();
        assert_eq!(cleaner.clear(before, |_| {}).await.unwrap(), 4, "{kind:?}");
        assert_eq!((db.unsent().await, db.count("is_sent").await), (2, 1), "{kind:?}");
        db.done().await;
    }
}
