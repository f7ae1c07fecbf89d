use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AuditEvent, Error, ErrorKind, Result};

/// What a sink writes for an event; chosen by the user, the same for every sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The record as received, byte for byte.
    #[default]
    Raw,
    /// The envelope as JSON with the record inside, unchanged, as its last field `raw`.
    Canonical,
}

impl Format {
    /// Every format, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Raw, Self::Canonical];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Canonical => "canonical",
        }
    }

    /// Appends the event to `out` as one JSON value on one line, without a line end.
    ///
    /// Line breaks between the tokens of a raw record become spaces ([`Raw::line`](crate::Raw::line)).
    pub fn append_line(self, event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Raw => {
                out.extend_from_slice(event.raw.line().as_bytes());
                Ok(())
            }
            Self::Canonical => {
                let envelope = Envelope {
                    id: event.id.as_str(),
                    source: &event.source,
                    time: event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                    action: event.action.is_known().then_some(&event.action),
                    actor: event.actor.as_ref(),
                    target: event.target.as_ref(),
                    outcome: event.outcome,
                    origin: event.origin.is_known().then_some(&event.origin),
                    message: event.message.as_deref(),
                };
                serde_json::to_writer(&mut *out, &envelope).map_err(|e| {
                    Error::new(ErrorKind::Unexpected, "cannot write the event as JSON")
                        .with("id", &event.id)
                        .because(e)
                })?;
                // The payload is spliced in as it is: it was checked when it was made.
                out.pop();
                out.extend_from_slice(b",\"raw\":");
                out.extend_from_slice(event.raw.line().as_bytes());
                out.push(b'}');
                Ok(())
            }
        }
    }
}

/// The canonical form without the payload. Its fields and their order are those of [`AuditEvent`].
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    source: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a crate::Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a crate::Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a crate::Target>,
    outcome: crate::Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a crate::Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|f| f.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|f| f.as_str()).collect();
            Error::new(ErrorKind::Config, "unknown format")
                .with("format", name.escape_debug())
                .with_hint(format!("use one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{EventId, Raw};

    fn event() -> AuditEvent {
        let raw = Raw::parse("{\"b\": 1.10,\r\n \"a\": \"x\\ny\"}").unwrap();
        let time = DateTime::from_timestamp_millis(1_665_664_496_789).unwrap();
        AuditEvent::new(EventId::new("t/1"), "db".into(), time, raw)
    }

    #[test]
    fn raw_is_the_record_on_one_line() {
        let mut out = Vec::new();
        Format::Raw.append_line(&event(), &mut out).unwrap();
        assert_eq!(out, b"{\"b\": 1.10,   \"a\": \"x\\ny\"}");
    }

    #[test]
    fn canonical_is_the_serialized_event() {
        let mut event = event();
        let mut out = Vec::new();
        Format::Canonical.append_line(&event, &mut out).unwrap();
        assert!(serde_json::from_slice::<AuditEvent>(&out).is_ok());
        event.raw = Raw::parse(event.raw.line()).unwrap();
        assert_eq!(out, serde_json::to_vec(&event).unwrap());
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        assert_eq!("raw".parse::<Format>().unwrap(), Format::Raw);
        let error = "cef".parse::<Format>().unwrap_err();
        assert_eq!(error.hint(), Some("use one of raw, canonical"));
    }
}
