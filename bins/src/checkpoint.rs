//! `audit checkpoint`, and the view of a checkpoint that a dry run has.

use std::fs;

use async_trait::async_trait;
use audit_core::{
    Checkpoint, Cursor, Error, ErrorKind, FileCheckpoint, Result, Revision, Saved, StreamId,
};
use chrono::SecondsFormat;
use serde_json::json;

use crate::cli::{self, One, SetCheckpoint};
use crate::config::Config;
use crate::{exit, terminal};

/// Runs `audit checkpoint`.
///
/// # Errors
/// Those of the configuration and of [`FileCheckpoint`].
pub fn main(command: &cli::Checkpoint) -> Result<u8> {
    match command {
        cli::Checkpoint::Show { one, json } => show(one, *json),
        cli::Checkpoint::Set(set) => self::set(set),
    }
}

fn open(one: &One) -> Result<(StreamId, FileCheckpoint)> {
    let settings = Config::load(&one.file.config)?.single(one.pipeline.as_ref())?.settings;
    Ok((settings.stream, FileCheckpoint::open(settings.checkpoint)))
}

fn show(one: &One, json: bool) -> Result<u8> {
    let (stream, checkpoint) = open(one)?;
    let saved = checkpoint.peek(&stream).map_err(|e| advise(e, one))?;
    let path = checkpoint.path(&stream);
    match saved {
        Some(saved) if json => {
            let value = json!({
                "pipeline": stream.as_str(),
                "revision": saved.revision.0,
                "saved_at": saved.saved_at,
                "reason": saved.reason,
                "cursor": saved.cursor,
            });
            let text = value.to_string();
            terminal::out(|out| writeln!(out, "{}", terminal::neutral_json(&text)))?;
        }
        Some(saved) => {
            let text = describe(&stream, &saved)?;
            let path = path.display().to_string();
            terminal::out(|out| writeln!(out, "{text}\n  file      {}", terminal::neutral(&path)))?;
        }
        None if json => terminal::out(|out| writeln!(out, "null"))?,
        None => terminal::out(|out| {
            writeln!(out, "{stream}: nothing saved yet; a run starts at the very beginning")
        })?,
    }
    Ok(exit::OK)
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

fn set(args: &SetCheckpoint) -> Result<u8> {
    let (stream, checkpoint) = open(&args.one)?;
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
        (None, None) => match checkpoint.peek_previous(&stream)? {
            Some(saved) => saved.cursor,
            None => {
                return Err(Error::new(ErrorKind::Config, "there is no earlier save")
                    .with("pipeline", &stream)
                    .with_hint("give the position with --cursor or --file"));
            }
        },
    };
    let revision = checkpoint.set(&stream, &cursor, &args.reason)?;
    terminal::say(&format!("{stream}: set, revision {}", revision.0));
    Ok(exit::OK)
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
