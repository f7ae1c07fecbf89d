//! From configuration to adapters: the only place that knows which there are.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use audit_core::{Checkpoint, Error, ErrorKind, Result, Sink, Source, StreamId};
#[cfg(any(
    feature = "sink-kafka",
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
use audit_core::{Cursor, Revision};
#[cfg(feature = "source-oci")]
use chrono::DurationRound;

use crate::backfill::Span;
use crate::config::{PipelineConfig, Section};

/// Every source that a build may have, by the `type` that names it.
const SOURCES: &[&str] = &["confluent", "confluent-files", "oci", "port", "sql"];
/// Every sink that a build may have.
const SINKS: &[&str] = &["elastic", "file", "kafka", "report"];
/// Every place for the progress that a build may have, beside a directory and a sink's own.
const CHECKPOINTS: &[&str] = &["sql"];

/// A sink, and what the programs have to know about it.
#[derive(Clone)]
#[non_exhaustive]
pub struct WiredSink {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Where the progress is kept, if the sink keeps it with the events.
    pub checkpoint: Option<Keeper>,
    /// Whether its data go to stdout, where nothing else may go then.
    pub stdout: bool,
}

/// A place for the progress that is not a directory: a sink's own, or a database.
#[derive(Clone)]
#[non_exhaustive]
pub struct Keeper {
    /// For the runner of the stream.
    pub own: Arc<dyn Checkpoint>,
    /// For a look that disturbs no runner; it cannot save.
    pub peek: Arc<dyn Checkpoint>,
}

impl WiredSink {
    /// A sink to which nothing special applies.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, checkpoint: None, stdout: false }
    }
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
        "sql" => sql(sql_config(section)?).map_err(|e| e.with("key", section.key())),
        #[cfg(feature = "source-confluent")]
        "confluent" => {
            let mut config: audit_source_confluent::ConfluentConfig = section.parse()?;
            if let Some(tls) = &mut config.tls {
                let files = [&mut tls.ca_file, &mut tls.client_cert_file, &mut tls.client_key_file];
                absolute(files, section.dir());
            }
            let source = audit_source_confluent::ConfluentSource::new(config);
            Ok(Box::new(source.map_err(|e| e.with("key", section.key()))?))
        }
        #[cfg(feature = "source-confluent")]
        "confluent-files" => {
            let mut config: audit_source_confluent::FilesConfig = section.parse()?;
            for file in &mut config.files {
                *file = section.dir().join(&file);
            }
            let source = audit_source_confluent::FilesSource::new(config);
            Ok(Box::new(source.map_err(|e| e.with("key", section.key()))?))
        }
        #[cfg(feature = "source-oci")]
        "oci" => oci(oci_config(section)?).map_err(|e| e.with("key", section.key())),
        #[cfg(feature = "source-port")]
        "port" => port(port_config(section)?).map_err(|e| e.with("key", section.key())),
        kind if SOURCES.contains(&kind) => Err(built_without(section, "source")),
        _ => Err(section.unknown_type(SOURCES)),
    }
}

/// Makes a source of the events of a time that is over, and perhaps of more: those whose own time lies
/// within are in it. It marks nothing upstream.
///
/// # Errors
/// As [`source`].
#[cfg_attr(
    not(any(feature = "source-oci", feature = "source-port")),
    expect(unused_variables, reason = "the others are read from the beginning")
)]
pub fn source_of(section: &Section, span: Span) -> Result<Box<dyn Source>> {
    let named = |e: Error| e.with("key", section.key());
    match section.kind.as_str() {
        #[cfg(any(
            feature = "source-sql-sqlite",
            feature = "source-sql-postgres",
            feature = "source-sql-mysql"
        ))]
        "sql" => {
            let mut config = sql_config(section)?;
            // All rows, whatever their flag, which stays as it is.
            config.mode = audit_source_sql::Mode::Keyset;
            sql(config).map_err(named)
        }
        #[cfg(feature = "source-oci")]
        "oci" => {
            let mut config = oci_config(section)?;
            // Its times are those of processing, which comes after the event.
            let minute = chrono::Duration::minutes(1);
            let late = chrono::Duration::days(1);
            config.start = span.from.duration_trunc(minute).ok();
            let end = (span.to + late).min(audit_core::Clock::system().now());
            config.end = end.duration_trunc(minute).ok();
            // There is no next time, for which to leave what is the latest.
            config.settle = std::time::Duration::ZERO;
            oci(config).map_err(named)
        }
        #[cfg(feature = "source-port")]
        "port" => {
            let mut config = port_config(section)?;
            (config.from, config.to) = (Some(span.from), Some(span.to));
            config.settle = std::time::Duration::ZERO;
            port(config).map_err(named)
        }
        _ => source(section),
    }
}

