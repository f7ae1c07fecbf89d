//! The source beside the smallest loop over the same rows: reading alone, and with marking.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use audit_core::{Limit, Read, Source};
use audit_source_sql::{SqlConfig, SqlSource};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rusqlite::Connection;
use tokio::runtime::Runtime;

const ROWS: i64 = 100_000;

/// A table of rows of about 700 bytes that differ in every field.
fn fill(path: &Path) {
    let mut conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE audit_logs \
         (id INTEGER PRIMARY KEY, is_sent BOOLEAN, message TEXT, created_at TEXT)",
    )
    .unwrap();
    let transaction = conn.transaction().unwrap();
    for id in 0..ROWS {
        let random = xxhash_rust::xxh3::xxh3_128(&id.to_le_bytes());
        let operation = ["CREATE", "READ", "UPDATE", "DELETE"][id as usize % 4];
        let record = serde_json::json!({"audit_event": {
            "origin": "orders-service",
            "status": if id % 20 == 0 { "FORBIDDEN" } else { "SUCCESS" },
            "date_time_epoch": 1_714_979_285_000 + id,
            "date_time": format!("2024-05-06T07:{:02}:{:02}.{:03}Z", id / 60 % 60, id % 60, id % 1000),
            "actor": {
                "role": "USER",
                "user_id": format!("{random:032x}"),
                "provider": "django.contrib.auth.backends.ModelBackend",
                "ip_address": format!("10.{}.{}.7", id % 250, id % 199),
            },
            "operation": operation,
            "additional_information": format!("{random:0330x}"),
            "target": {"id": (id * 7).to_string(), "type": "Order"},
        }});
        transaction
            .execute(
                "INSERT INTO audit_logs VALUES (?, 0, ?, '2024-05-06 07:08:09.123456')",
                (id, record.to_string()),
            )
            .unwrap();
    }
    transaction.commit().unwrap();
}

/// The floor: reads id, message and time, and owns the message.
fn floor(path: &Path, mark: bool) -> usize {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT id, message, created_at FROM audit_logs \
               WHERE is_sent IS NOT TRUE AND id > ? ORDER BY id LIMIT 4000";
    let mut select = conn.prepare(sql).unwrap();
    let mut update =
        conn.prepare("UPDATE audit_logs SET is_sent = 1 WHERE id BETWEEN ? AND ?").unwrap();
    let (mut bytes, mut last) = (0, -1_i64);
    loop {
        let first = last + 1;
        let mut rows = select.query([last]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            last = row.get_unwrap(0);
            let message: String = row.get_unwrap(1);
            bytes += message.len();
            black_box((message, row.get_ref_unwrap(2)));
        }
        if last < first {
            return bytes;
        }
        if mark {
            update.execute([first, last]).unwrap();
        }
    }
}

async fn source(path: &Path, mark: bool) -> usize {
    let mut source = SqlSource::new(SqlConfig::new(path.to_str().unwrap())).unwrap();
    source.open(None).await.unwrap();
    let mut bytes = 0;
    while let Read::Batch(batch) = source.read(Limit::default()).await.unwrap() {
        bytes += batch.events.iter().map(|event| event.raw.get().len()).sum::<usize>();
        if mark {
            source.committed(&batch.cursor).await.unwrap();
        }
        black_box(batch);
    }
    bytes
}

fn sqlite(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (full, copy) = (folder.path().join("full.db"), folder.path().join("copy.db"));
    fill(&full);
    let runtime = Runtime::new().unwrap();
    assert_eq!(floor(&full, false), runtime.block_on(source(&full, false)));
    let fresh = || {
        for end in ["", "-wal", "-shm"] {
            _ = std::fs::remove_file(format!("{}{end}", copy.display()));
        }
        std::fs::copy(&full, &copy).unwrap();
    };

    let mut group = c.benchmark_group("sqlite");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("read/floor", |b| b.iter(|| floor(&full, false)));
    group.bench_function("read/source", |b| {
        b.iter(|| runtime.block_on(source(&full, false)));
    });
    group.bench_function("read and mark/floor", |b| {
        b.iter_batched(fresh, |()| floor(&copy, true), BatchSize::PerIteration);
    });
    group.bench_function("read and mark/source", |b| {
        b.iter_batched(fresh, |()| runtime.block_on(source(&copy, true)), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, sqlite);
criterion_main!(benches);
