#![doc = include_str!("../README.md")]

mod batch;
mod checkpoint;
mod clock;
mod cursor;
mod dead_letter;

pub mod durable;
mod envelope;
mod error;
mod event;
mod format;
pub mod logger;
mod pipeline;
mod raw;
mod recent;
mod retry;
mod secret;
mod sink;
mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod window;

pub use batch::{Batch, Limit, Read};
pub use checkpoint::{Checkpoint, FileCheckpoint, MemoryCheckpoint, Revision, Saved, StreamId};
pub use clock::Clock;
pub use cursor::Cursor;
pub use dead_letter::{
    DeadLetter, DeadLetterSource, DeadLetters, FileDeadLetters, MemoryDeadLetters, Record,
};
pub use envelope::Envelope;
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{Action, ActionKind, Actor, AuditEvent, EventId, Origin, Outcome, Target};
pub use format::Format;
pub use logger::{AuditLogger, AuditRecord};
pub use pipeline::{Pipeline, Progress, RunError, Summary};
pub use raw::{Raw, Text};
pub use recent::{IdHash, RecentIds};
pub use retry::RetryPolicy;
pub use secret::Secret;
pub use sink::{Failure, Sink, Written};
pub use source::Source;
