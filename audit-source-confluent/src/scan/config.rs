use std::num::NonZeroUsize;
use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::files;

/// Which files to scan: the options of a [`Scan`](crate::scan::Scan).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ScanConfig {
    /// The files, in the order of reading: one record a line, plain, gzip or zstd.
    pub files: Vec<PathBuf>,
    /// A longer line is rejected, with its beginning, in bytes. Default 8 MiB.
    #[serde(default = "files::default_record_bytes")]
    pub max_record_bytes: u32,
    /// Among at least how many of the last ids repeats are recognised, and among at most twice as
    /// many; 0: not at all. Default 1,000,000, which takes up to 22 MB.
    #[serde(default = "default_repeat_window")]
    pub repeat_window: usize,
    /// How many threads read. Default 0: as many as there are cores.
    #[serde(default)]
    pub threads: usize,
}

impl ScanConfig {
    /// Creates a configuration with every default.
    pub fn new(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            files: files.into_iter().map(Into::into).collect(),
            max_record_bytes: files::default_record_bytes(),
            repeat_window: default_repeat_window(),
            threads: 0,
        }
    }

    /// Checks what the types do not say.
    pub(crate) fn parse(self) -> Result<Self> {
        let wrong =
            |option, message| Err(Error::new(ErrorKind::Config, message).with("option", option));
        files::check_names(&self.files)?;
        if self.max_record_bytes < 1000 {
            return wrong("max_record_bytes", "must be at least 1000");
        }
        if self.repeat_window > 100_000_000 {
            return wrong("repeat_window", "must be at most 100,000,000");
        }
        if self.threads > 1024 {
            return wrong("threads", "must be at most 1024");
        }
        Ok(self)
    }

    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        }
    }
}

fn default_repeat_window() -> usize {
    1_000_000
}
