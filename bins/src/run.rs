//! `audit run`: every pipeline of a configuration file, in one process.

use std::path::Path;
use std::sync::Arc;

use audit_core::{
    Checkpoint, Error, ErrorKind, FileCheckpoint, FileDeadLetters, Pipeline, Result, Source,
    StreamId,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::app::App;
use crate::checkpoint::{self, ReadOnly};
use crate::config::{Config, Settings};
use crate::progress::{self, Meter};
use crate::signals::{Signals, Stop};
use crate::summary::{self, Report};
use crate::wire::{self, WiredSink};
use crate::{cli, terminal};

/// A pipeline that is ready to go.
#[derive(Debug)]
pub struct Job {
    stream: StreamId,
    pipeline: Pipeline,
    follow: bool,
    dry_run: bool,
    total: Option<u64>,
}

/// How jobs are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read and map only.
    pub dry_run: bool,
    /// Overrides the configuration's `follow`.
    pub follow: Option<bool>,
    /// How many records there are, where that is known.
    pub total: Option<u64>,
}

/// Runs `audit run`.
///
/// # Errors
/// Those that keep it from starting. How the pipelines end is in the exit code.
pub async fn main(args: &cli::Run, app: &App) -> Result<u8> {
    let path = &args.select.file.config;
    let configs = Config::load(path)?.select(&args.select.pipelines)?;
    let follow = if args.follow { Some(true) } else { args.once.then_some(false) };
    let options = Options { dry_run: args.dry_run, follow, total: None };
    let mut jobs = Vec::new();
    let mut stdout = None;
    for config in configs {
        let sink = wire::sink(&config.sink, &config.settings.stream)?;
        if sink.stdout
            && !args.dry_run
            && let Some(other) = stdout.replace(config.settings.stream.clone())
        {
            return Err(only_one_stdout(&other, &config.settings.stream));
        }
        jobs.push(Job::new(&config.settings, wire::source(&config.source)?, sink, options));
    }
    if let (true, Some(stream)) = (args.summary_json, stdout) {
        return Err(Error::new(ErrorKind::Config, "--summary-json needs stdout for itself")
            .with("pipeline", stream)
            .with_hint("its sink writes there too: leave one of the two out"));
    }
    let reports = run(jobs, app, Some(path)).await?;
    if args.summary_json {
        summary::write_json(&reports)?;
    }
    Ok(summary::code(&reports))
}

impl Job {
    /// Puts a pipeline together as its settings say.
    pub fn new(
        settings: &Settings,
        source: Box<dyn Source>,
        sink: WiredSink,
        options: Options,
    ) -> Self {
        let checkpoint = checkpoint(settings, &sink, options.dry_run);
        Self::with_checkpoint(settings, source, sink, checkpoint, options)
    }

    /// As [`new`](Self::new), with the progress kept elsewhere than the settings say.
    pub fn with_checkpoint(
        settings: &Settings,
        source: Box<dyn Source>,
        sink: WiredSink,
        checkpoint: Arc<dyn Checkpoint>,
        options: Options,
    ) -> Self {
        let stream = settings.stream.clone();
        let Options { dry_run, follow, total } = options;
        let follow = follow.unwrap_or(settings.follow) && !dry_run;
        let mut pipeline = Pipeline::new(stream.clone(), source, sink.sink, checkpoint)
            .limit(settings.limit)
            .retry(settings.retry)
            .grace(settings.grace)
            .follow(follow)
            .dry_run(dry_run);
        if let Some(max_events) = settings.max_events {
            pipeline = pipeline.max_events(max_events);
        }
        if let Some(path) = &settings.dead_letters {
            pipeline = pipeline.dead_letters(Arc::new(FileDeadLetters::open(path)));
        }
        Self { stream, pipeline, follow, dry_run, total }
    }
}

/// Returns where the progress of a pipeline is kept: with the events if its sink can, else in a file.
/// That of a dry run cannot be saved.
pub fn checkpoint(settings: &Settings, sink: &WiredSink, dry_run: bool) -> Arc<dyn Checkpoint> {
    let files = || FileCheckpoint::open(&settings.checkpoint);
    match (&sink.checkpoint, dry_run) {
        (Some(keeper), true) => Arc::clone(&keeper.peek),
        (Some(keeper), false) => Arc::clone(&keeper.own),
        (None, true) => Arc::new(ReadOnly(files())),
        (None, false) => Arc::new(files()),
    }
}

/// Runs all jobs at once and reports each, in the order they end, to people and to the caller.
///
/// When one fails, those that would follow for ever are stopped, so that whoever supervises this
/// process learns of it; the others go on to their end.
///
/// # Errors
/// [`ErrorKind::Unexpected`] when signals cannot be listened to.
pub async fn run(jobs: Vec<Job>, app: &App, config: Option<&Path>) -> Result<Vec<Report>> {
    let App { screen, quiet, .. } = app;
    let stop = Stop::new();
    let failed = Stop::new();
    let meters: Vec<Arc<Meter>> =
        jobs.iter().map(|j| Arc::new(Meter::new(screen, &j.stream, j.total))).collect();
    let mut running: FuturesUnordered<_> = jobs
        .into_iter()
        .zip(&meters)
        .map(|(job, meter)| Box::pin(job.run(meter, &stop, &failed, config)))
        .collect();
    let reports = async {
        let mut reports = Vec::new();
        while let Some(report) = running.next().await {
            if report.error.is_some() {
                failed.request();
            }
            if !*quiet {
                screen.above(|| terminal::say(&report.table()));
            }
            if let Some(error) = &report.error {
                screen.above(|| terminal::complain_unless_closed(error));
            }
            reports.push(report);
        }
        reports
    };
    let beat = async {
        match *quiet {
            true => std::future::pending().await,
            false => progress::beat(screen, &meters).await,
        }
    };
    let signals = Signals::listen()?;
    tokio::select! {
        reports = reports => Ok(reports),
        () = beat => Ok(Vec::new()), // never returns
        () = signals.watch(&stop) => Ok(Vec::new()), // nor does this
    }
}

impl Job {
    async fn run(
        self,
        meter: &Arc<Meter>,
        stop: &Stop,
        failed: &Stop,
        config: Option<&Path>,
    ) -> Report {
        let Self { stream, pipeline, follow, dry_run, .. } = self;
        let observer = Arc::clone(meter);
        let stop = async {
            tokio::select! {
                () = stop.requested() => {}
                () = failed.requested(), if follow => {}
            }
        };
        let result = pipeline.on_progress(move |p| observer.observe(&p)).run(stop).await;
        meter.finish();
        let (summary, error) = match result {
            Ok(summary) => (summary, None),
            Err(e) => (e.summary, Some(e.error)),
        };
        let error = error.map(|e| match config {
            Some(config) => checkpoint::advise_run(e, config, &stream),
            None => e,
        });
        Report::new(stream, summary, error, dry_run)
    }
}

fn only_one_stdout(one: &StreamId, other: &StreamId) -> Error {
    Error::new(ErrorKind::Config, "two pipelines would write to stdout")
        .with("one", one)
        .with("other", other)
        .with_hint("choose one with --pipeline, or give the other a file")
}
