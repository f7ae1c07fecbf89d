mod config;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod store;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Checkpoint, Cursor, Error, ErrorKind, Result, Revision, StreamId};
use tokio::sync::Mutex;

pub use self::config::SqlCheckpointConfig;
use self::statements::{Arg, Row, Statements, encode};
use self::store::Store;
use crate::config::Database;

/// How long a statement may take before the database counts as gone.
const CALL: Duration = Duration::from_secs(30);
/// How often whoever waits for a lease looks.
const POLL: Duration = Duration::from_millis(200);

/// Keeps progress in a table of a database, so that any host can go on where another stopped.
///
/// A stream belongs to one process at a time: to the one that loaded it, until that gives it back
/// or has not been heard of for [`SqlCheckpointConfig::lease`]. Meanwhile
///
/// * a `load` by another waits for the end of the lease, and is a [`ErrorKind::Conflict`] as soon as
///   it sees it renewed: so a process that was killed is followed by the next one after a lease at
///   most, and of two that live one ends at once;
/// * a `save` by another is a [`ErrorKind::Conflict`] and changes nothing: also that of a process that
///   slept through its lease and wakes up after somebody else has gone on.
///
/// Saves compare and set the revision in one statement. Time is that of the database's clock.
pub struct SqlCheckpoint {
    shared: Arc<Shared>,
}

struct Shared {
    config: SqlCheckpointConfig,
    database: Database,
    statements: Statements,
    /// Who this is: unlike any other, also on the same host.
    holder: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The connection, between two calls that went well.
    store: Option<Box<dyn Store>>,
    /// The streams that were taken and read by this instance.
    held: HashSet<StreamId>,
    /// Whether the table is known to be there.
    has_table: bool,
    renewing: bool,
}

impl SqlCheckpoint {
    /// Creates a checkpoint; connects at the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a URL or option that cannot be meant.
    pub fn new(config: SqlCheckpointConfig) -> Result<Self> {
        let database = config.database()?;
        let statements = Statements::new(&database, &config.table);
        // Seeded by the operating system, for each anew.
        let random = RandomState::new().build_hasher().finish();
        let holder = match &config.holder {
            Some(name) => format!("{name} {random:016x}"),
            None => format!("process {} {random:016x}", std::process::id()),
        };
        let state = Mutex::default();
        let shared = Shared { config, database, statements, holder, state };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Finds out whether the database can be reached and the table be read, if it is there. Writes
    /// nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn check(&self) -> Result<()> {
        self.shared.can_be_read().await.map(|_| ())
    }

    /// Reads what is saved of a stream, whoever holds it: for a look while it runs. Writes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the row is damaged or newer than this program; those of the
    /// database.
    pub async fn peek(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        if !self.shared.can_be_read().await? {
            return Ok(None);
        }
        let row = self.shared.row(stream).await?;
        row.map_or(Ok(None), |row| row.decode(stream))
    }

    /// Replaces whatever is saved of a stream, also a damaged row, and holds the stream until
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] while another process holds the stream; those of the database.
    pub async fn set(&self, stream: &StreamId, cursor: &Cursor) -> Result<Revision> {
        let (claimed, row) = self.shared.claim(stream).await?;
        if claimed && let Some(revision) = self.shared.replace(stream, cursor, row.revision).await?
        {
            self.shared.state.lock().await.held.insert(stream.clone());
            return Ok(revision);
        }
        Err(held(stream, &row).while_doing("set the checkpoint"))
    }

    /// Gives back all streams held, so that others need not wait for the end of the lease. A pipeline
    /// does it when its run has ended; dropping this value does it too, if the runtime lives on.
    ///
    /// # Errors
    /// Those of the database. Then the lease ends by itself.
    pub async fn release(&self) -> Result<()> {
        self.shared.release().await
    }
}

