use std::path::{Path, PathBuf};
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Format, Result};
use serde::{Deserialize, Serialize};

use crate::compress::Codec;
use crate::paths::Paths;

/// Where and how to write: the options of a [`FileSink`](crate::FileSink).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileConfig {
    /// The file; `-` is stdout. Its directory must be there.
    pub path: PathBuf,
    /// What is written for an event. Default: the record as received.
    #[serde(default)]
    pub format: Format,
    /// How events become a file. Default: an array if the name, less `.gz` or `.zst`, ends in
    /// `.json`, else one event a line.
    #[serde(default)]
    pub layout: Option<Layout>,
    /// How the file is compressed. Default: by the ending `.gz` or `.zst`, else not at all.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// The compression level: gzip 1 to 9 (default 2), zstd 1 to 19 (default 1).
    #[serde(default)]
    pub level: Option<u32>,
}

impl FileConfig {
    /// Creates a configuration in which everything follows from the path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::default(),
            layout: None,
            compression: None,
            level: None,
        }
    }

    /// Sets [`format`](Self::format).
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets [`layout`](Self::layout).
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// Sets [`compression`](Self::compression).
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Sets [`level`](Self::level).
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        self.level = Some(level);
        self
    }

    pub(crate) fn parse(self) -> Result<Settings> {
        let stdout = self.path == Path::new("-");
        let name = if stdout { None } else { self.path.file_name() };
        if !stdout && name.is_none() {
            return Err(Error::new(ErrorKind::Config, "the path names no file")
                .with("path", self.path.display())
                .with_hint("give the path of a file, or `-` for stdout"));
        }
        let name = name.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (stem, by_ending) = if let Some(stem) = name.strip_suffix(".gz") {
            (stem, Compression::Gzip)
        } else if let Some(stem) = name.strip_suffix(".zst") {
            (stem, Compression::Zstd)
        } else {
            (name.as_str(), Compression::None)
        };
        let layout = self.layout.unwrap_or(match stem.ends_with(".json") {
            true => Layout::Array,
            false => Layout::Ndjson,
        });
        Ok(Settings {
            path: (!stdout).then_some(self.path),
            format: self.format,
            layout,
            codec: codec(self.compression.unwrap_or(by_ending), self.level)?,
        })
    }
}

fn codec(compression: Compression, level: Option<u32>) -> Result<Codec> {
    let (range, default) = match compression {
        Compression::None if level.is_none() => return Ok(Codec::Plain),
        Compression::None => {
            return Err(Error::new(ErrorKind::Config, "a level without compression")
                .with_hint("remove the level, or choose gzip or zstd"));
        }
        // The fast ends: audit records are so alike that higher levels win little.
        Compression::Gzip => (1..=9, 2),
        Compression::Zstd => (1..=19, 1),
    };
    let level = level.unwrap_or(default);
    if !range.contains(&level) {
        return Err(Error::new(ErrorKind::Config, "compression level out of range")
            .with("level", level)
            .with_hint(format!("use {} to {}", range.start(), range.end())));
    }
    Ok(match compression {
        Compression::Zstd => Codec::Zstd(level),
        _ => Codec::Gzip(level),
    })
}

/// How events become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One JSON array, one event a line; it appears, whole, when the run is closed.
    Array,
    /// One JSON value a line, each there as soon as it is written.
    Ndjson,
}

impl Layout {
    /// Every layout, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Array, Self::Ndjson];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Ndjson => "ndjson",
        }
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        by_name("unknown layout", Self::ALL, Self::as_str, name)
    }
}

/// How a file is compressed. Each batch is a gzip member or zstd frame of its own, so that a file
/// that is still growing can be read up to its last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip, read by everything.
    Gzip,
    /// As it is.
    None,
    /// Zstandard: smaller and several times faster than gzip.
    Zstd,
}

impl Compression {
    /// Every compression, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Gzip, Self::None, Self::Zstd];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::None => "none",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        by_name("unknown compression", Self::ALL, Self::as_str, name)
    }
}

fn by_name<T: Copy>(
    unknown: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
    name: &str,
) -> Result<T> {
    all.iter().copied().find(|value| as_str(*value) == name).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|value| as_str(*value)).collect();
        Error::new(ErrorKind::Config, unknown)
            .with("name", name.escape_debug())
            .with_hint(format!("use one of {}", known.join(", ")))
    })
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// None is stdout.
    pub(crate) path: Option<PathBuf>,
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    pub(crate) codec: Codec,
}

impl Settings {
    /// Finds the files of the output.
    pub(crate) fn paths(&self) -> Result<Paths> {
        Paths::of(self.path.as_deref().unwrap_or(Path::new("-")), self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_unless_told_otherwise() {
        let cases = [
            ("a.ndjson", Layout::Ndjson, Codec::Plain),
            ("a.jsonl.gz", Layout::Ndjson, Codec::Gzip(2)),
            ("a.json", Layout::Array, Codec::Plain),
            ("A.JSON.ZST", Layout::Array, Codec::Zstd(1)),
            ("json.gz", Layout::Ndjson, Codec::Gzip(2)),
            ("-", Layout::Ndjson, Codec::Plain),
        ];
        for (path, layout, codec) in cases {
            let settings = FileConfig::new(path).parse().unwrap();
            assert_eq!((settings.layout, settings.codec), (layout, codec), "{path}");
        }
        let told = FileConfig::new("a.json.gz")
            .layout(Layout::Ndjson)
            .compression(Compression::Zstd)
            .level(7)
            .parse()
            .unwrap();
        assert_eq!((told.layout, told.codec), (Layout::Ndjson, Codec::Zstd(7)));
    }

    #[test]
    fn names_in_flags_and_files_are_the_same() {
        for layout in Layout::ALL {
            assert_eq!(serde_json::to_value(layout).unwrap(), layout.as_str());
            assert_eq!(layout.as_str().parse::<Layout>().unwrap(), *layout);
        }
        for compression in Compression::ALL {
            assert_eq!(serde_json::to_value(compression).unwrap(), compression.as_str());
            assert_eq!(compression.as_str().parse::<Compression>().unwrap(), *compression);
        }
        let error = "lz4".parse::<Compression>().unwrap_err();
        assert_eq!(error.hint(), Some("use one of gzip, none, zstd"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for config in [
            FileConfig::new("a.ndjson").level(3),
            FileConfig::new("a.gz").level(10),
            FileConfig::new("a.zst").level(0),
            FileConfig::new(""),
            FileConfig::new("/tmp/.."),
        ] {
            assert_eq!(config.parse().unwrap_err().kind(), ErrorKind::Config);
        }
        let unknown = serde_json::from_str::<FileConfig>(r#"{"path":"a","fsync":false}"#);
        assert!(unknown.unwrap_err().to_string().contains("fsync"));
    }
}
