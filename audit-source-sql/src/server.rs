//! What PostgreSQL and MySQL have in common: connections that may break, reading in pieces, and
//! marking in one transaction.

pub(crate) mod claim;
pub(crate) mod fault;
pub(crate) mod table;
pub(crate) mod url;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use tokio::task::JoinSet;

use crate::client::{Client, Edge, Facts, Handed, RowVersion, Rows, Scan};
use crate::config::SqlConfig;
use crate::intake::Intake;
use crate::keys::{Key, Keys, Span};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a call may take before the server counts as gone; a search without an index is slow.
const CALL: Duration = Duration::from_secs(15 * 60);
/// How many bytes a row has, as long as none was seen.
const ROW_BYTES: usize = 4 << 10;
/// The most rows that a cursor names: far more than are ever in flight.
const MAX_ROWS: i128 = 10_000_000;

/// An open connection, and the table found on it. Dropping it ends what was begun.
#[async_trait]
pub(crate) trait Link: Sized + Send + 'static {
    /// How many keys one statement takes.
    const KEYS: usize;

    /// Connects, finds table and columns, and finds out that rows may be read and marked.
    async fn open(config: &SqlConfig) -> Result<Self>;

    fn facts(&self) -> Facts;

    /// Offers up to so many of these rows behind a key, in the order of keys.
    async fn offer(
        &mut self,
        rows: Rows,
        after: Option<&Key>,
        limit: usize,
        intake: &mut Intake,
    ) -> Result<Offered>;

    /// Returns up to where the table can be read now.
    async fn edge(&mut self) -> Result<Edge>;

    /// Returns which of these keys are there, in order. Only where the edge is a key.
    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>> {
        let _ = (first, last);
        Ok(Vec::new())
    }

    /// Looks these rows up, and keeps others from changing them until the transaction ends if
    /// `lock` says so. With claims, rows that others keep are then left out.
    async fn prints(&mut self, keys: &[Key], lock: bool) -> Result<Vec<(Key, u64)>>;

    /// Sets the flag of these rows unless they have changed since they were read, and returns
    /// whether that was all of them; if not, some may be set. Fast, where the database can do it.
    async fn set_as_read(&mut self, _keys: &[Key], _versions: &[RowVersion]) -> Result<bool> {
        Ok(false)
    }

    /// Sets the flag of these rows.
    async fn set(&mut self, keys: &[Key]) -> Result<()>;

    /// Returns up to so many rows behind a key that are sent and were made before a point in time,
    /// in the order of keys.
    async fn stale(
        &mut self,
        after: Option<&Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>>;

    /// Deletes those of these rows that are sent and were made before a point in time, and returns
    /// how many.
    async fn delete(&mut self, keys: &[Key], before: DateTime<Utc>) -> Result<u64>;

    async fn begin(&mut self) -> Result<()>;

    async fn commit(&mut self) -> Result<()>;

    async fn rollback(&mut self) -> Result<()>;
}

/// What became of the rows of one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The intake became full before the last row, or by it.
    Full,
    /// So many rows, and the intake would take more.
    All(usize),
}

/// Speaks to a database server. A connection is at hand between two calls only: whoever drops a
/// call, or sees it fail, closes it, and the server undoes what was not committed.
///
/// One connection marks, and another reads ahead meanwhile.
#[derive(Debug)]
pub(crate) struct ServerClient<L> {
    config: Arc<SqlConfig>,
    /// Host, port and database.
    place: Arc<str>,
    link: Option<L>,
    reader: Option<L>,
    ahead: Option<Ahead<L>>,
    /// About how many bytes a row has.
    row_bytes: usize,
}

/// The rows behind those last handed out, which are being read already. Dropping it ends that.
#[derive(Debug)]
struct Ahead<L> {
    rows: Rows,
    after: Option<Key>,
    /// As it was before.
    intake: Intake,
    reading: JoinSet<Result<(L, Scan)>>,
}

impl<L: Link> Ahead<L> {
    /// Starts to read so much again behind the rows of a scan.
    fn start(mut link: L, rows: Rows, scan: &Scan, place: &Arc<str>, row_bytes: usize) -> Self {
        let after = scan.intake.last.clone();
        let mut reading = JoinSet::new();
        let (from, intake, place) = (after.clone(), scan.intake.anew(), Arc::clone(place));
        reading.spawn(async move {
            let call = scan_from(&mut link, rows, from, intake, row_bytes);
            let scan = within(CALL, &place, "read the table", call).await?;
            Ok((link, scan))
        });
        Self { rows, after, intake: scan.intake.anew(), reading }
    }

