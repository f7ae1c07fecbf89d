//! The files that belong together, and what is seen of them.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, durable};

use crate::compress::Codec;
use crate::config::Layout;
use crate::journal::FileId;

/// The files of one output.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The file that the user named.
    pub(crate) output: PathBuf,
    /// The file that batches go to: the output, or the hidden partial of an array.
    pub(crate) data: PathBuf,
    /// What is known of it.
    pub(crate) journal: PathBuf,
}

impl Paths {
    /// Finds the files of an output; a symbolic link stands for the file it leads to.
    pub(crate) fn of(output: &Path, layout: Layout) -> Result<Self> {
        let output = match fs::symlink_metadata(output) {
            Ok(metadata) if metadata.is_symlink() => {
                fs::canonicalize(output).map_err(|e| durable::io_error(&e, output))?
            }
            _ => output.to_owned(),
        };
        let data = match layout {
            Layout::Array => hidden(&output, ".partial"),
            Layout::Ndjson => output.clone(),
        };
        Ok(Self { journal: hidden(&output, ".journal"), data, output })
    }

    /// Returns the directory of them all.
    pub(crate) fn directory(&self) -> &Path {
        match self.output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Finds the file with this identity in the directory, whatever its name is by now.
    pub(crate) fn find(&self, id: FileId) -> Result<Option<Seen>> {
        let directory = self.directory();
        let entries = fs::read_dir(directory).map_err(|e| durable::io_error(&e, directory))?;
        for entry in entries.flatten().filter(|entry| entry.ino() == id.inode) {
            match Seen::at(&entry.path())? {
                Some(seen) if seen.id == id => return Ok(Some(seen)),
                _ => {}
            }
        }
        Ok(None)
    }
}

fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// A regular file, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    pub(crate) len: u64,
    pub(crate) permissions: fs::Permissions,
}

impl Seen {
    /// Looks at a path. Nothing if no file is there.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Self::of(path, &metadata).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(durable::io_error(&e, path)),
        }
    }

    fn of(path: &Path, metadata: &Metadata) -> Result<Self> {
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::Config, "not a regular file")
                .with("path", path.display())
                .with_hint("name a file; for a pipe or a device write to `-` and redirect"));
        }
        Ok(Self {
            path: path.to_owned(),
            id: FileId::of(metadata),
            len: metadata.len(),
            permissions: metadata.permissions(),
        })
    }

    /// Returns whether the bytes from `offset` on are exactly these.
    pub(crate) fn holds_at(&self, offset: u64, expected: &[u8]) -> Result<bool> {
        let read = || -> io::Result<bool> {
            let mut found = vec![0; expected.len()];
            File::open(&self.path)?.read_exact_at(&mut found, offset)?;
            Ok(found == expected)
        };
        match read() {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            result => result.map_err(|e| durable::io_error(&e, &self.path)),
        }
    }

    /// Returns whether the XXH3 of the `length` bytes from `offset` on is `content`.
    pub(crate) fn has_content(&self, offset: u64, length: u64, content: u64) -> Result<bool> {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            let mut buffer = vec![0; 256 << 10];
            let mut rest = file.take(length);
            let mut total = 0;
            loop {
                match rest.read(&mut buffer)? {
                    0 => return Ok(total == length && hash.digest() == content),
                    n => {
                        hash.update(&buffer[..n]);
                        total += n as u64;
                    }
                }
            }
        };
        read().map_err(|e: io::Error| durable::io_error(&e, &self.path))
    }

    /// Makes sure that batches may follow the first `len` bytes, which somebody else may have
    /// written: they have this compression and end with a whole line.
    pub(crate) fn accept(&self, len: u64, codec: Codec) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        self.accept_head(codec)?;
        let read = || -> io::Result<u8> {
            let mut last = [b'\n'];
            let file = File::open(&self.path)?;
            if codec == Codec::Plain {
                file.read_exact_at(&mut last, len - 1)?;
                return Ok(last[0]);
            }
            // Whether the last member is whole shows only by reading all of them.
            let mut reader = codec.reader(Box::new(file.take(len)))?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(last[0]),
                    n => last[0] = buffer[n - 1],
                }
            }
        };
        let refused = |message| {
            Error::new(ErrorKind::InvalidData, message)
                .with("path", self.path.display())
                .with("bytes", len)
                .with_hint("end or remove its last line, or move the file away")
        };
        match read() {
            Ok(b'\n') => Ok(()),
            Ok(_) => Err(refused("the file ends within a line")),
            Err(e) if e.raw_os_error().is_none() => {
                Err(refused("the compressed file is cut off or damaged").because(e))
            }
            Err(e) => Err(durable::io_error(&e, &self.path)),
        }
    }

    /// Makes sure that the file begins like one of this compression.
    pub(crate) fn accept_head(&self, codec: Codec) -> Result<()> {
        let mut head = [0; 4];
        let len = File::open(&self.path)
            .and_then(|file| file.read_at(&mut head, 0))
            .map_err(|e| durable::io_error(&e, &self.path))?;
        let found = match head {
            [0x1f, 0x8b, ..] => "gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "zstd",
            _ => "none",
        };
        if len == 0 || found == codec.name() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "the file has another compression")
            .with("path", self.path.display())
            .with("found", found)
            .with("expected", codec.name())
            .with_hint("change the compression or the path"))
    }
}
