mod canonical;
mod cloudevents;
mod ecs;
mod ocsf;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AuditEvent, Error, ErrorKind, Result};

/// What a sink writes for an event; chosen by the user, the same for every sink.
///
/// Whatever the format, the record is in it unchanged: fields that no envelope and no schema knows
/// are never lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The record as received, byte for byte.
    #[default]
    Raw,
    /// The envelope as JSON with the record inside, unchanged, as its last field `raw`.
    Canonical,
    /// The names of the [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs) 9.0.0,
    /// with what it has no name for under `audit`, and the record inside, unchanged:
    /// `audit.record`, or `audit.original` as text if it is no object.
    Ecs,
    /// An event of the [Open Cybersecurity Schema Framework](https://schema.ocsf.io/1.4.0/) 1.4.0,
    /// with the record as text in `raw_data`, as the framework wants it.
    ///
    /// Nothing is made up to fill an attribute that a class requires: an event is of the first of
    /// these classes whose required attributes it has.
    ///
    /// | class | events |
    /// |---|---|
    /// | Authentication (3002) | logins of a known actor |
    /// | Entity Management (3004) | what was created, read, updated or deleted, if that is known |
    /// | API Activity (6003) | a named operation by a known actor from a known address |
    /// | Entity Management (3004) | other actions on a known target |
    /// | Base Event (0) | all else |
    ///
    /// `metadata.uid` is the event's id, `metadata.event_code` the source's own name of the action,
    /// `metadata.product.name` the source. A denial is a failure with the `status_detail` "denied".
    /// The severity is always 1, informational: records of this kind have none. `unmapped` holds
    /// what the class has no attribute for, by the names of [`Canonical`](Self::Canonical).
    Ocsf,
    /// A [CloudEvent](https://cloudevents.io) 1.0.2 in structured mode, with the record as its
    /// `data`, unchanged.
    ///
    /// `source` is the source's name, percent-encoded, `type` the source's own name of the action
    /// or "audit", `subject` the target. The extension attributes `action` and `outcome` (the words
    /// of [`ActionKind`](crate::ActionKind) and [`Outcome`](crate::Outcome)), `actor` and
    /// `correlationid` are there for routers, which look at attributes only.
    CloudEvents,
}

impl Format {
    /// Every format, for help texts and completions.
    pub const ALL: &[Self] =
        &[Self::Raw, Self::Canonical, Self::Ecs, Self::Ocsf, Self::CloudEvents];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Canonical => "canonical",
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// Returns the media type of one event, for sinks that say it beside each.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Raw | Self::Canonical | Self::Ecs | Self::Ocsf => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }

    /// Appends the event to `out` as one JSON value on one line, without a line end.
    ///
    /// Line breaks between the tokens of a raw record become spaces
    /// ([`Raw::line`](crate::Raw::line)), except in [`Format::Ocsf`], where they are escaped.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] if JSON cannot be written; part of it may be in `out` then.
    pub fn append_line(self, event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Raw => {
                out.extend_from_slice(event.raw.line().as_bytes());
                Ok(())
            }
            Self::Canonical => canonical::append(event, out),
            Self::Ecs => ecs::append(event, out),
            Self::Ocsf => ocsf::append(event, out),
            Self::CloudEvents => cloudevents::append(event, out),
        }
    }
}

/// Appends a value as JSON.
fn append_json(event: &AuditEvent, value: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the event as JSON")
            .with("id", &event.id)
            .because(e)
    })
}

/// Appends an object that has a field already, with the record as its last one.
fn append_with(
    event: &AuditEvent,
    object: &impl Serialize,
    field: &str,
    out: &mut Vec<u8>,
) -> Result<()> {
    append_json(event, object, out)?;
    // The record is spliced in as it is: it was checked when it was made.
    out.pop();
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(event.raw.line().as_bytes());
    out.push(b'}');
    Ok(())
}

/// Returns the time of an event as RFC 3339 in UTC, with as many digits of the second as it has.
fn time(event: &AuditEvent) -> String {
    event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
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

    pub(super) fn event() -> AuditEvent {
        let raw = Raw::parse("{\"b\": 1.10,\r\n \"a\": \"x\\ny\"}").unwrap();
        let time = DateTime::from_timestamp_millis(1_665_664_496_789).unwrap();
        AuditEvent::new(EventId::new("t/1"), "db".into(), time, raw)
    }

    pub(super) fn line(format: Format, event: &AuditEvent) -> String {
        let mut out = Vec::new();
        format.append_line(event, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn raw_is_the_record_on_one_line() {
        assert_eq!(line(Format::Raw, &event()), r#"{"b": 1.10,   "a": "x\ny"}"#);
    }

    #[test]
    fn a_format_has_one_name_everywhere() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse::<Format>().unwrap(), *format);
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
        }
        let error = "cef".parse::<Format>().unwrap_err();
        assert_eq!(error.hint(), Some("use one of raw, canonical, ecs, ocsf, cloudevents"));
    }
}
