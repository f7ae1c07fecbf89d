//! `audit backfill` and `audit reconcile`: a time that is over, read again, while the live pipeline
//! and its progress stay as they are.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Checkpoint, Clock, Error, ErrorKind, MemoryCheckpoint, Result, Sink, Source,
    StreamId, Written,
};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::app::App;
use crate::cli::{Backfill, Range, Reconcile};
use crate::config::{Config, PipelineConfig, Settings};
use crate::progress::seconds;
use crate::run::{self, Job, Options};
use crate::wire::{self, WiredSink};
use crate::{summary, terminal};

/// A time that is over: from its first instant up to, and not with, its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The first instant.
    pub from: DateTime<Utc>,
    /// The first instant behind it.
    pub to: DateTime<Utc>,
}

/// Runs `audit backfill`: delivers what happened in a time, and goes on where it was stopped.
///
/// # Errors
/// Those that keep it from starting.
pub async fn backfill(args: &Backfill, app: &App) -> Result<u8> {
    let (config, span) = open(&args.range)?;
    let settings = apart(&config.settings, "backfill", span)?;
    let (source, sink) = adapters(&config, &settings.stream, span)?;
    if !sink.sink.deduplicates() && !args.allow_repeats && !args.range.dry_run {
        return Err(Error::new(ErrorKind::Config, "the sink cannot tell what it has already")
            .with("pipeline", &config.settings.stream)
            .with_hint(
                "with --allow-repeats events that were delivered before are there twice, under the same id",
            ));
    }
    let checkpoint = run::checkpoint(&settings, &sink, args.range.dry_run);
    let job = job(&settings, source, sink, checkpoint, span, args.range.dry_run);
    let reports = run::run(vec![job], app, None).await?;
    if args.range.summary_json {
        summary::write_json(&reports)?;
    }
    Ok(summary::code(&reports))
}

/// Runs `audit reconcile`: reads a time again, delivers what the sink does not have, and says what
/// that was.
///
/// # Errors
/// Those that keep it from starting.
pub async fn reconcile(args: &Reconcile, app: &App) -> Result<u8> {
    let (config, span) = open(&args.range)?;
    let settings = apart(&config.settings, "reconcile", span)?;
    let (source, sink) = adapters(&config, &settings.stream, span)?;
    if !sink.sink.deduplicates() {
        return Err(Error::new(ErrorKind::Config, "the sink cannot tell what it has already")
            .with("pipeline", &config.settings.stream)
            .with_hint("only a sink that knows its events by their ids shows what is missing"));
    }
    let missing = Arc::new(Missing::new(sink.sink, Clock::system()));
    let sink = WiredSink::new(Arc::clone(&missing) as Arc<dyn Sink>);
    // The whole time is read again each time: what was there an hour ago says nothing about now.
    let checkpoint = Arc::new(MemoryCheckpoint::new());
    let job = job(&settings, source, sink, checkpoint, span, args.range.dry_run);
    let reports = run::run(vec![job], app, None).await?;
    let found = missing.found();
    if !app.quiet && !args.range.dry_run {
        let whole = reports.iter().all(|r| r.error.is_none() && !r.summary.interrupted);
        let words = found.words(whole);
        app.screen.above(|| terminal::say(&words));
    }
    if args.range.summary_json {
        summary::write_json_with(&reports, "missing", found.json())?;
    }
    Ok(summary::code(&reports))
}

fn open(range: &Range) -> Result<(PipelineConfig, Span)> {
    let config = Config::load(&range.one.file.config)?.single(range.one.pipeline.as_ref())?;
    let span = Span { from: range.from, to: range.to };
    let now = Clock::system().now();
    if span.from >= span.to || span.to > now {
        let problem = match span.to > now {
            true => "the time is not over yet",
            false => "the time ends before it begins",
        };
        return Err(Error::new(ErrorKind::Config, problem)
            .with("from", text(span.from))
            .with("to", text(span.to))
            .with_hint("give --from and a later --to, both past; --to itself is left out"));
    }
    Ok((config, span))
}

