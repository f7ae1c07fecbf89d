use std::fmt;
use std::sync::Arc;

use audit_core::Result;
use chrono::{DateTime, Utc};

use crate::client::Client;
use crate::config::SqlConfig;
use crate::keys::Key;
use crate::source::connect;

/// So many rows are deleted in one transaction, unless said otherwise.
const CHUNK: usize = 5_000;

/// Deletes rows that are sent and old.
///
/// Whatever is not recorded as sent stays, however old: what is deleted is the exact opposite of
/// what [`SqlSource`](crate::SqlSource) reads. So does a row that does not say when it was made. The
/// time is the column `created_at` (or `created_at_column`), of django-auditlog `timestamp`; without
/// a zone it counts as UTC.
pub struct Cleaner {
    config: Arc<SqlConfig>,
    client: Box<dyn Client>,
    chunk: usize,
}

impl Cleaner {
    /// Creates the cleaner of a table. Nothing is opened yet.
    ///
    /// # Errors
    /// As [`SqlSource::new`](crate::SqlSource::new).
    pub fn new(config: SqlConfig) -> Result<Self> {
        let database = config.database()?;
        let config = Arc::new(config);
        let client = connect(database, &config)?;
        Ok(Self { config, client, chunk: CHUNK })
    }

    /// Deletes so many rows in one transaction, 1 to 1,000,000. Default 5,000.
    #[must_use]
    pub fn with_chunk(mut self, rows: usize) -> Self {
        self.chunk = rows.clamp(1, 1_000_000);
        self
    }

    /// Returns how many rows [`clear`](Self::clear) would delete now; deletes none.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub async fn count(&mut self, before: DateTime<Utc>) -> Result<u64> {
        self.client.connect().await?;
        let (mut after, mut count) = (None, 0);
        while let Some((keys, last)) = self.next(after, before).await? {
            count += keys.len() as u64;
            after = Some(last);
        }
        Ok(count)
    }

    /// Deletes the rows that are sent and were made before a point in time, and returns how many.
    ///
    /// Each chunk is a transaction: what was deleted stays deleted when a later one fails, or when
    /// the call is dropped. `progress` learns after each how many rows are gone so far.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](audit_core::ErrorKind::Config) when the table has no column of a time,
    /// or rows of other tables refer to what would be deleted;
    /// [`ErrorKind::Auth`](audit_core::ErrorKind::Auth) without the right to DELETE; and everything
    /// that a connection may fail with.
    pub async fn clear(
        &mut self,
        before: DateTime<Utc>,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64> {
        self.client.connect().await?;
        let (mut after, mut deleted) = (None, 0);
        while let Some((keys, last)) = self.next(after, before).await? {
            deleted += self.client.delete(keys, before).await?;
            progress(deleted);
            after = Some(last);
        }
        Ok(deleted)
    }

    /// Returns the keys of a chunk, and the last of them.
    async fn next(
        &mut self,
        after: Option<Key>,
        before: DateTime<Utc>,
    ) -> Result<Option<(Vec<Key>, Key)>> {
        let keys = self.client.stale(after, before, self.chunk).await?;
        let last = keys.last().cloned();
        Ok(last.map(|last| (keys, last)))
    }
}

impl fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaner").field("config", &self.config).finish_non_exhaustive()
    }
}
