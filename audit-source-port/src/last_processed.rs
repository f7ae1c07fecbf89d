use std::fmt;

use audit_core::window::Position;
use audit_core::{Cursor, Error, ErrorKind, Result};
use chrono::{DateTime, TimeDelta, Utc};

use crate::cursor;
use crate::time::{format_time, read};

/// The content of a `last_processed.txt`, the file in which an earlier exporter kept its progress:
/// one time, `2025-01-31T10:30:00.000Z`, without a line end.
///
/// That exporter wrote the time of the newest record it had sent *plus one second*, and asked for
/// what is not before it, so that it lost the records of that second. Reading therefore
/// [begins](Self::start) a second earlier: the records at that very time come once more, and none is
/// missing.
///
/// ```
/// use audit_core::Secret;
/// use audit_source_port::{LastProcessed, PortConfig};
///
/// # fn main() -> audit_core::Result<()> {
/// let mut config = PortConfig::new("id", Secret::new("secret"));
/// let content = "2025-01-31T10:30:01.250Z"; // of the file
/// config.from = LastProcessed::parse(content)?.map(|last| last.start());
/// assert_eq!(config.from.unwrap().to_rfc3339(), "2025-01-31T10:30:00.250+00:00");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastProcessed(DateTime<Utc>);

impl LastProcessed {
    /// Reads the file's content; nothing if it is blank, as the exporter took it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when it is not a time: never "start over".
    pub fn parse(content: &str) -> Result<Option<Self>> {
        let content = content.trim();
        if content.is_empty() {
            return Ok(None);
        }
        read(content).map(|time| Some(Self(time))).ok_or_else(|| {
            Error::new(ErrorKind::InvalidData, "the time last processed cannot be read")
                .with("content", content.chars().take(40).collect::<String>().escape_debug())
                .with_hint("it has to be one time like 2025-01-31T10:30:00.000Z; correct or remove the file")
        })
    }

    /// Returns what to write for a position of a [`PortSource`](crate::PortSource): a time before
    /// which all is delivered, so that the earlier exporter could go on from it and lose nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a cursor of another source, [`ErrorKind::InvalidData`] for a damaged
    /// or newer one.
    pub fn of(cursor: &Cursor) -> Result<Self> {
        cursor::decode(cursor).map(|position: Position| Self(position.closed_to()))
    }

    /// Returns where to begin reading.
    pub fn start(self) -> DateTime<Utc> {
        self.0 - TimeDelta::seconds(1)
    }
}

impl fmt::Display for LastProcessed {
    /// Writes the file's content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_time(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x01_reads_what_was_written_and_goes_back_over_its_second() {
        for content in ["2025-01-31T10:30:01.250Z", " 2025-01-31T11:30:01.250+01:00\n"] {
            let last = LastProcessed::parse(content).unwrap().unwrap();
            assert_eq!(last.to_string(), "2025-01-31T10:30:01.250Z");
            assert_eq!(format_time(last.start()), "2025-01-31T10:30:00.250Z");
        }
        assert_eq!(LastProcessed::parse("").unwrap(), None);
        assert_eq!(LastProcessed::parse(" \n").unwrap(), None);
    }

    #[test]
    fn x01_a_damaged_file_is_an_error_and_no_new_start() {
        for content in ["2025-01-31T10:3", "0", "null", "2025-01-31T10:30:01.250Z\0"] {
            let error = LastProcessed::parse(content).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{content}");
        }
    }

    #[test]
    fn the_smallest_and_largest_times_do_not_overflow() {
        let last = LastProcessed::parse("0001-01-01").unwrap().unwrap();
        assert_eq!(format_time(last.start()), "0000-12-31T23:59:59.000Z");
    }
}
