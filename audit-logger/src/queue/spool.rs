use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use audit_core::durable::{self, Lock, io_error};
use audit_core::{AuditEvent, Error, ErrorKind, Format, Result};
use tokio::sync::Notify;

use crate::SpoolConfig;

/// The file in the spool's directory that keeps what the sink refused.
pub(super) const LETTERS: &str = "dead-letters.ndjson";

const SUFFIX: &str = ".spool";
const LARGEST_SEGMENT: u64 = 16 << 20;

/// Events on disk, in order: files of lines `<crc32> <event>`, each removed when all in it is
/// delivered.
///
/// A process begins a file of its own, so that a line cut off by the death of another stays the last
/// of its file.
pub(super) struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    sync: bool,
    state: Mutex<State>,
    arrived: Notify,
    _lock: Lock,
}

struct State {
    /// The bytes of each file that are whole lines, as far as this process knows.
    segments: BTreeMap<u64, u64>,
    bytes: u64,
    current: Option<(u64, File)>,
    closed: bool,
}

impl Spool {
    pub(super) fn open(config: &SpoolConfig) -> Result<Self> {
        let failed = |e: io::Error| io_error(&e, &config.dir).while_doing("open the spool");
        durable::create_private_directory(&config.dir).map_err(failed)?;
        let lock = Lock::acquire(&config.dir.join("spool"))?;
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&config.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            if let Some(number) = number {
                segments.insert(number, entry.metadata().map_err(failed)?.len());
            }
        }
        let bytes = segments.values().sum();
        let state = State { segments, bytes, current: None, closed: false };
        Ok(Self {
            dir: config.dir.clone(),
            max_bytes: config.max_bytes,
            sync: config.sync,
            state: Mutex::new(state),
            arrived: Notify::new(),
            _lock: lock,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment:020}{SUFFIX}"))
    }

    /// Adds an event; it survives the death of the process when this returns.
    pub(super) fn append(&self, event: &AuditEvent) -> Result<()> {
        let line = line_of(event)?;
        let mut state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Unavailable, "the queue is closed")
                .while_doing("spool an audit record"));
        }
        if state.bytes + line.len() as u64 > self.max_bytes {
            return Err(Error::new(ErrorKind::Unavailable, "the spool is full")
                .while_doing("spool an audit record")
                .with("path", self.dir.display())
                .with("max_bytes", self.max_bytes)
                .with_hint("see why the sink does not take records, or allow more bytes"));
        }
        let written = self.write(&mut state, &line);
        written.map_err(|e| io_error(&e, &self.dir).while_doing("spool an audit record"))?;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    fn write(&self, state: &mut State, line: &[u8]) -> io::Result<()> {
        let largest = LARGEST_SEGMENT.min(self.max_bytes / 4).max(1);
        let full = |n: u64| state.segments.get(&n).is_some_and(|bytes| *bytes >= largest);
        let (segment, mut file) = match state.current.take() {
            Some((n, file)) if !full(n) => (n, file),
            _ => {
                let next = state.segments.last_key_value().map_or(1, |(n, _)| n + 1);
                (next, self.create(next)?)
            }
        };
        let length = *state.segments.entry(segment).or_default();
        let written = file.write_all(line).and_then(|()| match self.sync {
            true => file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // What was written of the line is taken back; where that fails as well, nothing more is
            // written behind it.
            if file.set_len(length).is_ok() {
                state.current = Some((segment, file));
            }
            return Err(error);
        }
        state.current = Some((segment, file));
        state.bytes += line.len() as u64;
        state.segments.insert(segment, length + line.len() as u64);
        Ok(())
    }

    fn create(&self, segment: u64) -> io::Result<File> {
        let path = self.path(segment);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        durable::sync_directory(&path)?;
        Ok(file)
    }

    pub(super) fn sync(&self) -> Result<()> {
        let state = self.lock();
        let synced = state.current.as_ref().map_or(Ok(()), |(_, file)| file.sync_data());
        synced.map_err(|e| io_error(&e, &self.dir).while_doing("flush the spool"))
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Returns the first file from `segment` on, and how much of it may be read.
    pub(super) fn segment_from(&self, segment: u64) -> Option<(u64, u64)> {
        self.lock().segments.range(segment..).next().map(|(n, bytes)| (*n, *bytes))
    }

    /// Removes the files before `segment`: all in them is delivered.
    pub(super) fn delivered(&self, segment: u64) -> Result<()> {
        let mut state = self.lock();
        while let Some((&first, &bytes)) = state.segments.first_key_value()
            && first < segment
        {
            let path = self.path(first);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&e, &path).while_doing("remove what was delivered"));
                }
                _ => {}
            }
            state.segments.remove(&first);
            state.bytes -= bytes;
        }
        Ok(())
    }
}

fn line_of(event: &AuditEvent) -> Result<Vec<u8>> {
    const SUM: usize = 9;
    let mut line = Vec::with_capacity(SUM + 512 + event.raw.get().len());
    line.resize(SUM, b' ');
    Format::Canonical.append_line(event, &mut line)?;
    let (sum, text) = line.split_at_mut(SUM);
    write!(&mut *sum, "{:08x}", crc32fast::hash(text))
        .map_err(|e| Error::new(ErrorKind::Unexpected, "cannot write a checksum").because(e))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads one line, without its line end.
pub(super) fn event_of(line: &[u8]) -> Result<AuditEvent> {
    let damaged = || Error::new(ErrorKind::InvalidData, "a damaged record in the spool");
    let (sum, text) = line.split_at_checked(9).ok_or_else(damaged)?;
    if sum != format!("{:08x} ", crc32fast::hash(text)).as_bytes() {
        return Err(damaged());
    }
    serde_json::from_slice(text).map_err(|e| damaged().because(e))
}

#[cfg(test)]
mod tests {
    use audit_core::logger::{AuditLogger, Shape};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_event_is_read_as_it_was_written_and_damage_is_seen(
            message in any::<String>(), bit in any::<u16>(),
        ) {
            let record = AuditLogger::new().info(&message).record().unwrap();
            let event = record.to_event("app", Shape::Audit).unwrap();
            let mut line = line_of(&event).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(event_of(&line).unwrap(), event);
            let at = usize::from(bit) % (line.len() * 8);
            line[at / 8] ^= 1 << (at % 8);
            prop_assert!(event_of(&line).is_err());
        }

        #[test]
        fn anything_else_is_an_error(bytes in any::<Vec<u8>>()) {
            prop_assert!(event_of(&bytes).is_err());
        }
    }
}
