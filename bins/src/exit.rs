//! The exit codes: one place, the same for every program.

use std::error::Error as StdError;
use std::io;

use audit_core::{Error, ErrorKind};

/// Everything read was delivered, or a signal stopped the run cleanly and the rest comes next time.
pub const OK: u8 = 0;
/// A defect of this program, most likely.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong. Clap's own code.
pub const USAGE: u8 = 2;
/// The configuration is wrong.
pub const CONFIG: u8 = 3;
/// Credentials refused, or a permission is missing.
pub const AUTH: u8 = 4;
/// Unreachable, timed out, rate limited or full, after all retries.
pub const UNAVAILABLE: u8 = 5;
/// Another runner holds or changed the same state.
pub const CONFLICT: u8 = 6;
/// Data that cannot be understood: a damaged or newer checkpoint.
pub const INVALID_DATA: u8 = 7;
/// A request is refused for what it asks, or a record that there are no dead letters to keep.
pub const REJECTED: u8 = 8;
/// Finished, but records went to the dead letters.
pub const DEAD_LETTERS: u8 = 9;
/// Finished, but ranges were left out that could not be read, as was allowed.
pub const GAPS: u8 = 10;
/// A second SIGINT ended the program at once (128 + 2).
pub const SIGINT: u8 = 130;
/// The reader of stdout went away (128 + 13), said by nothing else.
pub const BROKEN_PIPE: u8 = 141;
/// A second SIGTERM ended the program at once (128 + 15).
pub const SIGTERM: u8 = 143;

/// The codes, for `--help`.
pub const HELP: &str = "\
Exit codes:
    0  everything read was delivered, or a signal stopped it cleanly
    1  unexpected: most likely a defect of this program
    2  the command line is wrong
    3  the configuration is wrong
    4  credentials refused, or a permission is missing
    5  unreachable, timed out, rate limited or full, after all retries
    6  another runner holds or changed the same state
    7  data that cannot be understood: a damaged or newer checkpoint
    8  a request is refused for what it asks, or a record that there are no dead letters to keep
    9  finished, but records went to the dead letters
   10  finished, but ranges were left out that could not be read, as was allowed
  130  ended at once by a second SIGINT
  141  the reader of stdout went away
  143  ended at once by a second SIGTERM
";

/// Returns the exit code of an error.
pub fn of_error(error: &Error) -> u8 {
    if is_broken_pipe(error) { BROKEN_PIPE } else { of_kind(error.kind()) }
}

/// Returns the exit code of a kind of error.
pub fn of_kind(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Auth => AUTH,
        ErrorKind::Config => CONFIG,
        ErrorKind::Conflict => CONFLICT,
        ErrorKind::InvalidData => INVALID_DATA,
        ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable => UNAVAILABLE,
        ErrorKind::Rejected => REJECTED,
        _ => UNEXPECTED,
    }
}

/// Returns whether the cause of an error is that the reader of stdout went away, for good: a
/// connection that broke may be made again.
pub fn is_broken_pipe(error: &Error) -> bool {
    if error.is_retryable() {
        return false;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use audit_core::Retry;

    use super::*;

    #[test]
    fn every_kind_has_the_documented_code() {
        let codes = [
            (ErrorKind::Auth, 4),
            (ErrorKind::Config, 3),
            (ErrorKind::Conflict, 6),
            (ErrorKind::InvalidData, 7),
            (ErrorKind::RateLimited, 5),
            (ErrorKind::Rejected, 8),
            (ErrorKind::Timeout, 5),
            (ErrorKind::Unavailable, 5),
            (ErrorKind::Unexpected, 1),
        ];
        for (kind, code) in codes {
            assert_eq!(of_error(&Error::new(kind, "")), code, "{kind}");
            assert!(HELP.contains(&format!("\n  {code:>3}  ")), "{code}");
            assert!(include_str!("../README.md").contains(&format!("\n| {code} | ")), "{code}");
        }
    }

    #[test]
    fn a_broken_pipe_is_found_below_other_errors() {
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        let error = Error::new(ErrorKind::Unavailable, "write").because(pipe);
        assert_eq!(of_error(&error), 5, "a connection");
        assert_eq!(of_error(&error.with_retry(Retry::Never)), 141);
    }
}
