use std::borrow::Cow;

use audit_core::{Envelope, Error, ErrorKind, Raw, Result};
use chrono::{DateTime, Utc};

use crate::config::{Layout, SqlConfig};
use crate::django::Django;
use crate::envelope::{self, Fields};
use crate::row::{Row, Value};
use crate::time;

/// How the columns of a row become a record: what a layout is, apart from its SQL.
#[derive(Debug)]
pub(crate) enum Records {
    /// The first column is the record, the second says when the row was made.
    Column(Fields),
    /// The record is put together.
    Django(Django),
}

impl Records {
    pub(crate) fn new(config: &SqlConfig) -> Self {
        match config.layout {
            Layout::AuditTable => {
                Self::Column(Fields::new(&config.date_time_parent_field, &config.date_time_field))
            }
            Layout::DjangoAuditlog => Self::Django(Django::new(config)),
        }
    }

    /// Returns the record's bytes; what has to be put together is in the buffer.
    pub(crate) fn body<'a>(&self, row: &Row<'a>, buffer: &'a mut Vec<u8>) -> Cow<'a, [u8]> {
        match self {
            Self::Column(_) => row.content.first().map_or(Cow::Borrowed(&[]), |v| v.bytes()),
            Self::Django(django) => {
                buffer.clear();
                django.write(row, buffer);
                Cow::Borrowed(buffer)
            }
        }
    }

    /// Takes the record whole and reads the envelope.
    pub(crate) fn read(&self, row: &Row<'_>, body: &[u8]) -> Result<(Raw, Envelope)> {
        let text = std::str::from_utf8(body).map_err(|e| {
            Error::new(ErrorKind::InvalidData, "the message is not UTF-8")
                .with("byte", e.valid_up_to())
        })?;
        match self {
            Self::Column(_) if row.content.first() == Some(&Value::Null) => {
                Err(Error::new(ErrorKind::InvalidData, "the message is NULL"))
            }
            Self::Column(fields) => Raw::read(text, |parser| envelope::read(parser, fields)),
            Self::Django(django) => Ok((Raw::parse(text)?, django.envelope(row)?)),
        }
    }

    /// Returns when the row was made, if it says so.
    pub(crate) fn created_at(&self, row: &Row<'_>) -> Option<DateTime<Utc>> {
        match self {
            Self::Column(_) => row.content.get(1).and_then(|value| value.time()),
            // The record has no other time.
            Self::Django(_) => None,
        }
    }
}

impl<'a> Value<'a> {
    /// Returns the bytes of a text, and those of the text of a number.
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match self {
            Value::Null => Cow::Borrowed(&[]),
            Value::Int(n) => Cow::Owned(n.to_string().into_bytes()),
            Value::Real(n) => Cow::Owned(format!("{n:?}").into_bytes()),
            Value::Text(bytes) | Value::Blob(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// Returns the point in time that it stands for.
    pub(crate) fn time(self) -> Option<DateTime<Utc>> {
        match self {
            Value::Null => None,
            Value::Int(n) => time::epoch(n as f64),
            Value::Real(n) => time::epoch(n),
            Value::Text(bytes) | Value::Blob(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(time::parse)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_at_of_any_type_is_a_time() {
        let second = Value::Int(1_665_664_496).time().unwrap();
        assert_eq!(Value::Text(b"2022-10-13 12:34:56").time(), Some(second));
        assert_eq!(Value::Real(1_665_664_496.0).time(), Some(second));
        assert_eq!(Value::Blob(b"\xff").time(), None);
    }
}
