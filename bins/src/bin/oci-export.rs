//! The `oci-export` command.

use std::process::ExitCode;

use audit_bins::app;
use audit_bins::oci_export::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, |cli, app| app.block_on(oci_export::main(cli, app)))
}
