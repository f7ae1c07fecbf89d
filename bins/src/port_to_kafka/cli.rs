use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::kafka::Kafka;
use super::port::Port;
use crate::cli::Global;
use crate::ship::{self, Ship};
use crate::{app, exit};

/// Send the audit log of Port.io to Kafka, each record once.
///
/// Reads what is new since the last run, oldest first, and writes each record as one message: its
/// bytes as received, its identifier as the key, its time as the timestamp.
#[derive(Debug, Parser)]
#[command(
    name = "port-to-kafka",
    version,
    propagate_version = true,
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n{}", exit::HELP),
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the records are.
    #[command(flatten)]
    pub port: Port,
    /// Where the messages go.
    #[command(flatten)]
    pub kafka: Kafka,
    /// How it runs.
    #[command(flatten)]
    pub ship: Ship,
    /// Where to begin when there is no checkpoint yet, as an earlier exporter kept it; kept up to
    /// date
    #[arg(
        long,
        global = true,
        env,
        value_name = "FILE",
        default_value = "last_processed.txt",
        help_heading = "Run"
    )]
    pub last_processed_file: PathBuf,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  PORT_CLIENT_ID=… PORT_CLIENT_SECRET=… KAFKA_SERVER=broker:9092 port-to-kafka
  port-to-kafka check                                find out whether a run could work
  port-to-kafka --follow                             send for ever
  port-to-kafka -f 2026-01-01 -t 2026-02-01          one month again, whatever was sent before
  port-to-kafka --resources entity --action DELETE   only these
  port-to-kafka --checkpoint-topic audit-progress    messages and progress in one transaction
  port-to-kafka dead-letters list                    see what Kafka would not take

Each option with a variable in brackets can be set in the environment or in a file `.env`.
";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send what is not sent yet (the default)
    Send,
    /// What all such programs have.
    #[command(flatten)]
    Common(ship::Command),
}

impl app::Options for Cli {
    fn global(&self) -> &Global {
        &self.global
    }

    #[cfg(feature = "metrics")]
    fn serve(&self) -> Option<&crate::metrics::Serve> {
        Some(&self.ship.serve)
    }
}