/// Returns the settings of a stream of its own, so that the live one's progress and dead letters stay
/// as they are.
fn apart(live: &Settings, purpose: &str, span: Span) -> Result<Settings> {
    let compact = |time: DateTime<Utc>| time.format("%Y%m%dT%H%M%S%.fZ").to_string();
    let name = format!("{}.{purpose}.{}-{}", live.stream, compact(span.from), compact(span.to));
    let stream: StreamId = name.parse()?;
    let dead_letters = live
        .dead_letters
        .as_ref()
        .map(|live| live.with_file_name(format!("{stream}.dead-letters.ndjson")));
    Ok(Settings { stream, dead_letters, follow: false, max_events: None, ..live.clone() })
}

fn adapters(
    config: &PipelineConfig,
    stream: &StreamId,
    span: Span,
) -> Result<(Box<dyn Source>, WiredSink)> {
    Ok((wire::source_of(&config.source, span)?, wire::sink_of(config, stream)?))
}

fn job(
    settings: &Settings,
    source: Box<dyn Source>,
    sink: WiredSink,
    checkpoint: Arc<dyn Checkpoint>,
    span: Span,
    dry_run: bool,
) -> Job {
    let options = Options { dry_run, follow: Some(false), total: None };
    Job::with_checkpoint(settings, source, sink, checkpoint, options)
        .keep(move |event| (span.from..span.to).contains(&event.time))
}

/// Notes which events a sink did not have.
struct Missing {
    sink: Arc<dyn Sink>,
    clock: Clock,
    found: Mutex<Found>,
}

/// What was missing.
#[derive(Clone, Debug, Default)]
struct Found {
    events: u64,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    now: Option<DateTime<Utc>>,
}

impl Missing {
    fn new(sink: Arc<dyn Sink>, clock: Clock) -> Self {
        Self { sink, clock, found: Mutex::default() }
    }

    fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, events: &[AuditEvent], written: &Written) {
        let mut other: Vec<_> = written.duplicates.clone();
        other.extend(written.failures.iter().map(|failure| failure.index));
        other.sort_unstable();
        let new = events.iter().enumerate().filter(|(n, _)| other.binary_search(n).is_err());
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, event) in new {
            found.events += 1;
            found.first = Some(found.first.map_or(event.time, |first| first.min(event.time)));
            found.last = found.last.max(Some(event.time));
        }
        found.now = Some(self.clock.now());
    }
}

impl Found {
    /// `whole`: the time was read to its end.
    fn words(&self, whole: bool) -> String {
        let so_far = if whole { "" } else { " in what was read of it" };
        let (Some(first), Some(last), Some(now)) = (self.first, self.last, self.now) else {
            return format!("nothing was missing{so_far}");
        };
        let late = (now - first).to_std().unwrap_or_default();
        format!(
            "{} missing{so_far}, delivered now\n  of               {}\n  up to            {}\n  late by up to    {}",
            terminal::count(self.events),
            text(first),
            text(last),
            seconds(late)
        )
    }

    fn json(&self) -> Value {
        let late = self.now.zip(self.first).map(|(now, first)| (now - first).num_milliseconds());
        json!({"events": self.events, "first": self.first, "last": self.last, "late_ms": late})
    }
}

#[async_trait]
impl Sink for Missing {
    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let written = self.sink.write(events).await?;
        self.note(events, &written);
        Ok(written)
    }

    async fn close(&self) -> Result<()> {
        self.sink.close().await
    }

    fn deduplicates(&self) -> bool {
        self.sink.deduplicates()
    }
}

/// Reads a day (its first instant, UTC) or a time of RFC 3339.
///
/// # Errors
/// What to write instead.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    let day = text.parse::<NaiveDate>().ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    day.or_else(|| text.parse().ok())
        .ok_or_else(|| "write a day (2026-01-31) or a time (2026-01-31T12:00:00Z)".to_owned())
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
