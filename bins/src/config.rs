//! The configuration file: pipelines, each with a source, a sink and the places of its state.

mod document;
mod hint;
mod interpolate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_core::{Error, ErrorKind, Format, Limit, Result, RetryPolicy, StreamId};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

pub use self::document::Section;
use self::document::{Document, Table, named_files};
pub use self::interpolate::load_dot_env;

/// A configuration file that was read and understood.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The pipelines by name.
    pub pipelines: BTreeMap<StreamId, PipelineConfig>,
    /// The files that values were read from, with `${file:PATH}`.
    pub values: Vec<PathBuf>,
}

/// One `[pipelines.NAME]` table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// Everything that is not about an adapter.
    pub settings: Settings,
    /// The `source` table, for the adapter that its `type` names.
    pub source: Section,
    /// The `sink` table, likewise.
    pub sink: Section,
    /// The `checkpoint` table, if the progress is not in a directory.
    pub checkpoint: Option<Section>,
    /// The files that source and sink name: certificates, keys, secrets.
    pub files: Vec<PathBuf>,
}

/// How a pipeline runs, whatever its source and sink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The stream's name in checkpoints, logs and summaries.
    pub stream: StreamId,
    /// Whether to go on when there is nothing new.
    pub follow: bool,
    /// What bounds a batch.
    pub limit: Limit,
    /// How many events a run may bring into the sink before it ends.
    pub max_events: Option<u64>,
    /// How long failed calls are tried again.
    pub retry: RetryPolicy,
    /// How long a write may take to finish after a stop was requested.
    pub grace: Duration,
    /// The directory of the checkpoint.
    pub checkpoint: PathBuf,
    /// The file of the dead letters; none if they are switched off.
    pub dead_letters: Option<PathBuf>,
}

/// The file that `audit run` reads: pipelines, each from a source to a sink.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(title = "Configuration of audit run", extend("required" = ["pipelines"]))
)]
#[serde(deny_unknown_fields)]
pub(crate) struct Top {
    /// The directory of checkpoints and dead letters.
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    /// The pipelines by name: 1 to 100 letters, digits, dots, underscores or hyphens, the name of the
    /// stream in checkpoints, logs and summaries.
    #[serde(default, rename = "pipelines")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "BTreeMap<String, Keys>", extend(
            "minProperties" = 1,
            "propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,100}$" },
        ))
    )]
    _pipelines: IgnoredAny,
}

/// A pipeline: from where, to where, and how.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Where events come from.
    #[serde(rename = "source")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::sources"))]
    _source: IgnoredAny,
    /// Where events go.
    #[serde(rename = "sink")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::sinks"))]
    _sink: IgnoredAny,
    /// Whether to go on when there is nothing new.
    #[serde(default)]
    follow: bool,
    /// What the sink writes for an event, unless its own `format` says otherwise.
    format: Option<Format>,
    /// Where the progress is kept: a directory, or a table with a `type`. Default: `state_dir`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::checkpoint"))]
    checkpoint: Option<CheckpointKey>,
    /// The file of the records that could not be delivered; `false` stops at the first of them. Default:
    /// `NAME.dead-letters.ndjson` in `state_dir`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::dead_letters"))]
    dead_letters: Option<DeadLettersKey>,
    /// What bounds a batch; two are in memory at most.
    #[serde(rename = "limits")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Limits>"))]
    _limits: Option<IgnoredAny>,
    /// How calls are tried again that failed and may pass later.
    #[serde(rename = "retry")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Retries>"))]
    _retry: Option<IgnoredAny>,
    /// How long a write may take to finish after a stop was requested.
    #[serde(default = "default_grace", deserialize_with = "duration")]
    grace: Duration,
}

/// `checkpoint`: a directory, or a table that is an adapter's.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a directory, or a table with a `type`")]
enum CheckpointKey {
    Dir(PathBuf),
    Table(IgnoredAny),
}

/// `dead_letters`: a path, or `false`.
struct DeadLettersKey(Option<PathBuf>);

