use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::DeadLetter;
use crate::Result;
use crate::durable;

/// The whole lines of a dead-letter file, with the offset behind each.
///
/// What follows the last line end was torn by a crash and never acknowledged, so it holds nothing;
/// unless it is a letter, as where somebody mended the file and left the last line end out.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    offset: u64,
    /// The file could not be read, and will not be.
    failed: bool,
}

pub(super) struct Line {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the next line begins.
    pub(super) end: u64,
}

impl Lines {
    /// Opens the file; nothing when it is not there.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let (path, reader) = (path.to_owned(), BufReader::new(file));
                Ok(Some(Self { path, reader, offset: 0, failed: false }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(durable::io_error(&e, path).while_doing("read the dead letters")),
        }
    }

    pub(super) fn seek(&mut self, offset: u64) -> Result<()> {
        self.reader
            .seek(SeekFrom::Start(offset))
            .map_err(|e| durable::io_error(&e, &self.path).while_doing("read the dead letters"))?;
        self.offset = offset;
        Ok(())
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            Ok(length) => {
                let is_whole = bytes.pop_if(|last| *last == b'\n').is_some();
                if !is_whole && !is_letter(&bytes) {
                    return None;
                }
                self.offset += length as u64;
                Some(Ok(Line { path: self.path.clone(), bytes, end: self.offset }))
            }
            Err(e) => {
                self.failed = true;
                let error = durable::io_error(&e, &self.path);
                Some(Err(error.while_doing("read the dead letters")))
            }
        }
    }
}

/// Returns whether a line, without its end, is a whole letter.
pub(super) fn is_letter(bytes: &[u8]) -> bool {
    DeadLetter::parse_line(bytes).is_ok()
}

impl Line {
    pub(super) fn parse(&self) -> Result<DeadLetter> {
        DeadLetter::parse_line(&self.bytes).map_err(|e| {
            e.while_doing("read the dead letters")
                .with("path", self.path.display())
                .with("line ends at byte", self.end)
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
