//! Tables without a mark, in which many keys are missing.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use audit_core::{Clock, Cursor, Source};
use audit_source_sql::{Mode, SqlConfig, SqlSource};
use chrono::DateTime;

use common::{CLASSIC, Db, batch, limit, pass};

fn by_keyset(db: &Db) -> SqlConfig {
    let mut config = db.config();
    config.mode = Mode::Keyset;
    config
}

/// A process at so many seconds since 1970, which goes on behind a cursor.
async fn process(db: &Db, second: i64, from: Option<&Cursor>) -> SqlSource {
    let clock = Clock::from_fn(move || DateTime::from_timestamp(second, 0).unwrap());
    let mut source = SqlSource::new(by_keyset(db)).unwrap().with_clock(clock);
    source.open(from).await.unwrap();
    source
}

#[tokio::test]
async fn q03_a_death_between_rows_that_were_found_late_loses_none_of_them() {
    let db = Db::new(CLASSIC);
    db.insert_many((0..300).map(|n| n * 3));
    let mut source = process(&db, 0, None).await;
    let before = pass(&mut source, 1000, true).await;
    let mut cursor = before.cursors.last().cloned().unwrap();
    // While nobody looks: the transactions end that had taken the keys between.
    db.insert_many((0..299).map(|n| n * 3 + 1));
    let mut found = Vec::new();
    for hour in 1..1000 {
        let mut source = process(&db, hour * 3600, Some(&cursor)).await;
        let Some(batch) = batch(&mut source, limit(20)).await else { break };
        found.extend(batch.events.iter().map(|event| event.raw.get().to_owned()));
        cursor = batch.cursor;
    }
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 299);
    assert_eq!(found.len(), 299, "some came twice");
}

/// Else a run that ends when there is nothing new would end in the middle of a table.
#[tokio::test]
async fn rows_behind_more_gaps_than_are_remembered_are_waited_for() {
    let db = Db::new(CLASSIC);
    db.insert_many((0..15_000).map(|n| n * 3));
    let mut config = by_keyset(&db);
    config.gap_timeout = Duration::from_secs(2);
    let mut source = SqlSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let all = pass(&mut source, 5000, true).await;
    assert_eq!(all.events.len(), 15_000);
}
