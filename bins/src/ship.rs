//! What the programs that ship one stream have in common: their options, their commands, and the
//! way from both to a pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_core::{
    Checkpoint, Error, ErrorKind, FileDeadLetters, Format, Result, Secret, Source, StreamId,
};
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::app::App;
use crate::config::Settings;
use crate::run::{self, Job, Options};
use crate::wire::WiredSink;
use crate::{app, check, dead_letters, pages, summary};

/// A program that ships from one source to one sink.
pub trait Program: CommandFactory + app::Options {
    /// Its name, which is also that of its stream.
    const NAME: &'static str;

    /// Returns the options that all such programs have.
    fn ship(&self) -> &Ship;

    /// Makes the source that the options describe. Touches nothing outside.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names the option and its variable.
    fn source(&self) -> Result<Box<dyn Source>>;

    /// Makes the sink that the options describe, for a stream. Touches nothing outside.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    fn sink(&self, stream: &StreamId) -> Result<WiredSink>;

    /// Changes what the options that all programs have cannot say.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    fn adjust(&self, settings: Settings) -> Result<Settings> {
        Ok(settings)
    }

    /// Puts something around the checkpoint that takes part in each save.
    fn watch(&self, checkpoint: Arc<dyn Checkpoint>) -> Arc<dyn Checkpoint> {
        checkpoint
    }

    /// Is told that a run has come to its end.
    ///
    /// # Errors
    /// Those of what it does then.
    fn finished(&self, _: &Settings) -> Result<()> {
        Ok(())
    }
}

/// The options that all such programs have.
#[derive(Args, Debug)]
#[command(next_help_heading = "Run")]
pub struct Ship {
    /// Go on when there is nothing new, until stopped
    #[arg(long, global = true)]
    pub follow: bool,
    /// Read and map, but write nothing: not to the sink, the state or the source
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Write what was done to stdout, as one line of JSON
    #[arg(long, global = true)]
    pub summary_json: bool,
    /// The directory of checkpoint and dead letters; keep it, and on a disk that stays
    #[arg(
        long,
        global = true,
        env = "AUDIT_STATE_DIR",
        value_name = "DIR",
        default_value = "state"
    )]
    pub state_dir: PathBuf,
    /// The stream's name in the state, logs and summaries; two runs with the same name and state
    /// are one stream [default: the program's name]
    #[arg(long, global = true, env = "AUDIT_STREAM", value_name = "NAME")]
    pub stream: Option<StreamId>,
    /// The file of the records that cannot be delivered, or `off` to stop at the first
    /// [default: STREAM.dead-letters.ndjson in the state]
    #[arg(long, global = true, env = "AUDIT_DEAD_LETTERS", value_name = "FILE")]
    pub dead_letters: Option<PathBuf>,
    /// How it can be watched.
    #[cfg(feature = "metrics")]
    #[command(flatten)]
    pub serve: crate::metrics::Serve,
}

/// The commands that all such programs have.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find out whether a run could work, and write nothing
    Check,
    /// See and replay the records that could not be delivered
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Write a completion script for a shell to stdout
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to stdout, or a page a command to a directory
    Man {
        /// Write one page a command to this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List what waits, oldest first
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one letter whole
    Show {
        /// The id, as listed
        id: String,
        /// Only the record, byte for byte (escaped when stdout is a terminal)
        #[arg(long)]
        body: bool,
    },
    /// Deliver what waits, once its cause is gone; what fails again stays
    Replay,
}

/// Ships what is new.
///
/// # Errors
/// Those that keep it from starting. How it ends is in the exit code.
pub async fn send<P: Program>(program: &P, app: &App) -> Result<u8> {
    let Ship { dry_run, summary_json, .. } = *program.ship();
    let settings = settings(program)?;
    let (source, sink) = (program.source()?, program.sink(&settings.stream)?);
    if summary_json && sink.stdout && !dry_run {
        return Err(Error::new(ErrorKind::Config, "--summary-json needs stdout for itself")
            .with_hint("the data go there too: leave one of the two out"));
    }
    let options = Options { dry_run, follow: None, total: None };
    let checkpoint = run::checkpoint(&settings, &sink, dry_run);
    let checkpoint = if dry_run { checkpoint } else { program.watch(checkpoint) };
    let job = Job::with_checkpoint(&settings, source, sink, checkpoint, options);
    let reports = run::run(vec![job], app, None).await?;
    if reports.iter().all(|r| r.error.is_none() && !r.summary.interrupted) && !dry_run {
        program.finished(&settings)?;
    }
    if summary_json {
        summary::write_json(&reports)?;
    }
    Ok(summary::code(&reports))
}

