//! The `audit` command.

use std::process::ExitCode;

use audit_bins::cli::{Cli, Command};
use audit_bins::{app, backfill, check, checkpoint, dead_letters, pages, run};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, |cli, app| match &cli.command {
        #[cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
        Command::Quickstart(args) => app.block_on(audit_bins::quickstart::main(args, app)),
        Command::Run(args) => app.block_on(run::main(args, app)),
        Command::Backfill(args) => app.block_on(backfill::backfill(args, app)),
        Command::Reconcile(args) => app.block_on(backfill::reconcile(args, app)),
        Command::Check(args) => app.block_on(check::main(args)),
        #[cfg(feature = "sink-report")]
        Command::Report(args) => app.block_on(audit_bins::report::main(args, app)),
        Command::DeadLetters(command) => app.block_on(dead_letters::main(command, app)),
        Command::Checkpoint(command) => app.block_on(checkpoint::main(command)),
        #[cfg(feature = "schema")]
        Command::Schema(args) => audit_bins::schema::main(args),
        Command::Completions { shell } => pages::completions::<Cli>(*shell, "audit"),
        Command::Man { dir } => pages::manual::<Cli>(dir.as_deref()),
    })
}
