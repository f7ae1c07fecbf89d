mod ecs;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::ecs::Ecs;
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
    /// The names of the Elastic Common Schema, with what it has no name for under `audit`, and the
    /// record inside, unchanged: `audit.record`, or `audit.original` as text if it is no object.
    Ecs,
}

impl Format {
    /// Every format, for help texts and completions.
    pub const ALL: &[Self] = &[Self::Raw, Self::Canonical, Self::Ecs];

    /// Returns the name used in configuration and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Canonical => "canonical",
            Self::Ecs => "ecs",
        }
    }

    /// Appends the event to `out` as one JSON value on one line, without a line end.
    ///
    /// Line breaks between the tokens of a raw record become spaces ([`Raw::line`](crate::Raw::line)).
    pub fn append_line(self, event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
        let record = event.raw.line();
        match self {
            Self::Raw => out.extend_from_slice(record.as_bytes()),
            Self::Canonical => {
                append(event, &Envelope::new(event), out)?;
                // The payload is spliced in as it is: it was checked when it was made.
                out.pop();
                out.extend_from_slice(b",\"raw\":");
                out.extend_from_slice(record.as_bytes());
                out.push(b'}');
            }
            Self::Ecs => {
                append(event, &Ecs::new(event), out)?;
                // Two objects are open there: `audit`, which is empty perhaps, and the whole.
                out.truncate(out.len() - 2);
                if out.last() != Some(&b'{') {
                    out.push(b',');
                }
                // Only objects fit the field that the records of all events share.
                if record.trim_start().starts_with('{') {
                    out.extend_from_slice(b"\"record\":");
                    out.extend_from_slice(record.as_bytes());
                } else {
                    out.extend_from_slice(b"\"original\":");
                    append(event, &record, out)?;
                }
                out.extend_from_slice(b"}}");
            }
        }
        Ok(())
    }
}

/// Appends a value as JSON.
fn append(event: &AuditEvent, value: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the event as JSON")
            .with("id", &event.id)
            .because(e)
    })
}

/// Returns the time of an event as RFC 3339 in UTC, with as many digits of the second as it has.
fn time(event: &AuditEvent) -> String {
    event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
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

impl<'a> Envelope<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        Self {
            id: event.id.as_str(),
            source: &event.source,
            time: time(event),
            action: event.action.is_known().then_some(&event.action),
            actor: event.actor.as_ref(),
            target: event.target.as_ref(),
            outcome: event.outcome,
            origin: event.origin.is_known().then_some(&event.origin),
            message: event.message.as_deref(),
        }
    }
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
    use crate::{Action, ActionKind, Actor, EventId, Outcome, Raw, Target};

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

    fn ecs(event: &AuditEvent) -> String {
        let mut out = Vec::new();
        Format::Ecs.append_line(event, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ecs_names_what_it_has_names_for() {
        let mut event = event();
        event.action = Action { name: Some("user.update".into()), kind: ActionKind::Update };
        let text = |text: &str| Some(text.into());
        event.actor = Some(Actor { id: text("u1"), name: text("Ann"), ..Actor::default() });
        let (id, kind) = (text("u2"), text("auth.User"));
        event.target = Some(Target { id, kind, scope: text("org"), ..Target::default() });
        event.outcome = Outcome::Denied;
        event.origin.ip = Some("2001:db8::1".parse().unwrap());
        event.origin.correlation_id = text("c-1");
        event.message = text("no");
        let expected = concat!(
            r#"{"@timestamp":"2022-10-13T12:34:56.789Z","ecs":{"version":"8.17.0"},"#,
            r#""event":{"id":"t/1","kind":"event","category":["iam"],"type":["change","user"],"#,
            r#""action":"user.update","outcome":"failure","provider":"db"},"message":"no","#,
            r#""user":{"id":"u1","name":"Ann","target":{"id":"u2"}},"#,
            r#""source":{"ip":"2001:db8::1"},"#,
            r#""related":{"ip":["2001:db8::1"],"user":["u1","Ann","u2"]},"#,
            r#""audit":{"target":{"id":"u2","type":"auth.User","scope":"org"},"denied":true,"#,
            r#""correlation_id":"c-1","record":{"b": 1.10,   "a": "x\ny"}}}"#,
        );
        assert_eq!(ecs(&event), expected);
    }

    #[test]
    fn ecs_of_a_bare_event_is_valid_whatever_the_record() {
        for (raw, field, value) in [
            ("{}", "record", serde_json::json!({})),
            ("[1, 2.50]", "original", "[1, 2.50]".into()),
            (r#""a\n""#, "original", r#""a\n""#.into()),
        ] {
            let mut event = event();
            event.raw = Raw::parse(raw).unwrap();
            let document: serde_json::Value = serde_json::from_str(&ecs(&event)).unwrap();
            assert_eq!(document["audit"][field], value, "{raw}");
            assert_eq!(document["event"]["type"], serde_json::json!(["info"]));
            assert!(document.get("user").is_none() && document.get("related").is_none());
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        assert_eq!("raw".parse::<Format>().unwrap(), Format::Raw);
        let error = "cef".parse::<Format>().unwrap_err();
        assert_eq!(error.hint(), Some("use one of raw, canonical, ecs"));
    }
}
