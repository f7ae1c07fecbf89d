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

/// What may stand at the top.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    #[serde(default = "default_state_dir")]
    state_dir: PathBuf,
    #[serde(default, rename = "pipelines")]
    _pipelines: IgnoredAny,
}

/// What may stand in `[pipelines.NAME]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(rename = "source")]
    _source: IgnoredAny,
    #[serde(rename = "sink")]
    _sink: IgnoredAny,
    #[serde(default)]
    follow: bool,
    format: Option<Format>,
    checkpoint: Option<CheckpointKey>,
    dead_letters: Option<DeadLettersKey>,
    #[serde(rename = "limits")]
    _limits: Option<IgnoredAny>,
    #[serde(rename = "retry")]
    _retry: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "duration")]
    grace: Option<Duration>,
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
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    max_events: Option<usize>,
    #[serde(default, deserialize_with = "bytes")]
    max_bytes: Option<usize>,
    #[serde(default, deserialize_with = "duration")]
    max_wait: Option<Duration>,
}

/// `[pipelines.NAME.retry]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retries {
    #[serde(default, deserialize_with = "duration")]
    initial: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    max: Option<Duration>,
    max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    max_elapsed: Option<Duration>,
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
            grace: keys.grace.unwrap_or(settings.grace),
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
            grace: Duration::from_secs(30),
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

impl Limits {
    fn apply(self) -> Limit {
        let mut limit = Limit::default();
        if let Some(max_events) = self.max_events {
            limit = limit.events(max_events);
        }
        if let Some(max_bytes) = self.max_bytes {
            limit = limit.bytes(max_bytes);
        }
        match self.max_wait {
            Some(max_wait) => limit.wait(max_wait),
            None => limit,
        }
    }
}

impl Retries {
    fn apply(self) -> RetryPolicy {
        let policy = RetryPolicy::default();
        policy
            .initial(self.initial.unwrap_or(policy.initial))
            .max(self.max.unwrap_or(policy.max))
            .max_attempts(self.max_attempts.unwrap_or(policy.max_attempts))
            .max_elapsed(self.max_elapsed.unwrap_or(policy.max_elapsed))
    }
}

fn default_state_dir() -> PathBuf {
    "state".into()
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
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(|_| {
        serde::de::Error::custom("not a duration: write a number and its unit, as in `5s`")
    })
}

/// Reads `4194304` and `"4MiB"`.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
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
    deserializer.deserialize_any(Visitor).map(Some)
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