/// Makes the sink that a table describes, for one stream. Touches nothing outside.
///
/// # Errors
/// As [`source`].
#[cfg_attr(not(feature = "sink-kafka"), expect(unused_variables, reason = "only Kafka needs it"))]
pub fn sink(section: &Section, stream: &StreamId) -> Result<WiredSink> {
    match section.kind.as_str() {
        #[cfg(feature = "sink-file")]
        "file" => {
            let mut config: audit_sink_file::FileConfig = section.parse()?;
            let stdout = config.path == Path::new("-");
            if !stdout && !config.path.as_os_str().is_empty() {
                config.path = section.dir().join(config.path);
            }
            let sink = audit_sink_file::FileSink::new(config);
            let sink = Arc::new(sink.map_err(|e| e.with("key", section.key()))?);
            Ok(WiredSink { stdout, ..WiredSink::new(sink) })
        }
        #[cfg(feature = "sink-elastic")]
        "elastic" => {
            let mut config: audit_sink_elastic::ElasticConfig = section.parse()?;
            let files =
                [&mut config.ca_file, &mut config.client_cert_file, &mut config.client_key_file];
            absolute(files, section.dir());
            elastic(config).map_err(|e| e.with("key", section.key()))
        }
        #[cfg(feature = "sink-kafka")]
        "kafka" => {
            let mut config: audit_sink_kafka::KafkaConfig = section.parse()?;
            if let Some(tls) = &mut config.tls {
                let files = [&mut tls.ca_file, &mut tls.client_cert_file, &mut tls.client_key_file];
                absolute(files, section.dir());
            }
            kafka(config, stream).map_err(|e| e.with("key", section.key()))
        }
        #[cfg(feature = "sink-report")]
        "report" => {
            let mut config: audit_sink_report::ReportConfig = section.parse()?;
            config.path = section.dir().join(config.path);
            let sink = audit_sink_report::ReportSink::new(config);
            Ok(WiredSink::new(Arc::new(sink.map_err(|e| e.with("key", section.key()))?)))
        }
        kind if SINKS.contains(&kind) => Err(built_without(section, "sink")),
        _ => Err(section.unknown_type(SINKS)),
    }
}

#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
fn sql_config(section: &Section) -> Result<audit_source_sql::SqlConfig> {
    let mut section = section.clone();
    let dir = section.dir().to_owned();
    section.rewrite("url", |url| absolute_sqlite(url, &dir));
    section.parse()
}

#[cfg(feature = "source-oci")]
fn oci_config(section: &Section) -> Result<audit_source_oci::OciConfig> {
    let mut config: audit_source_oci::OciConfig = section.parse()?;
    absolute([&mut config.spool_dir], section.dir());
    let files = [
        &mut config.ca_file,
        &mut config.config_file,
        &mut config.key_file,
        &mut config.security_token_file,
    ];
    // What begins with `~` starts at the home directory.
    for file in files.into_iter().flatten().filter(|file| !file.starts_with("~")) {
        *file = section.dir().join(&file);
    }
    crate::oci::complete(&mut config)?;
    Ok(config)
}

#[cfg(feature = "source-port")]
fn port_config(section: &Section) -> Result<audit_source_port::PortConfig> {
    let mut config: audit_source_port::PortConfig = section.parse()?;
    absolute([&mut config.ca_file], section.dir());
    Ok(config)
}

/// Makes the place of the progress of a pipeline, if it is neither in a directory nor the sink's own.
///
/// # Errors
/// As [`source`].
pub fn checkpoint(section: &Section) -> Result<Keeper> {
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
            let made = audit_source_sql::SqlCheckpoint::new(section.parse()?);
            let made = Arc::new(made.map_err(|e| e.with("key", section.key()))?);
            let peek = Arc::new(SqlPeek(Arc::clone(&made)));
            Ok(Keeper { own: made, peek })
        }
        kind if CHECKPOINTS.contains(&kind) => Err(built_without(section, "source")),
        _ => Err(section.unknown_type(CHECKPOINTS)),
    }
}

