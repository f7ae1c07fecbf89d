//! The `audit-log` command.

use std::process::ExitCode;

use audit_bins::app;
use audit_bins::audit_log::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, audit_log::main)
}
