use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::{Analyze, Check, Cleanup, Download};
use crate::cli::Global;
use crate::{app, exit};

/// Fetch the audit log of Confluent Cloud and report, day by day, who did what in which hour.
#[derive(Debug, Parser)]
#[command(
    name = "confluent-report",
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
  confluent-report check                            find out whether a download could work
  confluent-report download                         fetch what is new, then end
  confluent-report analyze                          report the newest download
  confluent-report analyze events.ndjson.gz --format text,html
  confluent-report analyze --from-topic             report without keeping the events
  confluent-report cleanup                          remove downloads, keep reports

Each option with a variable in brackets can be set in the environment or in a file `.env`.
";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch what is new of the audit topic into a file, each record once
    #[command(after_help = "\
Examples:
  CONFLUENT_BOOTSTRAP_SERVERS=pkc-….confluent.cloud:9092 CONFLUENT_API_KEY=… CONFLUENT_API_SECRET=… \\
      confluent-report download --organization 'My Org'
  confluent-report download --follow        go on for ever
  confluent-report download --restart       a new file, from the oldest record that is kept

Without --restart the newest download is continued behind its last record, also after it was killed.")]
    Download(Box<Download>),
    /// Count events by day, hour and label, and write the reports
    #[command(after_help = "\
Examples:
  confluent-report analyze                                    the newest download in ./data
  confluent-report analyze a.ndjson b.ndjson.zst --reports /srv/reports --format text,csv,json,html
  confluent-report analyze --from-topic
  confluent-report analyze --from-elastic https://es.example:9200 --index 'audit-*'

A run may be repeated: of each count the largest ever seen is reported, so no run makes a report worse.")]
    Analyze(Box<Analyze>),
    /// Remove the downloads and what analysing left over; reports stay
    #[command(after_help = "Example:\n  confluent-report cleanup --yes")]
    Cleanup(Cleanup),
    /// Find out whether a download and its reports could work, and write nothing
    Check(Box<Check>),
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

impl app::Options for Cli {
    fn global(&self) -> &Global {
        &self.global
    }

    #[cfg(feature = "metrics")]
    fn serve(&self) -> Option<&crate::metrics::Serve> {
        match &self.command {
            Command::Download(download) => Some(&download.serve),
            _ => None,
        }
    }
}
