use std::sync::Arc;

use audit_core::{
    Action, ActionKind, Actor, AuditEvent, Envelope, EventId, Origin, Outcome, Raw, Result, Target,
    Text,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::part::Part;
use crate::time;

/// A longer identifier is none: nothing is known of it, and it would make cursors large.
const MAX_IDENTIFIER: usize = 256;

/// What is read of a record; all else stays in its raw text.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fields<'a> {
    #[serde(borrow)]
    identifier: Text<'a>,
    #[serde(borrow)]
    action: Text<'a>,
    #[serde(borrow)]
    resource_type: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    trigger: Part<Trigger<'a>>,
    #[serde(borrow)]
    context: Part<Context<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Trigger<'a> {
    #[serde(borrow)]
    at: Text<'a>,
    #[serde(borrow)]
    origin: Text<'a>,
    #[serde(borrow)]
    by: Part<By<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct By<'a> {
    #[serde(borrow)]
    org_id: Text<'a>,
    #[serde(borrow)]
    user_id: Text<'a>,
    #[serde(borrow)]
    by_port: Text<'a>,
    #[serde(borrow)]
    user: Part<User<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User<'a> {
    #[serde(borrow)]
    email: Text<'a>,
}

/// The same thing has several names, by the kind of record.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Context<'a> {
    #[serde(borrow)]
    blueprint: Text<'a>,
    #[serde(borrow)]
    blueprint_identifier: Text<'a>,
    #[serde(borrow)]
    blueprint_id: Text<'a>,
    #[serde(borrow)]
    entity: Text<'a>,
    #[serde(borrow)]
    entity_identifier: Text<'a>,
    #[serde(borrow)]
    entity_id: Text<'a>,
    #[serde(borrow)]
    run_id: Text<'a>,
}

/// Makes an event of a record, read in one pass. One that does not say when it happened gets the
/// time given, one without an identifier the hash of its bytes.
///
/// # Errors
/// [`InvalidData`](audit_core::ErrorKind::InvalidData) when the text is not JSON.
pub(crate) fn event(text: &str, source: &Arc<str>, otherwise: DateTime<Utc>) -> Result<AuditEvent> {
    let (raw, envelope) =
        Raw::read(text, |parser| Fields::deserialize(parser).map(|f| Some(f.finish())))?;
    let envelope =
        envelope.unwrap_or_else(|| Envelope { drift: Some("the record"), ..Envelope::default() });
    let id = envelope.id.clone().unwrap_or_else(|| hash_id(text.as_bytes()));
    let time = envelope.time.unwrap_or(otherwise);
    Ok(envelope.into_event(id, Arc::clone(source), time, raw))
}

/// Returns the id of a record that has none of its own: the same bytes, the same id.
pub(crate) fn hash_id(bytes: &[u8]) -> EventId {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = String::from("sha256-");
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            id.push(char::from(HEX.get(usize::from(digit)).copied().unwrap_or_default()));
        }
    }
    EventId::new(id)
}

impl Fields<'_> {
    fn finish(self) -> Envelope {
        let Self { identifier, action, resource_type, status, message, trigger, context } = self;
        let Part(Trigger { at, origin, by: Part(by) }) = trigger;
        let Part(context) = context;
        let resource = resource_type.get();
        let name = match (resource, action.get()) {
            (Some(resource), Some(action)) => Some(format!("{resource}.{action}").into_boxed_str()),
            (one, other) => one.or(other).map(Box::from),
        };
        let kind = match action.get() {
            _ if resource == Some("run") => ActionKind::Execute,
            Some("CREATE") => ActionKind::Create,
            Some("UPDATE") => ActionKind::Update,
            Some("DELETE") => ActionKind::Delete,
            _ => ActionKind::Other,
        };
        let time = at.get().and_then(time::read);
        // What every published example has; some records have no identifier.
        let drift = match (action.get(), resource, time) {
            (None, ..) => Some("action"),
            (_, None, _) => Some("resourceType"),
            (.., None) => Some("trigger.at"),
            _ => None,
        };
        Envelope {
            id: identifier.get().filter(|id| id.len() <= MAX_IDENTIFIER).map(EventId::new),
            time,
            action: Action { name, kind },
            target: context.target(resource, by.org_id.get()),
            actor: by.actor(),
            outcome: match status.get() {
                Some("SUCCESS") => Outcome::Success,
                Some("FAILURE") => Outcome::Failure,
                // TRIGGERED says that it began.
                _ => Outcome::Unknown,
            },
            origin: Origin {
                via: origin.into_boxed(),
                correlation_id: context.run_id.into_boxed(),
                ..Origin::default()
            },
            message: message.into_boxed(),
            drift,
        }
    }
}

