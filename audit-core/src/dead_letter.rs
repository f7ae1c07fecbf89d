mod codec;
mod file;
mod lines;
mod memory;
mod replay;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use self::file::FileDeadLetters;
pub use self::memory::MemoryDeadLetters;
pub use self::replay::DeadLetterSource;
use crate::{AuditEvent, Error, ErrorKind, EventId, Result};

/// A record that could not be delivered, with all that is needed to judge, mend and replay it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// What could not be delivered.
    pub record: Record,
    /// The kind of the last error.
    pub kind: ErrorKind,
    /// The last error, in words.
    pub reason: String,
    /// How often delivery was tried; 0 for a record that never became an event.
    pub attempts: u32,
    /// When it was first tried. The pipeline sets it.
    pub first_at: DateTime<Utc>,
    /// When it was given up. The pipeline sets it.
    pub last_at: DateTime<Utc>,
}

/// The body of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An event that the sink refused.
    Event(Box<AuditEvent>),
    /// Bytes that could not be made an event, and the id of the record they came from.
    Bytes {
        /// Identifies the record at its source.
        id: EventId,
        /// The record as received; may be anything.
        body: Vec<u8>,
    },
}

impl DeadLetter {
    /// Creates the letter of an event that a sink refused after `attempts` tries.
    pub fn event(event: AuditEvent, error: &Error, attempts: u32) -> Self {
        Self::new(Record::Event(Box::new(event)), error, attempts)
    }

    /// Creates the letter of a record that could not be made an event.
    pub fn record(id: EventId, body: impl Into<Vec<u8>>, error: &Error) -> Self {
        Self::new(Record::Bytes { id, body: body.into() }, error, 0)
    }

    fn new(record: Record, error: &Error, attempts: u32) -> Self {
        Self {
            record,
            kind: error.kind(),
            reason: error.to_string(),
            attempts,
            first_at: DateTime::UNIX_EPOCH,
            last_at: DateTime::UNIX_EPOCH,
        }
    }

    /// Appends the letter as one line of JSON, with its line end: the form of the file.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] when it cannot be written as JSON.
    pub fn append_line(&self, out: &mut Vec<u8>) -> Result<()> {
        codec::append(self, out)
    }

    /// Reads one line, without its line end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for anything that [`append_line`](Self::append_line) cannot have
    /// written, a newer version's lines among it.
    pub fn parse_line(line: &[u8]) -> Result<Self> {
        codec::parse(line)
    }

    /// Returns the id of the event or record.
    pub fn id(&self) -> &EventId {
        match &self.record {
            Record::Event(event) => &event.id,
            Record::Bytes { id, .. } => id,
        }
    }

    /// Returns the record exactly as received.
    pub fn body(&self) -> &[u8] {
        match &self.record {
            Record::Event(event) => event.raw.get().as_bytes(),
            Record::Bytes { body, .. } => body,
        }
    }
}

/// Where records go that cannot be delivered, so that the rest can.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps the letters; they survive a power cut when this returns.
    ///
    /// After a crash the same letters may come again: a list folds them by id and record, and a replay
    /// hands them on, for the sink to know the repeat.
    async fn put(&self, letters: &[DeadLetter]) -> Result<()>;
}
