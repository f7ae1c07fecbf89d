//! `audit run`: every pipeline of a configuration file, in one process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_core::{
    AuditEvent, Checkpoint, Error, ErrorKind, FileCheckpoint, FileDeadLetters, Pipeline, Progress,
    Result, Source, StreamId, Summary,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tracing::info;

use crate::app::App;
use crate::checkpoint::{self, ReadOnly};
use crate::config::{Config, PipelineConfig, Settings};
#[cfg(feature = "metrics")]
use crate::metrics::{Board, Server, Vitals};
use crate::progress::{self, Ask, Meter, Outlook};
use crate::reload::{Changes, Parts, Reload};
use crate::signals::{Hangup, Signals, Stop};
use crate::summary::{self, Report};
use crate::wire::{self, WiredSink};
use crate::{cli, terminal};

/// A pipeline that is ready to go.
pub struct Job {
    stream: StreamId,
    pipeline: Pipeline,
    follow: bool,
    options: Options,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "looked at for metrics"))]
    files: Vec<PathBuf>,
    changes: Option<Changes>,
    outlook: Option<Ask>,
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
    let config = Config::load(path)?;
    let follow = if args.follow { Some(true) } else { args.once.then_some(false) };
    let options = Options { dry_run: args.dry_run, follow, total: None };
    let reload = Reload::new(config.clone());
    let mut jobs = Vec::new();
    let mut stdout = None;
    for config in config.select(&args.select.pipelines)? {
        let sink = wire::sink_of(&config, &config.settings.stream)?;
        if sink.stdout
            && !args.dry_run
            && let Some(other) = stdout.replace(config.settings.stream.clone())
        {
            return Err(only_one_stdout(&other, &config.settings.stream));
        }
        let source = wire::source(&config.source)?;
        let job = Job::new(&config.settings, source, sink, options);
        jobs.push(job.reloading(&config, reload.changes()));
    }
    if let (true, Some(stream)) = (args.summary_json, stdout) {
        return Err(Error::new(ErrorKind::Config, "--summary-json needs stdout for itself")
            .with("pipeline", stream)
            .with_hint("its sink writes there too: leave one of the two out"));
    }
    let reports = if jobs.iter().any(|job| job.follow) {
        let hangup = Hangup::listen()?;
        tokio::select! {
            reports = run(jobs, app, Some(path)) => reports?,
            () = reload.watch(hangup) => Vec::new(), // never returns
        }
    } else {
        run(jobs, app, Some(path)).await?
    };
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
        let follow = options.follow.unwrap_or(settings.follow) && !options.dry_run;
        let stream = settings.stream.clone();
        let pipeline = pipeline(settings, source, sink, checkpoint, options);
        let (files, changes, outlook) = (Vec::new(), None, None);
        Self { stream, pipeline, follow, options, files, changes, outlook }
    }

    /// Shows with the progress what the source knows of what is still to come.
    #[must_use]
    pub fn outlook(mut self, ask: impl Fn() -> Outlook + Send + Sync + 'static) -> Self {
        self.outlook = Some(Arc::new(ask));
        self
    }

    /// Delivers only the events for which `keep` is true.
    #[must_use]
    pub fn keep(mut self, keep: impl Fn(&AuditEvent) -> bool + Send + Sync + 'static) -> Self {
        self.pipeline = self.pipeline.filter(keep);
        self
    }

    /// Goes over to each new state of the configuration, if it runs on and on.
    fn reloading(self, config: &PipelineConfig, changes: Changes) -> Self {
        let changes = self.follow.then_some(changes);
        Self { files: config.files.clone(), changes, ..self }
    }
}

fn pipeline(
    settings: &Settings,
    source: Box<dyn Source>,
    sink: WiredSink,
    checkpoint: Arc<dyn Checkpoint>,
    options: Options,
) -> Pipeline {
    let Options { dry_run, follow, .. } = options;
    let mut pipeline = Pipeline::new(settings.stream.clone(), source, sink.sink, checkpoint)
        .limit(settings.limit)
        .retry(settings.retry)
        .grace(settings.grace)
        .follow(follow.unwrap_or(settings.follow) && !dry_run)
        .dry_run(dry_run);
    if let Some(max_events) = settings.max_events {
        pipeline = pipeline.max_events(max_events);
    }
    if let Some(path) = &settings.dead_letters {
        pipeline = pipeline.dead_letters(Arc::new(FileDeadLetters::open(path)));
    }
    pipeline
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
    let watchers: Vec<Watchers> = jobs.iter().map(|job| Watchers::new(job, screen)).collect();
    let meters: Vec<_> = watchers.iter().map(|w| Arc::clone(&w.meter)).collect();
    #[cfg(feature = "metrics")]
    let (watchers, server) = serve(app, &jobs, watchers).await?;
    let mut running: FuturesUnordered<_> = jobs
        .into_iter()
        .zip(watchers)
        .map(|(job, watchers)| Box::pin(job.run(watchers, &stop, &failed, config)))
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
    let answers = async {
        #[cfg(feature = "metrics")]
        if let Some(server) = server {
            server.run().await;
        }
        std::future::pending::<()>().await
    };
    let signals = Signals::listen()?;
    tokio::select! {
        reports = reports => Ok(reports),
        // None of these ever returns.
        () = beat => Ok(Vec::new()),
        () = answers => Ok(Vec::new()),
        () = signals.watch(&stop) => Ok(Vec::new()),
    }
}

