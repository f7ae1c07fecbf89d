use std::sync::Arc;

use audit_core::{
    Actor, AuditEvent, DeadLetter, Envelope, Error, ErrorKind, EventId, Raw, Result, Text,
};
use chrono::DateTime;
use serde::Deserialize;

/// The few fields that the envelope needs; all else stays in the raw record.
#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    user: Text<'a>,
    #[serde(borrow, default)]
    action: Text<'a>,
}

/// Makes a line an event, or a dead letter that says why it cannot be one.
pub(crate) fn event(
    source: &Arc<str>,
    id: EventId,
    body: Vec<u8>,
    whole: bool,
) -> Result<AuditEvent, DeadLetter> {
    let made = if whole { parse(source, &id, &body) } else { Err(invalid("too long")) };
    made.map_err(|error| DeadLetter::record(id, body, &error))
}

fn parse(source: &Arc<str>, id: &EventId, body: &[u8]) -> Result<AuditEvent> {
    let text = std::str::from_utf8(body).map_err(|e| invalid("not UTF-8").because(e))?;
    let (raw, envelope) =
        Raw::read(text, |parser| Fields::deserialize(parser).map(Fields::envelope))?;
    let time = envelope.time.ok_or_else(|| invalid("no usable `time`"))?;
    Ok(envelope.into_event(id.clone(), Arc::clone(source), time, raw))
}

impl Fields<'_> {
    fn envelope(self) -> Envelope {
        let time = self.time.get().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        let mut envelope = Envelope { time: time.map(Into::into), ..Envelope::default() };
        envelope.action.name = self.action.into_boxed();
        envelope.actor =
            self.user.into_boxed().map(|id| Actor { id: Some(id), ..Actor::default() });
        // Counted and told of: every record of ours has one.
        envelope.drift = envelope.action.name.is_none().then_some("action");
        envelope
    }
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what).while_doing("read a record")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(body: &[u8]) -> Result<AuditEvent, DeadLetter> {
        event(&"spool".into(), EventId::new("a.ndjson:0"), body.to_vec(), true)
    }

    #[test]
    fn the_envelope_is_read_and_the_record_is_kept() {
        let body =
            r#"{"user": "ada", "n": 1.10, "action": "login", "time": "2026-01-05T17:00:00Z"}"#;
        let event = made(body.as_bytes()).unwrap();
        assert_eq!(event.raw.get(), body);
        assert_eq!(event.action.name.as_deref(), Some("login"));
        assert_eq!(event.actor.unwrap().id.as_deref(), Some("ada"));
        assert_eq!((event.time.timestamp(), event.drift), (1_767_632_400, None));
        let other = made(&body.replace("action", "verb").into_bytes()).unwrap();
        assert_eq!(other.drift, Some("action"));
    }

    #[test]
    fn what_is_no_event_keeps_its_bytes_and_says_why() {
        for (body, reason) in [
            (&b"{cut"[..], "JSON"),
            (b"{\"time\":\"2026-01-05T17:00:00Z\"} x", "JSON"),
            (b"\xff", "not UTF-8"),
            (b"{}", "no usable `time`"),
            (b"[1]", "no usable `time`"),
            (br#"{"time": "yesterday"}"#, "no usable `time`"),
        ] {
            let letter = made(body).unwrap_err();
            assert_eq!(letter.body(), body);
            assert!(letter.reason.contains(reason), "{}", letter.reason);
        }
    }
}
