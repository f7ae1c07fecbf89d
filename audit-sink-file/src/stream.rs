//! Output that cannot be read back: stdout, a pipe, a socket.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use audit_core::{AuditEvent, Error, ErrorKind, Result, Retry, Written};

use crate::compress::Encoder;
use crate::config::{Layout, Settings};
use crate::stage::Stage;

/// Where an array stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Array {
    Begun,
    Ended,
    Untouched,
}

/// A stream, written batch by batch; blocking.
pub(crate) struct Stream {
    settings: Settings,
    /// Nothing until the first write, then stdout itself, past the buffer of the standard library.
    writer: Option<Box<dyn Write + Send>>,
    encoder: Encoder,
    stage: Stage,
    array: Array,
    /// What went wrong: a torn record cannot be taken back, so that nothing may follow it.
    failed: Option<io::ErrorKind>,
}

impl Stream {
    pub(crate) fn new(
        settings: Settings,
        writer: Option<Box<dyn Write + Send>>,
    ) -> io::Result<Self> {
        let encoder = Encoder::new(settings.codec)?;
        let (stage, array) = (Stage::default(), Array::Untouched);
        Ok(Self { settings, writer, encoder, stage, array, failed: None })
    }

    /// Turns the events into text; [`commit`](Self::commit) has to follow.
    pub(crate) fn stage(&mut self, events: &[AuditEvent]) -> Written {
        self.stage.fill(events, self.settings.format, self.settings.layout)
    }

    /// Writes the staged events.
    pub(crate) fn commit(&mut self) -> Result<()> {
        if self.stage.len() == 0 {
            return Ok(());
        }
        let first = self.array != Array::Begun;
        self.array = Array::Begun;
        let mut stage = std::mem::take(&mut self.stage);
        let (text, _) = stage.parts(self.settings.layout, first);
        let result = self.put(text);
        self.stage = stage;
        result
    }

    /// Ends an array.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let end: &[u8] = match (self.settings.layout, self.array) {
            (Layout::Ndjson, _) | (_, Array::Ended) => return Ok(()),
            (_, Array::Begun) => b"\n]\n",
            (_, Array::Untouched) => b"[]\n",
        };
        self.put(end)?;
        self.array = Array::Ended;
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> Result<()> {
        if let Some(kind) = self.failed {
            return Err(refused(&kind.into()));
        }
        let mut put = || {
            let bytes = self.encoder.encode(text)?;
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(Box::new(stdout()?)),
            };
            write_all(writer, bytes)?;
            patiently(|| writer.flush())
        };
        put().map_err(|e| {
            self.failed = Some(e.kind());
            refused(&e).because(e)
        })
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("array", &self.array).finish_non_exhaustive()
    }
}

fn stdout() -> io::Result<std::fs::File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Writes everything, waiting for a slow reader also where the pipe was set not to wait.
fn write_all(writer: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match patiently(|| writer.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = bytes.get(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

fn refused(error: &io::Error) -> Error {
    // Some of the batch may be out already: to send it again would repeat or tear a record.
    match error.kind() {
        io::ErrorKind::BrokenPipe => {
            Error::new(ErrorKind::Unavailable, "stdout was closed by its reader")
        }
        _ => Error::new(ErrorKind::Unavailable, format!("cannot write to stdout: {error}"))
            .with_hint("start again; what was not acknowledged is sent again"),
    }
    .with_retry(Retry::Never)
}
