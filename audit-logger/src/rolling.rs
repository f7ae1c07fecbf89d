use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use audit_core::Result;
use audit_core::durable::{self, Lock, io_error};
use audit_core::logger::{AuditRecord, Emitter, with_line};
use chrono::{DateTime, NaiveDate, Utc};

use crate::RollingConfig;

/// Writes lines to a file that is begun anew by size or day. One process at a time.
///
/// `Ok` means that the whole line is in the file as the operating system has it, with
/// [`sync`](RollingConfig::sync) also on the disk. A line that could not be written whole is taken
/// back. The file is opened by the first record.
pub struct RollingFile {
    config: RollingConfig,
    open: Mutex<Option<Open>>,
}

struct Open {
    file: File,
    bytes: u64,
    day: NaiveDate,
    _lock: Lock,
}

impl RollingFile {
    /// Creates it; touches nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](audit_core::ErrorKind::Config) when the options cannot be meant.
    pub fn new(config: RollingConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, open: Mutex::new(None) })
    }

    fn write(&self, line: &[u8], time: impl Fn() -> DateTime<Utc>) -> io::Result<()> {
        let mut guard = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = match guard.take() {
            Some(open) => open,
            None => self.open_file(&time)?,
        };
        if self.is_full(&open, line.len() as u64, &time) {
            self.begin_anew(&mut open, time())?;
        }
        let result = open.append(line, self.config.sync);
        *guard = Some(open);
        result
    }

    fn open_file(&self, time: impl Fn() -> DateTime<Utc>) -> io::Result<Open> {
        let lock = Lock::acquire(&self.config.path).map_err(io::Error::other)?;
        let file = self.create()?;
        let there = file.metadata()?;
        let day = match there.len() {
            0 => time(),
            _ => there.modified()?.into(),
        };
        Ok(Open { bytes: there.len(), file, day: day.date_naive(), _lock: lock })
    }

    fn create(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.config.path)
    }

    fn is_full(&self, open: &Open, more: u64, time: impl Fn() -> DateTime<Utc>) -> bool {
        let large = self.config.max_bytes.is_some_and(|max| open.bytes + more > max);
        open.bytes > 0 && (large || self.config.daily && time().date_naive() > open.day)
    }

    fn begin_anew(&self, open: &mut Open, now: DateTime<Utc>) -> io::Result<()> {
        let path = &self.config.path;
        let mut full = durable::sibling(path, &now.format(".%Y%m%dT%H%M%S%.6fZ").to_string());
        for n in 2.. {
            if !full.exists() {
                break;
            }
            full = durable::sibling(path, &now.format(".%Y%m%dT%H%M%S%.6fZ").to_string());
            full.as_mut_os_string().push(format!(".{n:04}"));
        }
        fs::rename(path, &full)?;
        durable::sync_directory(path)?;
        open.file = self.create()?;
        open.bytes = 0;
        open.day = now.date_naive();
        if let Some(keep) = self.config.keep {
            let full = self.full_files()?;
            for old in full.iter().take(full.len().saturating_sub(keep)) {
                fs::remove_file(old)?;
            }
        }
        Ok(())
    }

    /// The full files, oldest first.
    fn full_files(&self) -> io::Result<Vec<PathBuf>> {
        let path = &self.config.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut files = Vec::new();
        for entry in fs::read_dir(dir.unwrap_or(".".as_ref()))? {
            let entry = entry?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let stamp = file_name.strip_prefix(&name).unwrap_or_default();
            if stamp.len() >= 23 && stamp.starts_with(|c: char| c.is_ascii_digit()) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

impl Open {
    fn append(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        let written = self.file.write_all(line).and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        match written {
            Ok(()) => self.bytes += line.len() as u64,
            // What was written of it would be half a line. A device has no length.
            Err(_) => self.file.set_len(self.bytes).unwrap_or_default(),
        }
        written
    }
}

impl Emitter for RollingFile {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        with_line(record, self.config.shape, |line| {
            self.write(line, || record.time())
                .map_err(|e| io_error(&e, &self.config.path).while_doing("write an audit record"))
        })
    }

    fn flush(&self) -> Result<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = open.as_ref().map_or(Ok(()), |open| open.file.sync_data());
        synced.map_err(|e| io_error(&e, &self.config.path).while_doing("flush audit records"))
    }
}

impl fmt::Debug for RollingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingFile").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use audit_core::logger::AuditLogger;

    use super::*;

    fn texts(dir: &std::path::Path) -> Vec<(String, usize)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().to_string_lossy().into_owned(), text.lines().count())
            })
            .collect();
        files.sort();
        files
    }

    fn logger(file: RollingFile) -> AuditLogger {
        AuditLogger::new().with_emitter(Arc::new(file))
    }

    #[test]
    fn begins_anew_by_size_and_keeps_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.ndjson");
        let config = RollingConfig::new(&path).max_bytes(430).keep(2);
        let mut audit = logger(RollingFile::new(config).unwrap());
        for n in 0..13 {
            audit.info(format!("{n:02}")).send_log().unwrap();
        }
        let files = texts(dir.path());
        assert_eq!(
            files.iter().map(|(_, lines)| *lines).collect::<Vec<_>>(),
            [1, 3, 3],
            "{files:?}"
        );
        assert!(fs::read_to_string(&path).unwrap().contains(r#""12""#));
    }

    #[test]
    fn begins_anew_with_the_day_and_goes_on_in_the_same_day() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.ndjson");
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let open = || logger(RollingFile::new(RollingConfig::new(&path).daily(true)).unwrap());
        let mut audit = open();
        audit.time(at("2026-03-01T23:59:59Z")).send_log().unwrap();
        audit.time(at("2026-03-02T00:00:00Z")).send_log().unwrap();
        audit.time(at("2026-03-02T23:00:00Z")).send_log().unwrap();
        drop(audit);
        let files = texts(dir.path());
        assert_eq!(files[0], ("audit.ndjson".into(), 2));
        assert_eq!(files[1], ("audit.ndjson.20260302T000000.000000Z".into(), 1));
        open().send_log().unwrap();
        assert_eq!(texts(dir.path()).len(), 2, "the file of today goes on");
    }

    #[test]
    fn a_second_writer_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let config = RollingConfig::new(dir.path().join("audit.ndjson"));
            logger(RollingFile::new(config).unwrap())
        };
        let mut first = open();
        first.send_log().unwrap();
        let error = open().send_log().unwrap_err();
        assert!(format!("{error:?}").contains("another process"), "{error:?}");
        drop(first);
        open().send_log().unwrap();
    }
}
