//! `confluent-report`: the audit log of Confluent Cloud into files, and files into hourly reports.

mod analyze;
mod cleanup;
mod cli;
mod count;
mod data;
mod download;
mod elastic;
mod topic;

use audit_core::{Result, StreamId};

pub use self::analyze::Analyze;
pub use self::cleanup::Cleanup;
pub use self::cli::{Cli, Command};
pub use self::download::{Check, Download};
pub use self::topic::Topic;
use crate::app::App;
use crate::pages;

const NAME: &str = "confluent-report";

/// Runs the program.
///
/// # Errors
/// Those that keep it from starting or from writing reports; how a run ends is in the exit code.
pub async fn main(cli: &Cli, app: &App) -> Result<u8> {
    match &cli.command {
        Command::Download(args) => args.run(app).await,
        Command::Analyze(args) => args.run(app).await,
        Command::Cleanup(args) => args.run(app),
        Command::Check(args) => args.run().await,
        Command::Completions { shell } => pages::completions::<Cli>(*shell, NAME),
        Command::Man { dir } => pages::manual::<Cli>(dir.as_deref()),
    }
}

/// The name of what is read and counted, in logs, summaries and checkpoints.
fn stream() -> Result<StreamId> {
    NAME.parse()
}
