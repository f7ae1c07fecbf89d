use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql, params_from_iter};

use super::statements::{Arg, Row};
use super::store::Store;
use crate::error::sqlite;

/// SQLite is a library that blocks, so each call runs on a thread for blocking work.
pub(super) struct SqliteStore(Arc<Mutex<Connection>>);

impl SqliteStore {
    pub(super) async fn open(path: PathBuf, wait: Duration) -> Result<Self> {
        let conn =
            block(move || connect(&path, wait).map_err(|e| e.with("file", path.display()))).await?;
        Ok(Self(Arc::new(Mutex::new(conn))))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let conn = Arc::clone(&self.0);
        // Statements are transactions of their own: a panic leaves none behind.
        block(move || work(&conn.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn block<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Error::new(ErrorKind::Unexpected, "the database's thread broke off").because(e))
    })
}

fn connect(path: &Path, wait: Duration) -> Result<Connection> {
    // SQLite would make it readable for others.
    let mut private = OpenOptions::new();
    private.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut private, 0o600);
    match private.open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(ErrorKind::Config, "there is no such folder").because(e));
        }
        // It is there, or SQLite knows better.
        _ => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    conn.busy_timeout(wait).map_err(sqlite)?;
    // What was answered survives a power cut, in every journal mode.
    conn.pragma_update(None, "synchronous", "EXTRA").map_err(sqlite)?;
    Ok(conn)
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Int(n) => ValueRef::Integer(*n),
        }))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64> {
        let (sql, args) = (sql.to_owned(), args.to_vec());
        self.run(move |conn| {
            let mut statement = conn.prepare_cached(&sql).map_err(sqlite)?;
            Ok(statement.execute(params_from_iter(args)).map_err(sqlite)? as u64)
        })
        .await
    }

    async fn row(&mut self, sql: &str, stream: &str) -> Result<Option<Row>> {
        let (sql, stream) = (sql.to_owned(), stream.to_owned());
        self.run(move |conn| {
            let mut statement = conn.prepare_cached(&sql).map_err(sqlite)?;
            let row = statement.query_row([stream], |row| {
                Ok(Row {
                    format: row.get(0)?,
                    revision: row.get(1)?,
                    position: row.get(2)?,
                    checksum: row.get(3)?,
                    holder: row.get(4)?,
                    expires_at: row.get(5)?,
                    now: row.get(6)?,
                })
            });
            row.optional().map_err(sqlite)
        })
        .await
    }

    async fn has_table(&mut self, read: &str) -> Result<bool> {
        // The only thing in that statement that can be missing.
        let missing = |e: &rusqlite::Error| e.to_string().starts_with("no such table");
        let read = read.to_owned();
        self.run(move |conn| match conn.prepare(&read) {
            Ok(_) => Ok(true),
            Err(e) if missing(&e) => Ok(false),
            Err(e) => Err(sqlite(e)),
        })
        .await
    }
}
