use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

/// What a [`SpoolSource`](crate::SpoolSource) reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The directory of the `*.ndjson` files.
    pub dir: PathBuf,
    /// The name of the source in its events. Default `spool`.
    #[serde(default = "default_name")]
    pub name: Arc<str>,
    /// A longer record is not held in memory: its beginning goes to the dead letters. Default 1 MiB.
    #[serde(default = "default_max_record_bytes")]
    pub max_record_bytes: usize,
}

impl SpoolConfig {
    /// Reads this directory, with the defaults.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), name: default_name(), max_record_bytes: default_max_record_bytes() }
    }
}

fn default_name() -> Arc<str> {
    "spool".into()
}

fn default_max_record_bytes() -> usize {
    1 << 20
}

/// Where a [`SqliteSink`](crate::SqliteSink) writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The database file; made, with mode 0600, if it is not there.
    pub path: PathBuf,
}

impl SqliteConfig {
    /// Writes to this database.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}
