use std::path::PathBuf;
use std::time::Duration;

use audit_core::logger::Shape;
use audit_core::{Error, ErrorKind, Limit, Result, RetryPolicy};
use serde::{Deserialize, Deserializer};

/// What happens to a record while the place it goes to cannot take it. There is no default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Policy {
    /// The caller gets the error: each call waits until the record is in the sink, or it is known that
    /// it will not be in time.
    FailClosed {
        /// How long a call waits at most.
        #[serde(deserialize_with = "duration")]
        timeout: Duration,
    },
    /// The record goes to a file of bounded size, from where it is delivered in order, also by a
    /// later process. When the file is full the caller gets an error.
    Spool(SpoolConfig),
    /// The record waits in memory while there is room. What finds no room, or is in memory when the
    /// process dies, is lost; the loss is counted, and a record of it is sent.
    BestEffort,
}

/// A spool: a directory of this process alone, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The directory; made (mode 0700) if it is not there.
    pub dir: PathBuf,
    /// The most it takes of the disk, in bytes. Default 1 GiB.
    #[serde(default = "default_spool_bytes")]
    pub max_bytes: u64,
    /// Whether each record survives a power cut when the call returns (`fdatasync`), not only the
    /// death of the process. Default no: it costs a disk write a record.
    #[serde(default)]
    pub sync: bool,
}

impl SpoolConfig {
    /// Creates a configuration with the default bounds.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: default_spool_bytes(), sync: false }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`sync`](Self::sync).
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }
}

/// A queue between an application and a sink: the options of a [`Queue`](crate::Queue).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueConfig {
    /// What happens while the sink cannot take records.
    pub policy: Policy,
    /// The `source` of the events. Default `app`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The form of the payload. Default: the line with the seven keys.
    #[serde(default)]
    pub shape: Shape,
    /// How many records wait in memory at most. Default 65,536. A spool has none there.
    #[serde(default = "default_capacity")]
    pub capacity: usize,
    /// How long the end of the guard waits for what is still to be delivered. Default `30s`.
    #[serde(default = "default_grace", deserialize_with = "duration")]
    pub grace: Duration,
    /// Bounds of one batch. Default 1,000 records, 1 MiB. Not read from configuration files.
    #[serde(skip, default = "default_limit")]
    pub limit: Limit,
    /// How the pipeline tries again. Not read from configuration files.
    #[serde(skip)]
    pub retry: RetryPolicy,
}

impl QueueConfig {
    /// Creates a configuration in which only the policy is chosen.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            name: default_name(),
            shape: Shape::default(),
            capacity: default_capacity(),
            grace: default_grace(),
            limit: default_limit(),
            retry: RetryPolicy::default(),
        }
    }

    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`shape`](Self::shape).
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets [`capacity`](Self::capacity); 0 counts as 1.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets [`grace`](Self::grace).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`limit`](Self::limit).
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }
}

/// A file that is begun anew from time to time: the options of a
/// [`RollingFile`](crate::RollingFile).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RollingConfig {
    /// The file; its directory must be there. Full files get `.` and the time (UTC) they were closed
    /// at appended.
    pub path: PathBuf,
    /// Begins anew before the file would become larger than this, in bytes. Default: never.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Begins anew at the first record of a day (UTC). Default no.
    #[serde(default)]
    pub daily: bool,
    /// Removes the oldest full files when there are more than this. Default: keeps all.
    #[serde(default)]
    pub keep: Option<usize>,
    /// Whether each record survives a power cut when the call returns (`fdatasync`). Default no.
    #[serde(default)]
    pub sync: bool,
    /// The form of the lines. Default: the line with the seven keys.
    #[serde(default)]
    pub shape: Shape,
}

impl RollingConfig {
    /// Creates a configuration of a file that is never begun anew.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: None,
            daily: false,
            keep: None,
            sync: false,
            shape: Shape::default(),
        }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets [`daily`](Self::daily).
    #[must_use]
    pub fn daily(mut self, daily: bool) -> Self {
        self.daily = daily;
        self
    }

    /// Sets [`keep`](Self::keep).
    #[must_use]
    pub fn keep(mut self, files: usize) -> Self {
        self.keep = Some(files);
        self
    }

    /// Sets [`sync`](Self::sync).
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Sets [`shape`](Self::shape).
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.path.file_name().is_none() {
            return Err(Error::new(ErrorKind::Config, "the path names no file")
                .with("path", self.path.display()));
        }
        if self.max_bytes == Some(0) {
            return Err(Error::new(ErrorKind::Config, "max_bytes is 0")
                .with_hint("leave it out for a file that is never begun anew"));
        }
        Ok(())
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn default_name() -> String {
    "app".to_owned()
}

fn default_capacity() -> usize {
    1 << 16
}

fn default_grace() -> Duration {
    Duration::from_secs(30)
}

fn default_spool_bytes() -> u64 {
    1 << 30
}

fn default_limit() -> Limit {
    Limit::default().events(1000).bytes(1 << 20)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_queue_needs_a_policy_and_nothing_else() {
        let config: QueueConfig = from_value(json!({"policy": "best-effort"})).unwrap();
        assert_eq!((config.policy, config.capacity), (Policy::BestEffort, 65_536));
        let config: QueueConfig =
            from_value(json!({"policy": {"fail-closed": {"timeout": "2s"}}, "grace": "1m"}))
                .unwrap();
        assert_eq!(config.policy, Policy::FailClosed { timeout: Duration::from_secs(2) });
        assert_eq!(config.grace, Duration::from_secs(60));
        let config: QueueConfig =
            from_value(json!({"policy": {"spool": {"dir": "/var/spool/audit"}}})).unwrap();
        assert_eq!(config.policy, Policy::Spool(SpoolConfig::new("/var/spool/audit")));
        for wrong in [
            json!({}),
            json!({"policy": "drop"}),
            json!({"policy": "best-effort", "size": 1}),
            json!({"policy": {"spool": {}}}),
            json!({"policy": {"fail-closed": {}}}),
        ] {
            assert!(from_value::<QueueConfig>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
