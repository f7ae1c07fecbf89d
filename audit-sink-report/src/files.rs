//! Where everything is in a directory of reports, and how a report becomes files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, durable};

use crate::text::Pages;
use crate::{Day, Report, ReportConfig, ReportFormat};

/// The places of a directory of reports.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join(".state/journal")
    }

    pub(crate) fn known(&self) -> PathBuf {
        self.root.join(".state/known")
    }

    pub(crate) fn days(&self) -> PathBuf {
        self.root.join(".state/days")
    }

    pub(crate) fn day(&self, day: Day) -> PathBuf {
        self.days().join(day.to_string())
    }

    /// Makes the directories of the state.
    pub(crate) fn prepare(&self) -> Result<()> {
        make_directory(&self.root)?;
        make_directory(&self.days())
    }

    /// Returns the days whose counts are stored.
    pub(crate) fn stored_days(&self) -> Result<Vec<Day>> {
        let failed = |e: io::Error| durable::io_error(&e, &self.days());
        let entries = match fs::read_dir(self.days()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut days = Vec::new();
        for entry in entries {
            // What is not named like a day is a temporary file, or not ours.
            let name = entry.map_err(failed)?.file_name();
            days.extend(name.to_str().and_then(|name| name.parse::<Day>().ok()));
        }
        Ok(days)
    }

    /// Writes the files of a report that are not as they should be. Those of a report that was never
    /// published from here are somebody else's, and set aside.
    pub(crate) fn publish(
        &self,
        report: &Report<'_>,
        config: &ReportConfig,
        published: bool,
    ) -> Result<()> {
        for format in &config.formats {
            let name = format!("{}.{}", report.day(), format.extension());
            let whole = match format {
                ReportFormat::Text => {
                    let pages = Pages::of(report);
                    for section in &config.sections {
                        let directory = self.root.join(section.name());
                        make_directory(&directory)?;
                        replace(&directory.join(&name), pages.section(*section), published)?;
                    }
                    pages.text
                }
                other => report.render(*other),
            };
            replace(&self.root.join(name), &whole, published)?;
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> Result<()> {
    durable::create_private_directory(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            durable::io_error(&io::ErrorKind::NotADirectory.into(), path)
        }
        _ => durable::io_error(&e, path),
    })
}

fn replace(path: &Path, content: &str, published: bool) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let same = found.is_file() && found.len() == content.len() as u64;
            if same && fs::read(path).is_ok_and(|bytes| bytes == content.as_bytes()) {
                return Ok(());
            }
            if !published {
                set_aside(path)?;
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(durable::io_error(&e, path)),
    }
    durable::replace(path, content.as_bytes())
}

/// Gives a file another name, so that what somebody else counted is not lost.
fn set_aside(path: &Path) -> Result<()> {
    let free = (1..1000).map(|n| durable::sibling(path, &format!(".{n}"))).find(|p| !p.exists());
    let Some(free) = free else {
        return Err(Error::new(
            ErrorKind::Conflict,
            "a report that was written elsewhere is there",
        )
        .with("path", path.display())
        .with_hint("move it and its copies away"));
    };
    fs::rename(path, &free).map_err(|e| durable::io_error(&e, path))?;
    tracing::warn!(
        path = %path.display(), kept_as = %free.display(),
        "a report that was written elsewhere is kept under another name"
    );
    Ok(())
}
