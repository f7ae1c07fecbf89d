use std::cell::RefCell;
use std::fmt;
use std::io::{self, Stderr, Stdout, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use super::{AuditRecord, Emitter, Shape};
use crate::{Error, ErrorKind, Result};

/// Writes each record as one line, with one call of the writer: also when it is a pipe that other
/// processes write to, short lines do not mix.
///
/// `Ok` means what it means for the writer: a file has the line in the operating system's memory, a
/// [`BufWriter`](io::BufWriter) has it in its own until [`flush`](Emitter::flush). A line of which
/// only a part could be written is ended before the next, so that it does not spoil that one.
pub struct LineWriter<W> {
    shape: Shape,
    output: Mutex<Output<W>>,
}

impl LineWriter<StandardStream> {
    /// Writes to standard output. Unlike Rust's own, a closed one is an error.
    pub fn stdout() -> Self {
        Self::new(StandardStream(Stream::Stdout(io::stdout())))
    }

    /// Writes to standard error.
    pub fn stderr() -> Self {
        Self::new(StandardStream(Stream::Stderr(io::stderr())))
    }
}

impl<W: Write + Send> LineWriter<W> {
    /// Writes to any writer, in the default shape.
    pub fn new(writer: W) -> Self {
        let output = Mutex::new(Output { writer, torn: false });
        Self { shape: Shape::default(), output }
    }

    /// Sets the shape of the lines.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Returns the writer, without flushing it.
    pub fn into_inner(self) -> W {
        self.output.into_inner().unwrap_or_else(PoisonError::into_inner).writer
    }
}

impl<W: Write + Send> Emitter for LineWriter<W> {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        with_line(record, self.shape, |line| {
            self.output.lock().unwrap_or_else(PoisonError::into_inner).write_line(line)
        })
    }

    fn flush(&self) -> Result<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.writer.flush().map_err(|e| cannot_write(&e).while_doing("flush audit records"))
    }
}

impl<W> fmt::Debug for LineWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineWriter").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Makes the line of a record, with its line end, in memory that each thread keeps.
///
/// For emitters that write lines in their own way.
///
/// # Errors
/// Those of the shape and of `write`.
pub fn with_line<T>(
    record: &AuditRecord,
    shape: Shape,
    write: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    const KEEP: usize = 64 << 10;
    thread_local! {
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let make = |line: &mut Vec<u8>| {
        line.clear();
        shape.append_line(record, line)?;
        line.push(b'\n');
        Ok::<_, Error>(())
    };
    let mut write = Some(write);
    let kept = LINE.try_with(|line| {
        let mut line = line.try_borrow_mut().ok()?;
        let write = write.take()?;
        let result = make(&mut line).and_then(|()| write(&line));
        if line.capacity() > KEEP {
            *line = Vec::new();
        }
        Some(result)
    });
    if let Ok(Some(result)) = kept {
        return result;
    }
    // A writer that logs, or a thread that ends.
    let mut line = Vec::new();
    make(&mut line)?;
    match write {
        Some(write) => write(&line),
        None => Err(Error::new(ErrorKind::Unexpected, "the line was lost")),
    }
}

struct Output<W> {
    writer: W,
    /// Whether the last line has no end.
    torn: bool,
}

impl<W: Write> Output<W> {
    fn write_line(&mut self, line: &[u8]) -> Result<()> {
        let result = self.try_write_line(line);
        result.map_err(|e| cannot_write(&e).while_doing("write an audit record"))
    }

    fn try_write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_all(b"\n")?;
            self.torn = false;
        }
        self.write_all(line)
    }

    /// As [`Write::write_all`], but knows whether something was written before it failed.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.torn = true;
                    bytes = bytes.get(n..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.torn = false;
        Ok(())
    }
}

fn cannot_write(error: &io::Error) -> Error {
    use io::ErrorKind as Io;
    let hint = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => Some("free some space"),
        Io::BrokenPipe => Some("the program that reads the records has ended"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error()) => {
            Some("the stream is closed; give the program one that is open, or another emitter")
        }
        _ => None,
    };
    let error = Error::new(ErrorKind::Unavailable, error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The process's standard output or error, without a buffer, shared with Rust's own by its lock.
#[derive(Debug)]
pub struct StandardStream(Stream);

#[derive(Debug)]
enum Stream {
    Stdout(Stdout),
    Stderr(Stderr),
}

impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Stream::Stdout(stdout) => write_whole(stdout.lock(), bytes),
            Stream::Stderr(stderr) => write_whole(stderr.lock(), bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of it under one lock; returns less only when the rest failed.
fn write_whole(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(&stream, rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            // Somebody made the stream non-blocking; the records have to wait all the same.
            Err(rustix::io::Errno::AGAIN) => {
                let out = rustix::event::PollFlags::OUT;
                let mut ready = [rustix::event::PollFd::new(&stream, out)];
                rustix::event::poll(&mut ready, None).or_else(|e| match e {
                    rustix::io::Errno::INTR => Ok(0),
                    e => Err(e),
                })?;
            }
            Err(e) if done == 0 => return Err(e.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::AuditLogger;

    /// Takes `room` bytes, then fails until told otherwise.
    struct Narrow {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let writer = LineWriter::new(Narrow { written: Vec::new(), room: 10 });
        let record = AuditLogger::new().info("x").record().unwrap();
        let error = writer.emit(&record).unwrap_err();
        assert_eq!(error.hint(), Some("free some space"));
        assert!(writer.emit(&record).is_err());
        writer.output.lock().unwrap().writer.room = 1000;
        writer.emit(&record).unwrap();
        let text = String::from_utf8(writer.into_inner().written).unwrap();
        let line = record.to_json_line().unwrap();
        assert_eq!(text, format!("{}\n{line}\n", line.split_at(10).0));
    }

    #[test]
    fn a_writer_that_logs_itself_does_not_panic() {
        struct Nosy;
        impl Write for Nosy {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let record = AuditLogger::new().info("within").record().unwrap();
                let inner = with_line(&record, Shape::Audit, |line| Ok(line.len())).unwrap();
                assert!(inner > 100);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let record = AuditLogger::new().record().unwrap();
        LineWriter::new(Nosy).emit(&record).unwrap();
    }
}
