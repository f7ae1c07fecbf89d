//! Late commits, changes between read and mark, crashes, locks, broken connections.

use std::time::Duration;

use audit_core::{ErrorKind, Limit, Read, Source};
use audit_source_sql::SqlSource;

use crate::db::{Db, batch, cut, limit, message, pass, servers};

#[tokio::test]
async fn q01_a_row_with_a_lower_id_that_is_committed_later_is_read() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many([2, 3]).await;
        let mut source = db.opened().await;
        assert_eq!(pass(&mut source, limit(10), true).await.events.len(), 2);
        db.run("START TRANSACTION").await;
        db.insert_many([1]).await;
        assert_eq!(pass(&mut source, limit(10), true).await.events.len(), 0, "not committed yet");
        db.run("COMMIT").await;
        assert_eq!(pass(&mut source, limit(10), true).await.raw(), [message(1)]);
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn q05_what_changes_between_read_and_mark_comes_again() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=300).await;
        let mut source = db.opened().await;
        let read = batch(&mut source, limit(200)).await.unwrap();
        db.run("UPDATE {t} SET message = '{\"new\":1}' WHERE id IN (7, 150)").await;
        db.run("DELETE FROM {t} WHERE id = 8").await;
        db.run("UPDATE {t} SET created_at = '2020-01-01' WHERE id = 9").await;
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 103);
        assert_eq!(pass(&mut source, limit(1000), true).await.events.len(), 100);
        let again = pass(&mut source, limit(1000), true).await;
        assert_eq!(again.raw(), [r#"{"new":1}"#, &message(9), r#"{"new":1}"#]);
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn a_crash_between_save_and_mark_repeats_nothing() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=20).await;
        let read = batch(&mut db.opened().await, limit(10)).await.unwrap();
        let mut source = db.source();
        source.open(Some(&read.cursor)).await.unwrap();
        assert_eq!(db.unsent().await, 20, "open changes nothing");
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 10);
        assert_eq!(pass(&mut source, limit(100), true).await.events.len(), 10);
        db.done().await;
    }
}

/// Small limits and rows of all sizes: every piece of a scan ends somewhere else.
#[tokio::test]
async fn many_rows_in_batches_of_any_size_come_once() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many((1..=6000).map(|n| n * 3)).await;
        let large = format!("{{\"x\":\"{}\"}}", "y".repeat(300_000));
        for id in [4, 5, 5000, 9001, 30_000] {
            db.insert(&id.to_string(), &large).await;
        }
        for (limit, commit) in [
            (Limit::default().events(997), false),
            (Limit::default().bytes(100_000), false),
            (Limit::default(), false),
            (Limit::default().events(700).bytes(200_000), true),
        ] {
            let mut source = db.opened().await;
            let all = pass(&mut source, limit, commit).await;
            let mut ids: Vec<_> = all.events.iter().map(|e| e.id.as_str()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!((ids.len(), all.events.len()), (6005, 6005), "{kind:?} {limit:?}");
            // The next pass reads over all that is in flight, and finds what is behind it.
            db.insert_many([100_000]).await;
            let late = pass(&mut source, limit, commit).await;
            assert_eq!(late.raw(), [message(100_000)]);
            db.run("DELETE FROM {t} WHERE id = 100000").await;
        }
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn a_locked_row_is_waited_for_and_then_an_error_to_try_again() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=5).await;
        let mut config = db.config();
        config.busy_timeout = Duration::from_millis(100);
        let mut source = SqlSource::new(config).unwrap();
        source.open(None).await.unwrap();
        let read = batch(&mut source, limit(10)).await.unwrap();
        db.run("START TRANSACTION").await;
        db.run("SELECT * FROM {t} WHERE id = 3 FOR UPDATE").await;
        let error = source.committed(&read.cursor).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable() && error.to_string().contains("locked"), "{error}");
        db.run("ROLLBACK").await;
        assert_eq!(db.unsent().await, 5, "all or nothing");
        source.committed(&read.cursor).await.unwrap();
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn q09_a_connection_that_is_cut_is_made_again() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.insert_many(1..=20).await;
        let (user, url) = db.user("SELECT, UPDATE").await;
        let mut config = db.config();
        config.url = audit_core::Secret::new(url);
        let mut source = SqlSource::new(config).unwrap();
        source.open(None).await.unwrap();
        let read = batch(&mut source, limit(5)).await.unwrap();
        // The one that marks, or the one that reads ahead: whoever needs it learns of it, once.
        let mut noticed = 0;
        cut(&mut db, &user).await;
        if let Err(error) = source.committed(&read.cursor).await {
            assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error:?}");
            noticed += 1;
            source.committed(&read.cursor).await.unwrap();
        }
        assert_eq!(db.unsent().await, 15);
        cut(&mut db, &user).await;
        loop {
            match source.read(limit(5)).await {
                Ok(Read::Batch(read)) => {
                    if let Err(error) = source.committed(&read.cursor).await {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        noticed += 1;
                        source.committed(&read.cursor).await.unwrap();
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                    assert!(error.is_retryable(), "{error:?}");
                    noticed += 1;
                    source.open(None).await.unwrap();
                }
            }
        }
        assert!((1..=3).contains(&noticed), "{kind:?}: {noticed}");
        assert_eq!(db.unsent().await, 0);
        drop(source);
        db.drop_user(&user).await;
        db.done().await;
    }
}
