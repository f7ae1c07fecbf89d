use std::path::Path;

use audit_core::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// Gives an error of SQLite its kind; whether to try again follows from that.
pub(crate) fn of_sqlite(error: rusqlite::Error, path: &Path) -> Error {
    let kind = match error.sqlite_error_code() {
        // Another process writes, or the disk is full: both pass.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => ErrorKind::Unavailable,
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            ErrorKind::Config
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ErrorKind::InvalidData,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => ErrorKind::Rejected,
        _ => ErrorKind::Unexpected,
    };
    let message = match &error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    Error::new(kind, message).with("path", path.display()).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_retried_and_what_does_not_is_not() {
        let kind = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = of_sqlite(error, Path::new("events.db"));
            (error.kind(), error.is_retryable())
        };
        assert_eq!(kind(rusqlite::ffi::SQLITE_BUSY), (ErrorKind::Unavailable, true));
        assert_eq!(kind(rusqlite::ffi::SQLITE_FULL), (ErrorKind::Unavailable, true));
        assert_eq!(kind(rusqlite::ffi::SQLITE_CANTOPEN), (ErrorKind::Config, false));
        assert_eq!(kind(rusqlite::ffi::SQLITE_NOTADB), (ErrorKind::InvalidData, false));
        assert_eq!(kind(rusqlite::ffi::SQLITE_TOOBIG), (ErrorKind::Rejected, false));
    }
}