    /// Returns the connection, and the rows if they are those that are asked for.
    async fn end(
        mut self,
        rows: Rows,
        after: &Option<Key>,
        intake: &Intake,
    ) -> Result<(L, Option<Scan>)> {
        let read = self.reading.join_next().await;
        let (link, scan) = read
            .and_then(Result::ok)
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "reading ahead ended early"))??;
        let same = self.rows == rows && self.after == *after;
        let is_asked_for = same && self.intake.would_take(intake, &scan.intake);
        Ok((link, is_asked_for.then_some(scan)))
    }
}

impl<L: Link> ServerClient<L> {
    pub(crate) fn new(config: Arc<SqlConfig>, place: String) -> Self {
        let place = place.into();
        Self { config, place, link: None, reader: None, ahead: None, row_bytes: ROW_BYTES }
    }

    /// Learns from rows that were taken how large they are.
    fn learn(&mut self, intake: &Intake) {
        let (rows, bytes) = intake.taken();
        if let Some(average) = bytes.checked_div(rows) {
            self.row_bytes = average.max(1);
        }
    }

    /// Returns the connection, a new one after a call that failed.
    async fn link(&mut self) -> Result<L> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => within(CONNECT, &self.place, "open the table", L::open(&self.config)).await,
        }
    }
}

async fn within<T>(
    time: Duration,
    place: &str,
    operation: &'static str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let done = tokio::time::timeout(time, call)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the database does not answer")));
    done.map_err(|e| e.while_doing(operation).with("database", place))
}

#[async_trait]
impl<L: Link> Client for ServerClient<L> {
    async fn connect(&mut self) -> Result<Facts> {
        (self.link, self.reader, self.ahead) = (None, None, None);
        let link = self.link().await?;
        let facts = link.facts();
        self.link = Some(link);
        Ok(facts)
    }

    async fn scan(&mut self, rows: Rows, after: Option<Key>, intake: Intake) -> Result<Scan> {
        let (mut reader, ready) = match (self.ahead.take(), self.reader.take()) {
            (Some(ahead), _) => ahead.end(rows, &after, &intake).await?,
            (None, Some(reader)) => (reader, None),
            // The first batch of a pass needs no second connection.
            (None, None) => (self.link().await?, None),
        };
        let scan = match ready {
            Some(scan) => scan,
            None => {
                let call = scan_from(&mut reader, rows, after, intake, self.row_bytes);
                within(CALL, &self.place, "read the table", call).await?
            }
        };
        self.learn(&scan.intake);
        // What is looked for in another way moves on in its own way.
        if scan.ended || rows != Rows::Unsent {
            self.reader = Some(reader);
        } else {
            let ahead = Ahead::start(reader, rows, &scan, &self.place, self.row_bytes);
            self.ahead = Some(ahead);
        }
        Ok(scan)
    }

    async fn edge(&mut self) -> Result<Edge> {
        let mut link = self.link().await?;
        let edge = within(CALL, &self.place, "look how far to read", link.edge()).await?;
        self.link = Some(link);
        Ok(edge)
    }

    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>> {
        let mut link = self.link().await?;
        let call = link.keys(first, last);
        let keys = within(CALL, &self.place, "look for missing keys", call).await?;
        self.link = Some(link);
        Ok(keys)
    }

    async fn prints(&mut self, keys: Keys) -> Result<Handed> {
        let mut link = self.link().await?;
        let call = prints(&mut link, keys);
        let found = within(CALL, &self.place, "look up the rows last handed out", call).await?;
        self.link = Some(link);
        Ok(found)
    }

    async fn mark(&mut self, batches: Vec<Arc<Handed>>) -> Result<usize> {
        let mut link = self.link().await?;
        let call = mark(&mut link, batches);
        let changed = within(CALL, &self.place, "mark the rows", call).await?;
        self.link = Some(link);
        Ok(changed)
    }

