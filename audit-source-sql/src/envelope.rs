mod fields;
mod thing;

use audit_core::{Action, ActionKind, Envelope, Origin, Outcome, Text};
use serde::de::{DeserializeSeed, Deserializer};

pub(crate) use self::fields::Fields;
use self::fields::Record;
use self::thing::Thing;
use crate::time;

/// Reads the envelope in one pass over the record.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    parser: D,
    fields: &Fields,
) -> Result<Envelope, D::Error> {
    Record(fields).deserialize(parser).map(Draft::finish)
}

/// The fields as they stand in the record, borrowed from it.
#[derive(Debug, Default)]
struct Draft<'a> {
    date_time: Text<'a>,
    epoch: Text<'a>,
    actor: Thing<'a>,
    target: Thing<'a>,
    operation: Text<'a>,
    status: Text<'a>,
    origin: Text<'a>,
    environment: Text<'a>,
    information: Text<'a>,
    message: Text<'a>,
}

impl Draft<'_> {
    fn finish(self) -> Envelope {
        let time = |text: &Text<'_>| text.get().and_then(time::parse);
        let address = self.actor.address.get();
        let origin = Origin {
            ip: address.and_then(|ip| ip.trim_start_matches('/').parse().ok()),
            via: self.origin.into_boxed(),
            ..Origin::default()
        };
        let kind = self.operation.get().map(action_kind).unwrap_or_default();
        let mut target = self.target.into_target();
        if let Some(target) = &mut target {
            target.scope = self.environment.into_boxed();
        }
        let time = time(&self.date_time).or_else(|| time(&self.epoch));
        Envelope {
            id: None,
            time,
            action: Action { name: self.operation.into_boxed(), kind },
            actor: self.actor.into_actor(),
            target,
            outcome: self.status.get().map(outcome).unwrap_or_default(),
            origin,
            message: self.information.into_boxed().or_else(|| self.message.into_boxed()),
            // Tables differ in all but this, whose place is configured.
            drift: time.is_none().then_some("date_time"),
        }
    }
}

/// The words in use, and the codes of django-auditlog.
fn action_kind(operation: &str) -> ActionKind {
    let is = |words: &[&str]| words.iter().any(|word| operation.eq_ignore_ascii_case(word));
    match () {
        () if is(&["CREATE", "0", "ADD", "INSERT"]) => ActionKind::Create,
        () if is(&["READ", "3", "ACCESS", "VIEW", "LIST"]) => ActionKind::Read,
        () if is(&["UPDATE", "1", "CHANGE", "EDIT", "PATCH"]) => ActionKind::Update,
        () if is(&["DELETE", "2", "REMOVE"]) => ActionKind::Delete,
        () if is(&["LOGIN", "LOGON", "AUTHENTICATE"]) => ActionKind::Login,
        () if is(&["AUTHORIZE"]) => ActionKind::Authorize,
        () if is(&["EXECUTE", "RUN"]) => ActionKind::Execute,
        () => ActionKind::Other,
    }
}

