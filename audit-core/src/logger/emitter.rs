use std::sync::Arc;

use super::AuditRecord;
use crate::Result;

/// Where records go: a stream, a file, a queue that a pipeline drains, or several of these.
///
/// Calls come from many threads at once. An emitter that returns `Ok` has taken over the record as
/// its documentation says (written, on disk, delivered); one that cannot returns the error, and the
/// caller decides. None panics: [`emit`](Self::emit) is also called while a panic unwinds.
pub trait Emitter: Send + Sync {
    /// Takes over a record.
    ///
    /// # Errors
    /// Those of the place the records go to. The record may be emitted again.
    fn emit(&self, record: &AuditRecord) -> Result<()>;

    /// Hands on what is held back in memory, and returns when that is done.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Returns whether [`emit`](Self::emit) may wait for something slower than a local file, so that
    /// asynchronous callers give it a thread of its own.
    fn waits(&self) -> bool {
        false
    }
}

impl<E: Emitter + ?Sized> Emitter for Arc<E> {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        (**self).emit(record)
    }

    fn flush(&self) -> Result<()> {
        (**self).flush()
    }

    fn waits(&self) -> bool {
        (**self).waits()
    }
}
