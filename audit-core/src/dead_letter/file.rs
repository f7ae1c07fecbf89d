use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_128;

use super::lines::{self, Lines};
use super::replay::DeadLetterSource;
use super::{DeadLetter, DeadLetters};
use crate::durable::{self, Lock};
use crate::{Error, ErrorKind, Result};

/// Keeps dead letters in a file, one line of JSON each, mode 0600.
///
/// Each letter holds the record, the reason, the number of tries and the times. The file is opened
/// for each write, under a lock, so that a replay can take it away while a pipeline runs.
#[derive(Debug)]
pub struct FileDeadLetters {
    path: PathBuf,
}

impl FileDeadLetters {
    /// Uses a file, which is made by the first letter if it is not there.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the letters that wait, each record once, oldest first; those of an unfinished replay
    /// first of all. Two records of one id are two. Reads the file as it goes.
    ///
    /// # Errors
    /// Each item fails on its own when its line cannot be read.
    pub fn letters(&self) -> Result<impl Iterator<Item = Result<DeadLetter>> + use<>> {
        let replaying = Lines::open(&self.replaying())?;
        let waiting = Lines::open(&self.path)?;
        let mut seen = HashSet::new();
        Ok(replaying.into_iter().chain(waiting).flatten().filter_map(move |line| {
            let letter = line.and_then(|line| line.parse());
            let mut is_new = |letter: &DeadLetter| {
                seen.insert([letter.id().as_str().as_bytes(), letter.body()].map(xxh3_128))
            };
            letter.map(|l| is_new(&l).then_some(l)).transpose()
        }))
    }

    /// Takes the letters that wait out of the way of new ones and returns them as a source.
    ///
    /// A replay that was cut off goes on with its letters first; call again for the others. What
    /// fails again becomes a new letter. A letter leaves the disk only when it is committed.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] while another replay runs.
    pub fn replay(&self) -> Result<DeadLetterSource> {
        let replaying = self.replaying();
        let lock = Lock::acquire(&replaying).map_err(|e| e.while_doing("replay dead letters"))?;
        let _no_writer = Lock::wait(&self.path)?;
        let renamed = match fs::exists(&replaying) {
            Ok(false) => match fs::rename(&self.path, &replaying) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result.and_then(|()| durable::sync_directory(&replaying)),
            },
            result => result.map(|_| ()),
        };
        renamed
            .map_err(|e| durable::io_error(&e, &self.path).while_doing("replay dead letters"))?;
        Ok(DeadLetterSource::new(replaying, lock))
    }

    /// Finds out whether letters could be kept. Writes nothing.
    ///
    /// # Errors
    /// As [`durable::io_error`].
    pub fn check(&self) -> Result<()> {
        let check = || {
            if self.path.is_dir() {
                return Err(durable::io_error(&io::ErrorKind::IsADirectory.into(), &self.path));
            }
            durable::check_writable(&self.path)?;
            durable::check_writable(&durable::sibling(&self.path, ".lock"))
        };
        check().map_err(|e: Error| e.while_doing("check the dead letters"))
    }

    fn replaying(&self) -> PathBuf {
        durable::sibling(&self.path, ".replaying")
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[async_trait]
impl DeadLetters for FileDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut lines = Vec::new();
        for letter in letters {
            letter.append_line(&mut lines)?;
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            append(&path, &lines).map_err(|e| e.while_doing("keep the dead letters"))
        })
        .await
        .map_err(|e| {
            Error::new(ErrorKind::Unexpected, "the writing thread ended early").because(e)
        })?
    }
}

fn append(path: &Path, letters: &[u8]) -> Result<()> {
    let failed = |e: io::Error| durable::io_error(&e, path);
    durable::create_private_directory(parent(path)).map_err(failed)?;
    let _one_at_a_time = Lock::wait(path)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let written = (|| {
        let length = file.metadata()?.len();
        let end = end_of_whole_lines(&mut file, length)?;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(end))?;
        (&mut file).take(length - end).read_to_end(&mut rest)?;
        if lines::is_letter(&rest) {
            file.write_all(b"\n")?;
        } else {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        }
        file.write_all(letters)?;
        file.sync_data()?;
        durable::sync_directory(path)
    })();
    written.map_err(failed) // a part that was written is cut off by the next put
}

/// Returns where the last whole line ends, in the first `end` bytes.
fn end_of_whole_lines(file: &mut File, mut end: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&mut *file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, Limit, Source};

    fn letter(id: &str) -> DeadLetter {
        DeadLetter::record(EventId::new(id), "{", &Error::new(ErrorKind::InvalidData, "broken"))
    }

    fn ids(store: &FileDeadLetters) -> Vec<String> {
        store.letters().unwrap().map(|l| l.unwrap().id().to_string()).collect()
    }

    #[tokio::test]
    async fn a_torn_line_is_cut_off_and_repeats_fold() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileDeadLetters::open(dir.path().join("sub/dead.ndjson"));
        assert_eq!(ids(&store), [""; 0]);
        store.put(&[letter("a"), letter("b")]).await.unwrap();
        let mut text = fs::read(store.path()).unwrap();
        text.extend_from_slice(b"{\"version\":1,\"id\":\"torn");
        fs::write(store.path(), text).unwrap();
        assert_eq!(ids(&store), ["a", "b"]);
        store.put(&[letter("b"), letter("c")]).await.unwrap();
        assert_eq!(ids(&store), ["a", "b", "c"]);
        let error = Error::new(ErrorKind::InvalidData, "broken");
        let other = DeadLetter::record(EventId::new("a"), "another record", &error);
        store.put(&[letter("a"), other]).await.unwrap();
        assert_eq!(ids(&store), ["a", "b", "c", "a"]);
    }

    #[tokio::test]
    async fn a_last_line_without_its_end_is_a_letter_if_it_reads_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileDeadLetters::open(dir.path().join("dead.ndjson"));
        store.put(&[letter("a"), letter("b")]).await.unwrap();
        // As an editor or a script leaves it.
        let trim = || {
            let text = fs::read_to_string(store.path()).unwrap();
            fs::write(store.path(), text.trim_end()).unwrap();
        };
        trim();
        assert_eq!(ids(&store), ["a", "b"]);
        store.put(&[letter("c")]).await.unwrap();
        trim();
        assert_eq!(ids(&store), ["a", "b", "c"]);

        let mut replay = store.replay().unwrap();
        replay.open(None).await.unwrap();
        let Ok(crate::Read::Batch(batch)) = replay.read(Limit::default()).await else {
            panic!("no batch");
        };
        assert_eq!(batch.rejected.len(), 3);
    }

    #[test]
    fn a_directory_is_no_place_for_letters_and_reading_it_is_one_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileDeadLetters::open(dir.path());
        assert_eq!(store.check().unwrap_err().kind(), ErrorKind::Config);
        FileDeadLetters::open(dir.path().join("not/yet/there")).check().unwrap();
        let letters: Vec<_> = store.letters().unwrap().take(9).collect();
        assert!(matches!(&letters[..], [Err(_)]), "{letters:?}");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_leaves_no_torn_line_behind() {
        let store = FileDeadLetters::open("/dev/full");
        // The lock file cannot be made there, or the write fails: never a silent success.
        assert!(store.put(&[letter("a")]).await.is_err());
    }
}