/// Runs one of the common commands.
///
/// # Errors
/// Those of the configuration, the state and stdout.
pub async fn command<P: Program>(program: &P, command: &Command, app: &App) -> Result<u8> {
    match command {
        Command::Check => {
            let settings = settings(program)?;
            let (source, sink) = (program.source(), program.sink(&settings.stream));
            check::pipeline(&settings, source, sink, |e| e).await
        }
        Command::DeadLetters(DeadLetters::List { json }) => {
            dead_letters::list(&letters(program)?, *json)
        }
        Command::DeadLetters(DeadLetters::Show { id, body }) => {
            dead_letters::show(&letters(program)?, id, *body)
        }
        Command::DeadLetters(DeadLetters::Replay) => {
            let sink = |stream: &StreamId| program.sink(stream);
            dead_letters::redeliver(&settings(program)?, sink, app, None).await
        }
        Command::Completions { shell } => pages::completions::<P>(*shell, P::NAME),
        Command::Man { dir } => pages::manual::<P>(dir.as_deref()),
    }
}

fn letters<P: Program>(program: &P) -> Result<FileDeadLetters> {
    settings(program)?.dead_letter_file().map(FileDeadLetters::open)
}

fn settings<P: Program>(program: &P) -> Result<Settings> {
    let ship = program.ship();
    let stream = match &ship.stream {
        Some(stream) => stream.clone(),
        None => P::NAME.parse()?,
    };
    let mut settings = Settings::new(stream, &ship.state_dir);
    settings.follow = ship.follow;
    match &ship.dead_letters {
        Some(path) if path == Path::new("off") => settings.dead_letters = None,
        Some(path) => settings.dead_letters = Some(path.clone()),
        None => {}
    }
    program.adjust(settings)
}

/// Returns a credential: the content of the file if one is named, else the value of the variable.
///
/// There is no option for the credential itself, since every user of a machine can see the arguments
/// of its programs.
///
/// # Errors
/// [`ErrorKind::Config`] when the file cannot be read.
pub fn secret(variable: &str, file: Option<&Path>) -> Result<Option<Secret>> {
    let Some(file) = file else {
        return Ok(std::env::var(variable).ok().filter(|v| !v.is_empty()).map(Secret::new));
    };
    let text = std::fs::read_to_string(file).map_err(|e| {
        Error::new(ErrorKind::Config, "cannot read the credential")
            .with("path", file.display())
            .because(e)
    })?;
    // Editors end the line, credentials do not.
    Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
}

/// Returns the text of an option, or nothing where it is empty: a variable that is set to nothing
/// is not set.
pub fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// Reads `true`, `on`, `yes`, `1` and their opposites, in any case.
///
/// # Errors
/// What to write instead.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "ok" | "yes" | "y" | "t" | "1" => Ok(true),
        "false" | "off" | "no" | "n" | "f" | "0" | "" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// Reads the name of a format.
///
/// # Errors
/// What to write instead.
pub fn parse_format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(", ");
    name.parse().map_err(|_| format!("use one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_of_a_truth_is_read() {
        for text in ["true", "True", " on", "1", "YES", "y"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["false", "FALSE", "0", "no", "off", ""] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        assert!(parse_bool("maybe").is_err());
    }

    #[test]
    fn a_credential_in_a_file_ends_before_the_line_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "pa ss \r\n").unwrap();
        let secret = secret("AUDIT_TEST_NOT_SET", Some(&file)).unwrap().unwrap();
        assert_eq!(secret.expose(), "pa ss ");
        let error = super::secret("X", Some(Path::new("/no/such"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
