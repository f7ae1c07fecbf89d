use std::path::PathBuf;
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Result};
use audit_source_sql::{Changes, Layout, Mode, Operation, SqlConfig};
use clap::{Args, ValueEnum};
use humantime::Duration;

use crate::ship::{self, given};

/// How many rows a run sends, unless told otherwise.
const BATCH_LIMIT: u64 = 5000;

/// The options about the database and its rows.
#[derive(Args, Debug)]
#[command(next_help_heading = "Database")]
pub struct Database {
    /// The database: postgres://user@host/db, mysql://user@host/db or sqlite:///path
    #[arg(long, global = true, env, hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// A file with the password, in place of the one in the URL [env: DATABASE_PASSWORD is the
    /// password itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    database_password_file: Option<PathBuf>,
    /// Speak TLS with the database, and verify its certificate
    #[arg(long, global = true, env, value_name = "BOOL", default_value = "false",
        value_parser = ship::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    db_use_ssl: bool,
    /// The authority to verify the database with [default: those of the system]
    #[arg(long, global = true, env, value_name = "FILE")]
    ssl_ca: Option<String>,
    /// The certificate to show to the database
    #[arg(long, global = true, env, value_name = "FILE")]
    ssl_cert: Option<String>,
    /// The key of that certificate
    #[arg(long, global = true, env, value_name = "FILE")]
    ssl_key: Option<String>,
    /// What the table looks like
    #[arg(
        long,
        global = true,
        env,
        value_enum,
        value_name = "TYPE",
        ignore_case = true,
        default_value = "SINGLE_COLUMN_JSON"
    )]
    audit_logger_type: LoggerType,
    /// The table of the rows [default: audit_logs; auditlog_logentry of DJANGO_AUDITLOG]
    #[arg(long, global = true, env, value_name = "TABLE")]
    audit_table_name: Option<String>,
    /// The table of the users (DJANGO_AUDITLOG)
    #[arg(long, global = true, env, value_name = "TABLE", default_value = "auth_user")]
    user_table_name: String,
    /// The object of the record that holds the time; empty: the record itself
    #[arg(long, global = true, env, value_name = "FIELD", default_value = "audit_event")]
    date_time_parent_field: String,
    /// The field with the time
    #[arg(long, global = true, env, value_name = "FIELD", default_value = "date_time")]
    date_time_field: String,
    /// What the documents say as their origin (DJANGO_AUDITLOG)
    #[arg(long, global = true, env, value_name = "TEXT", default_value = "")]
    audit_log_origin: String,
    /// What the documents say as their environment (DJANGO_AUDITLOG)
    #[arg(long, global = true, env, value_name = "TEXT", default_value = "")]
    audit_log_environment: String,
    /// How the documents name operations: words (create) or codes (0) (DJANGO_AUDITLOG)
    #[arg(
        long,
        global = true,
        env = "AUDIT_LOG_OPERATION",
        value_enum,
        value_name = "AS",
        default_value = "words"
    )]
    operation: OperationAs,
    /// How the documents show changes: object or text (DJANGO_AUDITLOG)
    #[arg(
        long,
        global = true,
        env = "AUDIT_LOG_MESSAGE",
        value_enum,
        value_name = "AS",
        default_value = "object"
    )]
    message: MessageAs,
    /// The name of the source in the documents' ids: give each database its own if several go into
    /// one index [default: none]
    #[arg(long, global = true, env = "AUDIT_SOURCE_NAME", value_name = "NAME")]
    source_name: Option<String>,
    /// How it is known what is sent: by the mark in each row, or by the place that was reached in a
    /// table that has no mark and to which rows are only added
    #[arg(
        long,
        global = true,
        env = "AUDIT_MODE",
        value_enum,
        value_name = "MODE",
        default_value = "flag"
    )]
    mode: ModeOf,
    /// Share the table with other senders: each claims the rows it sends. Give each its own --stream
    #[arg(long, global = true)]
    claim: bool,
    /// The channel on which the application says that there are new rows (PostgreSQL), for --follow
    #[arg(long, global = true, env = "AUDIT_NOTIFY_CHANNEL", value_name = "NAME")]
    notify_channel: Option<String>,
    /// How long to rest when nothing is unsent, for --follow
    #[arg(
        long,
        global = true,
        env = "POLL_INTERVAL",
        value_name = "TIME",
        default_value = "5s",
        help_heading = "Run"
    )]
    poll_interval: Duration,
    /// How many rows a run sends before it ends; 0: all. Rows that cannot be stored do not count.
    /// Not with --follow [default: 5000]
    #[arg(
        long,
        visible_alias = "batch-size",
        global = true,
        env,
        value_name = "ROWS",
        help_heading = "Run"
    )]
    batch_limit: Option<String>,
    /// How many rows are read, sent and marked together [default: 10000, and 2 MiB at most]
    #[arg(long, global = true, env, value_name = "ROWS", help_heading = "Run")]
    chunk_size: Option<String>,
}

