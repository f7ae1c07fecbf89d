//! Files that survive a crash: replaced whole, private to their owner, one writer at a time.
//!
//! Blocking calls: use them on a blocking thread where the file may be large.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// Replaces a file by `content`, whole or not at all, with mode 0600.
///
/// Writes a temporary file in the same directory, makes it durable, renames it over `path` and
/// makes the rename durable. The caller holds the file's [`Lock`]: two writers would share the
/// temporary file.
///
/// # Errors
/// As [`io_error`].
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = sibling(path, ".tmp");
    let result = (|| {
        let mut file = create_private(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path)
    })();
    result.map_err(|e| io_error(&e, path))
}

/// Opens a file for writing from its start, emptied, mode 0600 if it is new.
///
/// # Errors
/// Those of the operating system.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a directory and those above it, mode 0700, unless it is there; durable.
///
/// # Errors
/// Those of the operating system.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_private_directory(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody was faster, or it is something else.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match path.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        },
        result => result.and_then(|()| sync_directory(path)),
    }
}

/// Makes a created, renamed or removed name durable: syncs the directory that holds `path`.
///
/// # Errors
/// Those of the operating system.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Finds out whether a file could be written or, as long as it is not there, be made in the nearest
/// directory above it that is. Changes nothing.
///
/// # Errors
/// As [`io_error`].
pub fn check_writable(path: &Path) -> Result<()> {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    if there != path && !there.is_dir() {
        return Err(io_error(&io::ErrorKind::NotADirectory.into(), there));
    }
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK).map_err(|e| io_error(&e.into(), there))
}

/// Returns the path of a file beside `path` whose name is that of `path`, plus a suffix.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// The right to write a file, held by one process at a time until it is dropped or dies.
///
/// An advisory lock on a file `<name>.lock` beside the one it protects; the lock file stays.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `path`, at once or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another process holds it; otherwise as [`io_error`].
    pub fn acquire(path: &Path) -> Result<Self> {
        let (file, lock_path) = lock_file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::Conflict, "another process is using this file")
                    .with("path", path.display())
                    .with_hint("wait until it ends, or stop it; `fuser` on the lock file names it"))
            }
            Err(TryLockError::Error(e)) => Err(io_error(&e, &lock_path)),
        }
    }

    /// Takes the lock of `path`, waiting for as long as another holds it: for short steps only.
    ///
    /// # Errors
    /// As [`io_error`].
    pub fn wait(path: &Path) -> Result<Self> {
        let (file, lock_path) = lock_file(path)?;
        file.lock().map_err(|e| io_error(&e, &lock_path))?;
        Ok(Self { _file: file })
    }
}

fn lock_file(path: &Path) -> Result<(File, PathBuf)> {
    let lock_path = sibling(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| io_error(&e, &lock_path))?;
    Ok((file, lock_path))
}

/// Turns an error of the operating system into one that names the path and says what to do.
///
/// Missing and forbidden paths are [`ErrorKind::Config`]; a full disk and all else is
/// [`ErrorKind::Unavailable`], which may pass.
pub fn io_error(error: &io::Error, path: &Path) -> Error {
    use io::ErrorKind as Io;
    let (kind, hint) = match error.kind() {
        Io::NotFound => (ErrorKind::Config, Some("create the directory, or correct the path")),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            (ErrorKind::Config, Some("give this user the right to write there, or change the path"))
        }
        Io::IsADirectory | Io::NotADirectory => (ErrorKind::Config, Some("correct the path")),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            (ErrorKind::Unavailable, Some("free some space; it goes on where it stopped"))
        }
        _ => (ErrorKind::Unavailable, None),
    };
    let error = Error::new(kind, error.to_string()).with("path", path.display());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn replaces_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_second_holder_is_a_conflict_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let held = Lock::acquire(&path).unwrap();
        assert_eq!(Lock::acquire(&path).unwrap_err().kind(), ErrorKind::Conflict);
        drop(held);
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn directories_are_made_with_those_above_them_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/../c");
        create_private_directory(&path).unwrap();
        create_private_directory(&path).unwrap();
        for path in [dir.path().join("a"), path] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(dir.path().join("file"), "").unwrap();
        let error = create_private_directory(&dir.path().join("file/x/y")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn errors_name_the_path() {
        let error = replace(Path::new("/nowhere/at/all"), b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