/// Makes the sink of a pipeline of a configuration file, with the place of its progress.
///
/// # Errors
/// As [`source`]; [`ErrorKind::Config`] when there are two such places.
pub fn sink_of(config: &PipelineConfig, stream: &StreamId) -> Result<WiredSink> {
    let mut sink = sink(&config.sink, stream)?;
    if let Some(section) = &config.checkpoint {
        if sink.checkpoint.is_some() {
            return Err(Error::new(ErrorKind::Config, "the sink keeps the progress itself")
                .with("key", section.key())
                .with_hint("leave this table out, or the sink's `transaction`"));
        }
        sink.checkpoint = Some(checkpoint(section)?);
    }
    Ok(sink)
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
    Ok(WiredSink::new(Arc::new(audit_sink_elastic::ElasticSink::new(config)?)))
}

/// Makes the source of an Oracle Cloud tenancy.
///
/// # Errors
/// As [`sql`].
#[cfg(feature = "source-oci")]
pub fn oci(config: audit_source_oci::OciConfig) -> Result<Box<dyn Source>> {
    Ok(Box::new(audit_source_oci::OciSource::new(config)?))
}

/// Makes the source of a Port.io organization.
///
/// # Errors
/// As [`sql`].
#[cfg(feature = "source-port")]
pub fn port(config: audit_source_port::PortConfig) -> Result<Box<dyn Source>> {
    Ok(Box::new(audit_source_port::PortSource::new(config)?))
}

/// Makes the sink of a Kafka topic, which keeps the progress of the stream as well if the
/// configuration says so.
///
/// # Errors
/// As [`sql`].
#[cfg(feature = "sink-kafka")]
pub fn kafka(config: audit_sink_kafka::KafkaConfig, stream: &StreamId) -> Result<WiredSink> {
    if config.transaction.is_none() {
        return Ok(WiredSink::new(Arc::new(audit_sink_kafka::KafkaSink::new(config)?)));
    }
    let sink = Arc::new(audit_sink_kafka::TransactionalSink::new(config, stream.clone())?);
    let own = Arc::clone(&sink) as Arc<dyn Checkpoint>;
    let peek = Arc::new(Peek(Arc::clone(&sink)));
    Ok(WiredSink { checkpoint: Some(Keeper { own, peek }), ..WiredSink::new(sink) })
}

/// Reads the progress in Kafka without taking the stream over.
#[cfg(feature = "sink-kafka")]
struct Peek(Arc<audit_sink_kafka::TransactionalSink>);

#[cfg(feature = "sink-kafka")]
#[async_trait::async_trait]
impl Checkpoint for Peek {
    async fn load(&self, _: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.0.peek().await
    }

    async fn save(&self, _: &StreamId, _: &Cursor, _: Option<Revision>) -> Result<Revision> {
        Err(a_look_saves_nothing())
    }
}

/// Reads the progress in a database without taking the stream.
#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
struct SqlPeek(Arc<audit_source_sql::SqlCheckpoint>);

#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
#[async_trait::async_trait]
impl Checkpoint for SqlPeek {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.0.peek(stream).await
    }

    async fn save(&self, _: &StreamId, _: &Cursor, _: Option<Revision>) -> Result<Revision> {
        Err(a_look_saves_nothing())
    }
}

#[cfg(any(
    feature = "sink-kafka",
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
fn a_look_saves_nothing() -> Error {
    Error::new(ErrorKind::Unexpected, "a look has to save nothing")
}

/// Makes paths start from a directory, where they are relative.
#[cfg(any(
    feature = "source-confluent",
    feature = "source-oci",
    feature = "source-port",
    feature = "sink-elastic",
    feature = "sink-kafka"
))]
fn absolute<const N: usize>(files: [&mut Option<std::path::PathBuf>; N], dir: &Path) {
    for file in files.into_iter().flatten() {
        *file = dir.join(&file);
    }
}

fn built_without(section: &Section, port: &str) -> Error {
    let kind = &section.kind;
    let feature = match kind.as_str() {
        "sql" => "source-sql-sqlite,source-sql-postgres,source-sql-mysql".to_owned(),
        "confluent-files" => "source-confluent".to_owned(),
        kind => format!("{port}-{kind}"),
    };
    Error::new(ErrorKind::Config, "this program was built without that adapter")
        .with("key", section.key())
        .with("type", kind.escape_debug())
        .with_hint(format!("build it with `--features {feature}`"))
}

/// Makes the path in the URL of an SQLite database start from `dir`, where it is relative.
#[cfg(any(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql"
))]
fn absolute_sqlite(url: &str, dir: &Path) -> String {
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

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "source-sql-sqlite"))]
mod tests {
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
