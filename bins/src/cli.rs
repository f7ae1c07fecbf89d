//! The command line of `audit`.

use std::path::PathBuf;

use audit_core::StreamId;
use chrono::{DateTime, Utc};
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::backfill::parse_instant;
use crate::logging::{LogFormat, Verbosity};
use crate::terminal::Color;
use crate::{app, exit};

/// Ship audit logs without losing or repeating an event.
#[derive(Debug, Parser)]
#[command(
    name = "audit",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n{}", exit::HELP),
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  audit quickstart                              see it work, with nothing installed
  audit check --config audit.toml               find out whether a run could work
  audit run --config audit.toml                 ship what is new, then end
  audit run --config audit.toml --follow        ship for ever
  audit report --config audit.toml              count what a source has, hour by hour
  audit dead-letters list --config audit.toml   see what could not be delivered
";

/// What every command takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Log more: -v what libraries do, -vv details, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Show neither progress nor summary, and log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How log lines on stderr look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

impl Global {
    /// Returns how much is logged.
    pub fn verbosity(&self) -> Verbosity {
        Verbosity { verbose: self.verbose, quiet: self.quiet }
    }
}

impl app::Options for Cli {
    fn global(&self) -> &Global {
        &self.global
    }

    #[cfg(feature = "metrics")]
    fn serve(&self) -> Option<&crate::metrics::Serve> {
        match &self.command {
            Command::Run(run) => Some(&run.serve),
            _ => None,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an example database and ship it to a file: no server, no configuration
    #[cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
    #[command(after_help = "Example:\n  audit quickstart --dir /tmp/try --events 20000")]
    Quickstart(Quickstart),
    /// Ship from the sources to the sinks of a configuration file
    #[command(after_help = "\
Examples:
  audit run --config audit.toml
  audit run --config audit.toml --pipeline orders --follow
  audit run --config audit.toml --dry-run
  audit run --config audit.toml --quiet --summary-json | jq .exit_code

SIGINT or SIGTERM stops it cleanly: the batch in flight is finished, the rest comes next time.")]
    Run(Run),
    /// Deliver again what happened in a time that is over; the pipeline's own progress stays as it is
    #[command(after_help = "\
Examples:
  audit backfill --config audit.toml --from 2026-01-01 --to 2026-02-01
  audit backfill --config audit.toml --from 2026-01-31T10:00:00Z --to 2026-01-31T11:00:00Z --dry-run

What the sink has already is not delivered twice. When it was stopped, the same command goes on.")]
    Backfill(Backfill),
    /// Compare a time that is over with the sink: deliver what is missing, and say how late it was
    #[command(after_help = "\
Example:
  audit reconcile --config audit.toml --from 2026-01-30 --to 2026-01-31

Worth a timer of its own, once a day for the day before: what came later than the source was looked
at is found here at the latest.")]
    Reconcile(Reconcile),
    /// Find out whether a run could work, and write nothing
    #[command(after_help = "Example:\n  audit check --config audit.toml")]
    Check(Select),
    /// Count what a source has, from its beginning, and report it by day, hour and label
    #[cfg(feature = "sink-report")]
    #[command(after_help = "\
Examples:
  audit report --config audit.toml --pipeline orders --reports reports
  audit report events.ndjson.zst --format text,html

It leaves no trace: neither in the checkpoint nor in the source. A table whose rows are marked when they
are sent has only those that are not; give it `mode = \"keyset\"` to count them all. Of each count the
largest ever seen is reported, so a run may be repeated.")]
    Report(Box<crate::report::Report>),
    /// See and replay the records that could not be delivered
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// See and set how far a pipeline has come
    #[command(subcommand)]
    Checkpoint(Checkpoint),
    /// Write what a configuration file may hold to stdout, as JSON Schema, for editors
    #[cfg(feature = "schema")]
    #[command(after_help = "\
Examples:
  audit schema > audit.schema.json      then begin audit.toml with: #:schema ./audit.schema.json
  audit schema --markdown               the same for people")]
    Schema(crate::schema::Arguments),
    /// Write a completion script for a shell to stdout
    #[command(
        after_help = "Example:\n  audit completions bash > ~/.local/share/bash-completion/completions/audit"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to stdout, or a page a command to a directory
    #[command(after_help = "Example:\n  audit man | man -l -")]
    Man {
        /// Write one page a command to this directory
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `audit quickstart`.
#[derive(Args, Debug)]
pub struct Quickstart {
    /// Where to make the example
    #[arg(long, value_name = "DIR", default_value = "./audit-quickstart")]
    pub dir: PathBuf,
    /// How many events to write the first time; later runs add a tenth of it
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub events: u32,
    /// Add this many rows whose message is not JSON, to see them in the dead letters
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub broken: u32,
}

/// A configuration file.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", env = "AUDIT_CONFIG")]
    pub config: PathBuf,
}

/// Pipelines of a configuration file.
#[derive(Args, Debug)]
pub struct Select {
    /// The file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// Only this pipeline; may be given more than once [default: all]
    #[arg(short, long = "pipeline", value_name = "NAME")]
    pub pipelines: Vec<StreamId>,
}

/// One pipeline of a configuration file.
#[derive(Args, Debug)]
pub struct One {
    /// The file.
    #[command(flatten)]
    pub file: ConfigFile,
    /// The pipeline; not needed when the file has only one
    #[arg(short, long, value_name = "NAME")]
    pub pipeline: Option<StreamId>,
}

/// `audit run`.
#[derive(Args, Debug)]
pub struct Run {
    /// Which pipelines.
    #[command(flatten)]
    pub select: Select,
    /// Read and map, but write nothing: not to the sink, the checkpoint or the source
    #[arg(long)]
    pub dry_run: bool,
    /// Go on when there is nothing new, until stopped
    #[arg(long, conflicts_with = "once")]
    pub follow: bool,
    /// End when there is nothing new, also where the file says `follow = true`
    #[arg(long)]
    pub once: bool,
    /// Write what was done to stdout, as one line of JSON
    #[arg(long)]
    pub summary_json: bool,
    /// How it can be watched.
    #[cfg(feature = "metrics")]
    #[command(flatten)]
    pub serve: crate::metrics::Serve,
}

/// `audit backfill`.
#[derive(Args, Debug)]
pub struct Backfill {
    /// What to read.
    #[command(flatten)]
    pub range: Range,
    /// Deliver also to a sink that cannot tell what it has already
    #[arg(long)]
    pub allow_repeats: bool,
}

/// `audit reconcile`.
#[derive(Args, Debug)]
pub struct Reconcile {
    /// What to read.
    #[command(flatten)]
    pub range: Range,
}

/// A time of one pipeline's source.
#[derive(Args, Debug)]
pub struct Range {
    /// Which pipeline.
    #[command(flatten)]
    pub one: One,
    /// The first day (UTC) or instant: 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub from: DateTime<Utc>,
    /// The first day or instant that is left out again
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub to: DateTime<Utc>,
    /// Read and map, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write what was done to stdout, as one line of JSON
    #[arg(long)]
    pub summary_json: bool,
}

/// `audit dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List what waits, oldest first
    #[command(
        after_help = "Examples:\n  audit dead-letters list --config audit.toml\n  audit dead-letters list --path state/orders.dead-letters.ndjson --json"
    )]
    List {
        /// Which dead letters.
        #[command(flatten)]
        store: Store,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one letter whole
    #[command(after_help = "Example:\n  audit dead-letters show --config audit.toml audit_logs:42")]
    Show {
        /// Which dead letters.
        #[command(flatten)]
        store: Store,
        /// The id, as listed
        id: String,
        /// Only the record, byte for byte (escaped when stdout is a terminal)
        #[arg(long)]
        body: bool,
    },
    /// Deliver what waits, once its cause is gone; what fails again stays
    #[command(
        after_help = "Example:\n  audit dead-letters replay --config audit.toml --pipeline orders"
    )]
    Replay(One),
}

