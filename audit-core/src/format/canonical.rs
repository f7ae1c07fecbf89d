use serde::Serialize;

use crate::{Action, Actor, AuditEvent, Origin, Outcome, Result, Target};

/// The canonical form without the payload. Its fields and their order are those of [`AuditEvent`].
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    source: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        Self {
            id: event.id.as_str(),
            source: &event.source,
            time: super::time(event),
            action: event.action.is_known().then_some(&event.action),
            actor: event.actor.as_ref(),
            target: event.target.as_ref(),
            outcome: event.outcome,
            origin: event.origin.is_known().then_some(&event.origin),
            message: event.message.as_deref(),
        }
    }
}

pub(super) fn append(event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
    super::append_with(event, &Envelope::new(event), "raw", out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, line};
    use crate::{AuditEvent, Format, Raw};

    #[test]
    fn is_the_serialized_event() {
        let mut event = event();
        let text = line(Format::Canonical, &event);
        assert!(serde_json::from_str::<AuditEvent>(&text).is_ok());
        event.raw = Raw::parse(event.raw.line()).unwrap();
        assert_eq!(text, serde_json::to_string(&event).unwrap());
    }
}
