use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result, Secret};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};

/// Where the audit table is and what its columns are called.
///
/// Only `url` is needed; every default is that of the widespread `audit_logs` table, or of
/// django-auditlog's if `layout` says so. As TOML or any other serde format, durations are written
/// `5s` or `1m 30s`, and unknown names are errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SqlConfig {
    /// The database: `postgres://user:password@host/db`, `mysql://user:password@host/db`,
    /// `sqlite:///var/lib/app/db.sqlite3` (absolute), `sqlite://app.db` and `sqlite:app.db`
    /// (relative), or a plain path. A secret, since such URLs may hold passwords.
    pub url: Secret,
    /// The password, in place of the one in the URL. SQLite has none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Certificates and key, in place of those in the URL's parameters. SQLite has none.
    #[serde(default)]
    pub tls: SqlTls,
    /// What the table looks like. Default [`audit-table`](Layout::AuditTable).
    #[serde(default)]
    pub layout: Layout,
    /// The table, optionally `schema.table`. Default `audit_logs`, or `auditlog_logentry` of
    /// [`django-auditlog`](Layout::DjangoAuditlog).
    #[serde(default)]
    pub table: Option<String>,
    /// The column that identifies a record for people. Default `id`.
    #[serde(default = "default_id")]
    pub id_column: String,
    /// The column that says whether a record is accounted for; NULL and 0 mean not yet. Default
    /// `is_sent`.
    #[serde(default = "default_sent")]
    pub sent_column: String,
    /// The column that holds the record as JSON. Default `message`.
    #[serde(default = "default_message")]
    pub message_column: String,
    /// The column that says when the row was made. Default `created_at`, if the table has one.
    #[serde(default)]
    pub created_at_column: Option<String>,
    /// The events' `source`. Default: the name of the table.
    #[serde(default)]
    pub name: Option<String>,
    /// The object of the record that holds the event; empty means the record itself. Default
    /// `audit_event`.
    #[serde(default = "default_parent")]
    pub date_time_parent_field: String,
    /// The field of that object that says when it happened. Default `date_time`.
    #[serde(default = "default_date_time")]
    pub date_time_field: String,
    /// django-auditlog: the table of the users; empty means none, and every actor is `unknown`.
    /// Default `auth_user`.
    #[serde(default = "default_user_table")]
    pub user_table: String,
    /// django-auditlog: what a record says as its `origin`. Default empty.
    #[serde(default)]
    pub origin: String,
    /// django-auditlog: what a record says as its `environment`. Default empty.
    #[serde(default)]
    pub environment: String,
    /// django-auditlog: how a record names its operation. Default [`words`](Operation::Words).
    #[serde(default)]
    pub operation: Operation,
    /// django-auditlog: how a record shows what changed. Default [`object`](Changes::Object).
    #[serde(default)]
    pub changes: Changes,
    /// How long to rest after the table was read to its end. Default 5 s.
    #[serde(default = "default_poll", deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// How long to wait for another connection's lock before the call fails (and may be tried
    /// again); MySQL counts in seconds. Default 5 s.
    #[serde(default = "default_busy", deserialize_with = "duration")]
    pub busy_timeout: Duration,
    /// How it is known which rows were handed out. Default [`flag`](Mode::Flag).
    #[serde(default)]
    pub mode: Mode,
    /// [`keyset`](Mode::Keyset) on MySQL and SQLite: how long a key that is missing between others may still
    /// come, because the transaction that took it goes on. Default 1 min.
    #[serde(default = "default_gap", deserialize_with = "duration")]
    pub gap_timeout: Duration,
    /// [`keyset`](Mode::Keyset) on PostgreSQL, with whole numbers as keys: how many keys may be given out
    /// before the transaction that uses them writes anything (a sequence's `CACHE`, an application
    /// that takes keys in blocks). Default 10,000.
    #[serde(default = "default_look_back")]
    pub look_back: u64,
    /// PostgreSQL: the channel on which the application says that there are new rows (`NOTIFY`). They
    /// are then read at once, and not after `poll_interval`. Default none.
    #[serde(default)]
    pub notify_channel: Option<String>,
    /// Whether senders share the table: each claims the rows of a batch until it is marked, and
    /// leaves out what others have claimed (`FOR UPDATE SKIP LOCKED`). Each needs a checkpoint of its
    /// own. PostgreSQL, MySQL 8.0 and MariaDB 10.6. Default false.
    #[serde(default)]
    pub claim: bool,
    /// Records larger than this many bytes go to the dead letters. Default 32 MiB.
    #[serde(default = "default_max_event")]
    pub max_event_bytes: usize,
}

