mod config;
mod connection;

use audit_core::logger::AuditRecord;
use audit_core::{Error, ErrorKind, Result};

pub use self::config::OutboxConfig;
pub use self::connection::OutboxConnection;
use self::connection::Row;

/// Puts records into a table, inside the application's own transaction: the record is there exactly
/// if the change it tells of is.
///
/// A program that reads the table, as `audit-source-sql` does, delivers it from there.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use audit_logger::{AuditLogger, Outbox, OutboxConfig};
/// use sqlx::SqliteConnection;
///
/// async fn rename(
///     connection: &mut SqliteConnection,
///     outbox: &Outbox,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     use sqlx::Connection;
///     let mut transaction = connection.begin().await?;
///     sqlx::query("UPDATE users SET name = 'Ada' WHERE id = 42").execute(&mut *transaction).await?;
///     let record = AuditLogger::new().info("Renamed user 42").record()?;
///     outbox.insert(&mut *transaction, &record).await?;
///     transaction.commit().await?;
///     Ok(())
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Outbox {
    config: OutboxConfig,
}

impl Outbox {
    /// Creates it; touches nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when a name cannot be one of a table or column.
    pub fn new(config: OutboxConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    /// Inserts a record with the connection, or the transaction, given.
    ///
    /// # Errors
    /// Those of the database, by its own classes: [`ErrorKind::Config`] for a table or column that is
    /// not there, [`ErrorKind::Auth`] for a missing right, [`ErrorKind::Unavailable`] for a database
    /// that is locked or away. The transaction has to be rolled back then.
    pub async fn insert<C: OutboxConnection>(
        &self,
        connection: &mut C,
        record: &AuditRecord,
    ) -> Result<()> {
        let row = Row {
            id: self.config.record_id.then(|| record.id().as_str()),
            message: record.to_line(self.config.shape)?,
            created_at: record.time(),
        };
        connection.insert(&self.config, row).await.map_err(|e| {
            database_error(e)
                .while_doing("insert an audit record")
                .with("table", &self.config.table)
        })
    }
}

/// `2024-05-06 07:08:09.123456`, in UTC.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn plain(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

#[cfg(feature = "postgres")]
fn rfc3339(time: chrono::DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn database_error(error: sqlx::Error) -> Error {
    let kind = match &error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // PostgreSQL and MySQL (SQLSTATE), then SQLite: no such table or column.
            Some("42P01" | "42703" | "42S02" | "42S22" | "1") => ErrorKind::Config,
            Some("42501" | "42000" | "28000" | "28P01") => ErrorKind::Auth,
            // A constraint, a type, a length.
            Some(code) if code.starts_with("22") || code.starts_with("23") => ErrorKind::Rejected,
            _ if database.is_unique_violation() || database.is_check_violation() => {
                ErrorKind::Rejected
            }
            _ => ErrorKind::Unavailable,
        },
        sqlx::Error::Configuration(_) => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    // The message may show values of the row; the code does not.
    let message = match &error {
        sqlx::Error::Database(database) => {
            format!("the database refused it (code {})", database.code().unwrap_or_default())
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => error.to_string(),
        sqlx::Error::Io(e) => e.to_string(),
        _ => "the database cannot be used".to_owned(),
    };
    let error = Error::new(kind, message);
    match kind {
        ErrorKind::Config => error.with_hint("create the table, or correct the names"),
        ErrorKind::Auth => error.with_hint("the application's user needs INSERT on the table"),
        _ => error,
    }
}
