//! `audit dead-letters`: what could not be delivered, and trying again.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use audit_core::{DeadLetter, Error, ErrorKind, FileDeadLetters, Record, Result, StreamId};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::app::App;
use crate::cli::{self, One, Store};
use crate::config::{Config, Settings};
use crate::run::{self, Job, Options};
use crate::wire::{self, WiredSink};
use crate::{exit, summary, terminal};

/// Runs `audit dead-letters`.
///
/// # Errors
/// Those of the configuration, the store and stdout; how a replay ends is in the exit code.
pub async fn main(command: &cli::DeadLetters, app: &App) -> Result<u8> {
    match command {
        cli::DeadLetters::List { store, json } => list(&open(store)?, *json),
        cli::DeadLetters::Show { store, id, body } => show(&open(store)?, id, *body),
        cli::DeadLetters::Replay(one) => replay(one, app).await,
    }
}

fn open(store: &Store) -> Result<FileDeadLetters> {
    match (&store.path, &store.config) {
        (Some(path), _) if path.exists() => Ok(FileDeadLetters::open(path)),
        (Some(path), _) => Err(Error::new(ErrorKind::Config, "no such dead-letter file")
            .with("path", path.display())
            .with_hint("correct the path; a pipeline makes the file with its first letter")),
        (None, Some(config)) => {
            let settings = Config::load(config)?.single(store.pipeline.as_ref())?.settings;
            settings.dead_letter_file().map(FileDeadLetters::open)
        }
        (None, None) => Err(Error::new(ErrorKind::Config, "which dead letters?")
            .with_hint("give --config or --path")),
    }
}

/// Lists what waits in a store.
///
/// # Errors
/// Those of the store and of stdout.
pub fn list(store: &FileDeadLetters, as_json: bool) -> Result<u8> {
    let mut failed = None;
    let mut number: u64 = 0;
    terminal::out(|out| {
        for letter in store.letters().map_err(|e| stash(&mut failed, e))? {
            let letter = letter.map_err(|e| stash(&mut failed, e))?;
            number += 1;
            if as_json {
                let text = describe(&letter).to_string();
                writeln!(out, "{}", terminal::neutral_json(&text))?;
            } else {
                if number == 1 {
                    writeln!(out, "{:<20}  {:<32}  {:>5}  REASON", "GIVEN UP", "ID", "TRIES")?;
                }
                let id = terminal::neutral(letter.id().as_str());
                writeln!(
                    out,
                    "{:<20}  {:<32}  {:>5}  {}",
                    letter.last_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                    id,
                    letter.attempts,
                    terminal::shorten(&terminal::neutral(&letter.reason), 120),
                )?;
            }
        }
        Ok(())
    })
    .map_err(|e| failed.take().unwrap_or(e))?;
    if !as_json {
        let words = match number {
            0 => "no dead letters".to_owned(),
            1 => "1 dead letter".to_owned(),
            n => format!("{} dead letters", terminal::count(n)),
        };
        terminal::say(&words);
    }
    Ok(exit::OK)
}

/// Keeps the store's own error for the caller, past a function that knows only those of I/O.
fn stash(place: &mut Option<Error>, error: Error) -> io::Error {
    *place = Some(error);
    io::Error::other("see the error kept")
}

fn describe(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id().as_str(),
        "kind": letter.kind.as_str(),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_at": letter.first_at,
        "last_at": letter.last_at,
        "event": matches!(letter.record, Record::Event(_)),
        "bytes": letter.body().len(),
    })
}

/// Shows one letter whole, or only its record.
///
/// # Errors
/// [`ErrorKind::Config`] when there is no such letter; those of the store and of stdout.
pub fn show(store: &FileDeadLetters, id: &str, only_body: bool) -> Result<u8> {
    let mut found = false;
    // An upstream may have given two records one id: both are shown.
    for letter in store.letters()? {
        let letter = letter?;
        if letter.id().as_str() == id {
            terminal::out(|out| write_letter(out, &letter, only_body))?;
            found = true;
        }
    }
    if found {
        return Ok(exit::OK);
    }
    Err(Error::new(ErrorKind::Config, "no such dead letter")
        .with("id", id.escape_debug())
        .with("path", store.path().display())
        .with_hint("`audit dead-letters list` shows the ids"))
}

fn write_letter(out: &mut dyn Write, letter: &DeadLetter, only_body: bool) -> io::Result<()> {
    if only_body && !io::stdout().is_terminal() {
        return out.write_all(letter.body());
    }
    if !only_body {
        let time =
            |t: chrono::DateTime<chrono::Utc>| t.to_rfc3339_opts(SecondsFormat::Millis, true);
        writeln!(out, "id        {}", terminal::neutral(letter.id().as_str()))?;
        writeln!(out, "kind      {}", letter.kind)?;
        writeln!(out, "reason    {}", terminal::neutral(&letter.reason))?;
        writeln!(out, "tries     {}", letter.attempts)?;
        writeln!(out, "first at  {}", time(letter.first_at))?;
        writeln!(out, "given up  {}", time(letter.last_at))?;
        writeln!(out, "record    {} bytes", letter.body().len())?;
        writeln!(out)?;
    }
    for part in letter.body().utf8_chunks() {
        out.write_all(terminal::neutral_block(part.valid()).as_bytes())?;
        for byte in part.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    writeln!(out)
}

async fn replay(one: &One, app: &App) -> Result<u8> {
    let path = &one.file.config;
    let config = Config::load(path)?.single(one.pipeline.as_ref())?;
    redeliver(&config.settings, |stream| wire::sink(&config.sink, stream), app, Some(path)).await
}

/// Delivers what waits in the dead letters of a pipeline; what fails again stays.
///
/// # Errors
/// Those of the store; how the delivery ends is in the exit code.
pub async fn redeliver(
    settings: &Settings,
    sink: impl FnOnce(&StreamId) -> Result<WiredSink>,
    app: &App,
    config: Option<&Path>,
) -> Result<u8> {
    let store = FileDeadLetters::open(settings.dead_letter_file()?);
    let options = Options {
        dry_run: false,
        follow: Some(false),
        total: Some(store.letters()?.count() as u64),
    };
    let stream: StreamId = format!("{}.replay", settings.stream).parse()?;
    let settings = Settings { stream, max_events: None, ..settings.clone() };
    let sink = sink(&settings.stream)?;
    let job = Job::new(&settings, Box::new(store.replay()?), sink, options);
    let reports = run::run(vec![job], app, config).await?;
    Ok(summary::code(&reports))
}
