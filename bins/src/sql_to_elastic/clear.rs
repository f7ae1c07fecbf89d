use audit_core::{Error, ErrorKind, Result};

use super::cli::{Clear, Cli};
use crate::app::App;

/// Runs `sql-to-elastic clear`.
pub(super) async fn main(_cli: &Cli, _args: &Clear, _app: &App) -> Result<u8> {
    Err(Error::new(ErrorKind::Config, "not yet"))
}
