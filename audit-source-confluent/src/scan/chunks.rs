use std::fs::File;
use std::io::{self, BufRead, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use audit_core::{Error, Result};
use memchr::{memchr, memrchr};

use crate::lines::{self, Unpacked, of_io};
use crate::scan::ScanConfig;

/// About as much is read at once, in bytes.
const CHUNK: usize = 512 << 10;

/// How far a scan is. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Returns how many bytes of the files were read, of compressed files as they are on disk.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An open file.
struct Open {
    reader: Box<dyn BufRead + Send>,
    /// The file itself, to ask how far it was read.
    file: File,
}

/// The text of files in portions of whole lines, one after the other.
pub(crate) struct Chunks {
    files: Vec<PathBuf>,
    /// Which is open, or next.
    file: usize,
    open: Option<Open>,
    /// The beginning of a line, of which the end is still to be read.
    rest: Vec<u8>,
    max_line: usize,
    next: u64,
    progress: Progress,
    begun: bool,
    /// Bytes of the files before this one.
    done: u64,
}

/// Some lines of a file.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Its place among all chunks, from 0.
    pub(crate) place: u64,
    /// Which file it is of.
    pub(crate) file: usize,
    pub(crate) text: Vec<u8>,
    /// What is wrong with the file behind this text, where it ends therefore.
    pub(crate) failure: Option<Error>,
}

/// Whether there is nothing more of a file.
enum Ended {
    No,
    Yes,
}

/// Finds out whether files can be opened.
pub(crate) fn check(files: &[PathBuf]) -> Result<()> {
    files.iter().try_for_each(|path| open(path).map(drop))
}

fn open(path: &Path) -> Result<Open> {
    let opened = File::open(path).and_then(|file| {
        let handle = file.try_clone()?;
        let reader: Box<dyn BufRead + Send> = match lines::unpacked(file)? {
            Unpacked::Plain(reader) => Box::new(reader),
            Unpacked::Packed(reader) => reader,
        };
        Ok(Open { reader, file: handle })
    });
    opened.map_err(|e| of_io(e, path))
}

impl Chunks {
    pub(crate) fn new(config: &ScanConfig, progress: Progress) -> Self {
        Self {
            files: config.files.clone(),
            file: 0,
            open: None,
            rest: Vec::new(),
            max_line: config.max_record_bytes as usize,
            next: 0,
            progress,
            begun: false,
            done: 0,
        }
    }

    /// Reads the next chunk, into the memory of an old one. None: that was the last.
    pub(crate) fn next(&mut self, chunk: &mut Chunk) -> bool {
        chunk.text.clear();
        chunk.failure = None;
        while chunk.text.is_empty() && chunk.failure.is_none() {
            let Some(path) = self.files.get(self.file) else { return false };
            chunk.file = self.file;
            match self.open.take().map_or_else(|| open(path), Ok) {
                Ok(mut open) => {
                    let filled = self.fill(&mut *open.reader, &mut chunk.text);
                    let at = self.done + open.file.stream_position().unwrap_or_default();
                    self.progress.0.store(at, Ordering::Relaxed);
                    match filled {
                        Ok(Ended::No) => self.open = Some(open),
                        Ok(Ended::Yes) => self.done = at,
                        Err(error) => chunk.failure = Some(of_io(error, &self.files[self.file])),
                    }
                }
                Err(error) => chunk.failure = Some(error),
            }
            if self.open.is_none() {
                self.rest.clear();
                self.begun = false;
                self.file += 1;
            }
        }
        chunk.place = self.next;
        self.next += 1;
        true
    }

    /// Reads whole lines.
    fn fill(&mut self, file: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<Ended> {
        text.append(&mut self.rest);
        loop {
            text.reserve(CHUNK);
            let from = text.len();
            let wanted = CHUNK.saturating_sub(from).max(CHUNK / 8);
            let read = file.take(wanted as u64).read_to_end(text);
            if !self.begun && text.len() >= 3 {
                self.begun = true;
                if text.starts_with(b"\xef\xbb\xbf") {
                    drop(text.drain(..3));
                }
            }
            let last = memrchr(b'\n', text);
            if read.is_err() {
                text.truncate(last.map_or(0, |last| last + 1));
            }
            if read? < wanted {
                return Ok(Ended::Yes);
            }
            if let Some(last) = last {
                self.rest.extend_from_slice(&text[last + 1..]);
                text.truncate(last + 1);
                return Ok(Ended::No);
            }
            if text.len() > self.max_line {
                return self.skip_line(file, text);
            }
        }
    }

    /// Skips the rest of a line that is too long.
    fn skip_line(&mut self, file: &mut dyn BufRead, text: &mut Vec<u8>) -> io::Result<Ended> {
        // One byte more than allowed tells that it is too long.
        text.truncate(self.max_line + 1);
        let mut skipped = Vec::with_capacity(CHUNK);
        loop {
            skipped.clear();
            let read = file.take(CHUNK as u64).read_to_end(&mut skipped)?;
            if let Some(end) = memchr(b'\n', &skipped) {
                text.push(b'\n');
                self.rest.extend_from_slice(&skipped[end + 1..]);
                return Ok(Ended::No);
            }
            if read < CHUNK {
                return Ok(Ended::Yes);
            }
        }
    }
}
