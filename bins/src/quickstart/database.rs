use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use audit_core::{Result, durable};
use rusqlite::Connection;

use super::{events, failed};

/// The table of the example, as applications in the wild have it.
pub(super) const TABLE: &str = "audit_logs";

const SCHEMA: &str = "\
    CREATE TABLE IF NOT EXISTS audit_logs (
        id INTEGER PRIMARY KEY,
        is_sent BOOLEAN NOT NULL DEFAULT 0,
        message JSON,
        created_at TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS audit_logs_unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE;";

/// The example's database.
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            // SQLite would make it readable for everybody.
            durable::create_private(path).map_err(|e| durable::io_error(&e, path))?;
        }
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(|e| failed(e, path))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    pub(super) fn rows(&self) -> Result<u64> {
        self.count("SELECT count(*) FROM audit_logs")
    }

    pub(super) fn unsent(&self) -> Result<u64> {
        self.count("SELECT count(*) FROM audit_logs WHERE is_sent IS NOT TRUE")
    }

    /// Adds events to the `before` that are there, the last `broken` of them cut off in the middle.
    pub(super) fn write(&mut self, before: u64, events: u32, broken: u32) -> Result<Duration> {
        let started = Instant::now();
        let rows = u64::from(events.max(broken));
        let whole = rows - u64::from(broken);
        let failed = |e| failed(e, &self.path);
        let transaction = self.connection.transaction().map_err(failed)?;
        {
            let sql = "INSERT INTO audit_logs (message, created_at) VALUES (?1, ?2)";
            let mut insert = transaction.prepare(sql).map_err(failed)?;
            for (i, record) in events::from(before).take(rows as usize).enumerate() {
                let record = record?;
                let mut message = record.to_line(audit_core::logger::Shape::AuditEvent)?;
                if i as u64 >= whole {
                    message.truncate(message.len() / 2); // ASCII, so any place is an edge
                }
                let created_at = record.time().to_rfc3339();
                insert.execute((message, created_at)).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(started.elapsed())
    }

    fn count(&self, sql: &str) -> Result<u64> {
        let count: i64 = self
            .connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|e| failed(e, &self.path))?;
        Ok(count.unsigned_abs())
    }
}