/// What a table looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
enum LoggerType {
    /// Columns id, is_sent, message (JSON) and created_at
    SingleColumnJson,
    /// The table of django-auditlog
    DjangoAuditlog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeOf {
    Flag,
    Keyset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OperationAs {
    Words,
    Codes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MessageAs {
    Object,
    Text,
}

impl Database {
    /// Makes the source's configuration.
    pub(super) fn config(&self) -> Result<SqlConfig> {
        let url = self.url()?;
        let is_server = url.starts_with("postgres:") || url.starts_with("mysql:");
        let mut config = SqlConfig::new(match is_server && self.db_use_ssl {
            true => verifying(&url),
            false => url,
        });
        if is_server {
            config.password =
                ship::secret("DATABASE_PASSWORD", self.database_password_file.as_deref())?;
            self.tls(&mut config);
        }
        if self.audit_logger_type == LoggerType::DjangoAuditlog {
            config.layout = Layout::DjangoAuditlog;
        } else {
            config.table = given(&self.audit_table_name).map(str::to_owned);
        }
        config.mode = match self.mode {
            ModeOf::Flag => Mode::Flag,
            ModeOf::Keyset => Mode::Keyset,
        };
        config.claim = self.claim;
        config.notify_channel = given(&self.notify_channel).map(str::to_owned);
        config.poll_interval = self.poll_interval.into();
        config.name = given(&self.source_name).map(str::to_owned);
        config.date_time_parent_field = self.date_time_parent_field.trim().to_owned();
        config.date_time_field = self.date_time_field.trim().to_owned();
        config.user_table = self.user_table_name.trim().to_owned();
        config.origin.clone_from(&self.audit_log_origin);
        config.environment.clone_from(&self.audit_log_environment);
        config.operation = match self.operation {
            OperationAs::Words => Operation::Words,
            OperationAs::Codes => Operation::Codes,
        };
        config.changes = match self.message {
            MessageAs::Object => Changes::Object,
            MessageAs::Text => Changes::Text,
        };
        Ok(config)
    }

    /// Returns the keys that lead to the time in a document.
    pub(super) fn time_keys(&self) -> Vec<String> {
        let keys = match self.audit_logger_type {
            LoggerType::SingleColumnJson => [&self.date_time_parent_field, &self.date_time_field],
            LoggerType::DjangoAuditlog => return vec!["audit_event".into(), "date_time".into()],
        };
        keys.into_iter().map(|k| k.trim().to_owned()).filter(|k| !k.is_empty()).collect()
    }

    /// Returns how many rows a run sends; 0: all.
    pub(super) fn batch_limit(&self) -> Result<u64> {
        // The old documentation called it otherwise than the old program.
        let other = std::env::var("BATCH_SIZE").ok();
        let limit = number("BATCH_LIMIT", &self.batch_limit)?;
        Ok(limit.or(number("BATCH_SIZE", &other)?).unwrap_or(BATCH_LIMIT))
    }

    /// Returns how many rows are sent together, if that is given.
    pub(super) fn chunk_size(&self) -> Result<Option<usize>> {
        number("CHUNK_SIZE", &self.chunk_size)
    }

    fn url(&self) -> Result<String> {
        let url = given(&self.database_url).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no database is given")
                .with("variable", "DATABASE_URL")
                .with_hint(
                    "set it, or --database-url, to `postgres://user:password@host/db`, \
                            `mysql://…` or `sqlite:///path/to/file`",
                )
        })?;
        Ok(canonical(url, |path| std::path::Path::new(path).exists()))
    }

    fn tls(&self, config: &mut SqlConfig) {
        let files = [&self.ssl_ca, &self.ssl_cert, &self.ssl_key].map(|file| given(file));
        if !self.db_use_ssl {
            if files.iter().any(Option::is_some) {
                tracing::warn!(
                    "SSL_CA, SSL_CERT and SSL_KEY have no effect while DB_USE_SSL is false"
                );
            }
            return;
        }
        let [ca, cert, key] = files.map(|file| file.map(PathBuf::from));
        (config.tls.ca, config.tls.cert, config.tls.key) = (ca, cert, key);
        if std::env::var_os("SSL_CIPHER").is_some_and(|cipher| !cipher.is_empty()) {
            tracing::warn!("SSL_CIPHER has no effect: OpenSSL's configuration chooses the ciphers");
        }
    }
}

/// Reads a number where there is one.
fn number<T: FromStr>(variable: &str, text: &Option<String>) -> Result<Option<T>> {
    let Some(text) = given(text) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Error::new(ErrorKind::Config, "not a number of rows")
            .with("variable", variable)
            .with_hint("write digits only, as in 5000")
    })
}

