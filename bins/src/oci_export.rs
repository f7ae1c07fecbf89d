//! `oci-export`: audit events of Oracle Cloud Infrastructure into one file.

mod cli;
mod output;
mod table;

use std::sync::Arc;

use audit_core::{
    Checkpoint, Clock, Error, ErrorKind, FileCheckpoint, Limit, MemoryCheckpoint, Result, StreamId,
    durable,
};
use audit_sink_file::FileSink;
use audit_source_oci::{Counts, Keys, OciConfig, OciSource};
use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

pub use self::cli::{Cli, Command, Export};
pub use self::output::Format;
use self::output::Output;
use crate::app::App;
use crate::config::Settings;
use crate::run::{self, Job, Options};
use crate::wire::WiredSink;
use crate::{check, exit, pages, summary, terminal};

const NAME: &str = "oci-export";

/// Runs the program.
///
/// # Errors
/// Those that keep it from starting or from publishing; how the export ends is in the exit code.
pub async fn main(cli: &Cli, app: &App) -> Result<u8> {
    match &cli.command {
        Some(Command::Completions { shell }) => pages::completions::<Cli>(*shell, NAME),
        Some(Command::Man { dir }) => pages::manual::<Cli>(dir.as_deref()),
        None => export(&cli.export, app).await,
    }
}

async fn export(args: &Export, app: &App) -> Result<u8> {
    let path = args.outputfile.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::Config, "no file is given")
            .with("option", "--outputfile")
            .with_hint("give a path, or - for stdout")
    })?;
    let output = Output::new(path, args.format)?;
    // An export without an end goes on to the end that its first run had.
    let begun = output.begun().filter(|_| !args.restart);
    let begun = begun.unwrap_or_else(|| Clock::system().now());
    let mut config = args.config(begun)?;
    let wanted = describe(args, &config);
    if let Some(end) = settle(&mut config, begun)?
        && args.has_end()
        && !app.quiet
    {
        terminal::say(&format!("read up to {}: not all that came later shows yet", text(end)));
    }
    let settings = settings(&output)?;
    let source = OciSource::new(config.clone())?;
    let report = source.report();
    let sink = || Ok(WiredSink::new(Arc::new(FileSink::new(output.sink())?)));
    if args.check {
        return check::pipeline(&settings, Ok(Box::new(source)), sink(), |e| e).await;
    }
    if args.summary_json && output.work().is_none() {
        return Err(Error::new(ErrorKind::Config, "--summary-json needs stdout for itself")
            .with_hint("the events go there: leave one of the two out"));
    }
    let resumed = output.prepare(wanted, begun, args.restart)?;
    if resumed && !app.quiet {
        terminal::say("going on with the export that was cut short (--restart begins anew)");
    }
    let checkpoint: Arc<dyn Checkpoint> = match output.work() {
        Some(_) => Arc::new(FileCheckpoint::open(&settings.checkpoint)),
        None => Arc::new(MemoryCheckpoint::new()),
    };
    let options = Options { dry_run: false, follow: Some(false), total: None };
    let job = Job::with_checkpoint(&settings, Box::new(source), sink()?, checkpoint, options);
    let reports = run::run(vec![job], app, None).await?;
    let whole = reports.iter().all(|r| r.error.is_none() && !r.summary.interrupted);
    let counts = report.counts();
    if whole {
        keep_manifest(&output, &config, &counts)?;
        output.publish()?;
    } else if output.work().is_some() {
        terminal::say("not published; the same command goes on where this one ended");
    }
    if args.summary_json {
        summary::write_json(&reports)?;
    }
    for gap in &counts.gaps {
        terminal::say(&format!("missing: {}", terminal::neutral(&gap.to_string())));
    }
    let code = summary::code(&reports);
    Ok(if code == exit::OK && !counts.gaps.is_empty() { exit::GAPS } else { code })
}

/// Ends the range with what has settled by now: events take a while until they show, and nobody looks
/// again. Returns where that is, if the range was to end later.
fn settle(config: &mut OciConfig, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let minute = TimeDelta::minutes(1);
    let settled = TimeDelta::from_std(config.settle)
        .ok()
        .and_then(|time| now.checked_sub_signed(time)?.duration_trunc(minute).ok());
    let Some(settled) = settled.filter(|settled| config.end.is_none_or(|end| end > *settled))
    else {
        return Ok(None);
    };
    if config.start.is_some_and(|start| start >= settled) {
        return Err(Error::new(ErrorKind::Config, "nothing of the range has settled yet")
            .with("option", "--startdate")
            .with("settled_to", text(settled))
            .with_hint("events may take 10 minutes until they show; try again then"));
    }
    config.end = Some(settled);
    Ok(Some(settled))
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn settings(output: &Output) -> Result<Settings> {
    let stream: StreamId = NAME.parse()?;
    let work = output.work().unwrap_or(std::path::Path::new("."));
    let mut settings = Settings::new(stream, work);
    settings.dead_letters = output.beside(".dead-letters.ndjson");
    // Two batches and their text are a good part of the memory.
    settings.limit = Limit::default().bytes(1 << 20);
    Ok(settings)
}

/// Describes what an export is of: one that was cut short may only go on with the same.
fn describe(args: &Export, config: &OciConfig) -> Value {
    json!({
        "start": config.start,
        // Without an end it is the time of the first run.
        "end": args.has_end().then_some(config.end),
        "profile": config.profile,
        "compartments": config.compartments,
        "all_compartments": config.all_compartments,
        "regions": config.regions,
        "all_regions": config.all_regions,
        "events": config.events,
        "preset": config.preset.is_some(),
        "redact": config.redact,
        "snake": config.keys == Keys::Snake,
    })
}

/// Writes down beside the export what is missing in it.
fn keep_manifest(output: &Output, config: &OciConfig, counts: &Counts) -> Result<()> {
    let Some(path) = output.beside(".manifest.json") else { return Ok(()) };
    if counts.gaps.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(durable::io_error(&e, &path)),
            _ => Ok(()),
        };
    }
    let manifest = json!({ "start": config.start, "end": config.end, "gaps": counts.gaps });
    durable::replace(&path, format!("{manifest:#}\n").as_bytes())
}
