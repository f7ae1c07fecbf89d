//! Where an export goes: it grows in a directory of its own beside the file, and takes the file's
//! name when it is whole.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, durable};
use audit_sink_file::{FileConfig, Layout};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table;

/// How events become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON array
    Json,
    /// One event a line
    Ndjson,
    /// A table: one row an event, one column a field
    Csv,
}

/// The file that says what an export is of.
const REQUEST: &str = "request.json";

/// Its content.
#[derive(Deserialize, Serialize)]
struct Request {
    begun: DateTime<Utc>,
    wanted: Value,
}

/// The places of an export.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
    /// None: stdout.
    target: Option<Target>,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    /// The directory in which it grows.
    work: PathBuf,
    /// The file there.
    data: PathBuf,
}

impl Output {
    pub(super) fn new(path: &Path, format: Option<Format>) -> Result<Self> {
        if path == Path::new("-") {
            let format = format.unwrap_or(Format::Ndjson);
            if format == Format::Csv {
                return Err(Error::new(ErrorKind::Config, "a table cannot go to stdout")
                    .with("option", "--format")
                    .with_hint("its columns are known at the end: give it a file"));
            }
            return Ok(Self { format, target: None });
        }
        let name = path.file_name().ok_or_else(|| {
            Error::new(ErrorKind::Config, "the path names no file").with("path", path.display())
        })?;
        let (stem, packed) = split(name);
        let by_ending = match stem.rsplit_once('.').map(|(_, ending)| ending) {
            Some("csv") => Format::Csv,
            Some("ndjson" | "jsonl") => Format::Ndjson,
            _ => Format::Json,
        };
        let format = format.unwrap_or(by_ending);
        let inner = match format {
            Format::Json => format!("events.json{packed}"),
            Format::Ndjson => format!("events.ndjson{packed}"),
            Format::Csv => "events.ndjson".to_owned(),
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".export");
        let work = path.with_file_name(hidden);
        let data = work.join(inner);
        Ok(Self { format, target: Some(Target { path: path.to_owned(), work, data }) })
    }

    /// Returns the directory of the state, unless the export goes to stdout.
    pub(super) fn work(&self) -> Option<&Path> {
        self.target.as_ref().map(|target| target.work.as_path())
    }

    /// Returns a file beside the output.
    pub(super) fn beside(&self, ending: &str) -> Option<PathBuf> {
        let target = self.target.as_ref()?;
        let mut name = target.path.file_name().unwrap_or(OsStr::new("events")).to_owned();
        name.push(ending);
        Some(target.path.with_file_name(name))
    }

    /// Makes the configuration of the sink.
    pub(super) fn sink(&self) -> FileConfig {
        let layout = if self.format == Format::Json { Layout::Array } else { Layout::Ndjson };
        let path = self.target.as_ref().map_or(Path::new("-"), |target| &target.data);
        FileConfig::new(path).layout(layout)
    }

    /// Returns when the export was begun that was cut short, if there is one.
    pub(super) fn begun(&self) -> Option<DateTime<Utc>> {
        let target = self.target.as_ref().filter(|target| !target.is_published())?;
        let text = fs::read_to_string(target.work.join(REQUEST)).ok()?;
        serde_json::from_str::<Request>(&text).ok().map(|request| request.begun)
    }

    /// Makes ready for an export of what `wanted` describes; says whether it goes on with one that
    /// was cut short.
    pub(super) fn prepare(
        &self,
        wanted: Value,
        begun: DateTime<Utc>,
        restart: bool,
    ) -> Result<bool> {
        let Some(target) = &self.target else { return Ok(false) };
        let failed =
            |e: io::Error| durable::io_error(&e, &target.work).while_doing("prepare the export");
        if (restart || target.is_published()) && target.work.exists() {
            fs::remove_dir_all(&target.work).map_err(failed)?;
        }
        durable::create_private_directory(&target.work).map_err(failed)?;
        let file = target.work.join(REQUEST);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let request = json!(Request { begun, wanted });
                return durable::replace(&file, request.to_string().as_bytes()).map(|()| false);
            }
            Err(e) => return Err(failed(e)),
        };
        match serde_json::from_str::<Request>(&text) {
            Ok(before) if before.wanted == wanted => Ok(true),
            _ => Err(Error::new(
                ErrorKind::Config,
                "an export to this file was cut short, and it was another",
            )
            .with("path", target.path.display())
            .with_hint(
                "finish it with the options it was begun with, or begin anew with --restart",
            )),
        }
    }

    /// Gives the export its name, and removes what was needed on the way.
    pub(super) fn publish(&self) -> Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        let failed =
            |e: io::Error| durable::io_error(&e, &target.path).while_doing("publish the export");
        let ready = match self.format {
            Format::Csv => {
                let (_, packed) = split(target.path.file_name().unwrap_or_default());
                let csv = target.work.join("events.csv");
                table::write(&target.data, &csv, packed)?;
                csv
            }
            _ => target.data.clone(),
        };
        if !ready.exists() {
            // An export of nothing, one event a line.
            durable::create_private(&ready).map_err(failed)?;
        }
        fs::rename(&ready, &target.path).map_err(failed)?;
        durable::sync_directory(&target.path).map_err(failed)?;
        fs::remove_dir_all(&target.work).map_err(failed)
    }
}

impl Target {
    /// Whether there is nothing in the directory to go on with: it was published, and the process
    /// ended before it could remove the rest.
    fn is_published(&self) -> bool {
        !self.data.exists() && !partial(&self.data).exists()
    }
}

/// Returns a name without the ending of its compression, in lower case, and that ending.
fn split(name: &OsStr) -> (String, &'static str) {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let packed = [".gz", ".zst"].into_iter().find(|ending| name.ends_with(ending));
    let packed = packed.unwrap_or_default();
    (name.strip_suffix(packed).unwrap_or(&name).to_owned(), packed)
}

fn partial(data: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(data.file_name().unwrap_or_default());
    name.push(".partial");
    data.with_file_name(name)
}
