use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom};
use std::path::Path;

use audit_core::durable::{io_error, sync_directory};
use audit_core::{Error, ErrorKind, Result};

/// How far each file was read, in bytes. Every file that is not in it is still to be read, so a file
/// whose name sorts before those that were read is found as well.
pub(crate) type Position = BTreeMap<String, u64>;

/// Returns the names of the finished files, in order.
pub(crate) fn names(dir: &Path) -> Result<BTreeSet<String>> {
    let list = || {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && name.ends_with(".ndjson")
                && entry.file_type()?.is_file()
            {
                names.insert(name);
            }
        }
        Ok(names)
    };
    list().map_err(|e| io_error(&e, dir).while_doing("list the spool"))
}

/// Removes the files that were read to their end, and makes that durable.
pub(crate) fn remove_read(dir: &Path, position: &Position) -> Result<()> {
    let remove = |path: &Path, read: u64| match fs::metadata(path) {
        Ok(metadata) if metadata.len() == read => fs::remove_file(path),
        Ok(_) => Ok(()),
        // Told twice.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    for (name, read) in position {
        let path = dir.join(name);
        remove(&path, *read).map_err(|e| io_error(&e, &path).while_doing("remove a file"))?;
    }
    sync_directory(&dir.join(".")).map_err(|e| io_error(&e, dir).while_doing("remove files"))
}

/// One line, without its line end.
pub(crate) struct Line {
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Its bytes, or the first of them.
    pub(crate) body: Vec<u8>,
    /// Whether that is all of it.
    pub(crate) whole: bool,
}

/// The lines of a file from an offset on.
pub(crate) struct Lines {
    reader: BufReader<File>,
    offset: u64,
    max_bytes: usize,
}

impl Lines {
    pub(crate) fn open(path: &Path, offset: u64, max_bytes: usize) -> Result<Self> {
        let open = || {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(offset))?;
            Ok((file, length))
        };
        let (file, length) =
            open().map_err(|e| io_error(&e, path).while_doing("open a file of the spool"))?;
        if length < offset {
            return Err(Error::new(ErrorKind::InvalidData, "the file is shorter than it was")
                .with("path", path.display())
                .with("read", offset)
                .with("length", length)
                .with_hint("a finished file must not change; give new records a new file"));
        }
        Ok(Self { reader: BufReader::new(file), offset, max_bytes })
    }

    /// Returns where the next line starts.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next line that is not blank. Holds no more of it than is allowed.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut body = Vec::new();
            let most = self.max_bytes as u64 + 1;
            let read = self.reader.by_ref().take(most).read_until(b'\n', &mut body)?;
            if read == 0 {
                return Ok(None);
            }
            let whole = body.ends_with(b"\n") || body.len() <= self.max_bytes;
            let skipped = if whole { 0 } else { self.reader.skip_until(b'\n')? };
            let offset = self.offset;
            self.offset += (read + skipped) as u64;
            body.truncate(body.trim_ascii_end().len());
            if !body.is_empty() {
                return Ok(Some(Line { offset, body, whole }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &str, offset: u64) -> Vec<(u64, String, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        fs::write(&path, content).unwrap();
        let mut lines = Lines::open(&path, offset, 4).unwrap();
        let mut found = Vec::new();
        while let Some(Line { offset, body, whole }) = lines.next().unwrap() {
            found.push((offset, String::from_utf8(body).unwrap(), whole));
        }
        assert_eq!(lines.offset(), content.len() as u64);
        found
    }

    #[test]
    fn lines_are_bounded_and_know_their_place() {
        let line = |offset, text: &str, whole| (offset, text.to_owned(), whole);
        assert_eq!(
            lines("1234\n\n12345678\r\n12\r\n34", 0),
            [
                line(0, "1234", true),
                line(6, "12345", false),
                line(16, "12", true),
                line(20, "34", true)
            ]
        );
        assert_eq!(lines("1\n2\n", 2), [line(2, "2", true)]);
        assert_eq!(lines("", 0), []);
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        fs::write(&path, "1\n").unwrap();
        let error = Lines::open(&path, 3, 4).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn only_what_was_read_to_its_end_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.ndjson", "b.ndjson", "c.ndjson", "d.ndjson.tmp"] {
            fs::write(dir.path().join(name), "1\n2\n").unwrap();
        }
        let position =
            Position::from([("a.ndjson".into(), 4), ("b.ndjson".into(), 2), ("gone".into(), 9)]);
        remove_read(dir.path(), &position).unwrap();
        assert!(names(dir.path()).unwrap().iter().eq(["b.ndjson", "c.ndjson"]));
    }
}
