use std::fs::File;
use std::io::{self, BufRead, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use audit_core::{Error, Result};
use memchr::{memchr, memrchr};

use crate::lines::{self, Unpacked, of_io};
use crate::scan::ScanConfig;

/// About as much is read at once, in bytes: it is still in the cache of a core when it is visited, and
/// threads seldom wait for each other's turn.
const CHUNK: usize = 384 << 10;

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
    /// The lines, and memory behind them that is used again.
    buffer: Vec<u8>,
    len: usize,
    /// What is wrong with the file behind this text, where it ends therefore.
    pub(crate) failure: Option<Error>,
}

impl Chunk {
    pub(crate) fn text(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Appends what comes next, at most so much. Whether there may be more.
    fn read(&mut self, file: &mut dyn BufRead, wanted: usize) -> io::Result<bool> {
        let end = self.len + wanted;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while self.len < end {
            match file.read(&mut self.buffer[self.len..end]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.len += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
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
        chunk.len = 0;
        chunk.failure = None;
        while chunk.len == 0 && chunk.failure.is_none() {
            let Some(path) = self.files.get(self.file) else { return false };
            chunk.file = self.file;
            match self.open.take().map_or_else(|| open(path), Ok) {
                Ok(mut open) => {
                    let filled = self.fill(&mut *open.reader, chunk);
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
    fn fill(&mut self, file: &mut dyn BufRead, chunk: &mut Chunk) -> io::Result<Ended> {
        chunk.push(&self.rest);
        self.rest.clear();
        let mut seen = 0;
        loop {
            let more = chunk.read(file, CHUNK.saturating_sub(chunk.len).max(CHUNK / 8));
            if !self.begun && chunk.len >= 3 {
                self.begun = true;
                if chunk.text().starts_with(b"\xef\xbb\xbf") {
                    chunk.buffer.drain(..3);
                    chunk.len -= 3;
                }
            }
            let new = chunk.text().get(seen..).unwrap_or_default();
            let lines = memrchr(b'\n', new).map_or(0, |last| seen + last + 1);
            seen = chunk.len;
            match more {
                Ok(false) => return Ok(Ended::Yes),
                Err(error) => {
                    chunk.len = lines;
                    return Err(error);
                }
                Ok(true) => {}
            }
            if lines > 0 {
                self.rest.extend_from_slice(&chunk.text()[lines..]);
                chunk.len = lines;
                return Ok(Ended::No);
            }
            if chunk.len > self.max_line {
                return self.skip_line(file, chunk);
            }
        }
    }

    /// Skips the rest of a line that is too long.
    fn skip_line(&mut self, file: &mut dyn BufRead, chunk: &mut Chunk) -> io::Result<Ended> {
        // One byte more than allowed tells that it is too long.
        chunk.len = self.max_line + 1;
        let mut skipped = Chunk::default();
        loop {
            skipped.len = 0;
            let more = skipped.read(file, CHUNK)?;
            if let Some(end) = memchr(b'\n', skipped.text()) {
                chunk.push(b"\n");
                self.rest.extend_from_slice(&skipped.text()[end + 1..]);
                return Ok(Ended::No);
            }
            if !more {
                return Ok(Ended::Yes);
            }
        }
    }
}
