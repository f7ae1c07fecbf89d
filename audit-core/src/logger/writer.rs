use std::cell::RefCell;
use std::fmt;
use std::io::{self, Stderr, Stdout, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{AuditRecord, Emitter, Shape};
use crate::{Error, ErrorKind, Result};

/// Writes each record as one line, with one call of the writer: also when it is a pipe that other
/// processes write to, short lines do not mix.
///
/// `Ok` means what it means for the writer: of a file, that the operating system has the line. A line
/// of which only a part could be written is ended before the next, so that it does not spoil that one.
///
/// With [`buffered`](Self::buffered), `Ok` means that the line is in memory: a
/// [`flush`](Emitter::flush), or the end of the emitter, writes it.
pub struct LineWriter<W: Write + Send> {
    shape: Shape,
    buffered: usize,
    output: Mutex<Output<W>>,
}

impl LineWriter<StandardStream> {
    /// Writes to standard output. Unlike Rust's own, one that was closed is an error; one that was
    /// closed before the program began is `/dev/null`, as Rust opens it.
    pub fn stdout() -> Self {
        Self::new(StandardStream(Stream::Stdout(io::stdout())))
    }

    /// Writes to standard error.
    pub fn stderr() -> Self {
        Self::new(StandardStream(Stream::Stderr(io::stderr())))
    }
}

impl<W: Write + Send> LineWriter<W> {
    /// Writes to any writer, in the default shape, each line at once.
    pub fn new(writer: W) -> Self {
        let output = Output { writer, lines: Vec::new(), torn: false };
        Self { shape: Shape::default(), buffered: 0, output: Mutex::new(output) }
    }

    /// Sets the shape of the lines.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Holds lines back in memory until they are this many bytes.
    #[must_use]
    pub fn buffered(mut self, bytes: usize) -> Self {
        self.buffered = bytes;
        self
    }

    fn output(&self) -> MutexGuard<'_, Output<W>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> Emitter for LineWriter<W> {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        let mut output = self.output();
        let begin = output.lines.len();
        self.shape.append_line(record, &mut output.lines)?;
        output.lines.push(b'\n');
        if output.lines.len() <= self.buffered {
            return Ok(());
        }
        match output.write(begin) {
            Ok(()) => Ok(()),
            Err(e) => Err(cannot_write(&e).while_doing("write an audit record")),
        }
    }

    fn flush(&self) -> Result<()> {
        self.output().flush().map_err(|e| cannot_write(&e).while_doing("flush audit records"))
    }
}

impl<W: Write + Send> fmt::Debug for LineWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineWriter").field("shape", &self.shape).finish_non_exhaustive()
    }
}

struct Output<W: Write> {
    writer: W,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
    /// Whether the last line written has no end.
    torn: bool,
}

/// A buffer that has become larger is given back.
const KEEP: usize = 64 << 10;

impl<W: Write> Output<W> {
    /// Writes all lines. When that fails, the last of them, which begins at `last`, is not held back:
    /// its caller is told.
    // Inline: a return behind a system call takes longer than others.
    #[inline]
    fn write(&mut self, last: usize) -> io::Result<()> {
        if self.torn {
            self.end_torn(last)?;
        }
        match self.writer.write(&self.lines) {
            Ok(n) if n == self.lines.len() => {
                self.lines.clear();
                if self.lines.capacity() > 4 * KEEP.max(last) {
                    self.lines.shrink_to(KEEP);
                }
                Ok(())
            }
            first => self.write_rest(first, last),
        }
    }

    #[cold]
    fn end_torn(&mut self, last: usize) -> io::Result<()> {
        let ended = self.writer.write_all(b"\n");
        match ended {
            Ok(()) => self.torn = false,
            Err(_) => self.lines.truncate(last),
        }
        ended
    }

    /// Goes on where the first call of the writer ended.
    #[cold]
    fn write_rest(&mut self, first: io::Result<usize>, last: usize) -> io::Result<()> {
        let (done, result) = write_all(&mut self.writer, &self.lines, first);
        if result.is_ok() {
            self.lines.clear();
            return Ok(());
        }
        self.torn = done > 0 && self.lines.get(done - 1) != Some(&b'\n');
        if self.torn {
            // Of the line in the middle of which it ended, a new beginning would make two.
            let rest = self.lines.split_off(done);
            let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
            self.lines = rest.get(end..).unwrap_or_default().to_vec();
            let last = last.saturating_sub(done + end);
            self.lines.truncate(last);
        } else {
            self.lines.truncate(last);
            self.lines.drain(..done.min(last));
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.write(self.lines.len())?;
        }
        self.writer.flush()
    }
}

/// As [`Write::write_all`], of which the first call of the writer ended in `result`, but says how much
/// was written before it failed.
fn write_all(
    writer: &mut impl Write,
    bytes: &[u8],
    mut result: io::Result<usize>,
) -> (usize, io::Result<()>) {
    let mut done = 0;
    loop {
        match result {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (done, Err(e)),
        }
        match bytes.get(done..) {
            Some(rest) if !rest.is_empty() => result = writer.write(rest),
            _ => return (done, Ok(())),
        }
    }
}

