use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::conflict;
use crate::durable::{self, Lock};
use crate::{Checkpoint, Clock, Cursor, Error, ErrorKind, Result, Revision, StreamId};

/// Keeps progress in a directory, one file a stream.
///
/// The file `<stream>.checkpoint` is one line of JSON with a checksum. It is replaced whole and made
/// durable by each save; the one before stays beside it as `<stream>.checkpoint.previous`. From the
/// first `load` or `save` of a stream until this value is dropped, other processes that try the
/// same stream get [`ErrorKind::Conflict`].
#[derive(Debug)]
pub struct FileCheckpoint {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    clock: Clock,
    locks: Mutex<HashMap<StreamId, Lock>>,
}

/// One saved state of a stream, as [`FileCheckpoint::peek`] shows it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Saved {
    /// The position.
    pub cursor: Cursor,
    /// How often the stream was saved.
    pub revision: Revision,
    /// When it was saved.
    pub saved_at: DateTime<Utc>,
    /// Why a person set it by hand, if one did.
    pub reason: Option<String>,
}

impl Saved {
    /// Reads the content of a checkpoint file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when it is damaged, cut off, of another stream, or was written by
    /// another version of this program.
    pub fn parse(text: &[u8], stream: &StreamId) -> Result<Self> {
        decode(text, stream)
    }
}

const VERSION: u32 = 1;

/// The file. `body` is kept as text so that the checksum covers its exact bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    version: u32,
    crc32: u32,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    stream: String,
    revision: u64,
    saved_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    cursor: Cursor,
}

impl FileCheckpoint {
    /// Uses a directory, which is made (mode 0700) by the first save if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self::with_clock(dir, Clock::system())
    }

    /// As [`open`](Self::open), with the clock that stamps the saves.
    pub fn with_clock(dir: impl Into<PathBuf>, clock: Clock) -> Self {
        let shared = Shared { dir: dir.into(), clock, locks: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the file of a stream.
    pub fn path(&self, stream: &StreamId) -> PathBuf {
        self.shared.path(stream)
    }

    /// Reads what is saved of a stream without taking its lock: for a look while it runs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the file is damaged or newer than this program.
    pub fn peek(&self, stream: &StreamId) -> Result<Option<Saved>> {
        read(&self.shared.path(stream), stream)
    }

    /// Reads the save before the last one, if there was one.
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn peek_previous(&self, stream: &StreamId) -> Result<Option<Saved>> {
        read(&previous(&self.shared.path(stream)), stream)
    }

    /// Finds out whether a stream's progress can be read and could be saved. Changes nothing.
    ///
    /// # Errors
    /// As [`peek`](Self::peek), and [`ErrorKind::Config`] when the place cannot be written.
    pub fn check(&self, stream: &StreamId) -> Result<()> {
        self.peek(stream)?;
        durable::check_writable(&self.shared.dir).map_err(|e| e.while_doing("check the checkpoint"))
    }

    /// Replaces whatever is saved of a stream, also a damaged file, and records why.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] while another process runs the stream.
    pub fn set(&self, stream: &StreamId, cursor: &Cursor, reason: &str) -> Result<Revision> {
        self.shared.lock(stream)?;
        // A damaged file has no revision to go on from; any other keeps counting.
        let revision = match self.peek(stream) {
            Ok(saved) => saved.map_or(0, |s| s.revision.0),
            Err(e) if e.kind() == ErrorKind::InvalidData => 0,
            Err(e) => return Err(e),
        };
        self.shared.write(stream, cursor, Revision(revision + 1), Some(reason.to_owned()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        stream: &StreamId,
        call: impl FnOnce(&Shared, &StreamId) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        tokio::task::spawn_blocking(move || call(&shared, &stream)).await.map_err(|e| {
            Error::new(ErrorKind::Unexpected, "the checkpoint's thread ended early").because(e)
        })?
    }
}

#[async_trait]
impl Checkpoint for FileCheckpoint {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.blocking(stream, |shared, stream| {
            shared.lock(stream)?;
            let saved = read(&shared.path(stream), stream)?;
            Ok(saved.map(|s| (s.cursor, s.revision)))
        })
        .await
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let cursor = cursor.clone();
        self.blocking(stream, move |shared, stream| shared.save(stream, &cursor, after)).await
    }
}

impl Shared {
    fn path(&self, stream: &StreamId) -> PathBuf {
        self.dir.join(format!("{stream}.checkpoint"))
    }

    fn lock(&self, stream: &StreamId) -> Result<()> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.contains_key(stream) {
            durable::create_private_directory(&self.dir)
                .map_err(|e| durable::io_error(&e, &self.dir))?;
            let lock = Lock::acquire(&self.path(stream))
                .map_err(|e| e.while_doing("lock the checkpoint").with("stream", stream))?;
            locks.insert(stream.clone(), lock);
        }
        Ok(())
    }

    fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        self.lock(stream)?;
        // The map's mutex makes compare and set one step within the process; the lock file keeps
        // other processes out.
        let _one_at_a_time = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let current = read(&self.path(stream), stream)?.map(|s| s.revision);
        if current != after {
            return Err(conflict(stream, current, after));
        }
        self.write(stream, cursor, Revision(current.map_or(1, |r| r.0 + 1)), None)
    }

    fn write(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        revision: Revision,
        reason: Option<String>,
    ) -> Result<Revision> {
        let path = self.path(stream);
        let body = Body {
            stream: stream.to_string(),
            revision: revision.0,
            saved_at: self.clock.now(),
            reason,
            cursor: cursor.clone(),
        };
        keep_previous(&path)
            .map_err(|e| durable::io_error(&e, &path).while_doing("keep the earlier checkpoint"))?;
        durable::replace(&path, encode(&body)?.as_bytes())
            .map_err(|e| e.while_doing("save the checkpoint").with("stream", stream))?;
        Ok(revision)
    }
}