    async fn version(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    async fn stale(
        &mut self,
        after: Option<Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>> {
        let mut link = self.link().await?;
        let call = link.stale(after.as_ref(), before, rows);
        let keys = within(CALL, &self.place, "look for old rows", call).await?;
        self.link = Some(link);
        Ok(keys)
    }

    async fn delete(&mut self, keys: Vec<Key>, before: DateTime<Utc>) -> Result<u64> {
        let mut link = self.link().await?;
        let call = delete(&mut link, keys, before);
        let deleted = within(CALL, &self.place, "delete old rows", call).await?;
        self.link = Some(link);
        Ok(deleted)
    }

    async fn check(&mut self) -> Result<()> {
        within(CONNECT, &self.place, "check the table", L::open(&self.config)).await.map(|_| ())
    }
}

/// Reads in pieces that are about as large as there is room: what is asked for and not taken costs
/// the server and the network all the same.
async fn scan_from<L: Link>(
    link: &mut L,
    wanted: Rows,
    mut after: Option<Key>,
    mut intake: Intake,
    mut row_bytes: usize,
) -> Result<Scan> {
    // Grows while rows are passed over that are in flight.
    let mut least = 1;
    loop {
        let (rows, bytes) = intake.room();
        let piece = rows.min(bytes / row_bytes + 1).max(least);
        let before = intake.taken().0;
        let offered = link.offer(wanted, after.as_ref(), piece, &mut intake).await?;
        let (taken, bytes) = intake.taken();
        if let Some(average) = bytes.checked_div(taken) {
            row_bytes = average.max(1);
        }
        let ended = match offered {
            Offered::Full => false,
            Offered::All(shown) if shown < piece => true,
            Offered::All(shown) => {
                least = if taken - before < shown { (piece * 2).min(10_000) } else { 1 };
                if intake.last == after {
                    return Err(Error::new(ErrorKind::Unexpected, "rows come without an order"));
                }
                after.clone_from(&intake.last);
                continue;
            }
        };
        return Ok(Scan { intake, version: None, ended });
    }
}

async fn prints<L: Link>(link: &mut L, keys: Keys) -> Result<Handed> {
    let count = keys.spans().iter().map(|span| match span {
        Span::Run(a, b) => i128::from(*b) - i128::from(*a) + 1,
        Span::One(_) => 1,
    });
    if count.sum::<i128>() > MAX_ROWS {
        return Err(Error::new(ErrorKind::InvalidData, "the position names too many rows"));
    }
    let mut found = Handed::default();
    for keys in Pieces::new(keys.iter(), L::KEYS) {
        for (key, print) in link.prints(&keys, false).await? {
            found.push(key, print);
        }
    }
    Ok(found)
}

async fn mark<L: Link>(link: &mut L, batches: Vec<Arc<Handed>>) -> Result<usize> {
    let mut changed = 0;
    link.begin().await?;
    for batch in batches {
        let mut handed: Option<HashMap<Key, u64>> = None;
        let mut versions = batch.versions.as_slice();
        for keys in Pieces::new(batch.position.rows.iter(), L::KEYS) {
            if let Some((these, rest)) = versions.split_at_checked(keys.len()) {
                versions = rest;
                if link.set_as_read(&keys, these).await? {
                    continue;
                }
            }
            let handed = handed.get_or_insert_with(|| batch.rows().collect());
            let mut same = Vec::with_capacity(keys.len());
            for (key, print) in link.prints(&keys, true).await? {
                match handed.remove(&key) {
                    Some(before) if before == print => same.push(key),
                    Some(_) => changed += 1,
                    None => {}
                }
            }
            if !same.is_empty() {
                link.set(&same).await?;
            }
        }
    }
    link.commit().await?;
    Ok(changed)
}

async fn delete<L: Link>(link: &mut L, keys: Vec<Key>, before: DateTime<Utc>) -> Result<u64> {
    let mut deleted = 0;
    link.begin().await?;
    for keys in keys.chunks(L::KEYS) {
        deleted += link.delete(keys, before).await?;
    }
    link.commit().await?;
    Ok(deleted)
}

/// Keys, so many at a time.
struct Pieces<I> {
    keys: I,
    size: usize,
}

impl<I: Iterator<Item = Key>> Pieces<I> {
    fn new(keys: I, size: usize) -> Self {
        Self { keys, size }
    }
}

impl<I: Iterator<Item = Key>> Iterator for Pieces<I> {
    type Item = Vec<Key>;

    fn next(&mut self) -> Option<Vec<Key>> {
        let piece: Vec<_> = self.keys.by_ref().take(self.size).collect();
        (!piece.is_empty()).then_some(piece)
    }
}
