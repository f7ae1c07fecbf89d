use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::conflict;
use crate::{Checkpoint, Cursor, Result, Revision, StreamId};

/// Keeps progress in memory: for tests, and for runs that shall start over each time.
#[derive(Debug, Default)]
pub struct MemoryCheckpoint {
    streams: Mutex<HashMap<StreamId, (Cursor, Revision)>>,
}

impl MemoryCheckpoint {
    /// Creates one that knows no stream.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Checkpoint for MemoryCheckpoint {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(streams.get(stream).cloned())
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let current = streams.get(stream).map(|(_, revision)| *revision);
        if current != after {
            return Err(conflict(stream, current, after));
        }
        let next = Revision(current.map_or(1, |r| r.0 + 1));
        streams.insert(stream.clone(), (cursor.clone(), next));
        Ok(next)
    }
}
