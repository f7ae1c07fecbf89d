//! A whole pipeline, SQLite to NDJSON with checkpoint and marking, beside the smallest loop that
//! reads, writes, syncs and marks the same rows. `pipeline.sh` does the same with whole processes.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::fs::File;
use std::future::pending;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use audit_core::{FileCheckpoint, Pipeline};
use audit_sink_file::{FileConfig, FileSink};
use audit_source_sql::{SqlConfig, SqlSource};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ROWS: u32 = 50_000;

fn fill(path: &Path) {
    let mut db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, \
         is_sent BOOLEAN NOT NULL DEFAULT 0, message JSON, created_at TEXT NOT NULL); \
         CREATE INDEX audit_logs_unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE",
    )
    .unwrap();
    let transaction = db.transaction().unwrap();
    for n in 0..ROWS {
        let note = format!("{:0400x}", u128::from(n) * 0x9e37_79b9_7f4a_7c15);
        let message = format!(
            r#"{{"audit_event": {{"origin": "shop", "status": "SUCCESS", "date_time": "2026-01-05T08:{:02}:{:02}.{:03}Z", "actor": {{"role": "USER", "user_id": "{n}", "ip_address": "192.0.2.{}"}}, "operation": "UPDATE", "additional_information": "{note}", "target": {{"id": "{}", "type": "Order"}}}}}}"#,
            n / 60 % 60,
            n % 60,
            n % 1000,
            n % 250,
            n / 3,
        );
        let sql = "INSERT INTO audit_logs (message, created_at) VALUES (?, '2026-01-05 08:00:00')";
        transaction.execute(sql, [message]).unwrap();
    }
    transaction.commit().unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

fn floor(dir: &Path) {
    let db = Connection::open(dir.join("app.db")).unwrap();
    let mut out = BufWriter::with_capacity(1 << 20, File::create(dir.join("out.ndjson")).unwrap());
    let sql = "SELECT id, message FROM audit_logs WHERE is_sent IS NOT TRUE AND id > ? \
               ORDER BY id LIMIT 3000";
    let mark = "UPDATE OR FAIL audit_logs SET is_sent = 1 WHERE id BETWEEN ? AND ?";
    let (mut select, mut last) = (db.prepare(sql).unwrap(), 0_i64);
    loop {
        let first = last;
        let mut rows = select.query([first]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            last = row.get(0).unwrap();
            out.write_all(row.get_ref(1).unwrap().as_bytes().unwrap()).unwrap();
            out.write_all(b"\n").unwrap();
        }
        drop(rows);
        if first == last {
            return;
        }
        out.flush().unwrap();
        out.get_ref().sync_data().unwrap();
        db.execute(mark, [first + 1, last]).unwrap();
    }
}

fn pipeline(runtime: &Runtime, dir: &Path) {
    let source = SqlSource::new(SqlConfig::new(dir.join("app.db").display().to_string())).unwrap();
    let sink = FileSink::new(FileConfig::new(dir.join("out.ndjson"))).unwrap();
    let checkpoint = FileCheckpoint::open(dir.join("state"));
    let stream = "bench".parse().unwrap();
    let pipeline = Pipeline::new(stream, Box::new(source), Arc::new(sink), Arc::new(checkpoint));
    let summary = runtime.block_on(pipeline.run(pending())).unwrap();
    assert_eq!(summary.delivered, u64::from(ROWS));
}

fn compare(c: &mut Criterion) {
    let full = tempfile::tempdir().unwrap();
    fill(&full.path().join("app.db"));
    let fresh = || -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(full.path().join("app.db"), dir.path().join("app.db")).unwrap();
        dir
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("sqlite to ndjson, 50,000 rows");
    group.sample_size(10).throughput(Throughput::Elements(ROWS.into()));
    group.bench_function("floor: read, write, sync, mark", |b| {
        b.iter_batched_ref(fresh, |dir| floor(dir.path()), BatchSize::PerIteration);
    });
    group.bench_function("pipeline", |b| {
        b.iter_batched_ref(fresh, |dir| pipeline(&runtime, dir.path()), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, compare);
criterion_main!(benches);
