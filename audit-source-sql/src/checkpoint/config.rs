use std::time::Duration;

use audit_core::{Error, ErrorKind, Result, Secret};
use serde::Deserialize;

use crate::config::{Database, SqlConfig, SqlTls, duration, parse_url};

/// Where progress is kept in a database, and for how long it belongs to one process.
///
/// Only `url` is needed. As TOML or any other serde format, durations are written `15s`, and unknown
/// names are errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqlCheckpointConfig {
    /// The database, as a source's [`url`](SqlConfig::url). A file of SQLite is made if it is not there (mode
    /// 0600).
    pub url: Secret,
    /// The password, in place of the one in the URL. SQLite has none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Certificates and key, in place of those in the URL's parameters. SQLite has none.
    #[serde(default)]
    pub tls: SqlTls,
    /// The table, optionally `schema.table`; letters, digits and underscores. It is made if it is not
    /// there and the user may. Default `audit_checkpoint`.
    #[serde(default = "default_table")]
    pub table: String,
    /// How long a process that says nothing keeps its streams: so long another waits after it was
    /// killed. A living one renews this three times as often. 1 s to 1 h, default 15 s.
    #[serde(default = "default_lease", deserialize_with = "duration")]
    pub lease: Duration,
    /// What others are told of who holds a stream: a host, an instance. Default: the process's
    /// number.
    #[serde(default)]
    pub holder: Option<String>,
    /// How long to wait for another connection's lock before the call fails, and may be tried again.
    /// Default 5 s.
    #[serde(default = "default_busy", deserialize_with = "duration")]
    pub busy_timeout: Duration,
}

impl SqlCheckpointConfig {
    /// Creates a configuration with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            tls: SqlTls::default(),
            table: default_table(),
            lease: default_lease(),
            holder: None,
            busy_timeout: default_busy(),
        }
    }

    /// Checks what can be wrong without looking at a database, and returns which one it is.
    pub(super) fn database(&self) -> Result<Database> {
        let wrong =
            |option, message| Err(Error::new(ErrorKind::Config, message).with("option", option));
        // Such names need no quotes, and mean the same in every database.
        let is_name = |part: &str| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
        };
        let parts: Vec<_> = self.table.split('.').collect();
        if self.table.len() > 128 || parts.len() > 2 || !parts.into_iter().all(is_name) {
            return wrong("table", "not a usable name of a table");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.lease) {
            return wrong("lease", "must be 1 s to 1 h");
        }
        if self.holder.as_ref().is_some_and(|holder| !(1..=200).contains(&holder.len())) {
            return wrong("holder", "must have 1 to 200 bytes");
        }
        parse_url(self.url.expose())
    }

    /// Returns what a connection is made from.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn connection(&self) -> SqlConfig {
        let mut config = SqlConfig::new(self.url.expose());
        config.password.clone_from(&self.password);
        config.tls = self.tls.clone();
        config.busy_timeout = self.busy_timeout;
        config
    }
}

fn default_table() -> String {
    "audit_checkpoint".to_owned()
}

fn default_lease() -> Duration {
    Duration::from_secs(15)
}

fn default_busy() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let config = |change: fn(&mut SqlCheckpointConfig)| {
            let mut config = SqlCheckpointConfig::new("postgres://u:canary@h/db");
            change(&mut config);
            config.database()
        };
        assert_eq!(config(|_| {}).unwrap(), Database::Postgres);
        assert!(config(|c| c.table = "ops.progress".into()).is_ok());
        for wrong in [
            config(|c| c.table = "a; DROP TABLE b".into()),
            config(|c| c.table = "a.b.c".into()),
            config(|c| c.table = "1a".into()),
            config(|c| c.table = ".a".into()),
            config(|c| c.lease = Duration::from_millis(999)),
            config(|c| c.holder = Some(String::new())),
            config(|c| c.url = Secret::new("oracle://u:canary@h/db")),
        ] {
            let error = wrong.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn reads_durations_and_no_unknown_names() {
        let read = |text: &str| serde_json::from_str::<SqlCheckpointConfig>(text);
        assert_eq!(read(r#"{"url":"a.db","lease":"1m"}"#).unwrap().lease.as_secs(), 60);
        assert!(read(r#"{"url":"a.db","leese":"1m"}"#).is_err());
        assert!(read("{}").is_err());
    }
}
