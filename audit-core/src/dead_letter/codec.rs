//! One dead letter as one line of JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{DeadLetter, Record};
use crate::{AuditEvent, Error, ErrorKind, EventId, Result};

const VERSION: u32 = 1;

/// The line. Exactly one of `event`, `body` and `body_base64` is there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    version: u32,
    id: Cow<'a, EventId>,
    kind: Cow<'a, str>,
    reason: Cow<'a, str>,
    attempts: u32,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Cow<'a, AuditEvent>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Appends the letter and a line end.
pub(super) fn append(letter: &DeadLetter, out: &mut Vec<u8>) -> Result<()> {
    let (mut event, mut body, mut body_base64) = (None, None, None);
    match &letter.record {
        Record::Event(e) => event = Some(Cow::Borrowed(&**e)),
        Record::Bytes { body: bytes, .. } => match std::str::from_utf8(bytes) {
            Ok(text) => body = Some(Cow::Borrowed(text)),
            Err(_) => body_base64 = Some(BASE64_STANDARD.encode(bytes)),
        },
    }
    let line = Line {
        version: VERSION,
        id: Cow::Borrowed(letter.id()),
        kind: Cow::Borrowed(letter.kind.as_str()),
        reason: Cow::Borrowed(&letter.reason),
        attempts: letter.attempts,
        first_at: letter.first_at,
        last_at: letter.last_at,
        event,
        body,
        body_base64,
    };
    let start = out.len();
    serde_json::to_writer(&mut *out, &line).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the dead letter as JSON")
            .with("id", letter.id())
            .because(e)
    })?;
    // A raw payload may hold line breaks between its tokens; in the log, a line is a letter.
    for byte in out.iter_mut().skip(start).filter(|b| matches!(b, b'\n' | b'\r')) {
        *byte = b' ';
    }
    out.push(b'\n');
    Ok(())
}

/// Reads one line, without its end.
pub(super) fn parse(line: &[u8]) -> Result<DeadLetter> {
    let invalid = |what: &str| Error::new(ErrorKind::InvalidData, what);
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|e| invalid("not a line of a dead-letter file").because(e))?;
    if line.version != VERSION {
        return Err(invalid("the dead letter was written by another version of this program")
            .with("found", line.version)
            .with("understood", VERSION));
    }
    let record = match (line.event, line.body, line.body_base64) {
        (Some(event), None, None) => Record::Event(Box::new(event.into_owned())),
        (None, Some(text), None) => {
            Record::Bytes { id: line.id.into_owned(), body: text.into_owned().into_bytes() }
        }
        (None, None, Some(base64)) => Record::Bytes {
            id: line.id.into_owned(),
            body: BASE64_STANDARD
                .decode(base64)
                .map_err(|e| invalid("body_base64 is not base64").because(e))?,
        },
        _ => return Err(invalid("a dead letter has one of event, body and body_base64")),
    };
    Ok(DeadLetter {
        record,
        kind: ErrorKind::from_name(&line.kind).unwrap_or(ErrorKind::Unexpected),
        reason: line.reason.into_owned(),
        attempts: line.attempts,
        first_at: line.first_at,
        last_at: line.last_at,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Raw;

    fn round_trip(letter: &DeadLetter) -> DeadLetter {
        let mut line = Vec::new();
        append(letter, &mut line).unwrap();
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        parse(line.strip_suffix(b"\n").unwrap()).unwrap()
    }

    #[test]
    fn an_event_keeps_envelope_and_payload() {
        let raw = Raw::parse(r#"{"b": 1.10, "a": "\u0041\n"}"#).unwrap();
        let event = AuditEvent::new(EventId::new("t/1"), "db".into(), DateTime::UNIX_EPOCH, raw);
        let error = Error::new(ErrorKind::Rejected, "mapping").with("field", "a");
        let letter = DeadLetter::event(event, &error, 3);
        assert_eq!(round_trip(&letter), letter);
        assert_eq!(letter.reason, "mapping (field: a)");
    }

    #[test]
    fn a_letter_without_a_body_or_with_two_is_refused() {
        for extra in ["", r#","body":"a","body_base64":"YQ==""#] {
            let line = format!(
                r#"{{"version":1,"id":"a","kind":"rejected","reason":"r","attempts":1,
                "first_at":"1970-01-01T00:00:00Z","last_at":"1970-01-01T00:00:00Z"{extra}}}"#
            );
            assert_eq!(parse(line.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(body in prop::collection::vec(any::<u8>(), 0..64), id in ".*") {
            let error = Error::new(ErrorKind::InvalidData, "broken");
            let letter = DeadLetter::record(EventId::new(id), body, &error);
            prop_assert_eq!(round_trip(&letter), letter);
        }
    }
}
