use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Cursor, Result};
use chrono::{DateTime, Utc};

use crate::cursor::Position;
use crate::intake::Intake;
use crate::keys::{Key, Keys};

/// What a database has to be able to do to be read as a source: the seam between the source, which
/// owns passes and cursors, and a dialect, which owns connection, statements and transactions.
///
/// Every method may be dropped at any await: it then took effect as a whole, or not at all.
#[async_trait]
pub(crate) trait Client: Send {
    /// Connects anew and finds table and columns.
    async fn connect(&mut self) -> Result<Facts>;

    /// Reads such rows behind a key, in the order of keys, until the intake is full.
    async fn scan(&mut self, rows: Rows, after: Option<Key>, intake: Intake) -> Result<Scan>;

    /// Returns up to where the table can be read now.
    async fn edge(&mut self) -> Result<Edge>;

    /// Returns which of these keys are there, from the first to the last, in order.
    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>>;

    /// Returns which of these rows are there, each with the print of its content now.
    async fn prints(&mut self, keys: Keys) -> Result<Handed>;

    /// Marks the rows of these batches that still are what was handed out, and returns how many were
    /// not. All in one transaction, or each batch in the one that claimed it.
    async fn mark(&mut self, batches: Vec<Arc<Handed>>) -> Result<usize>;

    /// Returns the version of the data: it changes with each commit of somebody else. `None`: this
    /// database does not tell.
    async fn version(&mut self) -> Result<Option<i64>>;

    /// Returns up to so many rows behind a key that are sent and were made before a point in time.
    async fn stale(
        &mut self,
        after: Option<Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>>;

    /// Deletes those of these rows that are sent and were made before a point in time, in one
    /// transaction, and returns how many.
    async fn delete(&mut self, keys: Vec<Key>, before: DateTime<Utc>) -> Result<u64>;

    /// Finds out on a connection of its own whether rows could be read and marked.
    async fn check(&mut self) -> Result<()>;
}

/// Which rows are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Those without the mark.
    Unsent,
    /// Those without the mark that nobody else keeps; they are kept until the transaction ends.
    Claimed,
    /// All with whole numbers as keys, up to this one.
    UpTo(i64),
    /// Those of transactions from one up to, without it, another; `None`: from the very first.
    Born { from: Option<i64>, to: i64 },
}

/// Up to where a table can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The highest key that is there.
    Key(Option<i64>),
    /// Transactions by their numbers.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "only PostgreSQL tells"))]
    Transactions {
        /// What gives the numbers.
        system: String,
        /// The oldest that still runs, else the next.
        oldest: i64,
        /// The number that was not given yet.
        next: i64,
        /// Whether the server follows another, and may be behind what was read there.
        follows: bool,
    },
}

/// What the source has to know about a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Whether a constraint keeps the id column unique.
    pub(crate) id_is_unique: bool,
    /// Whether a key names one row, and says more than its content; else no event's id has it.
    pub(crate) key_names_row: bool,
}

/// What one scan brought.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) intake: Intake,
    /// The version of the data, taken just before.
    pub(crate) version: Option<i64>,
    /// Whether there were no more rows.
    pub(crate) ended: bool,
}

/// Rows that were handed out and are not marked yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handed {
    /// The cursor behind them.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) position: Position,
    /// The print of each row's content, in the order of the keys.
    pub(crate) prints: Vec<u64>,
    /// The version of each row that was read, where the database tells.
    pub(crate) versions: Vec<RowVersion>,
    /// The version of the data that they were read from, or an earlier one.
    pub(crate) version: Option<i64>,
    /// The number of the claim that keeps these rows from others.
    pub(crate) claim: Option<u64>,
}

/// Where a version of a row is, and the transaction that wrote it: as long as both are the same,
/// nothing in the row has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowVersion {
    pub(crate) place: [u8; 6],
    pub(crate) transaction: [u8; 4],
}

impl Handed {
    pub(crate) fn push(&mut self, key: Key, print: u64) {
        self.position.sum = self.position.sum.wrapping_add(key.mix(print));
        self.position.rows.push(key);
        self.prints.push(print);
    }

    /// Returns every row: key and print.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Key, u64)> {
        self.position.rows.iter().zip(self.prints.iter().copied())
    }
}