/// `[pipelines.NAME.limits]`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
struct Limits {
    /// How many records a batch may have, good and bad together.
    max_events: usize,
    /// The size of a batch's records from which on no more are added. A record may be larger alone.
    #[serde(deserialize_with = "bytes")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::schema::size"))]
    max_bytes: usize,
    /// How long a source may wait for the first record of a batch.
    #[serde(deserialize_with = "duration")]
    max_wait: Duration,
}

/// `[pipelines.NAME.retry]`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
struct Retries {
    /// The first delay; each is twice the one before, with some chance in it.
    #[serde(deserialize_with = "duration")]
    initial: Duration,
    /// The longest delay, unless the other side asks for a longer one.
    #[serde(deserialize_with = "duration")]
    max: Duration,
    /// How often a call is tried, the first time included.
    max_attempts: u32,
    /// For how long a call is tried again after it first failed.
    #[serde(deserialize_with = "duration")]
    max_elapsed: Duration,
}

impl Config {
    /// Reads a file. Paths in it are relative to its own directory.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with file and line where there is one.
    pub fn load(path: &Path) -> Result<Self> {
        let mut document = Document::read(path)?;
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let top: Top = document.parse(document.root(), "")?;
        let state_dir = dir.join(top.state_dir);
        let mut pipelines = BTreeMap::new();
        for (name, table) in document.take_tables("pipelines")? {
            let at = format!("pipelines.{name}");
            let stream: StreamId = name.parse().map_err(|e: Error| e.with("key", &at))?;
            let pipeline = PipelineConfig::parse(&document, &at, table, &stream, &dir, &state_dir)?;
            pipelines.insert(stream, pipeline);
        }
        if pipelines.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the file has no pipeline")
                .with("path", path.display())
                .with_hint("add a table `[pipelines.NAME]` with a `source` and a `sink`"));
        }
        Ok(Self { path: path.to_owned(), pipelines, values: document.values().to_vec() })
    }

    /// Returns every file that this configuration was read from or that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = self.pipelines.values().flat_map(|pipeline| &pipeline.files);
        let mut files: Vec<_> = [&self.path].into_iter().chain(&self.values).chain(named).collect();
        files.sort();
        files.dedup();
        files.into_iter().cloned().collect()
    }

    /// Keeps only the pipelines named; all of them if none is.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that is not there.
    pub fn select(mut self, names: &[StreamId]) -> Result<Vec<PipelineConfig>> {
        if names.is_empty() {
            return Ok(self.pipelines.into_values().collect());
        }
        let mut selected = Vec::new();
        for name in names {
            let Some(pipeline) = self.pipelines.remove(name) else {
                if selected.iter().any(|p: &PipelineConfig| p.settings.stream == *name) {
                    continue;
                }
                return Err(self.no_such_pipeline(name));
            };
            selected.push(pipeline);
        }
        Ok(selected)
    }

    /// Returns the pipeline named, or the only one there is.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that is not there, or when there are several and none is
    /// named.
    pub fn single(mut self, name: Option<&StreamId>) -> Result<PipelineConfig> {
        let first = match name {
            Some(name) => self.pipelines.remove(name),
            None if self.pipelines.len() == 1 => self.pipelines.pop_first().map(|(_, p)| p),
            None => {
                return Err(Error::new(ErrorKind::Config, "which pipeline?")
                    .with("path", self.path.display())
                    .with_hint(format!("add --pipeline with one of {}", self.names())));
            }
        };
        match (first, name) {
            (Some(pipeline), _) => Ok(pipeline),
            (None, name) => Err(name.map_or_else(
                || Error::new(ErrorKind::Config, "the file has no pipeline"),
                |name| self.no_such_pipeline(name),
            )),
        }
    }

    fn no_such_pipeline(&self, name: &StreamId) -> Error {
        Error::new(ErrorKind::Config, "no such pipeline")
            .with("name", name)
            .with("path", self.path.display())
            .with_hint(hint::suggest(name.as_str(), self.pipelines.keys().map(StreamId::as_str)))
    }

    fn names(&self) -> String {
        self.pipelines.keys().map(StreamId::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl PipelineConfig {
    fn parse(
        document: &Document,
        at: &str,
        mut table: Table,
        stream: &StreamId,
        dir: &Path,
        state_dir: &Path,
    ) -> Result<Self> {
        let keys: Keys = document.parse(&table, at)?;
        let mut files = Vec::new();
        named_files(&table, dir, &mut files);
        let source = document.section(&mut table, at, "source", dir)?;
        let mut sink = document.section(&mut table, at, "sink", dir)?;
        if let Some(format) = keys.format {
            sink.set_default("format", format.as_str());
        }
        let checkpoint = match &keys.checkpoint {
            Some(CheckpointKey::Table(_)) => {
                Some(document.section(&mut table, at, "checkpoint", dir)?)
            }
            _ => None,
        };
        let limits: Limits = document.optional(&mut table, at, "limits")?;
        let retries: Retries = document.optional(&mut table, at, "retry")?;
        let settings = Settings::new(stream.clone(), state_dir);
        let settings = Settings {
            follow: keys.follow,
            limit: limits.apply(),
            retry: retries.apply(),
            grace: keys.grace,
            checkpoint: match keys.checkpoint {
                Some(CheckpointKey::Dir(path)) => dir.join(path),
                _ => state_dir.to_owned(),
            },
            dead_letters: match keys.dead_letters {
                None => settings.dead_letters,
                Some(DeadLettersKey(path)) => path.map(|path| dir.join(path)),
            },
            ..settings
        };
        Ok(Self { settings, source, sink, checkpoint, files })
    }
}

impl Settings {
    /// Creates settings with every default, with all state in one directory.
    pub fn new(stream: StreamId, state_dir: &Path) -> Self {
        Self {
            follow: false,
            limit: Limit::default(),
            max_events: None,
            retry: RetryPolicy::default(),
            grace: default_grace(),
            checkpoint: state_dir.to_owned(),
            dead_letters: Some(state_dir.join(format!("{stream}.dead-letters.ndjson"))),
            stream,
        }
    }

    /// Returns the file of the dead letters.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when they are switched off.
    pub fn dead_letter_file(&self) -> Result<&Path> {
        self.dead_letters.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "the pipeline has no dead letters")
                .with("pipeline", &self.stream)
                .with_hint("they are switched off in its configuration")
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        let Limit { max_events, max_bytes, max_wait, .. } = Limit::default();
        Self { max_events, max_bytes, max_wait }
    }
}

impl Limits {
    fn apply(self) -> Limit {
        Limit::default().events(self.max_events).bytes(self.max_bytes).wait(self.max_wait)
    }
}

impl Default for Retries {
    fn default() -> Self {
        let RetryPolicy { initial, max, max_attempts, max_elapsed, .. } = RetryPolicy::default();
        Self { initial, max, max_attempts, max_elapsed }
    }
}

impl Retries {
    fn apply(self) -> RetryPolicy {
        RetryPolicy::default()
            .initial(self.initial)
            .max(self.max)
            .max_attempts(self.max_attempts)
            .max_elapsed(self.max_elapsed)
    }
}

fn default_state_dir() -> PathBuf {
    "state".into()
}

fn default_grace() -> Duration {
    Duration::from_secs(30)
}

impl<'de> Deserialize<'de> for DeadLettersKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = DeadLettersKey;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the path of a file, or false to stop at the first such record")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Self::Value, E> {
                Ok(DeadLettersKey(Some(path.into())))
            }

            fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
                match on {
                    false => Ok(DeadLettersKey(None)),
                    true => Err(E::invalid_value(serde::de::Unexpected::Bool(on), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads `5s`, `1m 30s`, `200ms`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        serde::de::Error::custom("not a duration: write a number and its unit, as in `5s`")
    })
}

/// Reads `4194304` and `"4MiB"`.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = usize;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number of bytes, or one with a unit as in \"4MiB\"")
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<usize, E> {
            usize::try_from(number)
                .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<usize, E> {
            parse_bytes(text).ok_or_else(|| {
                E::custom("not a size: write bytes, or a number with kB, KiB, MB, MiB, GB or GiB")
            })
        }
    }
    deserializer.deserialize_any(Visitor)
}

fn parse_bytes(text: &str) -> Option<usize> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim() {
        "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}