impl<W: Write> Drop for Output<W> {
    fn drop(&mut self) {
        if !self.lines.is_empty()
            && let Err(error) = self.flush()
        {
            tracing::error!(%error, "audit records were lost at the end");
        }
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
    #[inline]
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
#[inline]
fn write_whole(stream: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::write(&stream, bytes) {
        Ok(n) if n == bytes.len() => Ok(n),
        first => write_on(stream.as_fd(), bytes, first),
    }
}

/// Goes on where the first call ended.
#[cold]
fn write_on(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    mut result: rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    loop {
        match result {
            Ok(0) => return Ok(done),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            // Somebody made the stream non-blocking; the records have to wait all the same.
            Err(rustix::io::Errno::AGAIN) => {
                let out = rustix::event::PollFlags::OUT;
                let mut ready = [rustix::event::PollFd::new(&stream, out)];
                if let Err(e) = rustix::event::poll(&mut ready, None)
                    && e != rustix::io::Errno::INTR
                {
                    result = Err(e);
                    continue;
                }
            }
            Err(e) if done == 0 => return Err(e.into()),
            Err(_) => return Ok(done),
        }
        match bytes.get(done..) {
            Some(rest) if !rest.is_empty() => result = rustix::io::write(stream, rest),
            _ => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logger::AuditLogger;

    /// Takes `room` bytes, then fails until it has more.
    #[derive(Clone, Default)]
    struct Narrow(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Narrow {
        fn room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let n = bytes.len().min(*room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= n;
            written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next() {
        let narrow = Narrow::default();
        narrow.room(10);
        let writer = LineWriter::new(narrow.clone());
        let record = AuditLogger::new().info("x").record().unwrap();
        let error = writer.emit(&record).unwrap_err();
        assert_eq!(error.hint(), Some("free some space"));
        assert!(writer.emit(&record).is_err());
        narrow.room(1000);
        writer.emit(&record).unwrap();
        let line = record.to_json_line().unwrap();
        assert_eq!(narrow.text(), format!("{}\n{line}\n", line.split_at(10).0));
    }

    /// Wherever the writer stops, what it has is whole lines but for torn ones, and of the lines each
    /// is there once that was taken, unless it was torn.
    #[test]
    fn a_buffer_loses_no_line_that_was_taken_unless_it_was_torn() {
        let lines: Vec<_> =
            (0..6).map(|n| AuditLogger::new().info(n.to_string()).record()).collect();
        let length = lines[0].as_ref().unwrap().to_json_line().unwrap().len() + 1;
        for room in 0..=6 * length {
            let narrow = Narrow::default();
            narrow.room(room);
            let writer = LineWriter::new(narrow.clone()).buffered(2 * length);
            let mut taken = Vec::new();
            for (n, record) in lines.iter().enumerate() {
                if writer.emit(record.as_ref().unwrap()).is_ok() {
                    taken.push(format!(r#""message": "{n}"}}}}"#));
                }
            }
            narrow.room(usize::MAX / 2);
            drop(writer);
            let text = narrow.text();
            let whole: Vec<_> = text.lines().filter(|line| line.len() == length - 1).collect();
            let torn = text.lines().count() - whole.len();
            let missing = taken.iter().filter(|t| !whole.iter().any(|line| line.ends_with(*t)));
            assert!(missing.count() <= torn && torn <= 1, "room {room}: {text}");
            let ordered = whole.is_sorted() && whole.windows(2).all(|pair| pair[0] != pair[1]);
            assert!(ordered, "room {room}: {text}");
        }
    }

    /// Takes a few bytes at a time, and is interrupted between.
    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<(Vec<u8>, bool)>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, interrupted) = &mut *self.0.lock().unwrap();
            *interrupted = !*interrupted;
            if *interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = bytes.len().min(7);
            written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_takes_little_at_a_time_gets_each_byte_once() {
        let record = AuditLogger::new().info("x").record().unwrap();
        let line = record.to_json_line().unwrap();
        let slow = Slow::default();
        let writer = LineWriter::new(slow.clone());
        writer.emit(&record).unwrap();
        writer.emit(&record).unwrap();
        let written = String::from_utf8(slow.0.lock().unwrap().0.clone()).unwrap();
        assert_eq!(written, format!("{line}\n{line}\n"));
    }

    #[test]
    fn a_writer_that_logs_itself_does_not_panic() {
        let record = AuditLogger::new().info("outer").record().unwrap();
        let inner = || with_line(&record, Shape::Audit, |line| Ok(line.to_vec()));
        let both = with_line(&record, Shape::Audit, |line| Ok(line == inner()?)).unwrap();
        assert!(both);
    }
}
