use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use audit_core::{Clock, DeadLetter, Error, EventId, Result, durable};
use chrono::{DateTime, Utc};

/// The file of what could not be read, in the form of dead letters. There is none without any.
#[derive(Debug)]
pub struct Rejects {
    path: PathBuf,
    now: DateTime<Utc>,
    file: Option<BufWriter<File>>,
    line: Vec<u8>,
}

impl Rejects {
    /// Removes the file of an earlier run.
    ///
    /// # Errors
    /// Those of the operating system, with the path.
    pub fn new(path: &Path) -> Result<Self> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(durable::io_error(&e, path));
            }
            _ => {}
        }
        let now = Clock::system().now();
        Ok(Self { path: path.to_owned(), now, file: None, line: Vec::new() })
    }

    /// Keeps a record, with the reason.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn put(&mut self, id: impl Into<String>, body: &[u8], reason: &Error) -> Result<()> {
        let mut letter = DeadLetter::record(EventId::new(id.into()), body, reason);
        (letter.first_at, letter.last_at) = (self.now, self.now);
        self.line.clear();
        letter.append_line(&mut self.line)?;
        let failed = |e: std::io::Error| durable::io_error(&e, &self.path);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let directory = self.path.parent().unwrap_or(Path::new(""));
                durable::create_private_directory(directory).map_err(failed)?;
                let file = durable::create_private(&self.path).map_err(failed)?;
                none.insert(BufWriter::new(file))
            }
        };
        file.write_all(&self.line).map_err(failed)
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn finish(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(|e| durable::io_error(&e, &self.path))
    }
}