#[async_trait]
impl Checkpoint for SqlCheckpoint {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let shared = &self.shared;
        let mut seen: Option<Row> = None;
        loop {
            let row = match shared.take(stream).await? {
                Taken::Ours(saved) => {
                    shared.keep_renewing().await;
                    return Ok(saved);
                }
                Taken::Theirs(row) => row,
            };
            let left = row.expires_at.saturating_sub(row.now).clamp(0, 3_600_000);
            if let Some(before) = &seen
                && (before.holder != row.holder || before.expires_at < row.expires_at)
            {
                return Err(held(stream, &row).while_doing("load the checkpoint"));
            }
            if seen.is_none() {
                tracing::info!(%stream, holder = row.holder, left_ms = left, "waiting for a lease");
            }
            seen = Some(row);
            let pause = Duration::from_millis(left.unsigned_abs() + 1);
            tokio::time::sleep(pause.min(POLL)).await;
        }
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let shared = &self.shared;
        shared.save(stream, cursor, after).await.map_err(|e| e.while_doing("save the checkpoint"))
    }

    /// Of all streams of this value, which a pipeline has for itself.
    async fn release(&self, _: &StreamId) -> Result<()> {
        self.shared.release().await
    }
}

/// Whose a stream is.
enum Taken {
    Ours(Option<(Cursor, Revision)>),
    Theirs(Row),
}

impl Shared {
    async fn save(
        self: &Arc<Self>,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        if !self.state.lock().await.held.contains(stream) {
            // Nothing is replaced that was not read and found whole.
            if let Taken::Theirs(row) = self.take(stream).await? {
                return Err(held(stream, &row));
            }
        }
        self.keep_renewing().await;
        // No revision given is 0, and one that never was given is none.
        let expected = match after {
            None => 0,
            Some(Revision(0)) => -1,
            Some(Revision(n)) => i64::try_from(n).unwrap_or(-1),
        };
        if let Some(revision) = self.replace(stream, cursor, expected).await? {
            return Ok(revision);
        }
        match self.row(stream).await? {
            Some(row) if row.holder != self.holder => {
                self.state.lock().await.held.remove(stream);
                Err(held(stream, &row))
            }
            found => Err(changed(stream, found.map_or(0, |row| row.revision), after)),
        }
    }

    /// Saves if the stream's revision is this one and nobody else holds it.
    async fn replace(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        revision: i64,
    ) -> Result<Option<Revision>> {
        let next = revision.saturating_add(1);
        let (position, checksum) = encode(stream, cursor, next)?;
        let args = [
            Arg::Text(position),
            Arg::Int(checksum),
            self.holder(),
            self.lease(),
            Arg::Text(stream.to_string()),
            Arg::Int(revision),
            self.holder(),
        ];
        let saved = self.execute(&self.statements.save, &args).await? == 1;
        Ok(saved.then_some(Revision(next.unsigned_abs())))
    }

    /// Takes a stream for this instance, unless another holds it, and reads it.
    async fn take(&self, stream: &StreamId) -> Result<Taken> {
        let row = match self.claim(stream).await? {
            (true, row) => row,
            (false, row) => return Ok(Taken::Theirs(row)),
        };
        let saved = row.decode(stream)?;
        self.state.lock().await.held.insert(stream.clone());
        Ok(Taken::Ours(saved))
    }

