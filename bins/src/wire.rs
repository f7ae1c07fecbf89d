//! From configuration to adapters: the only place that knows which there are.

use std::fmt;
use std::sync::Arc;

use audit_core::{Error, ErrorKind, Result, Sink, Source};

use crate::config::Section;

/// Every source that a build may have, by the `type` that names it.
const SOURCES: &[&str] = &["sql"];
/// Every sink that a build may have.
const SINKS: &[&str] = &["elastic", "file"];

/// A sink, and what the programs have to know about it.
#[derive(Clone)]
#[non_exhaustive]
pub struct WiredSink {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Whether its data go to stdout, where nothing else may go then.
    pub stdout: bool,
}

/// Makes the source that a table describes. Touches nothing outside.
///
/// # Errors
/// [`ErrorKind::Config`] for an unknown `type`, an unknown key, a value that cannot be meant, or an
/// adapter that this program was built without.
pub fn source(section: &Section) -> Result<Box<dyn Source>> {
    match section.kind.as_str() {
        #[cfg(any(
            feature = "source-sql-sqlite",
            feature = "source-sql-postgres",
            feature = "source-sql-mysql"
        ))]
        "sql" => {
            let mut section = section.clone();
            let dir = section.dir().to_owned();
            section.rewrite("url", |url| absolute_sqlite(url, &dir));
            sql(section.parse()?).map_err(|e| e.with("key", section.key()))
        }
        kind if SOURCES.contains(&kind) => {
            Err(built_without(section, "source-sql-sqlite,source-sql-postgres,source-sql-mysql"))
        }
        _ => Err(section.unknown_type(SOURCES)),
    }
}

/// Makes the sink that a table describes. Touches nothing outside.
///
/// # Errors
/// As [`source`].
pub fn sink(section: &Section) -> Result<WiredSink> {
    match section.kind.as_str() {
        #[cfg(feature = "sink-file")]
        "file" => {
            let mut config: audit_sink_file::FileConfig = section.parse()?;
            let stdout = config.path == std::path::Path::new("-");
            if !stdout && !config.path.as_os_str().is_empty() {
                config.path = section.dir().join(config.path);
            }
            let sink = audit_sink_file::FileSink::new(config);
            let sink = Arc::new(sink.map_err(|e| e.with("key", section.key()))?);
            Ok(WiredSink { sink, stdout })
        }
        #[cfg(feature = "sink-elastic")]
        "elastic" => {
            let mut config: audit_sink_elastic::ElasticConfig = section.parse()?;
            let files =
                [&mut config.ca_file, &mut config.client_cert_file, &mut config.client_key_file];
            for file in files.into_iter().flatten() {
                *file = section.dir().join(&file);
            }
            elastic(config).map_err(|e| e.with("key", section.key()))
        }
        kind if SINKS.contains(&kind) => Err(built_without(section, &format!("sink-{kind}"))),
        _ => Err(section.unknown_type(SINKS)),
    }
}

/// Makes the source of an SQL table.
///
/// # Errors
/// [`ErrorKind::Config`] for values that cannot be meant.
#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
pub fn sql(config: audit_source_sql::SqlConfig) -> Result<Box<dyn Source>> {
    Ok(Box::new(audit_source_sql::SqlSource::new(config)?))
}

/// Makes the sink of an Elasticsearch or OpenSearch cluster.
///
/// # Errors
/// As [`sql`].
#[cfg(feature = "sink-elastic")]
pub fn elastic(config: audit_sink_elastic::ElasticConfig) -> Result<WiredSink> {
    Ok(WiredSink { sink: Arc::new(audit_sink_elastic::ElasticSink::new(config)?), stdout: false })
}

fn built_without(section: &Section, feature: &str) -> Error {
    Error::new(ErrorKind::Config, "this program was built without that adapter")
        .with("key", section.key())
        .with("type", section.kind.escape_debug())
        .with_hint(format!("build it with `--features {feature}`"))
}

/// Makes the path in the URL of an SQLite database start from `dir`, where it is relative.
#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
fn absolute_sqlite(url: &str, dir: &std::path::Path) -> String {
    let (scheme, path) = match url.split_once(':') {
        Some((scheme @ ("sqlite" | "sqlite3"), rest)) => {
            (Some(scheme), rest.strip_prefix("//").unwrap_or(rest))
        }
        Some((_, rest)) if rest.starts_with("//") => return url.to_owned(),
        _ => (None, url),
    };
    if path.is_empty() || path.starts_with(['/', ':']) || dir.as_os_str().is_empty() {
        return url.to_owned();
    }
    // What stands before the path is not read as part of a URL by its owner: escape it.
    match scheme {
        Some(scheme) => {
            let dir = dir.to_string_lossy().replace('%', "%25").replace('?', "%3f");
            format!("{scheme}://{}/{path}", dir.trim_end_matches('/'))
        }
        None => dir.join(path).to_string_lossy().into_owned(),
    }
}

impl fmt::Debug for WiredSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WiredSink").field("stdout", &self.stdout).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "source-sql-sqlite"))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn relative_databases_start_at_the_file() {
        let cases = [
            ("sqlite://app.db", "sqlite:///etc/a%25b/app.db"),
            ("sqlite:app.db", "sqlite:///etc/a%25b/app.db"),
            ("sqlite:///var/app.db", "sqlite:///var/app.db"),
            ("app.db", "/etc/a%b/app.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://u:p@h/db", "postgres://u:p@h/db"),
        ];
        for (url, expected) in cases {
            assert_eq!(absolute_sqlite(url, Path::new("/etc/a%b")), expected, "{url}");
        }
    }
}
