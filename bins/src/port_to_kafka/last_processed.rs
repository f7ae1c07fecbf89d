//! `last_processed.txt`: the progress as the program before this one kept it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Checkpoint, Cursor, Result, Revision, StreamId, durable};
use audit_source_port::LastProcessed;
use chrono::{DateTime, Utc};
use tracing::warn;

/// Returns where to begin without a checkpoint, if that program left its file.
pub(super) fn read(path: &Path) -> Result<Option<DateTime<Utc>>> {
    let content = match fs::read_to_string(path) {
        Ok(content) => content,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(durable::io_error(&e, path).while_doing("read the last time processed"));
        }
    };
    let last = LastProcessed::parse(&content).map_err(|e| e.with("path", path.display()))?;
    Ok(last.map(LastProcessed::start))
}

/// A checkpoint that also keeps that file up to date, for the way back.
pub(super) struct Mirror {
    checkpoint: Arc<dyn Checkpoint>,
    path: PathBuf,
}

impl Mirror {
    pub(super) fn new(checkpoint: Arc<dyn Checkpoint>, path: PathBuf) -> Self {
        Self { checkpoint, path }
    }
}

#[async_trait]
impl Checkpoint for Mirror {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.checkpoint.load(stream).await
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let revision = self.checkpoint.save(stream, cursor, after).await?;
        let content = LastProcessed::of(cursor)?.to_string();
        // The checkpoint is what counts: without this file only the way back is longer.
        if let Err(error) = durable::replace(&self.path, content.as_bytes()) {
            warn!(%error, path = %self.path.display(), "the last time processed is not up to date");
        }
        Ok(revision)
    }
}
