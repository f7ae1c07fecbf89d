use clap::{Args, Parser, Subcommand};
use humantime::Duration;

use super::database::Database;
use super::elastic::Elastic;
use crate::cli::Global;
use crate::ship::{self, Ship};
use crate::{app, exit};

/// Send the audit rows of a database to Elasticsearch or OpenSearch, each once.
///
/// Reads rows that are not marked as sent, from the table of structured-log-transfer or from that of
/// django-auditlog, on PostgreSQL, MySQL, MariaDB or SQLite; writes each as one document; marks it as
/// sent when it is stored.
#[derive(Debug, Parser)]
#[command(
    name = "sql-to-elastic",
    version,
    propagate_version = true,
    subcommand_negates_reqs = true,
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n{}", exit::HELP),
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the rows are.
    #[command(flatten)]
    pub database: Database,
    /// Where the documents go.
    #[command(flatten)]
    pub elastic: Elastic,
    /// How it runs.
    #[command(flatten)]
    pub ship: Ship,
    /// Set to false to send nothing
    #[arg(
        long = "enable-send",
        global = true,
        env = "ENABLE_SEND_AUDIT_LOG",
        value_name = "BOOL",
        default_value = "true",
        value_parser = ship::parse_bool,
        action = clap::ArgAction::Set,
        help_heading = "Run",
    )]
    pub enabled: bool,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://app:secret@db/app ELASTICSEARCH_HOST=es.example:9200 sql-to-elastic
  sql-to-elastic check                          find out whether a run could work
  sql-to-elastic --batch-limit 0                send everything that is unsent, then end
  sql-to-elastic --follow                       send for ever
  sql-to-elastic clear --older-than 90d         delete what was sent long ago
  sql-to-elastic dead-letters list              see what could not be stored

Each option with a variable in brackets can be set in the environment or in a file `.env`.
";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send what is not sent yet (the default)
    Send,
    /// Delete rows that were sent, after some time
    #[command(after_help = "\
Examples:
  sql-to-elastic clear --dry-run
  sql-to-elastic clear --older-than 90d

A row that is not marked as sent is never deleted, whatever its age and shape.")]
    Clear(Clear),
    /// Install an index template for the index, so that no field's type keeps a document out
    #[command(after_help = "\
Examples:
  sql-to-elastic install-template
  sql-to-elastic install-template --data-stream --index audit-app

Done once, before the first run. Fields are keywords, open-ended objects one flattened field.")]
    InstallTemplate(InstallTemplate),
    /// What all such programs have.
    #[command(flatten)]
    Common(ship::Command),
}

/// `sql-to-elastic install-template`.
#[derive(Args, Debug)]
pub struct InstallTemplate {
    /// The template's name [default: that of the index, up to the date]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Make it a data stream
    #[arg(long)]
    pub data_stream: bool,
    /// Which template wins where several fit
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub priority: u32,
}

/// `sql-to-elastic clear`.
#[derive(Args, Debug)]
pub struct Clear {
    /// Only rows older than this
    #[arg(long, env = "CLEAR_OLDER_THAN", value_name = "AGE", default_value = "30d")]
    pub older_than: Duration,
    /// Set to false to delete nothing
    #[arg(
        long = "enable-clear",
        env = "CLEAR_AUDIT_LOG_ENTRIES",
        value_name = "BOOL",
        default_value = "true",
        value_parser = ship::parse_bool,
        action = clap::ArgAction::Set,
    )]
    pub enabled: bool,
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