impl SqlConfig {
    /// Creates a configuration with every default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            tls: SqlTls::default(),
            layout: Layout::default(),
            table: None,
            id_column: default_id(),
            sent_column: default_sent(),
            message_column: default_message(),
            created_at_column: None,
            name: None,
            date_time_parent_field: default_parent(),
            date_time_field: default_date_time(),
            user_table: default_user_table(),
            origin: String::new(),
            environment: String::new(),
            operation: Operation::default(),
            changes: Changes::default(),
            poll_interval: default_poll(),
            busy_timeout: default_busy(),
            mode: Mode::default(),
            gap_timeout: default_gap(),
            look_back: default_look_back(),
            notify_channel: None,
            claim: false,
            max_event_bytes: default_max_event(),
        }
    }

    /// Returns the table: the configured one, else that of the layout.
    pub fn table(&self) -> &str {
        self.table.as_deref().unwrap_or(match self.layout {
            Layout::AuditTable => "audit_logs",
            Layout::DjangoAuditlog => "auditlog_logentry",
        })
    }

    /// Returns the events' source: the configured name, else the table.
    pub(crate) fn source_name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.table())
    }

    /// Returns what every id of this source begins with: the source's name if it has one of its
    /// own, and the table.
    pub(crate) fn id_prefix(&self) -> String {
        let table = crate::keys::escape(self.table().as_bytes());
        match &self.name {
            Some(name) if name != self.table() => {
                format!("{}:{table}", crate::keys::escape(name.as_bytes()))
            }
            _ => table,
        }
    }

    /// Checks what can be wrong without looking at a database, and returns which one it is.
    pub(crate) fn database(&self) -> Result<Database> {
        let names = [
            ("table", self.table.as_ref()),
            ("id_column", Some(&self.id_column)),
            ("sent_column", Some(&self.sent_column)),
            ("message_column", Some(&self.message_column)),
            ("created_at_column", self.created_at_column.as_ref()),
            ("name", self.name.as_ref()),
            ("notify_channel", self.notify_channel.as_ref()),
        ];
        for (option, name) in names {
            if name.is_some_and(|name| name.is_empty() || name.contains('\0')) {
                return Err(Error::new(ErrorKind::Config, "a name must not be empty")
                    .with("option", option));
            }
        }
        if self.max_event_bytes == 0 {
            return Err(Error::new(ErrorKind::Config, "must be at least 1")
                .with("option", "max_event_bytes"));
        }
        if self.claim && self.mode == Mode::Keyset {
            return Err(Error::new(ErrorKind::Config, "rows can be claimed only by marking them")
                .with("option", "claim")
                .with_hint("leave out `claim`, or `mode = \"keyset\"`"));
        }
        let database = parse_url(self.url.expose())?;
        if self.notify_channel.is_some() && database != Database::Postgres {
            return Err(Error::new(ErrorKind::Config, "only PostgreSQL notifies")
                .with("option", "notify_channel")
                .with_hint("leave it out; `poll_interval` says how often this database is asked"));
        }
        Ok(database)
    }
}

/// How it is known which rows were handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// Rows bear a flag, which is set once they are accounted for.
    #[default]
    Flag,
    /// Rows are only ever added. The cursor knows what was handed out, nothing is written, and the
    /// right to read is enough.
    Keyset,
}

/// Files for TLS with a database server, in PEM format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SqlTls {
    /// The authority that the server's certificate is verified with; then it has to verify, and,
    /// unless the URL's mode says less, to bear the name of the host.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The client's key.
    pub key: Option<PathBuf>,
}

/// What a table looks like: which columns make a record, and how it says what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layout {
    /// Each row has the whole record as JSON in one column, and a flag in another.
    #[default]
    AuditTable,
    /// The table of django-auditlog: the record is put together from the columns, and the flag is a
    /// key of `additional_data`.
    DjangoAuditlog,
}

/// How a record of django-auditlog names its operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// `create`, `update`, `delete`, `access`.
    #[default]
    Words,
    /// `0`, `1`, `2`, `3`, as text.
    Codes,
}

/// How a record of django-auditlog shows what changed, in its field `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Changes {
    /// The JSON value as it is stored, usually an object or null.
    #[default]
    Object,
    /// That JSON as text.
    Text,
}

/// A database this crate knows how to speak to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres,
    Mysql,
}

impl Database {
    /// Returns the name for people, and that of the feature.
    pub(crate) fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Sqlite(_) => ("SQLite", "sqlite"),
            Self::Postgres => ("PostgreSQL", "postgres"),
            Self::Mysql => ("MySQL and MariaDB", "mysql"),
        }
    }
}