/// Adds what is seen from outside to those who watch the jobs, and what answers there.
#[cfg(feature = "metrics")]
async fn serve(
    app: &App,
    jobs: &[Job],
    mut watchers: Vec<Watchers>,
) -> Result<(Vec<Watchers>, Option<Server>)> {
    let Some((serve, address)) = app.serve.as_ref().and_then(|s| Some((s, s.metrics_addr?))) else {
        return Ok((watchers, None));
    };
    let mut board = Board::new();
    let mut all = Vec::new();
    for (job, watchers) in jobs.iter().zip(&mut watchers) {
        let vitals = Arc::new(board.pipeline(&job.stream, job.files.clone()));
        watchers.vitals = Some(Arc::clone(&vitals));
        all.push(vitals);
    }
    let server = Server::bind(address, serve.stale_after, board, all).await?;
    Ok((watchers, Some(server)))
}

/// Who is told how a job gets on.
#[derive(Clone)]
struct Watchers {
    meter: Arc<Meter>,
    #[cfg(feature = "metrics")]
    vitals: Option<Arc<Vitals>>,
}

impl Watchers {
    fn new(job: &Job, screen: &progress::Screen) -> Self {
        Self {
            meter: Arc::new(Meter::new(
                screen,
                &job.stream,
                job.options.total,
                job.outlook.clone(),
            )),
            #[cfg(feature = "metrics")]
            vitals: None,
        }
    }

    fn observe(&self, progress: &Progress<'_>) {
        self.meter.observe(progress);
        #[cfg(feature = "metrics")]
        if let Some(vitals) = &self.vitals {
            vitals.observe(progress);
        }
    }

    fn begin(&self) {
        self.meter.begin();
        #[cfg(feature = "metrics")]
        if let Some(vitals) = &self.vitals {
            vitals.begin();
        }
    }

    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "a bar just goes"))]
    fn end(&self, failed: bool) {
        self.meter.finish();
        #[cfg(feature = "metrics")]
        if let Some(vitals) = &self.vitals {
            vitals.end(failed);
        }
    }
}

impl Job {
    async fn run(
        self,
        watchers: Watchers,
        stop: &Stop,
        failed: &Stop,
        config: Option<&Path>,
    ) -> Report {
        let Self { stream, mut pipeline, follow, options, mut changes, .. } = self;
        let mut done = Summary::default();
        let error = loop {
            let mut next = None;
            let stop = async {
                let changed = async {
                    match &mut changes {
                        Some(changes) => next = Some(changes.next(&stream).await),
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = stop.requested() => {}
                    () = failed.requested(), if follow => {}
                    () = changed => {}
                }
            };
            let observer = watchers.clone();
            let result = pipeline.on_progress(move |p| observer.observe(&p)).run(stop).await;
            let (summary, error) = match result {
                Ok(summary) => (summary, None),
                Err(e) => (e.summary, Some(e.error)),
            };
            done.add(&summary);
            match next {
                Some(parts) if error.is_none() => {
                    info!(%stream, "going on with the new configuration");
                    watchers.begin();
                    pipeline = parts.pipeline(options);
                }
                _ => break error,
            }
        };
        watchers.end(error.is_some());
        let error = error.map(|e| match config {
            Some(config) => checkpoint::advise_run(e, config, &stream),
            None => e,
        });
        Report::new(stream, done, error, options.dry_run)
    }
}

impl Parts {
    fn pipeline(self, options: Options) -> Pipeline {
        let Self { settings, source, sink } = self;
        let checkpoint = checkpoint(&settings, &sink, options.dry_run);
        pipeline(&settings, source, sink, checkpoint, options)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

fn only_one_stdout(one: &StreamId, other: &StreamId) -> Error {
    Error::new(ErrorKind::Config, "two pipelines would write to stdout")
        .with("one", one)
        .with("other", other)
        .with_hint("choose one with --pipeline, or give the other a file")
}
