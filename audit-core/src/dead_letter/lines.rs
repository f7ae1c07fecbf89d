use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::DeadLetter;
use crate::Result;
use crate::durable;

/// The whole lines of a dead-letter file, with the offset behind each.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    offset: u64,
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
                Ok(Some(Self { path: path.to_owned(), reader: BufReader::new(file), offset: 0 }))
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
        let mut bytes = Vec::new();
        match self.reader.read_until(b'\n', &mut bytes) {
            // A torn last line was never acknowledged, so it holds nothing.
            Ok(_) if bytes.last() != Some(&b'\n') => None,
            Ok(_) => {
                self.offset += bytes.len() as u64;
                bytes.pop();
                Some(Ok(Line { path: self.path.clone(), bytes, end: self.offset }))
            }
            Err(e) => {
                let error = durable::io_error(&e, &self.path);
                Some(Err(error.while_doing("read the dead letters")))
            }
        }
    }
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