pub(crate) fn parse_url(url: &str) -> Result<Database> {
    let path = match url.split_once(':') {
        Some(("sqlite" | "sqlite3", rest)) => {
            let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
            let path = rest.strip_prefix("//").unwrap_or(rest);
            percent_decode_str(path).decode_utf8().map_or_else(|_| path.to_owned(), Into::into)
        }
        Some(("postgres" | "postgresql" | "postgis", rest)) if rest.starts_with("//") => {
            return Ok(Database::Postgres);
        }
        Some(("mysql" | "mysqlgis" | "mariadb", rest)) if rest.starts_with("//") => {
            return Ok(Database::Mysql);
        }
        Some((scheme, rest)) if rest.starts_with("//") => {
            // The scheme only: the rest may hold a password.
            return Err(Error::new(ErrorKind::Config, "no client for this kind of database")
                .with("scheme", scheme)
                .with_hint(
                    "give `postgres://…`, `mysql://…`, `sqlite:///path/to/file`, or a path",
                ));
        }
        // Most likely a mistyped URL, and errors name paths: this one may hold a password.
        _ if url.split_once('@').is_some_and(|(before, _)| before.contains(':')) => {
            return Err(Error::new(ErrorKind::Config, "not the URL of a database").with_hint(
                "give `postgres://user:password@host/database`, `mysql://…`, `sqlite:///path/to/file`, \
                 or a path",
            ));
        }
        _ => url.to_owned(),
    };
    if path.is_empty() || path == ":memory:" {
        return Err(Error::new(ErrorKind::Config, "the URL names no database file").with_hint(
            "give `sqlite:///path/to/file`; a database in memory belongs to its program alone",
        ));
    }
    Ok(Database::Sqlite(path.into()))
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn default_id() -> String {
    "id".to_owned()
}

fn default_sent() -> String {
    "is_sent".to_owned()
}

fn default_message() -> String {
    "message".to_owned()
}

fn default_parent() -> String {
    "audit_event".to_owned()
}

fn default_date_time() -> String {
    "date_time".to_owned()
}

fn default_user_table() -> String {
    "auth_user".to_owned()
}

fn default_poll() -> Duration {
    Duration::from_secs(5)
}

fn default_gap() -> Duration {
    Duration::from_secs(60)
}

fn default_look_back() -> u64 {
    10_000
}

fn default_busy() -> Duration {
    Duration::from_secs(5)
}

fn default_max_event() -> usize {
    32 << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> String {
        let Database::Sqlite(path) = parse_url(url).unwrap() else { panic!("{url}") };
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn takes_the_usual_spellings_of_a_file() {
        assert_eq!(path("sqlite:///var/lib/a.db"), "/var/lib/a.db");
        assert_eq!(path("sqlite://rel/a.db"), "rel/a.db");
        assert_eq!(path("sqlite:a.db"), "a.db");
        assert_eq!(path("sqlite:///a%20b%25.db?mode=rw"), "/a b%.db");
        assert_eq!(path("/plain/a%20b.db"), "/plain/a%20b.db");
        assert_eq!(path("C:\\data\\a.db"), "C:\\data\\a.db");
    }

    #[test]
    fn other_databases_are_named_without_their_password() {
        for url in ["postgres://u:p@h/db", "postgresql://h/db", "postgis://h/db"] {
            assert_eq!(parse_url(url).unwrap(), Database::Postgres);
        }
        for url in ["mysql://u:p@h/db", "mysqlgis://h/db", "mariadb://h/db"] {
            assert_eq!(parse_url(url).unwrap(), Database::Mysql);
        }
        for url in
            ["postgres:/u:canary@h/db", "postgres:u:canary@h/db", "/etc/mysql//u:canary@h/db"]
        {
            let error = parse_url(url).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        let error = parse_url("oracle://u:canary@h/db").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = format!("{error} {error:?} {:?}", error.hint());
        assert!(text.contains("oracle") && !text.contains("canary"), "{text}");
        for url in ["", "sqlite:", "sqlite://", "sqlite::memory:", ":memory:"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
        let config = SqlConfig::new("postgres://u:canary@h/db");
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn reads_durations_and_refuses_unknown_names() {
        let config: SqlConfig =
            serde_json::from_str(r#"{"url":"a.db","poll_interval":"1m 30s"}"#).unwrap();
        assert_eq!(config.poll_interval, Duration::from_secs(90));
        assert_eq!(config.table(), "audit_logs");
        assert!(serde_json::from_str::<SqlConfig>(r#"{"url":"a.db","tabel":"x"}"#).is_err());
        let mut config = SqlConfig::new("a.db");
        config.sent_column = String::new();
        assert_eq!(config.database().unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn django_auditlog_has_a_table_and_options_of_its_own() {
        let config: SqlConfig = serde_json::from_str(
            r#"{"url":"a.db","layout":"django-auditlog","operation":"codes","changes":"text",
            "password":"canary","tls":{"ca":"/ca"}}"#,
        )
        .unwrap();
        assert_eq!((config.table(), &*config.user_table), ("auditlog_logentry", "auth_user"));
        assert_eq!((config.operation, config.changes), (Operation::Codes, Changes::Text));
        assert!(!format!("{config:?}").contains("canary"));
        for wrong in [r#""layout":"x""#, r#""tls":{"c":""}"#, r#""changes":"Text""#] {
            let text = format!(r#"{{"url":"a.db",{wrong}}}"#);
            assert!(serde_json::from_str::<SqlConfig>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_of_its_own_is_part_of_the_ids() {
        let mut config = SqlConfig::new("a.db");
        assert_eq!(config.id_prefix(), "audit_logs");
        config.name = Some("orders:db".to_owned());
        assert_eq!(config.id_prefix(), "orders%3Adb:audit_logs");
    }
}
