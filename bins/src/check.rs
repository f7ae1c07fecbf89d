//! `audit check`: would a run work? Writes nothing.

use audit_core::{Error, ErrorKind, FileCheckpoint, FileDeadLetters, Result, durable};

use crate::cli::Select;
use crate::config::{Config, PipelineConfig};
use crate::{checkpoint, exit, terminal, wire};

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
        let name = config.stream.as_str();
        for (thing, result) in [
            ("source", source(config).await),
            ("sink", sink(config).await),
            ("checkpoint", checkpoint_place(config)),
            ("dead letters", dead_letters(config)),
        ] {
            let result = result.map_err(|e| checkpoint::advise_run(e, path, &config.stream));
            if let (Err(e), exit::OK) = (&result, code) {
                code = exit::of_error(e);
            }
            let note = match (&config.dead_letters, thing) {
                (None, "dead letters") => {
                    "switched off: a record that cannot be delivered stops it"
                }
                _ => "",
            };
            line(&format!("{name}: {thing}"), note, result)?;
        }
    }
    Ok(code)
}

async fn source(config: &PipelineConfig) -> Result<()> {
    wire::source(&config.source)?.check().await
}

async fn sink(config: &PipelineConfig) -> Result<()> {
    wire::sink(&config.sink)?.sink.check().await
}

fn checkpoint_place(config: &PipelineConfig) -> Result<()> {
    let files = FileCheckpoint::open(&config.checkpoint);
    let path = files.path(&config.stream);
    durable::check_writable(&path).map_err(|e| e.while_doing("check the checkpoint"))?;
    files.peek(&config.stream).map(drop)
}

fn dead_letters(config: &PipelineConfig) -> Result<()> {
    match &config.dead_letters {
        Some(path) => FileDeadLetters::open(path).check(),
        None => Ok(()),
    }
}

fn line(thing: &str, note: &str, result: Result<(), Error>) -> Result<()> {
    let verdict = if result.is_ok() { "ok" } else { "failed" };
    let mut text = format!("{verdict:<7} {thing}");
    if !note.is_empty() {
        text += &format!(" ({})", terminal::neutral(note));
    }
    if let Err(error) = &result {
        debug_assert_ne!(exit::of_kind(error.kind()), exit::OK);
        text += &format!(": {}", terminal::describe(error));
        if let Some(hint) = error.hint() {
            text += &format!("\n        help: {}", terminal::neutral(hint));
        }
        if error.kind() == ErrorKind::Unexpected {
            text.push_str("\n        help: this is most likely a defect; please report it");
        }
    }
    terminal::out(|out| writeln!(out, "{text}"))
}