/// Where dead letters are.
#[derive(Args, Debug)]
#[group(id = "where", required = true, multiple = true, args = ["config", "path"])]
pub struct Store {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", env = "AUDIT_CONFIG")]
    pub config: Option<PathBuf>,
    /// The dead-letter file itself; goes before a configuration file
    #[arg(long, value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// The pipeline; not needed when the file has only one
    #[arg(short, long, value_name = "NAME", conflicts_with = "path")]
    pub pipeline: Option<StreamId>,
}

/// `audit checkpoint`.
#[derive(Debug, Subcommand)]
pub enum Checkpoint {
    /// Show how far a pipeline has come, also while it runs
    #[command(
        after_help = "Example:\n  audit checkpoint show --config audit.toml --pipeline orders"
    )]
    Show {
        /// Which pipeline.
        #[command(flatten)]
        one: One,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set it by hand; refused while the pipeline runs
    #[command(after_help = "\
Examples:
  audit checkpoint set --config audit.toml --previous --reason 'file was damaged'
  audit checkpoint show --config audit.toml --json | jq .cursor > cursor.json
  audit checkpoint set --config audit.toml --file cursor.json --reason 'restored from backup'")]
    Set(SetCheckpoint),
}

/// `audit checkpoint set`.
#[derive(Args, Debug)]
#[group(id = "to", required = true, multiple = false, args = ["cursor", "file", "previous"])]
pub struct SetCheckpoint {
    /// Which pipeline.
    #[command(flatten)]
    pub one: One,
    /// The cursor as JSON: {"kind": …, "version": …, "position": …}
    #[arg(long, value_name = "JSON")]
    pub cursor: Option<String>,
    /// A file with the cursor as JSON
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The save before the last one
    #[arg(long)]
    pub previous: bool,
    /// Why; kept with the checkpoint
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}
