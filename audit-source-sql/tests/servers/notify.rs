//! Rows that are read at once, because the application says that they are there.

use std::time::{Duration, Instant};

use audit_core::{Limit, Read, Source};
use audit_source_sql::{Mode, SqlConfig, SqlSource};

use crate::db::{Db, Kind, batch, cut, limit, message};

fn listening(db: &Db) -> SqlConfig {
    let mut config = db.config();
    config.poll_interval = Duration::from_secs(3600);
    config.notify_channel = Some(format!("new \" {}", db.table));
    config
}

async fn notify(db: &mut Db, id: i64) {
    db.insert_many([id]).await;
    db.run("NOTIFY \"new \"\" {t}\"").await;
}

/// Reads until there are rows, as the pipeline does.
async fn next(source: &mut SqlSource, limit: Limit) -> Vec<String> {
    loop {
        match source.read(limit).await.unwrap() {
            Read::Batch(batch) => {
                return batch.events.iter().map(|e| e.raw.get().to_owned()).collect();
            }
            Read::Idle(wait) => assert_eq!(wait, Duration::ZERO, "the source itself waits"),
            Read::End => panic!("a table has no end"),
        }
    }
}

/// Waits until the source listens, by the first thing that it hears.
async fn listens(db: &mut Db, source: &mut SqlSource) {
    notify(db, 1).await;
    next(source, limit(10)).await;
    for id in 2..100 {
        notify(db, id).await;
        let heard = next(source, limit(10).wait(Duration::from_millis(50)));
        if tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok() && id > 3 {
            return;
        }
    }
    panic!("it never listens");
}

#[tokio::test]
async fn a_notification_ends_the_rest() {
    let Some(_) = Kind::Postgres.url() else { return };
    for mode in [Mode::Flag, Mode::Keyset] {
        let mut db = Db::classic(Kind::Postgres).await;
        let mut config = listening(&db);
        config.mode = mode;
        let mut source = SqlSource::new(config).unwrap();
        source.open(None).await.unwrap();
        listens(&mut db, &mut source).await;
        while batch(&mut source, limit(10).wait(Duration::from_millis(100))).await.is_some() {}

        // Nothing is read without a word, although it is there; the wait is that of the limit. By
        // transactions it may be looked at again because one of another test has ended.
        let mut id = 1000;
        let limits = limit(10).wait(Duration::from_millis(300));
        loop {
            db.insert_many([id]).await;
            let began = Instant::now();
            let found = batch(&mut source, limits).await;
            if found.is_none() && began.elapsed() >= Duration::from_millis(300) {
                break;
            }
            assert!(mode == Mode::Keyset && id < 1030, "{mode:?}: {:?}", began.elapsed());
            id += 1;
        }
        db.settled().await;

        let began = Instant::now();
        let ((), found) = tokio::join!(
            notify(&mut db, id + 1),
            next(&mut source, limit(1).wait(Duration::from_secs(20)))
        );
        // The first that was not found before.
        assert!((1000..=id).any(|id| found == [message(id)]), "{found:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop(source);
        db.done().await;
    }
}

#[tokio::test]
async fn a_listener_that_is_cut_off_listens_again_and_rows_are_polled_for_all_the_same() {
    let Some(_) = Kind::Postgres.url() else { return };
    let mut db = Db::classic(Kind::Postgres).await;
    let (user, url) = db.user("SELECT, UPDATE").await;
    let mut config = listening(&db);
    config.url = audit_core::Secret::new(url);
    let mut source = SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    listens(&mut db, &mut source).await;
    cut(&mut db, &user).await;
    db.insert_many([1000]).await;
    // What is heard after the new connection is that something may have been missed.
    let error = loop {
        match source.read(limit(10).wait(Duration::from_secs(5))).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable(), "the other connection was cut off too: {error}");
    source.open(None).await.unwrap();
    while !next(&mut source, limit(10)).await.contains(&message(1000)) {}
    drop(source);
    db.drop_user(&user).await;
    db.done().await;
}

#[tokio::test]
async fn polling_goes_on_where_nobody_notifies() {
    let Some(_) = Kind::Postgres.url() else { return };
    let mut db = Db::classic(Kind::Postgres).await;
    let mut config = listening(&db);
    config.poll_interval = Duration::from_millis(200);
    let mut source = SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    assert!(batch(&mut source, limit(10)).await.is_none());
    db.insert_many([7]).await;
    let found = next(&mut source, limit(10).wait(Duration::from_millis(30))).await;
    assert_eq!(found, [message(7)]);
    db.done().await;
}

#[test]
fn only_postgres_notifies() {
    for url in ["mysql://u@h/d", "/tmp/app.db"] {
        let mut config = SqlConfig::new(url);
        config.notify_channel = Some("new".to_owned());
        let error = SqlSource::new(config).unwrap_err();
        assert!(error.to_string().contains("PostgreSQL") && error.hint().is_some(), "{error}");
    }
}
