use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::durable::{check_writable, io_error};
use audit_core::{AuditEvent, ErrorKind, Failure, Result, Sink, Written};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::of_sqlite;
use crate::{SqliteConfig, blocking};

/// The table that a [`SqliteSink`] writes to, and makes if it is not there.
pub const SCHEMA: &str = "\
    CREATE TABLE IF NOT EXISTS events (
        id TEXT PRIMARY KEY,
        time TEXT NOT NULL,
        record TEXT NOT NULL
    )";
const INSERT: &str =
    "INSERT INTO events (id, time, record) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
/// How long SQLite itself waits for another writer; the pipeline waits longer.
const BUSY: Duration = Duration::from_millis(100);

/// Appends events to the table `events` of an SQLite database, each once.
#[derive(Debug)]
pub struct SqliteSink {
    config: Arc<SqliteConfig>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl SqliteSink {
    /// Makes the sink. Touches nothing outside: it connects with the first write.
    pub fn new(config: SqliteConfig) -> Self {
        Self { config: Arc::new(config), connection: Arc::default() }
    }
}

#[async_trait]
impl Sink for SqliteSink {
    async fn check(&self) -> Result<()> {
        let config = Arc::clone(&self.config);
        blocking::run(move || look(&config.path)).await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::all());
        }
        let (config, connection) = (Arc::clone(&self.config), Arc::clone(&self.connection));
        let events = events.to_vec();
        blocking::run(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = match &mut *connection {
                Some(connection) => connection,
                none => none.insert(connect(&config.path)?),
            };
            append(connection, &events, &config.path)
        })
        .await
        .map_err(|e| e.while_doing("write to the database"))
    }
}

/// Writes events in one transaction: when it returns, all are durable but those the report names.
fn append(connection: &mut Connection, events: &[AuditEvent], path: &Path) -> Result<Written> {
    let failed = |e| of_sqlite(e, path);
    let mut written = Written::all();
    // Dropped on any error below, which rolls it back: nothing of it happened.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let mut insert = transaction.prepare(INSERT).map_err(failed)?;
    for (index, event) in events.iter().enumerate() {
        let row = (event.id.as_str(), event.time.to_rfc3339(), event.raw.get());
        match insert.execute(row).map_err(failed) {
            Ok(0) => written.duplicates.push(index),
            Ok(_) => {}
            // About this event alone: its neighbours go on.
            Err(error) if error.kind() == ErrorKind::Rejected => {
                written.failures.push(Failure { index, error });
            }
            // About the database.
            Err(error) => return Err(error),
        }
    }
    drop(insert);
    transaction.commit().map_err(failed)?;
    Ok(written)
}

fn connect(path: &Path) -> Result<Connection> {
    // SQLite would make the file readable to all.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| io_error(&e, path))?;
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // A commit returns when the disk has it.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute(SCHEMA, ())?;
        Ok(connection)
    };
    open().map_err(|e| of_sqlite(e, path))
}

/// Finds out whether it could be written to. Changes nothing.
fn look(path: &Path) -> Result<()> {
    check_writable(path)?;
    if !path.exists() {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
    };
    open().map_err(|e| of_sqlite(e, path).while_doing("look into the database"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_check_changes_nothing_and_a_write_keeps_the_file_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.db");
        let sink = SqliteSink::new(SqliteConfig::new(&path));
        sink.check().await.unwrap();
        assert!(!path.exists());
        let events = audit_core::testkit::sample_events(0, 2).unwrap();
        assert!(sink.write(&events).await.unwrap().failures.is_empty());
        sink.check().await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_is_no_database_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "these are notes, and there are enough of them to look like a header")
            .unwrap();
        let error = SqliteSink::new(SqliteConfig::new(&path)).check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }
}
