//! `last_processed.txt`: the progress as the program before this one kept it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// How often the file is written at most: it is synced to disk each time.
const EVERY: Duration = Duration::from_secs(1);

/// A checkpoint that also keeps that file up to date, within a second and at the end, for the way
/// back. It is never ahead of the checkpoint.
pub(super) struct Mirror {
    checkpoint: Arc<dyn Checkpoint>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was saved and is not in the file.
    waits: Option<Cursor>,
    /// What is in the file, and since when.
    written: Option<(String, Instant)>,
}

impl Mirror {
    pub(super) fn new(checkpoint: Arc<dyn Checkpoint>, path: PathBuf) -> Self {
        Self { checkpoint, path, state: Mutex::default() }
    }

    /// The checkpoint is what counts: without this file only the way back is longer.
    fn note(&self, cursor: &Cursor) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.written.as_ref().is_some_and(|(_, at)| at.elapsed() < EVERY) {
            state.waits = Some(cursor.clone());
        } else if let Err(error) = state.write(cursor, &self.path) {
            warn!(%error, path = %self.path.display(), "the last time processed is not up to date");
        }
    }
}

impl State {
    fn write(&mut self, cursor: &Cursor, path: &Path) -> Result<()> {
        let content = LastProcessed::of(cursor)?.to_string();
        if self.written.as_ref().is_none_or(|(written, _)| *written != content) {
            durable::replace(path, content.as_bytes())?;
        }
        (self.waits, self.written) = (None, Some((content, Instant::now())));
        Ok(())
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(cursor) = state.waits.take()
            && let Err(error) = state.write(&cursor, &self.path)
        {
            warn!(%error, path = %self.path.display(), "the last time processed is not up to date");
        }
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
        self.note(cursor);
        Ok(revision)
    }

    async fn release(&self, stream: &StreamId) -> Result<()> {
        self.checkpoint.release(stream).await
    }
}

#[cfg(test)]
mod tests {
    use audit_core::MemoryCheckpoint;
    use audit_core::window::{Next, WindowConfig, Windows};
    use chrono::TimeDelta;

    use super::*;

    fn closed_to(time: DateTime<Utc>) -> Cursor {
        let start = time - TimeDelta::hours(1);
        let config = WindowConfig::new(Duration::from_millis(1));
        let mut windows = Windows::<()>::new(config, start, Some(time)).unwrap();
        let Next::Window(window) = windows.next(time + TimeDelta::days(1)) else { panic!() };
        windows.finish(window).unwrap();
        let position = windows.take(|()| true).unwrap().position;
        Cursor::encode("port", 1, &position).unwrap()
    }

    #[tokio::test]
    async fn the_file_is_written_at_the_first_save_and_at_the_end_and_not_at_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last_processed.txt");
        let mirror = Mirror::new(Arc::new(MemoryCheckpoint::new()), path.clone());
        let stream: StreamId = "port".parse().unwrap();
        let (mut revision, day) = (None, DateTime::from_timestamp(1_767_225_600, 0).unwrap());
        for n in 0..50 {
            let cursor = closed_to(day + TimeDelta::hours(n));
            revision = Some(mirror.save(&stream, &cursor, revision).await.unwrap());
        }
        let kept = || fs::read_to_string(&path).unwrap();
        assert_eq!(kept(), "2026-01-01T00:00:00.000Z");
        drop(mirror);
        assert_eq!(kept(), "2026-01-03T01:00:00.000Z");
    }
}