fn outcome(status: &str) -> Outcome {
    let is = |words: &[&str]| words.iter().any(|word| status.eq_ignore_ascii_case(word));
    match () {
        () if is(&["SUCCESS", "SUCCEEDED", "OK"]) => Outcome::Success,
        () if is(&["FORBIDDEN", "DENIED", "UNAUTHORIZED"]) => Outcome::Denied,
        () if is(&["FAILURE", "FAILED", "ERROR"]) => Outcome::Failure,
        () => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use audit_core::{AuditEvent, EventId, Raw};
    use chrono::DateTime;

    use super::*;

    fn event_of(text: &str, parent: &str, field: &str) -> AuditEvent {
        let fields = Fields::new(parent, field);
        let (raw, envelope) = Raw::read(text, |p| read(p, &fields)).unwrap();
        assert_eq!(raw.get(), text);
        let time = envelope.time.unwrap_or_default();
        envelope.into_event(EventId::new("t:1"), "db".into(), time, raw)
    }

    fn event(text: &str) -> AuditEvent {
        event_of(text, "audit_event", "date_time")
    }

    #[test]
    fn reads_the_classic_record_whole() {
        let event = event(
            r#"{"audit_event":{"origin":"app","status":"FORBIDDEN","date_time_epoch":1665664496789,
            "date_time":"2022-10-13T12:34:56.789Z","actor":{"role":"SYSTEM","user_id":"42",
            "provider":"x","ip_address":"1.2.3.4"},"operation":"UPDATE",
            "additional_information":"phone number changed","target":{"id":"43","type":"User"}}}"#,
        );
        assert_eq!(event.time.timestamp_millis(), 1_665_664_496_789);
        assert_eq!(event.action.kind, ActionKind::Update);
        assert_eq!(event.action.name.as_deref(), Some("UPDATE"));
        assert_eq!(event.outcome, Outcome::Denied);
        let actor = event.actor.unwrap();
        assert_eq!((actor.id.as_deref(), actor.kind.as_deref()), (Some("42"), Some("SYSTEM")));
        let target = event.target.unwrap();
        assert_eq!((target.id.as_deref(), target.kind.as_deref()), (Some("43"), Some("User")));
        assert_eq!(event.origin.ip, Some("1.2.3.4".parse().unwrap()));
        assert_eq!(event.origin.via.as_deref(), Some("app"));
        assert_eq!(event.message.as_deref(), Some("phone number changed"));
    }

    #[test]
    fn actor_and_target_may_be_plain_text() {
        let event = event(
            r#"{"audit_event":{"actor":"Ada Lovelace","target":"Book 1","environment":"dev",
            "date_time":"2022-10-13T12:34:56.000+0300","operation":"0","message":{"name":[null,"x"]}}}"#,
        );
        assert_eq!(event.actor.unwrap().name.as_deref(), Some("Ada Lovelace"));
        let target = event.target.unwrap();
        assert_eq!(
            (target.name.as_deref(), target.scope.as_deref()),
            (Some("Book 1"), Some("dev"))
        );
        assert_eq!(event.time.to_rfc3339(), "2022-10-13T09:34:56+00:00");
        assert_eq!(event.action.kind, ActionKind::Create);
        assert_eq!(event.message, None);
    }

    #[test]
    fn odd_types_cost_only_their_own_field() {
        let event = event(
            r#"{"x":[{"audit_event":1}],"audit_event":{"actor":[1],"target":7,"status":{},"operation":null,
            "date_time":{"a":1},"date_time_epoch":1665664496,"origin":"o"},"tail":{"actor":"no"}}"#,
        );
        assert_eq!(event.actor, None);
        assert_eq!(event.target.unwrap().id.as_deref(), Some("7"));
        assert_eq!(event.time.timestamp(), 1_665_664_496);
        assert_eq!((event.origin.via.as_deref(), event.drift), (Some("o"), None));
        for text in ["7", "[]", "\"x\"", "null", r#"{"audit_event":[]}"#, r#"{"audit_event":3}"#] {
            let event = self::event(text);
            assert_eq!(
                (event.time, event.drift),
                (DateTime::UNIX_EPOCH, Some("date_time")),
                "{text}"
            );
        }
    }

    #[test]
    fn other_names_and_the_root_can_be_configured() {
        let text =
            r#"{"wh\u0065n":"2022-10-13","actor":"a","e":{"when":"2023-10-13","actor":"b"}}"#;
        let root = event_of(text, "", "when");
        assert_eq!(root.time.to_rfc3339(), "2022-10-13T00:00:00+00:00");
        assert_eq!(root.actor.unwrap().name.as_deref(), Some("a"));
        let inner = event_of(text, "e", "when");
        assert_eq!(inner.time.to_rfc3339(), "2023-10-13T00:00:00+00:00");
        assert_eq!(inner.actor.unwrap().name.as_deref(), Some("b"));
        // A record that lacks the object is read at its root.
        let flat = event_of(text, "audit_event", "when");
        assert_eq!(flat.actor.unwrap().name.as_deref(), Some("a"));
    }
}
