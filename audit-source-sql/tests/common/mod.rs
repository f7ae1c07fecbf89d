#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::time::Duration;

use audit_core::{AuditEvent, Batch, Cursor, DeadLetter, Limit, Read, Source};
use audit_source_sql::{SqlConfig, SqlSource};
use rusqlite::{Connection, Params};
use tempfile::TempDir;

/// The table as it is found in the field.
pub(crate) const CLASSIC: &str = "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN, \
                           message TEXT, created_at TEXT)";

/// A database file, and a connection to it as the application has.
pub(crate) struct Db {
    pub(crate) folder: TempDir,
    pub(crate) app: Connection,
}

impl Db {
    pub(crate) fn new(ddl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = Connection::open(folder.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        app.execute_batch(ddl).unwrap();
        Self { folder, app }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    pub(crate) fn config(&self) -> SqlConfig {
        let mut config = SqlConfig::new(format!("sqlite://{}", self.path().display()));
        config.poll_interval = Duration::from_millis(1);
        config
    }

    pub(crate) fn source(&self) -> SqlSource {
        SqlSource::new(self.config()).unwrap()
    }

    pub(crate) async fn opened(&self) -> SqlSource {
        let mut source = self.source();
        source.open(None).await.unwrap();
        source
    }

    pub(crate) fn execute(&self, sql: &str, params: impl Params) {
        self.app.execute(sql, params).unwrap();
    }

    /// Inserts a row of the classic table.
    pub(crate) fn insert(&self, id: i64, message: &str) {
        self.execute(
            "INSERT INTO audit_logs (id, is_sent, message) VALUES (?, 0, ?)",
            (id, message),
        );
    }

    pub(crate) fn insert_many(&self, ids: impl IntoIterator<Item = i64>) {
        self.app.execute_batch("BEGIN").unwrap();
        ids.into_iter().for_each(|id| self.insert(id, &message(id)));
        self.app.execute_batch("COMMIT").unwrap();
    }

    pub(crate) fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.app.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn unsent(&self) -> i64 {
        self.one("SELECT count(*) FROM audit_logs WHERE is_sent IS NOT TRUE")
    }
}

pub(crate) fn message(id: i64) -> String {
    format!(
        r#"{{"audit_event":{{"date_time":"2024-05-06T07:08:09.{:03}Z","actor":"a","operation":"READ","n":{id}}}}}"#,
        id.rem_euclid(1000)
    )
}

pub(crate) fn limit(events: usize) -> Limit {
    Limit::default().events(events)
}

/// Everything up to the next rest, committed batch by batch.
#[derive(Default, Debug)]
pub(crate) struct Pass {
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) rejected: Vec<DeadLetter>,
    pub(crate) cursors: Vec<Cursor>,
}

impl Pass {
    pub(crate) fn raw(&self) -> Vec<&str> {
        self.events.iter().map(|e| e.raw.get()).collect()
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.events.iter().map(|e| e.id.as_str()).collect()
    }
}

pub(crate) async fn pass(source: &mut SqlSource, events: usize, commit: bool) -> Pass {
    let mut all = Pass::default();
    while let Some(batch) = batch(source, limit(events)).await {
        if commit {
            source.committed(&batch.cursor).await.unwrap();
        }
        all.events.extend(batch.events);
        all.rejected.extend(batch.rejected);
        all.cursors.push(batch.cursor);
    }
    all
}

pub(crate) async fn batch(source: &mut SqlSource, limit: Limit) -> Option<Batch> {
    match source.read(limit).await.unwrap() {
        Read::Batch(batch) => Some(batch),
        Read::Idle(_) => None,
        Read::End => panic!("a table has no end"),
    }
}
