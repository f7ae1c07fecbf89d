use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};

use super::SqlCheckpointConfig;
use super::statements::{Arg, Row, Statements};
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

/// Connects, and makes the table if it is not there.
pub(super) async fn open(
    database: &Database,
    config: &SqlCheckpointConfig,
    statements: &Statements,
) -> Result<Box<dyn Store>> {
    let mut store = connect(database, config).await?;
    if !store.has_table(&statements.read).await?
        && let Err(e) = store.execute(&statements.create, &[]).await
    {
        // Another process may have made it just now.
        store = connect(database, config).await?;
        if !store.has_table(&statements.read).await? {
            return Err(e.while_doing("make the table of checkpoints").with_hint(format!(
                "make it for a user who may SELECT, INSERT and UPDATE: {}",
                statements.create
            )));
        }
    }
    Ok(store)
}

async fn connect(database: &Database, config: &SqlCheckpointConfig) -> Result<Box<dyn Store>> {
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
