//! [CloudEvents 1.0.2](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md) in
//! structured mode, by its [JSON event format](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

use crate::{ActionKind, AuditEvent, Outcome, Result};

/// The attributes of the event, without its data.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Cow<'a, str>,
    source: Cow<'a, str>,
    r#type: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    time: String,
    datacontenttype: &'static str,
    // From here on extensions: what routers and filters ask for. Names have no other characters
    // than lower-case letters and digits.
    action: ActionKind,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<Cow<'a, str>>,
}

impl<'a> CloudEvent<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        let (actor, target) = (event.actor.as_ref(), event.target.as_ref());
        let subject = target.and_then(|t| t.id.as_deref().or(t.name.as_deref()));
        let actor =
            actor.and_then(|a| a.id.as_deref().or(a.name.as_deref()).or(a.email.as_deref()));
        Self {
            specversion: "1.0",
            id: text(event.id.as_str()),
            source: uri_reference(&event.source),
            r#type: event.action.name.as_deref().filter(is_filled).map_or("audit".into(), text),
            subject: subject.filter(is_filled).map(text),
            time: super::time(event),
            datacontenttype: "application/json",
            action: event.action.kind,
            outcome: event.outcome,
            actor: actor.filter(is_filled).map(text),
            correlationid: event.origin.correlation_id.as_deref().filter(is_filled).map(text),
        }
    }
}

pub(super) fn append(event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
    super::append_with(event, &CloudEvent::new(event), "data", out)
}

/// An attribute that is there is not empty.
fn is_filled(text: &&str) -> bool {
    !text.is_empty()
}

/// Returns the text with what an attribute must not hold (control characters and noncharacters) as
/// escapes, so that two different ids stay different.
fn text(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| c.is_control() || is_noncharacter(c);
    if !text.contains(forbidden) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if forbidden(c) {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// The code points that Unicode keeps for the internal use of programs.
fn is_noncharacter(c: char) -> bool {
    matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE
}

/// Returns the name of a source as a relative reference (RFC 3986, 4.2).
fn uri_reference(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut reference = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if plain(byte) {
            reference.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(reference, "%{byte:02X}");
        }
    }
    Cow::Owned(reference)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, line};
    use crate::{Actor, EventId, Format, Raw, Target};

    #[test]
    fn the_record_is_the_data_byte_for_byte() {
        let mut event = event();
        event.raw = Raw::parse(r#"[1.10, {"a":1,"a":2}, "\ud800"]"#).unwrap();
        event.action.name = Some("user.update".into());
        event.actor = Some(Actor { email: Some("ann@example.com".into()), ..Actor::default() });
        event.target = Some(Target { name: Some("Bob".into()), ..Target::default() });
        let expected = concat!(
            r#"{"specversion":"1.0","id":"t/1","source":"db","type":"user.update","subject":"Bob","#,
            r#""time":"2022-10-13T12:34:56.789Z","datacontenttype":"application/json","#,
            r#""action":"other","outcome":"unknown","actor":"ann@example.com","#,
            r#""data":[1.10, {"a":1,"a":2}, "\ud800"]}"#,
        );
        assert_eq!(line(Format::CloudEvents, &event), expected);
    }

    #[test]
    fn attributes_hold_what_the_specification_allows() {
        let mut event = event();
        event.id = EventId::new("a\u{1}b\u{fffe}");
        event.source = "Büro 1:x".into();
        event.target = Some(Target { id: Some("".into()), ..Target::default() });
        let value: serde_json::Value =
            serde_json::from_str(&line(Format::CloudEvents, &event)).unwrap();
        assert_eq!(value["id"], r"a\u{1}b\u{fffe}");
        assert_eq!(value["source"], "B%C3%BCro%201%3Ax");
        assert_eq!(value["type"], "audit");
        assert!(value.get("subject").is_none());
    }
}
