use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use audit_core::{Error, ErrorKind, Raw, Result};

use crate::record::{invalid, no_time, too_large};
use crate::scan::chunks::Chunk;
use crate::scan::ids::{IdHash, IdHasher, Ids};
use crate::scan::{Reject, ScanConfig};

/// What became of the lines of a scan: `lines = records + repeats + rejected`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Bytes of text, unpacked.
    pub bytes: u64,
    /// Lines that are not empty.
    pub lines: u64,
    /// Lines that were visited.
    pub records: u64,
    /// Lines left out, because their id came before.
    pub repeats: u64,
    /// Lines that are no record.
    pub rejected: u64,
    /// Files of which the end could not be read, and why. What came before it was.
    pub failures: Vec<Error>,
}

/// What has to happen in the order of the files, whatever thread gets there first: chunk by chunk, ids
/// are compared with those before, and rejected lines are handed out.
pub(crate) struct Turns<F> {
    ordered: Mutex<Ordered<F>>,
    changed: Condvar,
    hasher: IdHasher,
    files: Vec<PathBuf>,
    max_line: usize,
}

struct Ordered<F> {
    /// The chunk whose turn it is.
    next: u64,
    ids: Ids,
    reject: F,
    summary: Summary,
    /// The file of the last chunk, and how many lines of it there were, empty ones too.
    place: (usize, u64),
    failure: Option<Error>,
    /// Whether no turn will come any more.
    over: bool,
}

/// What was found in a chunk, in order.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The id of each good record; 0 is none.
    pub(crate) ids: Vec<IdHash>,
    /// Which good records came before.
    pub(crate) repeats: Vec<bool>,
    /// What is no record. There may be as many as lines: why is found out when it is handed out.
    pub(crate) bad: Vec<Bad>,
    /// All lines, empty ones too.
    pub(crate) lines: u64,
}

/// A line that is no record.
#[derive(Debug)]
pub(crate) struct Bad {
    /// Counted from 0 within the chunk.
    pub(crate) line: u64,
    pub(crate) body: Range<usize>,
    /// It is JSON, but does not say when it happened.
    pub(crate) undated: bool,
}

impl Bad {
    fn error(&self, body: &[u8], max_line: usize) -> Error {
        if self.undated {
            return no_time();
        }
        if body.len() > max_line {
            return too_large(body.len());
        }
        let text = str::from_utf8(body).map_err(|e| invalid("not UTF-8").because(e));
        match text.and_then(Raw::parse) {
            Err(error) => error,
            Ok(_) => Error::new(ErrorKind::Unexpected, "two readers of JSON disagree"),
        }
    }
}

impl<F: FnMut(&Reject<'_>) -> Result<()>> Turns<F> {
    pub(crate) fn new(config: &ScanConfig, reject: F) -> Self {
        let ordered = Ordered {
            next: 0,
            ids: Ids::new(config.repeat_window),
            reject,
            summary: Summary::default(),
            place: (0, 0),
            failure: None,
            over: false,
        };
        Self {
            ordered: Mutex::new(ordered),
            changed: Condvar::new(),
            hasher: IdHasher::new(),
            files: config.files.clone(),
            max_line: config.max_record_bytes as usize,
        }
    }

    pub(crate) fn hasher(&self) -> IdHasher {
        self.hasher
    }

    /// Waits until all chunks before this one had their turn, and takes it. Whether to go on.
    pub(crate) fn take(&self, chunk: &mut Chunk, found: &mut Found) -> bool {
        let mut ordered = self.lock();
        while ordered.next != chunk.place && !ordered.over {
            ordered = self.changed.wait(ordered).unwrap_or_else(PoisonError::into_inner);
        }
        if ordered.over {
            return false;
        }
        ordered.take(chunk, found, &self.files, self.max_line);
        ordered.next += 1;
        ordered.over = ordered.failure.is_some();
        let go_on = !ordered.over;
        drop(ordered);
        self.changed.notify_all();
        go_on
    }

    /// Returns the sums, or what ended the scan early.
    pub(crate) fn finish(self) -> Result<Summary> {
        let ordered = self.ordered.into_inner().unwrap_or_else(PoisonError::into_inner);
        ordered.failure.map_or(Ok(ordered.summary), Err)
    }

    /// Lets nobody wait for the turn of a thread that is gone.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Ordered<F>> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: FnMut(&Reject<'_>) -> Result<()>> Ordered<F> {
    fn take(&mut self, chunk: &mut Chunk, found: &mut Found, files: &[PathBuf], max_line: usize) {
        self.ids.fetch(&found.ids);
        found.repeats.clear();
        found.repeats.extend(found.ids.iter().map(|id| *id != 0 && self.ids.is_repeat(*id)));
        let repeats = found.repeats.iter().filter(|repeat| **repeat).count() as u64;
        let (good, bad) = (found.ids.len() as u64, found.bad.len() as u64);
        let summary = &mut self.summary;
        summary.bytes += chunk.text().len() as u64;
        summary.lines += good + bad;
        summary.records += good - repeats;
        summary.repeats += repeats;
        summary.rejected += bad;
        summary.failures.extend(chunk.failure.take());
        if self.place.0 != chunk.file {
            self.place = (chunk.file, 0);
        }
        for bad in &found.bad {
            let body = chunk.text().get(bad.body.clone()).unwrap_or_default();
            let reject = Reject {
                path: &files[chunk.file],
                line: self.place.1 + bad.line + 1,
                body,
                error: &bad.error(body, max_line),
            };
            if let Err(error) = (self.reject)(&reject) {
                self.failure = Some(error);
                return;
            }
        }
        self.place.1 += found.lines;
    }
}
