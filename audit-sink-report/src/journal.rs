//! The journal: what was counted since the state of the days was stored last.
//!
//! Its first line says who it belongs to and which ids are known; each further line is a batch, with
//! its ids and counts. A batch is durable when its line is. Publishing begins a new journal.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use audit_core::{IdHash, RecentIds, Result, durable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cells::Cells;
use crate::crosstab::StoredDay;
use crate::lines;
use crate::{Crosstab, Day};

/// Who feeds a directory of reports, which decides how counts are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Feed {
    /// A pipeline, each event once: counts are added.
    Events,
    /// Whole looks at overlapping files: the larger count holds.
    Looks,
}

impl Feed {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Events => "the events of a pipeline",
            Self::Looks => "whole looks at files",
        }
    }
}

/// The one version there is; any other is an error by its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(serde::de::Error::custom("unknown version")),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: Version,
    feed: Feed,
    seed: u64,
    serial: u64,
    ids: Ids,
}

/// One batch, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "V: Deserialize<'de>"))]
pub(crate) struct Batch<'a, V> {
    /// One more than that of the batch before, also across journals.
    pub(crate) serial: u64,
    ids: Ids,
    days: BTreeMap<Day, StoredDay<'a, V>>,
}

impl Batch<'_, Cells> {
    /// Returns the counts.
    pub(crate) fn counts(self) -> Crosstab {
        let mut counts = Crosstab::unbounded();
        self.days.into_iter().for_each(|(day, stored)| counts.restore(day, stored));
        counts
    }
}

/// What a journal says.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) feed: Feed,
    pub(crate) serial: u64,
    pub(crate) window: RecentIds,
    pub(crate) batches: Vec<Batch<'static, Cells>>,
    /// Whether it ends in a part of a line.
    pub(crate) torn: bool,
}

/// An open journal, at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Journal {
    /// Begins a new one in place of any other.
    pub(crate) fn create(path: &Path, feed: Feed, serial: u64, window: &RecentIds) -> Result<Self> {
        let ids = Ids(window.iter().collect());
        let header = Header { version: Version, feed, seed: window.seed(), serial, ids };
        lines::replace(path, &header)?;
        Self::open(path)
    }

    /// Opens one to write at its end.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = OpenOptions::new().append(true).open(path)?;
            let len = file.metadata()?.len();
            Ok(Self { path: path.to_owned(), file, len })
        };
        open().map_err(|e| durable::io_error(&e, path))
    }

    /// Adds a batch; durable when this returns. After an error the journal may end in a part of it,
    /// and has to be read again.
    pub(crate) fn append(
        &mut self,
        serial: u64,
        ids: Vec<IdHash>,
        counts: &Crosstab,
    ) -> Result<()> {
        let days = counts.days().map(|day| (day, counts.store(day))).collect();
        let mut line = Vec::new();
        lines::append(&mut line, &Batch { serial, ids: Ids(ids), days })?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|e| durable::io_error(&e, &self.path))?;
        self.len += line.len() as u64;
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// Reads what a journal says, changing nothing. A last line that is not whole was never reported as
/// written.
pub(crate) fn read(path: &Path) -> Result<Option<Replay>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(durable::io_error(&e, path)),
    };
    let damaged = || lines::unusable(path, "damaged");
    let mut rest = bytes.split_inclusive(|b| *b == b'\n').peekable();
    let whole = |line: &[u8]| line.strip_suffix(b"\n").and_then(lines::checked).map(<[u8]>::to_vec);
    let header = rest.next().and_then(whole).ok_or_else(damaged)?;
    let Header { feed, seed, mut serial, ids, .. } = lines::parse(&header, path)?;
    let (mut window, mut batches, mut torn) = (RecentIds::with_seed(seed), Vec::new(), false);
    for id in ids.0 {
        window.insert(id);
    }
    while let Some(line) = rest.next() {
        let Some(text) = whole(line) else {
            if rest.peek().is_none() {
                torn = true;
                break;
            }
            return Err(damaged());
        };
        let mut batch: Batch<'static, Cells> = lines::parse(&text, path)?;
        if batch.serial != serial + 1 {
            return Err(damaged());
        }
        serial = batch.serial;
        let ids = std::mem::take(&mut batch.ids.0);
        let len = ids.len();
        for id in ids {
            window.insert(id);
        }
        window.batch_done(len);
        batches.push(batch);
    }
    Ok(Some(Replay { feed, serial, window, batches, torn }))
}

/// Ids as one text: 32 hexadecimal digits each.
#[derive(Debug)]
struct Ids(Vec<IdHash>);

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.0.len() * 32);
        for byte in self.0.iter().flat_map(|id| id.to_be_bytes()) {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = |digits| u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
        let ids: Option<_> = text.as_bytes().chunks(32).map(id).collect();
        ids.map(Self).ok_or_else(|| serde::de::Error::custom("not a list of ids"))
    }
}
