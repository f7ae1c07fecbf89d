use audit_core::{Error, ErrorKind};

/// Orders names by how much they look like the wanted one, the nearest first, and lists a few.
pub(crate) fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let wanted = wanted.to_lowercase();
    let mut names: Vec<_> =
        names.into_iter().map(|name| (distance(&wanted, &name.to_lowercase()), name)).collect();
    names.sort_unstable();
    let list: Vec<_> = names.iter().take(8).map(|(_, name)| format!("`{name}`")).collect();
    list.join(", ")
}

/// Returns the number of single-character edits between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row.first().copied().unwrap_or(i);
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let changed = diagonal + usize::from(x != *y);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Says that nothing tells old rows from new ones.
pub(crate) fn no_time(table: &str) -> Error {
    Error::new(ErrorKind::Config, "no column says when a row was made")
        .with("table", table)
        .with_hint("set `created_at_column` to a column of a time or date; without, rows stay")
}

/// What is said when rows of other tables refer to a row.
pub(crate) const REFERENCED: (ErrorKind, &str, &str) = (
    ErrorKind::Config,
    "rows of another table refer to these",
    "delete those first, or let their foreign key say `ON DELETE CASCADE` or `SET NULL`",
);

/// Makes an error of SQLite one of the workspace.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;

    let code = error.sqlite_error_code();
    let (kind, message, hint) = match code {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => (
            ErrorKind::Unavailable,
            "the database is locked",
            "another program holds it; WAL mode lets readers and a writer work side by side",
        ),
        Some(Code::CannotOpen) => (
            ErrorKind::Unavailable,
            "cannot open the database",
            "check the file, its folder and their permissions",
        ),
        Some(Code::ReadOnly | Code::PermissionDenied | Code::AuthorizationForStatementDenied) => (
            ErrorKind::Auth,
            "the database cannot be written",
            "this needs the right to write the file and its folder",
        ),
        Some(Code::NotADatabase) => {
            (ErrorKind::Config, "the file is not an SQLite database", "check the path")
        }
        Some(Code::DatabaseCorrupt) => (
            ErrorKind::InvalidData,
            "the database is damaged",
            "see what `PRAGMA integrity_check` says, and restore a backup",
        ),
        Some(Code::DiskFull) => (ErrorKind::Unavailable, "no space left for the database", ""),
        Some(Code::SystemIoFailure | Code::OutOfMemory | Code::FileLockingProtocolFailed) => {
            (ErrorKind::Unavailable, "the database cannot be used now", "")
        }
        // The extended code of a foreign key.
        Some(Code::ConstraintViolation)
            if error.sqlite_error().is_some_and(|e| e.extended_code == 787) =>
        {
            REFERENCED
        }
        Some(Code::ConstraintViolation) => (
            ErrorKind::Config,
            "the table refuses the mark",
            "a constraint or trigger of the table forbids to set the flag to 1",
        ),
        Some(Code::Unknown | Code::SchemaChanged) => (
            ErrorKind::Config,
            "the database refused the statement",
            "the table may have changed under the running program",
        ),
        _ => (ErrorKind::Unexpected, "the database reported an error", ""),
    };
    let mut report = Error::new(kind, message);
    if !hint.is_empty() {
        report = report.with_hint(hint);
    }
    report.because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_comes_first() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(
            near("audit_log", ["users", "audit_logs", "logs"]),
            "`audit_logs`, `logs`, `users`"
        );
        assert_eq!(near("x", []), "");
    }
}
