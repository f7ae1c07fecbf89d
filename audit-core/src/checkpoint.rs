mod file;
mod memory;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

pub use self::file::{FileCheckpoint, Saved};
pub use self::memory::MemoryCheckpoint;
use crate::{Cursor, Error, ErrorKind, Result};

/// The name of one stream of events with its own progress; also a file name, a key, a label.
///
/// 1 to 100 of the characters `a-z A-Z 0-9 . _ -`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Box<str>);

impl StreamId {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let valid =
            (1..=100).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.');
        if !valid {
            return Err(Error::new(ErrorKind::Config, "not a usable stream name")
                .with("name", name.escape_debug())
                .with_hint("use 1 to 100 letters, digits, dots, underscores or hyphens"));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the saves of one stream; proves on the next save that nobody else saved in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// Where the progress of streams is kept.
///
/// # Contract
///
/// Each rule is a test of the conformance suite (`testkit`), under the number given.
///
/// 1. An unknown stream loads as `None`. (C1)
/// 2. What was saved loads unchanged, also by another instance. (C2)
/// 3. A save after a stale or missing revision is a [`ErrorKind::Conflict`] and changes nothing. (C3)
/// 4. Of two saves that race after the same revision, exactly one wins. (C4)
/// 5. A process killed at any point of a save leaves the old or the new value, whole. (C5)
/// 6. A damaged, cut-off or newer stored value is an error that names it, never `None`. (C6)
/// 7. Streams do not see each other. (C7)
/// 8. A place that cannot be written fails the first save, and does not pretend. (C8)
///
/// When `save` returns, the value survives a power cut.
#[async_trait]
pub trait Checkpoint: Send + Sync {
    /// Returns the last saved cursor of a stream and its revision.
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>>;

    /// Replaces the cursor of a stream if its revision still is `after` (`None`: never saved).
    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision>;

    /// Ends a run: others may take the stream at once. Not called after a crash, so nothing may depend
    /// on it but how long others wait.
    async fn release(&self, stream: &StreamId) -> Result<()> {
        let _ = stream;
        Ok(())
    }
}

fn conflict(stream: &StreamId, found: Option<Revision>, expected: Option<Revision>) -> Error {
    let show = |revision: Option<Revision>| revision.map_or("none".to_owned(), |r| r.0.to_string());
    Error::new(ErrorKind::Conflict, "the checkpoint was changed by another runner")
        .while_doing("save the checkpoint")
        .with("stream", stream)
        .with("expected revision", show(expected))
        .with("found revision", show(found))
        .with_hint("run only one pipeline a stream; start this one again to go on from there")
}
