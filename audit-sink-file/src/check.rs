//! Whether a run could work; looks only.

use std::path::Path;

use audit_core::{Error, ErrorKind, Result, durable};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::array;
use crate::config::{Layout, Settings};
use crate::paths::{Paths, Seen};
use crate::recover;

/// Makes sure that the files can be written, are as they were left and in nobody else's hands.
///
/// `locked`: the lock is in our own hands.
pub(crate) fn check(settings: &Settings, paths: &Paths, locked: bool) -> Result<()> {
    let directory = paths.directory();
    match directory.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(Error::new(ErrorKind::Config, "not a directory")
                .with("path", directory.display())
                .with_hint("correct the path"));
        }
        Err(e) => return Err(durable::io_error(&e, directory)),
    }
    writable(directory, Access::WRITE_OK | Access::EXEC_OK)?;
    let output = Seen::at(&paths.output)?;
    for seen in [&output, &Seen::at(&paths.data)?, &Seen::at(&paths.journal)?].into_iter().flatten()
    {
        writable(&seen.path, Access::READ_OK | Access::WRITE_OK)?;
    }
    // To try a lock that nobody ever took would make its file.
    if !locked && durable::sibling(&paths.journal, ".lock").exists() {
        drop(durable::Lock::acquire(&paths.journal)?);
    }
    if let Some(output) = output.filter(|seen| seen.len > 0 && settings.layout == Layout::Array) {
        array::accept(&output, settings.codec)?;
    }
    recover::examine(paths, settings.layout, settings.codec, None).map(drop)
}

fn writable(path: &Path, access: Access) -> Result<()> {
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|e| durable::io_error(&e.into(), path))
}
