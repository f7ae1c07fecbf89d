//! The conformance suite over both adapters, and the real pipeline over both, killed at every call.

#![expect(clippy::unwrap_used, reason = "harnesses are test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use audit_core::testkit::{
    MemoryProgress, SinkHarness, SourceHarness, Verdict, When, World, crash_at_every_call,
    survive_random_faults,
};
use audit_core::{
    AuditEvent, Cursor, ErrorKind, EventId, Limit, Read, Result, Sink, Source, Written,
};
use own_adapter::{SCHEMA, SpoolConfig, SpoolSource, SqliteConfig, SqliteSink};
use rusqlite::Connection;
use tempfile::TempDir;

/// A directory as programs fill it.
struct Spool {
    dir: TempDir,
    files: usize,
    made: usize,
    seconds: usize,
    records: BTreeMap<EventId, String>,
    missing: Arc<AtomicBool>,
}

impl Spool {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let missing = Arc::default();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir, files: 0, made: 0, seconds: 0, records: BTreeMap::new(), missing }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// Leaves a file, as its contract says: under another name until it is finished.
    fn leave(&mut self, name: &str, lines: &[String]) -> Vec<EventId> {
        let unfinished = self.path().join("unfinished");
        fs::write(&unfinished, lines.concat()).unwrap();
        fs::rename(unfinished, self.path().join(name)).unwrap();
        let mut offset = 0;
        lines
            .iter()
            .map(|line| {
                let id = EventId::new(format!("{name}:{offset}"));
                offset += line.len();
                self.records.insert(id.clone(), line.trim_end().to_owned());
                id
            })
            .collect()
    }

    /// Makes a record of its own, `step` seconds later than the last.
    fn record(&mut self, step: usize) -> String {
        self.made += 1;
        self.seconds += step;
        let (n, minute, second) = (self.made, self.seconds / 60, self.seconds % 60);
        format!("{{\"n\": {n}.10, \"time\":\"2026-01-05T17:{minute:02}:{second:02}Z\"}}\n")
    }

    fn next_file(&mut self, lines: &[String]) -> Vec<EventId> {
        self.files += 1;
        self.leave(&format!("{:06}.ndjson", self.files), lines)
    }
}

#[async_trait]
impl SourceHarness for Spool {
    async fn source(&mut self) -> Box<dyn Source> {
        let inner = SpoolSource::new(SpoolConfig::new(self.path()));
        let (dir, missing) = (self.path(), Arc::clone(&self.missing));
        Box::new(Unmounted { inner, dir, missing })
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let lines: Vec<_> = (0..records).map(|_| self.record(1)).collect();
        self.next_file(&lines)
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.seconds += 1;
        let lines: Vec<_> = (0..records).map(|_| self.record(0)).collect();
        self.next_file(&lines)
    }

    async fn payload(&mut self, id: &EventId) -> Option<String> {
        self.records.get(id).cloned()
    }

    async fn seed_bad(&mut self) -> bool {
        self.next_file(&["{\"cut\": \n".to_owned()]);
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        self.files += 1;
        let record = self.record(0);
        self.leave(&format!("000000-{}.ndjson", self.files), &[record]).pop()
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        let can = kind == ErrorKind::Config;
        self.missing.store(can, Ordering::Relaxed);
        can
    }
}

/// A source whose directory goes away for one read when it is asked to.
struct Unmounted {
    inner: SpoolSource,
    dir: PathBuf,
    missing: Arc<AtomicBool>,
}

#[async_trait]
impl Source for Unmounted {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.inner.open(from).await
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        if !self.missing.swap(false, Ordering::Relaxed) {
            return self.inner.read(limit).await;
        }
        let away = self.dir.with_extension("away");
        fs::rename(&self.dir, &away).unwrap();
        let read = self.inner.read(limit).await;
        fs::rename(&away, &self.dir).unwrap();
        read
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        self.inner.committed(cursor).await
    }

    async fn check(&mut self) -> Result<()> {
        self.inner.check().await
    }
}

/// A database as readers find it.
struct Database {
    dir: TempDir,
    busy: Arc<AtomicBool>,
}

impl Database {
    async fn start() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), busy: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.execute(SCHEMA, ()).unwrap();
        connection
    }
}

#[async_trait]
impl SinkHarness for Database {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let inner = SqliteSink::new(SqliteConfig::new(self.path()));
        Arc::new(Contended { inner, path: self.path(), busy: Arc::clone(&self.busy) })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let connection = self.connect();
        let mut rows = connection.prepare("SELECT id, record FROM events ORDER BY rowid").unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
        let rows = rows.query_map((), row).unwrap();
        rows.map(|row| row.map(|(id, record)| (EventId::new(id), record)).unwrap()).collect()
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        if items.iter().any(|(_, kind)| *kind != ErrorKind::Rejected) {
            return false;
        }
        let connection = self.connect();
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS refused (id TEXT PRIMARY KEY);
                 CREATE TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON events
                 WHEN EXISTS (SELECT 1 FROM refused WHERE id = new.id)
                 BEGIN SELECT RAISE(FAIL, 'not this one'); END;",
            )
            .unwrap();
        for (id, _) in items {
            connection.execute("INSERT INTO refused VALUES (?1)", [id.as_str()]).unwrap();
        }
        true
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        // In one process no answer can be lost on its way: a call that took effect returns.
        let can = (kind, when) == (ErrorKind::Unavailable, When::Before);
        self.busy.store(can, Ordering::Relaxed);
        can
    }
}

/// A sink whose database another process keeps locked for one write when it is asked to.
struct Contended {
    inner: SqliteSink,
    path: PathBuf,
    busy: Arc<AtomicBool>,
}

#[async_trait]
impl Sink for Contended {
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if !self.busy.swap(false, Ordering::Relaxed) {
            return self.inner.write(events).await;
        }
        let path = self.path.clone();
        let rival = Connection::open(path).unwrap();
        rival.execute_batch("BEGIN EXCLUSIVE").unwrap();
        // A connection cannot be shared over an await, but it can be kept.
        let rival = std::sync::Mutex::new(rival);
        let written = self.inner.write(events).await;
        rival.lock().unwrap().execute_batch("ROLLBACK").unwrap();
        written
    }
}

mod source {
    use super::*;

    audit_core::conformance!(source: Spool::start);
}

mod sink {
    use super::*;

    audit_core::conformance!(
        sink: Database::start,
        except: {
            k10_shows_no_secret: "it has none",
        }
    );
}

#[tokio::test]
async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
    crash_at_every_call(async || {
        World::new(Spool::start().await, Database::start().await, MemoryProgress::new())
    })
    .await
}

#[tokio::test]
async fn random_faults_and_deaths_lose_and_double_nothing() -> Verdict {
    let start =
        async || World::new(Spool::start().await, Database::start().await, MemoryProgress::new());
    survive_random_faults(start, 0..10).await
}
