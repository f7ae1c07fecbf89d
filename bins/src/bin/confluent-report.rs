//! The `confluent-report` command.

use std::process::ExitCode;

use audit_bins::app;
use audit_bins::confluent_report::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, |cli, app| app.block_on(confluent_report::main(cli, app)))
}
