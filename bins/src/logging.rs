//! Logs for people and machines: to stderr, warnings of libraries, notes of this program.

use std::io::{self, Write};

use audit_core::{Error, ErrorKind, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::progress::Screen;
use crate::terminal;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether `-q` was given.
    pub quiet: bool,
}

impl Verbosity {
    fn targets(self) -> Targets {
        let (libraries, own) = match (self.quiet, self.verbose) {
            (true, _) => (LevelFilter::ERROR, LevelFilter::ERROR),
            (false, 0) => (LevelFilter::WARN, LevelFilter::INFO),
            (false, 1) => (LevelFilter::INFO, LevelFilter::DEBUG),
            (false, 2) => (LevelFilter::DEBUG, LevelFilter::DEBUG),
            (false, _) => (LevelFilter::TRACE, LevelFilter::TRACE),
        };
        // Statements can hold what they are about, so they are never logged.
        let statements = libraries.min(LevelFilter::WARN);
        Targets::new()
            .with_default(libraries)
            .with_target("audit_bins", own)
            .with_target("sqlx", statements)
    }
}

/// Installs the logger of the process. Lines go above the progress bars of `screen`.
///
/// # Errors
/// [`ErrorKind::Unexpected`] when there is one already.
pub fn init(verbosity: Verbosity, format: LogFormat, screen: &Screen) -> Result<()> {
    let writer = Stderr { screen: screen.clone(), escape: format == LogFormat::Text };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let registry = tracing_subscriber::registry().with(verbosity.targets());
    let installed = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    installed.map_err(|e| Error::new(ErrorKind::Unexpected, "cannot install the logger").because(e))
}

/// Writes log lines above the progress bars, without what a terminal would obey.
struct Stderr {
    screen: Screen,
    escape: bool,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let safe = match self.escape {
            true => terminal::neutral_block(&text),
            false => terminal::neutral_json(&text),
        };
        self.screen.above(|| io::stderr().lock().write_all(safe.as_bytes()))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
