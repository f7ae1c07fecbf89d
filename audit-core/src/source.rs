use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{Cursor, Limit, Read, Result};

/// A place audit events come from.
///
/// The pipeline owns progress: a source hands out each batch with the cursor behind it, and is told
/// when everything up to a cursor is safe. It never moves its own mark.
///
/// # Contract
///
/// Each rule is a test of the conformance suite (`testkit`), under the number given.
///
/// 1. From no cursor, every record there is arrives exactly once. (S1)
/// 2. The same record has the same id and the same bytes each time it is read. (S2)
/// 3. From any cursor it ever returned, exactly the records behind that cursor follow. (S3)
/// 4. A cursor says it all: it goes on in another process, through its JSON text. (S4)
/// 5. A read keeps to its [`Limit`]; a record larger than `max_bytes` comes alone. (S5)
/// 6. Records with equal timestamps are not lost at the edge between two batches. (S6)
/// 7. A record that appears late, behind the position already read, is found, once. (S7)
/// 8. A read may be dropped at any await; after [`open`](Self::open) nothing is missing. (S8)
/// 9. A failure is reported with the kind and retry class that fit it, never as an empty read, and
///    a bad record is handed on as rejected without holding up its neighbours. (S9)
/// 10. [`committed`](Self::committed) changes what the upstream remembers (a flag, an offset), never
///     what is read next, also when repeated or never called. (S10)
///
/// After [`Read::Idle`] or [`Read::End`] the pipeline settles everything handed out before it reads
/// again. `open` and `read` change nothing upstream: only `committed` does, and the pipeline repeats
/// it for the saved cursor after each `open`, in case a crash came between save and `committed`.
#[async_trait]
pub trait Source: Send {
    /// Connects and goes to the position: `None` is the very beginning. Called before the first
    /// read, and again after any failed or dropped one. May be dropped at any await as well.
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()>;

    /// Returns the next records. Only called after [`open`](Self::open).
    async fn read(&mut self, limit: Limit) -> Result<Read>;

    /// Learns that everything up to `cursor` is delivered and saved: may now mark or release it.
    /// Called while the batch behind it is being written; not for every cursor, but for later ones
    /// after earlier ones.
    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        let _ = cursor;
        Ok(())
    }

    /// Returns until when the oldest record that was not read yet is kept upstream, where there is
    /// such a limit and it is known: whoever is not that far by then loses it.
    fn kept_until(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// Finds out whether a run could work: reachable, authorised, the table or topic is there.
    /// Changes nothing.
    async fn check(&mut self) -> Result<()>;
}
