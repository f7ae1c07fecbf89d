//! The `port-to-kafka` command.

use std::process::ExitCode;

use audit_bins::app;
use audit_bins::port_to_kafka::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, |cli, app| app.block_on(port_to_kafka::main(cli, app)))
}