impl By<'_> {
    fn actor(self) -> Option<Actor> {
        let Self { user_id, by_port, user: Part(User { email }), .. } = self;
        let by_port = by_port.get() == Some("true");
        let kind = match user_id.get() {
            _ if by_port => "system",
            // So Auth0, which Port uses, names the clients of its machine-to-machine flow.
            Some(id) if id.ends_with("@clients") => "service",
            Some(_) => "user",
            None if email.get().is_some() => "user",
            None => return None,
        };
        Some(Actor {
            id: user_id.into_boxed(),
            kind: Some(kind.into()),
            name: by_port.then(|| "Port".into()),
            email: email.into_boxed(),
        })
    }
}

impl Context<'_> {
    /// The most particular thing that is named: an entity, else a run, else the blueprint.
    fn target(&self, resource: Option<&str>, organisation: Option<&str>) -> Option<Target> {
        let entity = first([&self.entity, &self.entity_identifier, &self.entity_id]);
        let blueprint = first([&self.blueprint, &self.blueprint_identifier, &self.blueprint_id]);
        let run = self.run_id.get().filter(|_| resource == Some("run"));
        // What belongs to a blueprint is known by the two together.
        let (id, within) = match entity.or(run) {
            Some(id) => (Some(id), blueprint),
            None => (blueprint, None),
        };
        let scope = match (organisation, within) {
            (Some(organisation), Some(blueprint)) => {
                Some(format!("{organisation}/{blueprint}").into_boxed_str())
            }
            (one, other) => one.or(other).map(Box::from),
        };
        let kind = resource.map(Box::from);
        let target = Target { id: id.map(Box::from), kind, name: None, scope };
        (target != Target::default()).then_some(target)
    }
}

