//! `audit check`: would a run work? Writes nothing.

use audit_core::{Error, FileCheckpoint, FileDeadLetters, Result, Source, durable};

use crate::cli::Select;
use crate::config::{Config, Settings};
use crate::wire::{self, WiredSink};
use crate::{checkpoint, exit, terminal};

/// Runs `audit check`: one line a thing on stdout, and the exit code of the first that failed.
///
/// # Errors
/// When the configuration cannot be read at all, or stdout cannot be written.
pub async fn main(args: &Select) -> Result<u8> {
    let path = &args.file.config;
    let pipelines = Config::load(path)?.select(&args.pipelines)?;
    let mut code = exit::OK;
    line("configuration", &path.display().to_string(), Ok(()))?;
    for config in &pipelines {
        let settings = &config.settings;
        let advise = |e| checkpoint::advise_run(e, path, &settings.stream);
        let (source, sink) =
            (wire::source(&config.source), wire::sink_of(config, &settings.stream));
        let found = pipeline(settings, source, sink, advise).await?;
        code = if code == exit::OK { found } else { code };
    }
    Ok(code)
}

/// Checks one pipeline, one line a thing on stdout; returns the exit code of the first that failed.
///
/// # Errors
/// When stdout cannot be written.
pub async fn pipeline(
    settings: &Settings,
    source: Result<Box<dyn Source>>,
    sink: Result<WiredSink>,
    advise: impl Fn(Error) -> Error,
) -> Result<u8> {
    let mut code = exit::OK;
    let source = async {
        match source {
            Ok(mut source) => source.check().await,
            Err(error) => Err(error),
        }
    };
    let (sink, keeper) = match sink {
        Ok(wired) => (wired.sink.check().await, wired.checkpoint),
        Err(error) => (Err(error), None),
    };
    let checkpoint = match keeper {
        // Where the sink cannot be reached, neither can what it keeps.
        Some(keeper) if sink.is_ok() => keeper.peek.load(&settings.stream).await.map(drop),
        Some(_) => Ok(()),
        None => checkpoint_place(settings),
    };
    for (thing, result) in [
        ("source", source.await),
        ("sink", sink),
        ("checkpoint", checkpoint),
        ("dead letters", dead_letters(settings)),
    ] {
        let result = result.map_err(&advise);
        if let (Err(e), exit::OK) = (&result, code) {
            code = exit::of_error(e);
        }
        let note = match (&settings.dead_letters, thing) {
            (None, "dead letters") => "switched off: a record that cannot be delivered stops it",
            _ => "",
        };
        line(&format!("{}: {thing}", settings.stream), note, result)?;
    }
    Ok(code)
}

fn checkpoint_place(settings: &Settings) -> Result<()> {
    let files = FileCheckpoint::open(&settings.checkpoint);
    let path = files.path(&settings.stream);
    durable::check_writable(&path).map_err(|e| e.while_doing("check the checkpoint"))?;
    files.peek(&settings.stream).map(drop)
}

fn dead_letters(settings: &Settings) -> Result<()> {
    match &settings.dead_letters {
        Some(path) => FileDeadLetters::open(path).check(),
        None => Ok(()),
    }
}

/// Writes what was found of one thing to stdout.
pub(crate) fn line(thing: &str, note: &str, result: Result<(), Error>) -> Result<()> {
    let verdict = if result.is_ok() { "ok" } else { "failed" };
    let mut text = format!("{verdict:<7} {thing}");
    if !note.is_empty() {
        text += &format!(" ({})", terminal::neutral(note));
    }
    if let Err(error) = &result {
        debug_assert_ne!(exit::of_kind(error.kind()), exit::OK);
        text += &format!(": {}", terminal::describe(error));
        if let Some(help) = terminal::help(error) {
            text += &format!("\n        help: {}", terminal::neutral(help));
        }
    }
    terminal::out(|out| writeln!(out, "{text}"))
}
