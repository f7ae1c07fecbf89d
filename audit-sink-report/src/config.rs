use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Section;

/// How many labels are kept unless somebody says otherwise: with these, a program that looks at files
/// stays below 64 MB.
pub(crate) const MAX_LABELS: usize = 32_768;

/// Where reports go and what is in them: the options of a [`ReportSink`](crate::ReportSink).
///
/// Only `path` is needed. Durations are written `30s` or `1m 30s`; unknown names are errors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportConfig {
    /// The directory of the reports; made if it is not there.
    pub path: PathBuf,
    /// The files that are written for a day. Default: text.
    #[serde(default = "default_formats")]
    pub formats: Vec<ReportFormat>,
    /// The sections of a report, always in the same order, that of the default. Default: all.
    #[serde(default = "default_sections")]
    pub sections: Vec<Section>,
    /// How often the files are written anew during a long run; always at its end. Counts are durable
    /// without it. Default one minute.
    #[serde(default = "default_publish_every", deserialize_with = "duration")]
    pub publish_every: Duration,
    /// How many labels a day may have in all its sections, and a look at files in all its days; the events
    /// of all others are counted in one row. A label of 64 bytes counts for two, one of 128 for three. 1 to
    /// 1,000,000, default 32,768.
    #[serde(default = "default_max_labels")]
    pub max_labels: usize,
}

impl ReportConfig {
    /// Creates a configuration with every default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            formats: default_formats(),
            sections: default_sections(),
            publish_every: default_publish_every(),
            max_labels: default_max_labels(),
        }
    }

    /// Sets [`formats`](Self::formats).
    #[must_use]
    pub fn formats(mut self, formats: impl Into<Vec<ReportFormat>>) -> Self {
        self.formats = formats.into();
        self
    }

    /// Sets [`sections`](Self::sections).
    #[must_use]
    pub fn sections(mut self, sections: impl Into<Vec<Section>>) -> Self {
        self.sections = sections.into();
        self
    }

    /// Sets [`publish_every`](Self::publish_every).
    #[must_use]
    pub fn publish_every(mut self, interval: Duration) -> Self {
        self.publish_every = interval;
        self
    }

    /// Sets [`max_labels`](Self::max_labels).
    #[must_use]
    pub fn max_labels(mut self, labels: usize) -> Self {
        self.max_labels = labels;
        self
    }

    /// Checks what the types do not say, and brings lists into their one order.
    pub(crate) fn parse(mut self) -> Result<Self> {
        let wrong =
            |option, message| Err(Error::new(ErrorKind::Config, message).with("option", option));
        if self.path.as_os_str().is_empty() {
            return wrong("path", "names no directory");
        }
        if self.formats.is_empty() {
            return wrong("formats", "a report in no format");
        }
        if self.sections.is_empty() {
            return wrong("sections", "a report of no section");
        }
        if !(1..=1_000_000).contains(&self.max_labels) {
            return wrong("max_labels", "must be 1 to 1,000,000");
        }
        self.formats.sort_unstable();
        self.formats.dedup();
        self.sections.sort_unstable();
        self.sections.dedup();
        Ok(self)
    }
}

/// A kind of file that a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReportFormat {
    /// The classic tables, 174 columns wide.
    Text,
    /// One line a count: `date,section,label,hour,count`.
    Csv,
    /// One object a count, with the same names.
    Json,
    /// One page that needs nothing else: heat maps, totals, a filter.
    Html,
}

impl ReportFormat {
    /// Every format, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Text, Self::Csv, Self::Json, Self::Html];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Html => "html",
        }
    }

    /// Returns the ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            other => other.as_str(),
        }
    }
}

impl FromStr for ReportFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|format| format.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|format| format.as_str()).collect();
            Error::new(ErrorKind::Config, "unknown report format")
                .with("format", name.escape_debug())
                .with_hint(format!("use {}", known.join(", ")))
        })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn default_formats() -> Vec<ReportFormat> {
    vec![ReportFormat::Text]
}

fn default_sections() -> Vec<Section> {
    Section::ALL.to_vec()
}

fn default_publish_every() -> Duration {
    Duration::from_secs(60)
}

fn default_max_labels() -> usize {
    MAX_LABELS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> std::result::Result<ReportConfig, String> {
        let config: ReportConfig = serde_json::from_str(json).map_err(|e| e.to_string())?;
        config.parse().map_err(|e| e.to_string())
    }

    #[test]
    fn only_the_path_is_needed() {
        let config = parse(r#"{"path":"reports"}"#).unwrap();
        assert_eq!(config, ReportConfig::new("reports"));
    }

    #[test]
    fn lists_have_one_order_and_durations_units() {
        let config = parse(
            r#"{"path":"r","formats":["html","text","html"],"publish_every":"1m 30s",
               "sections":["other_events","auth_events"],"max_labels":7}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.formats, [ReportFormat::Text, ReportFormat::Html]);
        assert_eq!(config.sections, [Section::AuthEvents, Section::OtherEvents]);
        assert_eq!((config.publish_every.as_secs(), config.max_labels), (90, 7));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (json, named) in [
            (r#"{}"#, "path"),
            (r#"{"path":""}"#, "path"),
            (r#"{"path":"r","formats":[]}"#, "formats"),
            (r#"{"path":"r","formats":["pdf"]}"#, "pdf"),
            (r#"{"path":"r","sections":[]}"#, "sections"),
            (r#"{"path":"r","max_labels":0}"#, "max_labels"),
            (r#"{"path":"r","publish_every":5}"#, "string"),
            (r#"{"path":"r","format":["text"]}"#, "format"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(named), "{json}: {error}");
        }
    }

    #[test]
    fn names_in_flags_and_files_are_the_same() {
        for format in ReportFormat::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
            assert_eq!(format.as_str().parse::<ReportFormat>().unwrap(), *format);
        }
        assert!("pdf".parse::<ReportFormat>().is_err());
    }
}
