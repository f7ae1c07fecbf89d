//! `audit report`: the reports of whatever a pipeline's source has.

use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result, StreamId};
use clap::Args;

use super::{Look, ReportOptions};
use crate::app::App;
use crate::config::Config;
use crate::wire;

/// `audit report`.
#[derive(Args, Debug)]
pub struct Report {
    /// Files with an event a line, as `audit run` writes them in the format canonical, or records of
    /// Confluent Cloud; plain, gzip or zstd
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The configuration file, when no files are given
    #[arg(short, long, value_name = "FILE", env = "AUDIT_CONFIG")]
    config: Option<PathBuf>,
    /// The pipeline whose source is read; not needed when the file has only one
    #[arg(short, long, value_name = "NAME", conflicts_with = "files")]
    pipeline: Option<StreamId>,
    #[command(flatten)]
    options: ReportOptions,
}

/// Runs `audit report`: reads a source from its beginning to what is its end now, and counts.
///
/// The pipeline itself is not touched: neither its checkpoint nor its dead letters nor what its
/// source remembers.
///
/// # Errors
/// Those that keep it from starting or from writing reports; how reading ends is in the exit code.
pub async fn main(args: &Report, app: &App) -> Result<u8> {
    let reports = args.options.reports()?;
    reports.check()?;
    let look = match (&args.files[..], &args.config) {
        ([], None) => {
            return Err(Error::new(ErrorKind::Config, "nothing is given to report")
                .with_hint("name files, or a configuration with --config"));
        }
        ([], Some(config)) => {
            let pipeline = Config::load(config)?.single(args.pipeline.as_ref())?;
            let source = wire::source(&pipeline.source)?;
            Look::at(source, &args.options, pipeline.settings, app).await?
        }
        (files, _) => files::look(files, &args.options, app).await?,
    };
    args.options.publish(&reports, look, app)
}

#[cfg(feature = "source-confluent")]
mod files {
    use std::path::Path;

    use async_trait::async_trait;
    use audit_core::{AuditEvent, Cursor, Limit, Read, Source};
    use audit_source_confluent::{FilesConfig, FilesSource};

    use super::*;
    use crate::config::Settings;

    pub(super) async fn look(
        files: &[PathBuf],
        options: &ReportOptions,
        app: &App,
    ) -> Result<Look> {
        let source = Events(FilesSource::new(FilesConfig::new(files))?);
        let settings = Settings::new("report".parse()?, Path::new("."));
        Look::at(Box::new(source), options, settings, app).await
    }

    /// Takes a record for an event where it is one that was written in the canonical format.
    struct Events(FilesSource);

    #[async_trait]
    impl Source for Events {
        async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
            self.0.open(from).await
        }

        async fn read(&mut self, limit: Limit) -> Result<Read> {
            let mut read = self.0.read(limit).await?;
            if let Read::Batch(batch) = &mut read {
                for event in &mut batch.events {
                    if let Ok(own) = serde_json::from_str::<AuditEvent>(event.raw.get()) {
                        *event = own;
                    }
                }
            }
            Ok(read)
        }

        async fn check(&mut self) -> Result<()> {
            self.0.check().await
        }
    }
}

#[cfg(not(feature = "source-confluent"))]
mod files {
    use super::*;

    pub(super) async fn look(_: &[PathBuf], _: &ReportOptions, _: &App) -> Result<Look> {
        Err(Error::new(ErrorKind::Config, "this program was built without the reader of files")
            .with_hint("build it with `--features source-confluent`"))
    }
}
