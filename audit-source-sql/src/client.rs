use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Cursor, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

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

    /// Reads unsent rows behind a key, in the order of keys, until the intake is full.
    async fn scan(&mut self, after: Option<Key>, intake: Intake) -> Result<Scan>;

    /// Returns which of these rows are there, each with the print of its content now.
    async fn prints(&mut self, keys: Keys) -> Result<Handed>;

    /// Marks the rows of these batches that still are what was handed out, all in one transaction,
    /// and returns how many were not.
    async fn mark(&mut self, batches: Vec<Arc<Handed>>) -> Result<usize>;

    /// Returns the version of the data: it changes with each commit of somebody else. `None`: this
    /// database does not tell.
    async fn version(&mut self) -> Result<Option<i64>>;

    /// Finds out on a connection of its own whether rows could be read and marked.
    async fn check(&mut self) -> Result<()>;
}

/// What the source has to know about a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Whether a constraint keeps the id column unique.
    pub(crate) id_is_unique: bool,
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
    /// The version of the data that they were read from, or an earlier one.
    pub(crate) version: Option<i64>,
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

/// One row as a dialect shows it, borrowed from its driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) key: Value<'a>,
    /// The id column; `None` when it is the key itself.
    pub(crate) id: Option<Value<'a>>,
    pub(crate) message: Value<'a>,
    pub(crate) created_at: Value<'a>,
}

/// A value of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl Value<'_> {
    /// Returns the value as a key; NULL is none.
    pub(crate) fn key(self) -> Option<Key> {
        Some(match self {
            Value::Null => return None,
            Value::Int(n) => Key::Int(n),
            Value::Real(n) => Key::Real(n.to_bits()),
            Value::Text(bytes) => Key::Text(bytes.into()),
            Value::Blob(bytes) => Key::Blob(bytes.into()),
        })
    }

    fn hash(self, seed: u64) -> u64 {
        match self {
            Value::Null => seed,
            Value::Int(n) => xxh3_64_with_seed(&n.to_le_bytes(), seed),
            Value::Real(n) => xxh3_64_with_seed(&n.to_bits().to_le_bytes(), seed),
            Value::Text(bytes) | Value::Blob(bytes) => xxh3_64_with_seed(bytes, seed),
        }
    }
}

/// Returns the print of a row's content: another message or another `created_at` is another record,
/// also when the id is reused.
pub(crate) fn print(message: Value<'_>, created_at: Value<'_>) -> u64 {
    match message {
        // Not the print of an empty message.
        Value::Null => created_at.hash(1),
        message => message.hash(created_at.hash(0)),
    }
}
