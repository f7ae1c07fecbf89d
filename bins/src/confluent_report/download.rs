use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit_core::{Clock, FileCheckpoint, Result, Sink, Source, durable};
use audit_sink_file::{Compression, FileConfig, FileSink, Layout};
use audit_source_confluent::{Backlog, ConfluentSource};
use clap::Args;

use super::Topic;
use super::data::{self, Data, File};
use crate::app::App;
use crate::config::Settings;
use crate::progress::Outlook;
use crate::report::ReportOptions;
use crate::run::{self, Job, Options};
use crate::wire::WiredSink;
use crate::{check, exit, summary, terminal};

/// What one batch holds, in bytes.
const BATCH_BYTES: usize = 8 << 20;

/// `confluent-report download`.
#[derive(Args, Debug)]
pub struct Download {
    #[command(flatten)]
    place: Place,
    /// Begin a new file, with everything that the topic still keeps
    #[arg(long)]
    restart: bool,
    /// Go on when there is nothing new, until stopped
    #[arg(long)]
    follow: bool,
    /// Write what was done to stdout, as one line of JSON
    #[arg(long)]
    summary_json: bool,
    #[command(flatten)]
    topic: Topic,
    /// How it can be watched.
    #[cfg(feature = "metrics")]
    #[command(flatten)]
    pub(super) serve: crate::metrics::Serve,
}

/// `confluent-report check`.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    reports: ReportOptions,
    #[command(flatten)]
    topic: Topic,
}

#[derive(Args, Debug)]
struct Place {
    /// The directory of downloads
    #[arg(long, env = "CONFLUENT_DATA_DIR", value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// The organization, with which the names of downloads begin
    #[arg(long, env = "CONFLUENT_ORGANIZATION", value_name = "NAME", default_value = "confluent")]
    organization: String,
}

impl Place {
    /// Returns the download to continue, if there is one, else a new one.
    fn file(&self, restart: bool) -> Result<File> {
        let organization = data::organization(&self.organization)?;
        let data = Data::new(&self.data);
        let current = if restart { None } else { data.current(&organization)? };
        Ok(current.unwrap_or_else(|| data.fresh(&organization, Clock::system().now())))
    }
}

impl Download {
    pub(super) async fn run(&self, app: &App) -> Result<u8> {
        let source = ConfluentSource::new(self.topic.config()?)?;
        let file = self.place.file(self.restart)?;
        let (state, path) = (file.state(), file.path());
        let failed = |e: std::io::Error| durable::io_error(&e, &state);
        durable::create_private_directory(&state).map_err(failed)?;
        let settings = settings(&file)?;
        let report = source.report();
        let seen = report.clone();
        let options = Options { follow: Some(self.follow), ..Options::default() };
        let job = Job::new(&settings, Box::new(source), sink(&path)?, options)
            .outlook(move || outlook(&seen.counts().backlog));
        if !app.quiet {
            terminal::say(&format!("into {}", terminal::neutral(&path.display().to_string())));
        }
        let reports = run::run(vec![job], app, None).await?;
        if self.summary_json {
            summary::write_json(&reports)?;
        }
        let hints = || reports.iter().filter_map(|r| r.error.as_ref()?.hint());
        if hints().any(|hint| hint.contains("allow_gaps")) {
            terminal::say("        with --allow-gaps");
        }
        let gaps = report.counts().gaps;
        for gap in &gaps {
            let (partition, from, last) = (gap.partition, gap.from, gap.to - 1);
            terminal::say(&format!("lost: partition {partition}, offsets {from} to {last}"));
        }
        let code = summary::code(&reports);
        Ok(if code == exit::OK && !gaps.is_empty() { exit::GAPS } else { code })
    }
}

impl Check {
    pub(super) async fn run(&self) -> Result<u8> {
        let place = || {
            let file = self.place.file(false)?;
            durable::check_writable(&file.path())?;
            durable::check_writable(&file.state())?;
            FileCheckpoint::open(file.state()).peek(&settings(&file)?.stream).map(drop)
        };
        let topic = async {
            let mut source = ConfluentSource::new(self.topic.config()?)?;
            source.check().await
        };
        let data = async {
            place()?;
            match self.place.data.exists() {
                true => sink(&self.place.file(false)?.path())?.sink.check().await,
                false => Ok(()),
            }
        };
        let mut code = exit::OK;
        for (thing, result) in [
            ("topic", topic.await),
            ("downloads", data.await),
            ("reports", self.reports.reports().and_then(|reports| reports.check())),
        ] {
            if let (Err(e), exit::OK) = (&result, code) {
                code = exit::of_error(e);
            }
            check::line(thing, "", result)?;
        }
        Ok(code)
    }
}

fn settings(file: &File) -> Result<Settings> {
    let mut settings = Settings::new(super::stream()?, &file.state());
    settings.dead_letters = Some(file.dead_letters());
    // Each batch waits for the disk.
    settings.limit = settings.limit.bytes(BATCH_BYTES);
    Ok(settings)
}

/// One record a line, as received, whatever the organization's name ends in.
fn sink(path: &Path) -> Result<WiredSink> {
    let config = FileConfig::new(path).layout(Layout::Ndjson).compression(Compression::None);
    let sink: Arc<dyn Sink> = Arc::new(FileSink::new(config)?);
    Ok(WiredSink::new(sink))
}

/// What is still to come, and how long it is kept.
fn outlook(backlog: &Backlog) -> Outlook {
    let note = backlog.time_to_loss.map(|left| {
        let left = Duration::from_secs(left.as_secs() / 60 * 60);
        format!("unread records are kept for {} yet", humantime::format_duration(left))
    });
    Outlook { unread: Some(backlog.unread), note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l06_how_long_unread_records_are_kept_is_shown() {
        let mut backlog = Backlog::default();
        assert_eq!(outlook(&backlog).note, None);
        backlog.unread = 7;
        backlog.time_to_loss = Some(Duration::from_secs(3 * 3600 + 61));
        let Outlook { unread, note, .. } = outlook(&backlog);
        assert_eq!(unread, Some(7));
        assert_eq!(note.as_deref(), Some("unread records are kept for 3h 1m yet"));
    }
}
