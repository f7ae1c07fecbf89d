mod link;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};

use self::link::Link;
use crate::client::{Client, Edge, Facts, Handed, Rows, Scan};
use crate::config::SqlConfig;
use crate::intake::Intake;
use crate::keys::{Key, Keys};

/// Speaks to an SQLite file. SQLite is a library that blocks, so each call runs as a whole on a
/// thread for blocking work: one hand-over a batch, not one a row.
#[derive(Debug)]
pub(crate) struct SqliteClient {
    path: Arc<PathBuf>,
    config: Arc<SqlConfig>,
    link: Option<Arc<Mutex<Link>>>,
}

impl SqliteClient {
    pub(crate) fn new(path: PathBuf, config: Arc<SqlConfig>) -> Self {
        Self { path: Arc::new(path), config, link: None }
    }

    /// Runs one piece of work with the connection. When the caller is dropped it still ends, and the
    /// next waits for it.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Link) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(link) = self.link.clone() else {
            return Err(Error::new(ErrorKind::Unexpected, "the source was not opened"));
        };
        self.block(operation, move || {
            // A panic while the lock was held leaves at worst a transaction, which is rolled back.
            work(&link.lock().unwrap_or_else(|broken| broken.into_inner()))
        })
        .await
    }

    async fn block<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|e| {
            Err(Error::new(ErrorKind::Unexpected, "the database's thread broke off").because(e))
        })
        .map_err(|e| e.while_doing(operation).with("file", self.path.display()))
    }
}

#[async_trait]
impl Client for SqliteClient {
    async fn connect(&mut self) -> Result<Facts> {
        self.link = None;
        let (path, config) = (Arc::clone(&self.path), Arc::clone(&self.config));
        let link = self.block("open the table", move || Link::open(&path, &config)).await?;
        let facts = link.facts();
        self.link = Some(Arc::new(Mutex::new(link)));
        Ok(facts)
    }

    async fn scan(&mut self, rows: Rows, after: Option<Key>, intake: Intake) -> Result<Scan> {
        self.run("read the table", move |link| link.scan(rows, after, intake)).await
    }

    async fn edge(&mut self) -> Result<Edge> {
        self.run("look for new keys", Link::edge).await
    }

    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>> {
        self.run("look for missing keys", move |link| link.keys(first, last)).await
    }

    async fn prints(&mut self, keys: Keys) -> Result<Handed> {
        self.run("look up the rows last handed out", move |link| link.prints(&keys)).await
    }

    async fn mark(&mut self, batches: Vec<Arc<Handed>>) -> Result<usize> {
        self.run("mark the rows", move |link| link.mark(&batches)).await
    }

    async fn version(&mut self) -> Result<Option<i64>> {
        self.run("look for changes", |link| link.version().map(Some)).await
    }

    async fn stale(
        &mut self,
        after: Option<Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>> {
        self.run("look for old rows", move |link| link.stale(after, before, rows)).await
    }

    async fn delete(&mut self, keys: Vec<Key>, before: DateTime<Utc>) -> Result<u64> {
        self.run("delete old rows", move |link| link.delete(&keys, before)).await
    }

    async fn check(&mut self) -> Result<()> {
        let (path, config) = (Arc::clone(&self.path), Arc::clone(&self.config));
        self.block("check the table", move || Link::open(&path, &config)?.advise()).await
    }
}
