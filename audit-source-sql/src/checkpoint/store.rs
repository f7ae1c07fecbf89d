use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};

use super::SqlCheckpointConfig;
use super::statements::{Arg, Row};
use crate::config::Database;

/// An open connection to the table of checkpoints. It must not be used after a call that failed or
/// was dropped.
#[async_trait]
pub(super) trait Store: Send {
    /// Runs a statement, and returns how many rows it found.
    async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64>;

    /// Reads the row of a stream.
    async fn row(&mut self, sql: &str, stream: &str) -> Result<Option<Row>>;

    /// Returns whether the table is there.
    async fn has_table(&mut self, read: &str) -> Result<bool>;
}

/// Connects. A file of SQLite is made if it is not there.
pub(super) async fn connect(
    database: &Database,
    config: &SqlCheckpointConfig,
) -> Result<Box<dyn Store>> {
    match database {
        #[cfg(feature = "sqlite")]
        Database::Sqlite(path) => {
            let link = super::sqlite::SqliteStore::open(path.clone(), config.busy_timeout).await?;
            Ok(Box::new(link))
        }
        #[cfg(feature = "postgres")]
        Database::Postgres => {
            Ok(Box::new(super::postgres::PgStore::open(&config.connection()).await?))
        }
        #[cfg(feature = "mysql")]
        Database::Mysql => {
            Ok(Box::new(super::mysql::MySqlStore::open(&config.connection()).await?))
        }
        #[allow(unreachable_patterns, reason = "a build with every database")]
        other => {
            let (name, feature) = other.names();
            Err(Error::new(ErrorKind::Config, format!("this program was built without {name}"))
                .with("table", &config.table)
                .with_hint(format!("build it with the feature `{feature}`")))
        }
    }
}
