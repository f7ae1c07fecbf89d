//! `audit checkpoint`, and the view of a checkpoint that a dry run has.

use std::fs;

use async_trait::async_trait;
use audit_core::{
    Checkpoint, Cursor, Error, ErrorKind, FileCheckpoint, Result, Revision, Saved, StreamId,
};
use chrono::SecondsFormat;
use serde_json::{Value, json};
use tracing::info;

use crate::cli::{self, One, SetCheckpoint};
use crate::config::Config;
use crate::wire::{self, Keeper};
use crate::{exit, terminal};

/// Runs `audit checkpoint`.
///
/// # Errors
/// Those of the configuration and of the checkpoint.
pub async fn main(command: &cli::Checkpoint) -> Result<u8> {
    match command {
        cli::Checkpoint::Show { one, json } => show(one, *json).await,
        cli::Checkpoint::Set(set) => self::set(set).await,
    }
}

/// Where the progress of a pipeline is.
enum Place {
    Files(FileCheckpoint),
    Elsewhere(Keeper),
}

fn open(one: &One) -> Result<(StreamId, Place)> {
    let config = Config::load(&one.file.config)?.single(one.pipeline.as_ref())?;
    let stream = config.settings.stream.clone();
    let place = match wire::sink_of(&config, &stream)?.checkpoint {
        Some(keeper) => Place::Elsewhere(keeper),
        None => Place::Files(FileCheckpoint::open(config.settings.checkpoint)),
    };
    Ok((stream, place))
}

async fn show(one: &One, json: bool) -> Result<u8> {
    let (stream, place) = open(one)?;
    let (text, value) = match &place {
        Place::Files(files) => match files.peek(&stream).map_err(|e| advise(e, one))? {
            Some(saved) => {
                let path = files.path(&stream).display().to_string();
                let text = format!(
                    "{}\n  file      {}",
                    describe(&stream, &saved)?,
                    terminal::neutral(&path)
                );
                let value = json!({
                    "pipeline": stream.as_str(),
                    "revision": saved.revision.0,
                    "saved_at": saved.saved_at,
                    "reason": saved.reason,
                    "cursor": saved.cursor,
                });
                (text, value)
            }
            None => nothing(&stream),
        },
        Place::Elsewhere(keeper) => match keeper.peek.load(&stream).await? {
            Some((cursor, revision)) => {
                let shown = to_json(&cursor)?;
                let text = format!(
                    "{stream}\n  revision  {}\n  cursor    {}",
                    revision.0,
                    terminal::neutral_json(&shown)
                );
                let value = json!({
                    "pipeline": stream.as_str(),
                    "revision": revision.0,
                    "cursor": cursor,
                });
                (text, value)
            }
            None => nothing(&stream),
        },
    };
    match json {
        true => {
            let value = value.to_string();
            terminal::out(|out| writeln!(out, "{}", terminal::neutral_json(&value)))?;
        }
        false => terminal::out(|out| writeln!(out, "{text}"))?,
    }
    Ok(exit::OK)
}

fn nothing(stream: &StreamId) -> (String, Value) {
    (format!("{stream}: nothing saved yet; a run starts at the very beginning"), Value::Null)
}

fn describe(stream: &StreamId, saved: &Saved) -> Result<String> {
    let at = saved.saved_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let cursor = to_json(&saved.cursor)?;
    let mut text = format!(
        "{stream}\n  revision  {}\n  saved at  {at}\n  cursor    {}",
        saved.revision.0,
        terminal::neutral_json(&cursor)
    );
    if let Some(reason) = &saved.reason {
        text += &format!("\n  set by hand: {}", terminal::neutral(reason));
    }
    Ok(text)
}

async fn set(args: &SetCheckpoint) -> Result<u8> {
    let (stream, place) = open(&args.one)?;
    let cursor = match (&args.cursor, &args.file) {
        (Some(text), _) => parse(text)?,
        (None, Some(file)) => {
            let text = fs::read_to_string(file).map_err(|e| {
                Error::new(ErrorKind::Config, "cannot read the cursor")
                    .with("path", file.display())
                    .because(e)
            })?;
            parse(&text)?
        }
        (None, None) => previous(&stream, &place)?,
    };
    let revision = match &place {
        Place::Files(files) => files.set(&stream, &cursor, &args.reason)?,
        Place::Elsewhere(keeper) => {
            // As the runner itself would: refused while another one holds the stream.
            let found = keeper.own.load(&stream).await?;
            let after = found.map(|(_, revision)| revision);
            let revision = keeper.own.save(&stream, &cursor, after).await?;
            keeper.own.release(&stream).await?;
            info!(%stream, reason = args.reason, "the checkpoint was set by hand");
            revision
        }
    };
    terminal::say(&format!("{stream}: set, revision {}", revision.0));
    Ok(exit::OK)
}

fn previous(stream: &StreamId, place: &Place) -> Result<Cursor> {
    let saved = match place {
        Place::Files(files) => files.peek_previous(stream)?,
        Place::Elsewhere(_) => None,
    };
    saved.map(|saved| saved.cursor).ok_or_else(|| {
        Error::new(ErrorKind::Config, "there is no earlier save")
            .with("pipeline", stream)
            .with_hint("give the position with --cursor or --file")
    })
}

fn parse(text: &str) -> Result<Cursor> {
    serde_json::from_str(text).map_err(|e| {
        Error::new(ErrorKind::Config, "not a cursor")
            .because(e)
            .with_hint("give the `cursor` of `audit checkpoint show --json`, whole")
    })
}

fn to_json(cursor: &Cursor) -> Result<String> {
    serde_json::to_string(cursor).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the cursor as JSON").because(e)
    })
}

/// Adds the command that mends a damaged checkpoint to an error about one.
pub(crate) fn advise(error: Error, one: &One) -> Error {
    let command = mending(&one.file.config, one.pipeline.as_ref());
    with_command(error, &command)
}

/// As [`advise`], for a pipeline of a configuration file.
pub(crate) fn advise_run(error: Error, config: &std::path::Path, stream: &StreamId) -> Error {
    with_command(error, &mending(config, Some(stream)))
}

fn with_command(error: Error, command: &str) -> Error {
    let about_checkpoint = error.operation() == Some("load the checkpoint");
    match error.hint() {
        Some(hint) if about_checkpoint && error.kind() == ErrorKind::InvalidData => {
            let hint = format!("{hint}; for the save before it: {command}");
            error.with_hint(hint)
        }
        _ => error,
    }
}

fn mending(config: &std::path::Path, stream: Option<&StreamId>) -> String {
    let pipeline = stream.map(|s| format!(" --pipeline {s}")).unwrap_or_default();
    let config = config.display();
    format!("audit checkpoint set --config {config}{pipeline} --previous --reason '…'")
}

/// A checkpoint that can be read and not saved, and takes no lock: for a dry run.
#[derive(Debug)]
pub struct ReadOnly(pub FileCheckpoint);

#[async_trait]
impl Checkpoint for ReadOnly {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        Ok(self.0.peek(stream)?.map(|saved| (saved.cursor, saved.revision)))
    }

    async fn save(&self, _: &StreamId, _: &Cursor, _: Option<Revision>) -> Result<Revision> {
        Err(Error::new(ErrorKind::Unexpected, "a dry run has to save nothing"))
    }
}