    /// Takes a stream unless another holds it. Returns whether it is taken, and its row.
    async fn claim(&self, stream: &StreamId) -> Result<(bool, Row)> {
        self.make_table().await?;
        let name = Arg::Text(stream.to_string());
        let args = [self.holder(), self.lease(), name.clone(), self.holder()];
        let mut claimed = self.execute(&self.statements.claim, &args).await? == 1;
        let mut row = self.row(stream).await?;
        if row.is_none() {
            self.execute(&self.statements.insert, &[name]).await?;
            claimed = self.execute(&self.statements.claim, &args).await? == 1;
            row = self.row(stream).await?;
        }
        let row = row.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the row was deleted").with("stream", stream)
        })?;
        Ok((claimed && row.holder == self.holder, row))
    }

    /// Starts to renew what is held until the last handle is dropped.
    async fn keep_renewing(self: &Arc<Self>) {
        let mut state = self.state.lock().await;
        if !state.renewing {
            state.renewing = true;
            tokio::spawn(renew(Arc::downgrade(self), self.config.lease / 3));
        }
    }

    async fn release(&self) -> Result<()> {
        self.state.lock().await.held.clear();
        self.execute(&self.statements.release, &[self.holder()]).await.map(|_| ())
    }

    fn holder(&self) -> Arg {
        Arg::Text(self.holder.clone())
    }

    fn lease(&self) -> Arg {
        Arg::Int(i64::try_from(self.config.lease.as_millis()).unwrap_or(i64::MAX))
    }

    /// Makes the table if it is not there.
    async fn make_table(&self) -> Result<()> {
        if self.state.lock().await.has_table || self.has_table().await? {
            return Ok(());
        }
        let create = &self.statements.create;
        match self.execute(create, &[]).await {
            // Another process may have made it just now.
            Err(e) if !self.has_table().await? => Err(e
                .while_doing("make the table of checkpoints")
                .with_hint(format!("make it for a user who may SELECT, INSERT, UPDATE: {create}"))),
            _ => Ok(()),
        }
    }

    /// Returns whether there is a table, without making a file for it.
    async fn can_be_read(&self) -> Result<bool> {
        if let Database::Sqlite(path) = &self.database
            && !path.exists()
        {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if !folder.unwrap_or(Path::new(".")).is_dir() {
                return Err(Error::new(ErrorKind::Config, "there is no such folder")
                    .with("file", path.display()));
            }
            audit_core::durable::check_writable(path)?;
            return Ok(false);
        }
        self.has_table().await
    }

    async fn has_table(&self) -> Result<bool> {
        let mut state = self.state.lock().await;
        let mut store = self.store(&mut state).await?;
        let looked = within(store.has_table(&self.statements.read)).await;
        state.has_table = looked.map_err(|e| self.name(e))?;
        state.store = Some(store);
        Ok(state.has_table)
    }

    async fn execute(&self, sql: &str, args: &[Arg]) -> Result<u64> {
        let mut state = self.state.lock().await;
        let mut store = self.store(&mut state).await?;
        let done = within(store.execute(sql, args)).await.map_err(|e| self.name(e))?;
        state.store = Some(store);
        Ok(done)
    }

    async fn row(&self, stream: &StreamId) -> Result<Option<Row>> {
        let mut state = self.state.lock().await;
        let mut store = self.store(&mut state).await?;
        let read = store.row(&self.statements.read, stream.as_str());
        let row = within(read).await.map_err(|e| self.name(e))?;
        state.store = Some(store);
        Ok(row)
    }

    /// Returns the connection, a new one after a call that failed or was dropped.
    async fn store(&self, state: &mut State) -> Result<Box<dyn Store>> {
        match state.store.take() {
            Some(store) => Ok(store),
            None => {
                within(store::connect(&self.database, &self.config)).await.map_err(|e| self.name(e))
            }
        }
    }

    fn name(&self, error: Error) -> Error {
        error.with("table", &self.config.table)
    }
}

impl Drop for SqlCheckpoint {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if shared.state.lock().await.held.is_empty() {
                    return;
                }
                if let Err(e) = shared.release().await {
                    tracing::debug!(error = %e, "the lease will end by itself");
                }
            });
        }
    }
}

impl fmt::Debug for SqlCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCheckpoint")
            .field("config", &self.shared.config)
            .field("holder", &self.shared.holder)
            .finish_non_exhaustive()
    }
}

async fn within<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(CALL, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the database does not answer")))
}

async fn renew(shared: Weak<Shared>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.state.lock().await.held.is_empty() {
            continue;
        }
        let args = [shared.lease(), shared.holder()];
        // Whether anything is lost is found out by the next save.
        if let Err(e) = shared.execute(&shared.statements.renew, &args).await {
            tracing::warn!(error = %e, "the lease of the checkpoint was not renewed");
        }
    }
}

fn held(stream: &StreamId, row: &Row) -> Error {
    Error::new(ErrorKind::Conflict, "another runner has this stream")
        .with("stream", stream)
        .with("holder", row.holder.escape_debug())
        .with_hint("run only one pipeline a stream; this one can follow when that one has ended")
}

fn changed(stream: &StreamId, found: i64, expected: Option<Revision>) -> Error {
    Error::new(ErrorKind::Conflict, "the checkpoint was changed by another runner")
        .with("stream", stream)
        .with("expected revision", expected.map_or(0, |revision| revision.0))
        .with("found revision", found)
        .with_hint("run only one pipeline a stream; start this one again to go on from there")
}
