//! Several senders on one table.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use audit_core::{Batch, Cursor, ErrorKind, Limit, Read, Source};
use audit_source_sql::{SqlConfig, SqlSource};

use crate::db::{Db, Kind, batch, cut, limit, pass, servers};

fn sharing(db: &Db) -> SqlConfig {
    let mut config = db.config();
    config.claim = true;
    config
}

async fn sender(db: &Db) -> SqlSource {
    let mut source = SqlSource::new(sharing(db)).unwrap();
    source.open(None).await.unwrap();
    source
}

fn ids(batch: &Batch) -> HashSet<String> {
    batch.events.iter().map(|e| e.id.to_string()).collect()
}

/// Waits until nobody keeps a row.
async fn all_free(db: &mut Db) {
    db.run("SELECT id FROM {t} FOR UPDATE").await;
}

/// Works as the pipeline does: the next batch is read while the last one is written.
async fn work(mut source: SqlSource, limit: Limit, done: Arc<AtomicBool>) -> Vec<String> {
    let mut ids = Vec::new();
    let (mut saved, mut told, mut written) = (None::<Cursor>, true, None::<Cursor>);
    source.open(None).await.unwrap();
    loop {
        let last = done.load(Ordering::Relaxed);
        let read = async {
            if let (Some(cursor), false) = (&saved, told) {
                source.committed(cursor).await?;
                told = true;
            }
            source.read(limit).await
        };
        let read = read.await;
        if let Some(cursor) = written.take() {
            (saved, told) = (Some(cursor), false);
        }
        match read {
            Ok(Read::Batch(batch)) => {
                ids.extend(batch.events.iter().map(|e| e.id.to_string()));
                written = Some(batch.cursor);
            }
            Ok(_) if last && told => return ids,
            Ok(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(error) => {
                // MariaDB ends one of two transactions that wait for each other.
                assert!(error.is_retryable(), "{error}");
                source.open(saved.as_ref()).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q08_four_senders_hand_out_each_of_40_000_rows_once() {
    const EACH: i64 = 10_000;
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        match kind {
            Kind::Postgres => {
                db.run("CREATE INDEX ON {t} (id) WHERE is_sent IS NOT TRUE").await;
            }
            Kind::MariaDb => {
                db.run("ALTER TABLE {t} MODIFY is_sent BOOLEAN NOT NULL DEFAULT 0").await;
                db.run("CREATE INDEX unsent ON {t} (is_sent, id)").await;
            }
        }
        let writers: Vec<_> = (0..4).map(|n| n * EACH..(n + 1) * EACH).collect();
        for rows in writers {
            db.insert_many(rows).await;
        }
        let (began, done) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let senders: Vec<_> = [limit(700), limit(999), limit(450).bytes(150_000), limit(1200)]
            .into_iter()
            .map(|limit| {
                tokio::spawn(work(SqlSource::new(sharing(&db)).unwrap(), limit, Arc::clone(&done)))
            })
            .collect();
        while db.unsent().await > 0 {
            assert!(began.elapsed() < Duration::from_secs(120), "{kind:?}: rows stay unsent");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        done.store(true, Ordering::Relaxed);
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        for sender in senders {
            let part = sender.await.unwrap();
            parts.push(part.len());
            all.extend(part);
        }
        assert_eq!(all.len(), 40_000, "{kind:?} {parts:?} in {:?}", began.elapsed());
        assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 40_000, "{kind:?}");
        assert!(parts.iter().filter(|part| **part > 0).count() > 1, "shared: {parts:?}");
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn q08_rows_of_a_dead_sender_are_free_at_once_and_keep_their_ids() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=30).await;
        let (mut one, mut two) = (sender(&db).await, sender(&db).await);
        let first = batch(&mut one, limit(10)).await.unwrap();
        let ahead = batch(&mut one, limit(10)).await.unwrap();
        let others = pass(&mut two, limit(100), false).await;
        assert_eq!(others.events.len(), 10, "{kind:?}: what others claim is passed over");
        one.committed(&first.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 20);
        drop(one);
        let mut heir = sender(&db).await;
        let began = Instant::now();
        let again = loop {
            match batch(&mut heir, limit(100)).await {
                Some(batch) => break batch,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{kind:?}: never free");
        };
        assert_eq!(ids(&again), ids(&ahead), "{kind:?}");
        heir.committed(&again.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 10);
        drop((heir, two));
        all_free(&mut db).await;
        assert_eq!(pass(&mut sender(&db).await, limit(7), true).await.events.len(), 10);
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn a_crash_between_save_and_mark_leaves_the_mark_to_whoever_has_the_rows_by_then() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=20).await;
        let mut one = sender(&db).await;
        let saved = batch(&mut one, limit(10)).await.unwrap().cursor;
        drop(one);
        all_free(&mut db).await;
        let mut two = sender(&db).await;
        let taken = batch(&mut two, limit(4)).await.unwrap();
        let mut one = SqlSource::new(sharing(&db)).unwrap();
        one.open(Some(&saved)).await.unwrap();
        one.committed(&saved).await.unwrap();
        assert_eq!(db.unsent().await, 14, "{kind:?}: all but the four that the other has");
        two.committed(&taken.cursor).await.unwrap();
        assert_eq!(pass(&mut one, limit(100), true).await.events.len(), 10, "{kind:?}");
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_while_rows_are_claimed_is_made_again() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=20).await;
        let (user, url) = db.user("SELECT, UPDATE").await;
        let mut config = sharing(&db);
        config.url = audit_core::Secret::new(url);
        let mut source = SqlSource::new(config).unwrap();
        source.open(None).await.unwrap();
        let read = batch(&mut source, limit(5)).await.unwrap();
        cut(&mut db, &user).await;
        let error = source.committed(&read.cursor).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        source.open(Some(&read.cursor)).await.unwrap();
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 15);
        assert_eq!(pass(&mut source, limit(7), true).await.events.len(), 15, "{kind:?}");
        assert_eq!(db.unsent().await, 0);
        drop(source);
        db.drop_user(&user).await;
        db.done().await;
    }
}

#[tokio::test]
async fn what_a_dropped_read_had_claimed_is_read_again() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=20).await;
        let mut source = sender(&db).await;
        let first = batch(&mut source, limit(5)).await.unwrap();
        for micros in [0, 300, 1000, 3000, 10_000] {
            batch(&mut source, limit(5)).await;
            let read = source.read(limit(5));
            _ = tokio::time::timeout(Duration::from_micros(micros), read).await;
            source.open(Some(&first.cursor)).await.unwrap();
        }
        source.committed(&first.cursor).await.unwrap();
        assert_eq!(pass(&mut source, limit(7), true).await.events.len(), 15, "{kind:?}");
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn a_claim_that_the_server_ends_is_an_error_to_try_again() {
    let Some(_) = Kind::Postgres.url() else { return };
    let mut db = Db::classic(Kind::Postgres).await;
    db.insert_many(1..=5).await;
    let mut config = sharing(&db);
    let url = format!("{}?options=-cidle_in_transaction_session_timeout=50", db.url);
    config.url = audit_core::Secret::new(url);
    let mut source = SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let read = batch(&mut source, limit(5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let error = source.committed(&read.cursor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_retryable());
    source.open(Some(&read.cursor)).await.unwrap();
    source.committed(&read.cursor).await.unwrap();
    assert_eq!(db.unsent().await, 0);
    db.done().await;
}

#[tokio::test]
async fn the_application_inserts_while_rows_are_claimed() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many((10..=100).step_by(10)).await;
        let mut source = sender(&db).await;
        let read = batch(&mut source, limit(10)).await.unwrap();
        assert_eq!(read.events.len(), 10);
        match kind {
            Kind::Postgres => db.run("SET lock_timeout = 500").await,
            Kind::MariaDb => db.run("SET innodb_lock_wait_timeout = 1").await,
        }
        db.insert_many([5, 15, 55, 95, 105]).await;
        source.committed(&read.cursor).await.unwrap();
        let mut found = 0;
        for _ in 0..2 {
            found += pass(&mut source, limit(10), true).await.events.len();
        }
        assert_eq!((found, db.unsent().await), (5, 0), "{kind:?}");
        db.done().await;
    }
}

#[tokio::test]
async fn who_reads_on_without_a_commit_gives_up_the_oldest_claim() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=50).await;
        let mut one = sender(&db).await;
        let first = batch(&mut one, limit(10)).await.unwrap();
        for _ in 0..3 {
            batch(&mut one, limit(10)).await.unwrap();
        }
        let mut two = sender(&db).await;
        let given_up = batch(&mut two, limit(10)).await.unwrap();
        assert_eq!(ids(&given_up), ids(&first), "{kind:?}");
        one.committed(&first.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 50, "{kind:?}: the other marks them");
        drop((one, two));
        all_free(&mut db).await;
        db.done().await;
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_refused() {
    for kind in servers() {
        let db = Db::new(kind, "id int, is_sent boolean, message text").await;
        let mut source = SqlSource::new(sharing(&db)).unwrap();
        let error = source.open(None).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.hint().is_some(), "{error}");
        db.done().await;
    }
}

#[test]
fn sqlite_has_one_writer_and_says_so() {
    let mut config = SqlConfig::new("sqlite:///tmp/app.db");
    config.claim = true;
    let error = SqlSource::new(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("one writer") && error.hint().is_some(), "{error}");
}
