//! `audit-log`: structured audit records from shell scripts.

mod cli;
mod line;
mod output;

use std::io::BufRead;

use audit_core::{Error, ErrorKind, Result};
use audit_logger::{AuditLogger, Level};

pub use self::cli::{Cli, LevelName, Record, ShapeName};
use self::line::Line;
use self::output::Output;
use crate::app::App;
use crate::{exit, pages, terminal};

/// The longest line that is read from stdin, in bytes.
const MAX_LINE: usize = 8 << 20;

/// Runs the program.
///
/// # Errors
/// [`ErrorKind::Config`] for options that cannot be meant, and whatever keeps a record from where it
/// is to go.
pub fn main(cli: &Cli, _: &App) -> Result<u8> {
    if let Some(shell) = cli.completions {
        return pages::completions::<Cli>(shell, "audit-log");
    }
    if cli.man {
        return pages::manual::<Cli>(None);
    }
    let output = Output::open(cli)?;
    let logger = || AuditLogger::new().with_emitter(output.emitter());
    let code = match (cli.stdin, cli.level) {
        (true, _) => from_stdin(logger)?,
        (false, Some(level)) => {
            let mut logger = logger();
            cli.record.apply(&mut logger)?;
            logger.log(Level::from(level), cli.message.as_deref().unwrap_or_default());
            logger.send_log()?;
            exit::OK
        }
        (false, None) => {
            return Err(Error::new(ErrorKind::Config, "no level is given")
                .with_hint("write `audit-log info \"message\"`, or `audit-log --stdin`"));
        }
    };
    output.close()?;
    Ok(code)
}

/// Sends a record for each line; one that is none is named and left out.
fn from_stdin(logger: impl Fn() -> AuditLogger) -> Result<u8> {
    let mut input = std::io::stdin().lock();
    let (mut code, mut bytes) = (exit::OK, Vec::new());
    for number in 1_u64.. {
        bytes.clear();
        let mut limited = std::io::Read::take(&mut input, MAX_LINE as u64 + 1);
        let read = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|e| Error::new(ErrorKind::Unavailable, "cannot read stdin").because(e))?;
        if read == 0 {
            break;
        }
        if bytes.len() > MAX_LINE {
            return Err(Error::new(ErrorKind::Rejected, "the line is longer than allowed")
                .with("line", number)
                .with("max_bytes", MAX_LINE));
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let mut logger = logger();
        match Line::parse(&bytes).and_then(|line| line.apply(&mut logger)) {
            Ok(()) => logger.send_log()?,
            Err(error) => {
                terminal::complain(&error.with("line", number));
                code = exit::REJECTED;
            }
        }
    }
    Ok(code)
}
