//! The `sql-to-elastic` command.

use std::process::ExitCode;

use audit_bins::app;
use audit_bins::sql_to_elastic::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    app::main(Cli::parse, |cli, app| app.block_on(sql_to_elastic::main(cli, app)))
}
