use audit_core::{Error, ErrorKind};

use crate::error::REFERENCED;

/// What an error of a database server means: its kind, what to say, and the way out.
pub(crate) type Meaning = (ErrorKind, &'static str, &'static str);

pub(crate) const AUTH: Meaning =
    (ErrorKind::Auth, "the database refused the login", "check user and password of the URL");
pub(crate) const DENIED: Meaning = (
    ErrorKind::Auth,
    "the user lacks a permission",
    "reading and marking rows needs SELECT and UPDATE on the table, clearing DELETE as well; \
     a checkpoint needs SELECT, INSERT and UPDATE",
);
pub(crate) const NO_DATABASE: Meaning =
    (ErrorKind::Config, "there is no such database", "check the last part of the URL");
pub(crate) const STATEMENT: Meaning = (
    ErrorKind::Config,
    "the database refused the statement",
    "the table may have changed under the running program",
);
pub(crate) const LOCKED: Meaning = (
    ErrorKind::Unavailable,
    "the rows are locked",
    "another transaction holds them for longer than `busy_timeout`",
);
pub(crate) const IN_THE_WAY: Meaning =
    (ErrorKind::Unavailable, "another transaction was in the way", "");
#[cfg(feature = "postgres")]
pub(crate) const IDLE: Meaning = (
    ErrorKind::Unavailable,
    "the database ended a claim",
    "a batch took longer to deliver than `idle_in_transaction_session_timeout` allows",
);
pub(crate) const READ_ONLY: Meaning = (
    ErrorKind::Unavailable,
    "the database is read only now",
    "writing needs the primary server, not a standby",
);
pub(crate) const REFUSED_MARK: Meaning = (
    ErrorKind::Config,
    "the table refuses the mark",
    "a constraint or trigger of the table forbids to set the flag",
);
pub(crate) const NOT_NOW: Meaning = (ErrorKind::Unavailable, "the database cannot be used now", "");
pub(crate) const TOO_LONG: Meaning =
    (ErrorKind::Timeout, "the database ended the statement", "its time limit was reached");
pub(crate) const FULL: Meaning = (ErrorKind::Unavailable, "no space left for the database", "");
pub(crate) const DAMAGED: Meaning = (ErrorKind::InvalidData, "the database is damaged", "");
pub(crate) const OTHER: Meaning = (ErrorKind::Unexpected, "the database reported an error", "");

/// Makes an error of a driver one of the workspace. Only the server's own sentence is kept of what
/// it says: details may hold rows.
pub(crate) fn fault(
    error: sqlx::Error,
    meaning: impl Fn(&dyn sqlx::error::DatabaseError) -> Meaning,
) -> Error {
    use sqlx::Error as E;

    let say = |(kind, message, hint): Meaning| {
        let error = Error::new(kind, message);
        if hint.is_empty() { error } else { error.with_hint(hint) }
    };
    match error {
        E::Database(e) => {
            let code = e.code().unwrap_or_default();
            let text: String = e.message().chars().filter(|c| !c.is_control()).take(300).collect();
            say(meaning(&*e)).because(format!("{code}: {text}"))
        }
        E::Io(e) => say((ErrorKind::Unavailable, "the connection failed", "")).because(e),
        E::Tls(e) => say((
            ErrorKind::Config,
            "no TLS connection",
            "check the certificates of both sides, and the host name of the URL",
        ))
        .because(e),
        // The text may be made of the URL.
        E::Configuration(_) | E::InvalidArgument(_) => {
            say((ErrorKind::Config, "the database's driver refuses the URL", ""))
        }
        E::Protocol(text) => {
            say((ErrorKind::Unavailable, "the connection is out of order", "")).because(text)
        }
        E::WorkerCrashed | E::PoolClosed | E::PoolTimedOut => say(NOT_NOW),
        // Messages of the others tell of columns and types, not of values.
        other => say(OTHER).because(other.to_string()),
    }
}

/// Returns what PostgreSQL means by an SQLSTATE.
#[cfg(feature = "postgres")]
pub(crate) fn postgres(error: sqlx::Error) -> Error {
    fault(error, |e| {
        let code = e.code().unwrap_or_default();
        match &*code {
            "42501" => DENIED,
            "3D000" => NO_DATABASE,
            "55P03" => LOCKED,
            "23001" | "23503" => REFERENCED,
            "25P03" => IDLE,
            "25006" => READ_ONLY,
            "57014" => TOO_LONG,
            "P0001" | "428C9" => REFUSED_MARK,
            "53100" => FULL,
            _ => match code.get(..2) {
                Some("28") => AUTH,
                Some("08" | "53" | "57" | "58") => NOT_NOW,
                Some("40") => IN_THE_WAY,
                Some("23" | "27" | "44") => REFUSED_MARK,
                Some("42" | "3F" | "22" | "0A" | "26") => STATEMENT,
                Some("XX") => DAMAGED,
                _ => OTHER,
            },
        }
    })
}

/// Returns what MySQL and MariaDB mean by a number.
#[cfg(feature = "mysql")]
pub(crate) fn mysql(error: sqlx::Error) -> Error {
    fault(error, |e| {
        let number = e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|e| e.number());
        match number.unwrap_or_default() {
            1045 | 1251 | 1524 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => AUTH,
            1044 | 1142 | 1143 | 1227 | 1370 => DENIED,
            1049 => NO_DATABASE,
            1205 => LOCKED,
            1217 | 1451 => REFERENCED,
            1213 | 1020 => IN_THE_WAY,
            1290 | 1792 | 1836 => READ_ONLY,
            1969 | 3024 => TOO_LONG,
            1021 | 1114 => FULL,
            1048 | 1264 | 1265 | 1366 | 1644 | 1906 | 3105 | 3819 | 4025 => REFUSED_MARK,
            1040
            | 1053
            | 1077..=1080
            | 1129
            | 1152..=1161
            | 1184
            | 1203
            | 1226
            | 1317
            | 1927
            | 2006
            | 2013
            | 4031 => NOT_NOW,
            1034 | 1035 | 1194 | 1712 => DAMAGED,
            1046 | 1054 | 1064 | 1146 | 1147 | 1347 | 1348 | 1267 | 1615 => STATEMENT,
            _ => OTHER,
        }
    })
}
