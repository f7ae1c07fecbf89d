use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result};
use audit_source_confluent::ConfluentSource;
use clap::Args;

use super::data::Data;
use super::elastic::Elastic;
use super::{Topic, count};
use crate::app::App;
use crate::config::Settings;
use crate::report::{Look, ReportOptions};
use crate::terminal;

/// `confluent-report analyze`.
#[derive(Args, Debug)]
pub struct Analyze {
    /// Files with a record a line, plain, gzip or zstd [default: the newest download]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The directory of downloads
    #[arg(long, env = "CONFLUENT_DATA_DIR", value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Count the topic itself, and keep no file
    #[arg(long, conflicts_with = "files")]
    from_topic: bool,
    #[command(flatten)]
    reports: ReportOptions,
    #[command(flatten)]
    elastic: Elastic,
    #[command(flatten)]
    topic: Topic,
}

impl Analyze {
    pub(super) async fn run(&self, app: &App) -> Result<u8> {
        let reports = self.reports.reports()?;
        reports.check()?;
        let look = if self.elastic.is_wanted() {
            self.elastic.look(&self.reports).await?
        } else if self.from_topic {
            let source = ConfluentSource::new(self.topic.config()?)?;
            let settings = Settings::new(super::stream()?, Path::new("."));
            Look::at(Box::new(source), &self.reports, settings, app).await?
        } else if self.files.is_empty() {
            count::files(&[newest(&self.data, app)?], &self.reports, app).await?
        } else {
            count::files(&self.files, &self.reports, app).await?
        };
        self.reports.publish(&reports, look, app)
    }
}

fn newest(data: &Path, app: &App) -> Result<PathBuf> {
    let newest = Data::new(data).newest()?.ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no download")
            .with("directory", data.display())
            .with_hint("make one with `confluent-report download`, or name files to analyse")
    })?;
    if !app.quiet {
        terminal::say(&format!("from {}", terminal::neutral(&newest.display().to_string())));
    }
    Ok(newest)
}