fn first<'a>(names: [&'a Text<'_>; 3]) -> Option<&'a str> {
    names.into_iter().find_map(Text::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AuditEvent {
        let event = event(text, &"port".into(), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(event.raw.get(), text);
        event
    }

    #[test]
    fn reads_the_change_of_an_entity_whole() {
        let event = read(
            r#"{"identifier":"evt_1","action":"UPDATE","resourceType":"entity","status":"FAILURE",
            "message":"no such owner","trigger":{"at":"2022-12-01T16:50:00.125+02:00","origin":"UI",
            "by":{"orgId":"org_1","userId":"auth0|42","user":{"email":"ada@example.com","phone":"1"}}},
            "context":{"blueprint":"service","entity":"cart","runId":null},
            "diff":{"before":{"a":1.10},"after":{"a":2}},"additionalData":{}}"#,
        );
        assert_eq!(event.id.as_str(), "evt_1");
        assert_eq!(event.time.to_rfc3339(), "2022-12-01T14:50:00.125+00:00");
        assert_eq!(event.action.name.as_deref(), Some("entity.UPDATE"));
        assert_eq!((event.action.kind, event.outcome), (ActionKind::Update, Outcome::Failure));
        let actor = event.actor.unwrap();
        assert_eq!((actor.id.as_deref(), actor.kind.as_deref()), (Some("auth0|42"), Some("user")));
        assert_eq!(actor.email.as_deref(), Some("ada@example.com"));
        let target = event.target.unwrap();
        assert_eq!((target.id.as_deref(), target.kind.as_deref()), (Some("cart"), Some("entity")));
        assert_eq!(target.scope.as_deref(), Some("org_1/service"));
        assert_eq!(event.origin.via.as_deref(), Some("UI"));
        assert_eq!(event.message.as_deref(), Some("no such owner"));
    }

    /// The published payload of a run; it has no identifier.
    #[test]
    fn reads_a_run_and_names_it_by_its_bytes() {
        let text = include_str!("../tests/data/run_changelog.json");
        let event = read(text);
        assert!(event.id.as_str().starts_with("sha256-") && event.id.as_str().len() == 71);
        assert_eq!(event.id, read(text).id);
        assert_ne!(event.id, read(&text.replace("UI", "API")).id);
        assert_eq!(event.action.name.as_deref(), Some("run.Create"));
        assert_eq!((event.action.kind, event.outcome), (ActionKind::Execute, Outcome::Unknown));
        let target = event.target.unwrap();
        assert_eq!(target.id.as_deref(), Some("r_jE5FhDURh4Uen2Qr"));
        assert_eq!(target.scope.as_deref(), Some("test_org/Service"));
        assert_eq!(event.origin.correlation_id.as_deref(), Some("r_jE5FhDURh4Uen2Qr"));
    }

    #[test]
    fn actors_and_targets_of_every_kind_are_told_apart() {
        let actor = |by: &str| {
            let actor = read(&format!(r#"{{"trigger":{{"by":{by}}}}}"#)).actor;
            actor.map(|actor| actor.kind.unwrap().into_string())
        };
        assert_eq!(actor(r#"{"userId":"abc@clients"}"#).as_deref(), Some("service"));
        assert_eq!(actor(r#"{"byPort":true}"#).as_deref(), Some("system"));
        assert_eq!(actor(r#"{"byPort":false,"userId":"u"}"#).as_deref(), Some("user"));
        assert_eq!(actor(r#"{"orgId":"o"}"#), None);
        let target = |context: &str| {
            let text = format!(r#"{{"resourceType":"x","context":{context}}}"#);
            let target = read(&text).target.unwrap();
            format!("{}@{}", target.id.unwrap_or_default(), target.scope.unwrap_or_default())
        };
        assert_eq!(target(r#"{"blueprintId":"bp1","entityId":"en1"}"#), "en1@bp1");
        assert_eq!(target(r#"{"blueprintIdentifier":"b","entityIdentifier":"e"}"#), "e@b");
        assert_eq!(target(r#"{"blueprint":"b","entity":"b"}"#), "b@b");
        assert_eq!(target(r#"{"blueprint":"b"}"#), "b@");
        assert_eq!(target("null"), "@");
    }

    #[test]
    fn a_field_of_another_type_costs_only_itself() {
        for odd in ["1", "-1", "1.5", "true", "null", "\"text\"", "[{}]"] {
            let text = format!(
                r#"{{"identifier":"i","trigger":{odd},"context":{odd},"action":{{}},"status":[]}}"#
            );
            let event = read(&text);
            assert_eq!((event.id.as_str(), event.time), ("i", DateTime::UNIX_EPOCH), "{odd}");
        }
        let event = read(r#"{"identifier":7,"trigger":{"at":"soon","by":"me","origin":"API"}}"#);
        assert_eq!((event.id.as_str(), event.origin.via.as_deref()), ("7", Some("API")));
        assert_eq!(event.drift, Some("action"));
        let drift = |text: &str| read(text).drift;
        let whole =
            r#"{"action":"CREATE","resourceType":"team","trigger":{"at":"2022-12-01T16:50:00Z"}}"#;
        assert_eq!(drift(whole), None);
        assert_eq!(drift(include_str!("../tests/data/run_changelog.json")), None);
        assert_eq!(drift(&whole.replace("\"team\"", "{}")), Some("resourceType"));
        assert_eq!(drift(&whole.replace("2022-12", "Dec")), Some("trigger.at"));
        assert_eq!(drift(r#"{"action":"a","action":"b"}"#), Some("the record"));
        let long = format!(r#"{{"identifier":"{}"}}"#, "x".repeat(257));
        assert!(read(&long).id.as_str().starts_with("sha256-"));
    }

    #[test]
    fn n05_strange_json_is_delivered_or_refused_but_never_fatal() {
        let deep = format!(r#"{{"diff":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            deep.as_str(),
            r#"{"identifier":"a","identifier":"b"}"#,
            r#"{"message":"\ud800"}"#,
            r#"{"n":123456789012345678901234567890,"f":1.10}"#,
            "{}",
        ] {
            assert!(read(text).id.as_str().starts_with("sha256-"));
        }
        for text in [r#"{"n":NaN}"#, r#"{"a":1,}"#, "{} {}", "{"] {
            assert!(event(text, &"port".into(), DateTime::UNIX_EPOCH).is_err(), "{text}");
        }
    }
}