fn previous(path: &Path) -> PathBuf {
    durable::sibling(path, ".previous")
}

/// Gives the current file a second name, so that it stays when the first is replaced.
fn keep_previous(path: &Path) -> io::Result<()> {
    let (previous, temporary) = (previous(path), durable::sibling(path, ".previous.tmp"));
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // Not every file system has links; a copy does as well, but for its writing.
    match fs::hard_link(path, &temporary).or_else(|_| fs::copy(path, &temporary).map(drop)) {
        Ok(()) => fs::rename(&temporary, &previous),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn encode(body: &Body) -> Result<String> {
    let unexpected =
        |e| Error::new(ErrorKind::Unexpected, "cannot write the checkpoint as JSON").because(e);
    let body = serde_json::value::to_raw_value(body).map_err(unexpected)?;
    let crc32 = crc32fast::hash(body.get().as_bytes());
    let envelope = Envelope { version: VERSION, crc32, body: &body };
    serde_json::to_string(&envelope).map(|text| text + "\n").map_err(unexpected)
}

fn read(path: &Path, stream: &StreamId) -> Result<Option<Saved>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(durable::io_error(&e, path).while_doing("load the checkpoint")),
    };
    decode(&text, stream).map(Some).map_err(|e| {
        let hint = match fs::read(previous(path)).ok().and_then(|t| decode(&t, stream).ok()) {
            Some(saved) => format!(
                "the save before it is whole (revision {}, {}): `{}`; set it as the checkpoint, or \
                 another position by hand",
                saved.revision.0,
                saved.saved_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                previous(path).display()
            ),
            None => "set the checkpoint by hand, or move the file away to start over".to_owned(),
        };
        e.while_doing("load the checkpoint").with("path", path.display()).with_hint(hint)
    })
}

fn decode(text: &[u8], stream: &StreamId) -> Result<Saved> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |what: &str| Error::new(ErrorKind::InvalidData, what);
    let version = serde_json::from_slice::<Version>(text)
        .map_err(|_| damaged("the file is damaged or cut off"))?
        .version;
    if version != VERSION {
        return Err(damaged("the file was written by another version of this program")
            .with("found", version)
            .with("understood", VERSION));
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(text).map_err(|_| damaged("the file is damaged or cut off"))?;
    if crc32fast::hash(envelope.body.get().as_bytes()) != envelope.crc32 {
        return Err(damaged("the file is damaged: its checksum does not fit"));
    }
    let body: Body = serde_json::from_str(envelope.body.get())
        .map_err(|e| damaged("the file's content is not understood").because(e))?;
    if body.stream != stream.as_str() {
        return Err(damaged("the file belongs to another stream").with("found", body.stream));
    }
    Ok(Saved {
        cursor: body.cursor,
        revision: Revision(body.revision),
        saved_at: body.saved_at,
        reason: body.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamId {
        "orders".parse().unwrap()
    }

    fn cursor(n: u32) -> Cursor {
        Cursor::encode("test", 1, &n).unwrap()
    }

    #[tokio::test]
    async fn the_earlier_generation_stays_and_is_named_when_the_file_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = FileCheckpoint::open(dir.path());
        let first = checkpoint.save(&stream(), &cursor(1), None).await.unwrap();
        checkpoint.save(&stream(), &cursor(2), Some(first)).await.unwrap();
        assert_eq!(checkpoint.peek_previous(&stream()).unwrap().unwrap().cursor, cursor(1));

        let path = checkpoint.path(&stream());
        let text = fs::read_to_string(&path).unwrap().replace("\"position\":2", "\"position\":7");
        fs::write(&path, text).unwrap();
        let error = checkpoint.load(&stream()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.hint().unwrap().contains("revision 1"), "{:?}", error.hint());
        assert!(error.to_string().contains("orders.checkpoint"), "{error}");

        checkpoint.set(&stream(), &cursor(1), "file was damaged").unwrap();
        let saved = checkpoint.peek(&stream()).unwrap().unwrap();
        assert_eq!(saved.reason.as_deref(), Some("file was damaged"));
    }

    #[tokio::test]
    async fn every_cut_and_every_flipped_bit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = FileCheckpoint::open(dir.path());
        checkpoint.save(&stream(), &cursor(1), None).await.unwrap();
        let text = fs::read(checkpoint.path(&stream())).unwrap();
        let whole = decode(&text, &stream()).unwrap();
        for end in 0..text.len() - 1 {
            assert!(decode(&text[..end], &stream()).is_err(), "cut at {end}");
        }
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flipped bit in white space is the only harmless one.
            match decode(&flipped, &stream()) {
                Ok(saved) => assert_eq!(saved, whole, "bit {bit}"),
                Err(e) => assert_eq!(e.kind(), ErrorKind::InvalidData, "bit {bit}"),
            }
        }
    }

    #[tokio::test]
    async fn a_second_process_is_told_apart_from_a_look() {
        let dir = tempfile::tempdir().unwrap();
        let running = FileCheckpoint::open(dir.path());
        running.save(&stream(), &cursor(1), None).await.unwrap();
        let other = FileCheckpoint::open(dir.path());
        assert_eq!(other.load(&stream()).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(other.set(&stream(), &cursor(9), "x").unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(other.peek(&stream()).unwrap().unwrap().cursor, cursor(1));
        drop(running);
        assert!(other.load(&stream()).await.unwrap().is_some());
    }
}
