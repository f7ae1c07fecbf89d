//! The journal beside a file: which batch goes where, and which ids the file holds.
//!
//! A record of a batch is durable before the first byte of the batch is written. So whatever a
//! crash leaves in the file, its last batch is known by place, length and check sum: it is there
//! whole, or it is cut off. On disk:
//!
//! ```text
//! header    "AUDITJ\0" version(u8) seed(u64)
//! record    check(u64) kind(u32) count(u32) device(u64) inode(u64)
//!           offset(u64) length(u64) content(u64) serial(u64)  id(u128) * count
//! ```
//!
//! Numbers are little-endian. `check` is the XXH3 of the rest of the record, `content` that of the
//! batch as it is in the file, and each serial is one more than that of the record before.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, IdHash, RecentIds, Result, durable};
use xxhash_rust::xxh3::xxh3_64;

use crate::replay::{self, Kind, Record, State};

/// Rewritten to what is still needed once it is longer than this, and than four times that.
const MAX_BYTES: u64 = 4 << 20;

pub(crate) const MAGIC: &[u8; 8] = b"AUDITJ\0\x01";
pub(crate) const HEADER: usize = 16;
pub(crate) const RECORD: usize = 64;
pub(crate) const ID: usize = 16;

/// A file's identity, which a rename does not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An open journal, at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    serial: u64,
    /// Where the record of a batch begins that is not known to be durable, and the serial before.
    pending: Option<(u64, u64)>,
    max_bytes: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal that `state` was read from, or makes it.
    pub(crate) fn open(path: &Path, state: &State, window: &RecentIds) -> Result<Self> {
        if state.end == 0 {
            let journal = Self::create(path, state, window)?;
            journal.sync_name()?;
            return Ok(journal);
        }
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            // A torn record would otherwise be found again behind a shorter new one.
            file.set_len(state.end)?;
            Ok(file)
        };
        Ok(Self {
            path: path.to_owned(),
            file: open().map_err(|e| durable::io_error(&e, path))?,
            end: state.end,
            serial: state.serial,
            pending: state.pending.map(|batch| (batch.at, state.serial - 1)),
            max_bytes: MAX_BYTES.max(state.end),
            buffer: Vec::new(),
        })
    }

    /// Makes a journal that holds what is known now and nothing else, in place of any other. That
    /// its name stands for it is not durable yet.
    fn create(path: &Path, state: &State, window: &RecentIds) -> Result<Self> {
        let mut text = Vec::with_capacity(HEADER + 2 * RECORD + window.iter().len() * ID);
        text.extend_from_slice(MAGIC);
        text.extend_from_slice(&window.seed().to_le_bytes());
        let mut serial = 0;
        let mut push =
            |kind, file, offset, length, ids: &mut dyn ExactSizeIterator<Item = IdHash>| {
                serial += 1;
                Record { kind, file, offset, length, content: 0, serial }.append(ids, &mut text);
            };
        if window.iter().len() > 0 {
            push(Kind::Known, FileId::default(), 0, 0, &mut window.iter());
        }
        if let Some(place) = state.place {
            let none = &mut std::iter::empty();
            push(Kind::Place, place.file, place.begin, place.end - place.begin, none);
        }
        let temporary = durable::sibling(path, ".tmp");
        let write = || {
            let file = durable::create_private(&temporary)?;
            file.write_all_at(&text, 0)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            Ok(file)
        };
        let end = text.len() as u64;
        Ok(Self {
            path: path.to_owned(),
            file: write().map_err(|e: io::Error| durable::io_error(&e, path))?,
            end,
            serial,
            pending: None,
            max_bytes: MAX_BYTES.max(4 * end),
            buffer: Vec::new(),
        })
    }

    /// Announces a batch: durable when this returns.
    pub(crate) fn begin(
        &mut self,
        file: FileId,
        offset: u64,
        chunk: &[u8],
        ids: &[IdHash],
    ) -> Result<()> {
        let (length, content) = (chunk.len() as u64, xxh3_64(chunk));
        // Also when writing it fails: what may be half there is to be cut off.
        self.pending = Some((self.end, self.serial));
        let record = Record { kind: Kind::Batch, file, offset, length, content, serial: 0 };
        self.append(record, &mut ids.iter().copied())?;
        self.sync()
    }

    /// Notes that the announced batch is durable. Not synced: should the note be lost, the batch
    /// is found by its check sum.
    pub(crate) fn done(&mut self) -> Result<()> {
        self.pending = None;
        let record = Record::of(Kind::Done);
        self.append(record, &mut std::iter::empty())
    }

    /// Notes where the file begins that the next batches go to, and how long it is; durable.
    pub(crate) fn place(&mut self, file: FileId, begin: u64) -> Result<()> {
        let record = Record { file, offset: begin, ..Record::of(Kind::Place) };
        self.append(record, &mut std::iter::empty())?;
        self.sync()
    }

    /// Notes that the file was given its final name and is no longer written to; durable.
    pub(crate) fn published(&mut self) -> Result<()> {
        self.append(Record::of(Kind::Published), &mut std::iter::empty())?;
        self.sync()
    }

    /// Makes all notes durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| durable::io_error(&e, &self.path))
    }

    /// Takes back the announcement of a batch that is not in the file.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        if let Some((at, serial)) = self.pending {
            self.file.set_len(at).map_err(|e| durable::io_error(&e, &self.path))?;
            self.sync()?;
            (self.end, self.serial) = (at, serial);
            self.pending = None;
        }
        Ok(())
    }

    /// Returns where the announcement begins of a batch that is neither done nor taken back.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.pending.map(|(at, _)| at)
    }

    /// Returns whether it is long enough to be worth a [`compact`](Self::compact).
    pub(crate) fn is_long(&self) -> bool {
        self.end > self.max_bytes
    }

    /// Rewrites it to what is still needed.
    pub(crate) fn compact(&mut self, state: &State, window: &RecentIds) -> Result<()> {
        // From the rename on, the old file has no name any more: nothing may go to it.
        *self = Self::create(&self.path, state, window)?;
        self.sync_name()
    }

    fn sync_name(&self) -> Result<()> {
        durable::sync_directory(&self.path).map_err(|e| durable::io_error(&e, &self.path))
    }

    fn append(
        &mut self,
        mut record: Record,
        ids: &mut dyn ExactSizeIterator<Item = IdHash>,
    ) -> Result<()> {
        record.serial = self.serial + 1;
        self.buffer.clear();
        record.append(ids, &mut self.buffer);
        self.file
            .write_all_at(&self.buffer, self.end)
            .map_err(|e| durable::io_error(&e, &self.path))?;
        self.serial = record.serial;
        self.end += self.buffer.len() as u64;
        Ok(())
    }
}

/// Reads what a journal says, changing nothing. No journal is an empty one.
pub(crate) fn read(path: &Path) -> Result<(State, RecentIds)> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok((State::default(), RecentIds::new()));
        }
        Err(e) => return Err(durable::io_error(&e, path)),
    };
    replay::replay(&bytes).map_err(|what| {
        Error::new(ErrorKind::InvalidData, format!("the journal cannot be used: {what}"))
            .with("path", path.display())
            .with_hint(
                "restore it, or run the version that wrote it; or move it away to go on without \
                 it: events sent again may then repeat",
            )
    })
}