/// Adds to a URL that the server's certificate has to be verified, unless it says what has to be.
fn verifying(url: &str) -> String {
    let (names, mode) = match url.starts_with("mysql:") {
        true => (["ssl-mode=", "sslmode="], "ssl-mode=VERIFY_IDENTITY"),
        false => (["sslmode=", "ssl-mode="], "sslmode=verify-full"),
    };
    match url.split_once('?') {
        Some((_, options)) if names.iter().any(|name| options.contains(name)) => url.to_owned(),
        Some(_) => format!("{url}&{mode}"),
        None => format!("{url}?{mode}"),
    }
}

/// Spells a URL as the source does, where django-environ takes more: `pgsql`, `mysql2`, and
/// `sqlite:///app.db` for a file beside the program.
fn canonical(url: &str, exists: impl Fn(&str) -> bool) -> String {
    let Some((scheme, rest)) = url.split_once(':') else { return url.to_owned() };
    let known = match scheme {
        "psql" | "pgsql" | "postgresql" | "postgis" | "timescale" => "postgres",
        "mysql2" | "mysql-connector" | "mysqlgis" | "mariadb" => "mysql",
        "spatialite" => "sqlite",
        other => other,
    };
    let relative = rest.strip_prefix("///").filter(|path| known == "sqlite" && exists(path));
    match relative {
        Some(path) => format!("sqlite://{path}"),
        None => format!("{known}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_django_environ_is_understood() {
        let canonical = |url| canonical(url, |path| path == "app.db");
        for (url, expected) in [
            ("pgsql://u:p@h/db?sslmode=require", "postgres://u:p@h/db?sslmode=require"),
            ("postgis://h/db", "postgres://h/db"),
            ("mysqlgis://h/db", "mysql://h/db"),
            ("mysql2://h/db", "mysql://h/db"),
            ("sqlite:///app.db", "sqlite://app.db"),
            ("sqlite:////var/app.db", "sqlite:////var/app.db"),
            ("sqlite:///var/app.db", "sqlite:///var/app.db"),
            ("app.db", "app.db"),
        ] {
            assert_eq!(canonical(url), expected);
        }
    }

    #[test]
    fn a_certificate_is_verified_unless_the_url_says_otherwise() {
        for (url, expected) in [
            ("postgres://h/db", "postgres://h/db?sslmode=verify-full"),
            ("postgres://h/db?sslmode=require", "postgres://h/db?sslmode=require"),
            (
                "mysql://h/db?charset=utf8mb4",
                "mysql://h/db?charset=utf8mb4&ssl-mode=VERIFY_IDENTITY",
            ),
        ] {
            assert_eq!(verifying(url), expected);
        }
    }

    #[test]
    fn a_number_is_named_when_it_is_none() {
        assert_eq!(number::<u64>("BATCH_LIMIT", &Some(" 12 ".into())).unwrap(), Some(12));
        assert_eq!(number::<u64>("BATCH_LIMIT", &Some(String::new())).unwrap(), None);
        let error = number::<u64>("BATCH_LIMIT", &Some("-1".into())).unwrap_err();
        assert!(error.to_string().contains("BATCH_LIMIT"), "{error}");
    }
}
