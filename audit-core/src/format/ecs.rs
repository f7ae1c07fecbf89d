//! The [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs).

use std::net::IpAddr;

use serde::Serialize;

use crate::{ActionKind, Actor, AuditEvent, Outcome, Result, Target};

/// The version of the schema whose field names are used.
const VERSION: &str = "9.0.0";

/// An event in the names of the schema, without the record. What the schema has no name for is
/// under `audit`.
#[derive(Serialize)]
struct Ecs<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    ecs: Version,
    event: Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<UserAgent<'a>>,
    #[serde(skip_serializing_if = "Related::is_empty")]
    related: Related<'a>,
    /// Last, since the record follows as the last field of this object.
    audit: Audit<'a>,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    kind: &'static str,
    category: [&'static str; 1],
    #[serde(rename = "type")]
    kinds: Kinds,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    outcome: &'static str,
    provider: &'a str,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<UserTarget<'a>>,
}

#[derive(Serialize)]
struct UserTarget<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Address {
    ip: IpAddr,
}

#[derive(Serialize)]
struct UserAgent<'a> {
    original: &'a str,
}

#[derive(Serialize)]
struct Related<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<[IpAddr; 1]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user: Vec<&'a str>,
}

#[derive(Serialize)]
struct Audit<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<ActorType<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a Target>,
    /// The schema knows no denial that is an outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
}

#[derive(Serialize)]
struct ActorType<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// One or two values of `event.type`.
#[derive(Serialize)]
#[serde(untagged)]
enum Kinds {
    One([&'static str; 1]),
    Two([&'static str; 2]),
}

impl<'a> Ecs<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        let (category, kinds) = classify(event);
        let denied = event.outcome == Outcome::Denied;
        let origin = &event.origin;
        Self {
            timestamp: super::time(event),
            ecs: Version { version: VERSION },
            event: Event {
                id: event.id.as_str(),
                kind: "event",
                category: [category],
                kinds,
                action: event.action.name.as_deref(),
                outcome: match event.outcome {
                    Outcome::Success => "success",
                    Outcome::Failure | Outcome::Denied => "failure",
                    Outcome::Unknown => "unknown",
                },
                provider: &event.source,
            },
            message: event.message.as_deref(),
            user: User::new(event),
            source: origin.ip.map(|ip| Address { ip }),
            user_agent: origin.user_agent.as_deref().map(|original| UserAgent { original }),
            related: Related::new(event),
            audit: Audit {
                actor: event
                    .actor
                    .as_ref()
                    .and_then(|a| a.kind.as_deref())
                    .map(|kind| ActorType { kind }),
                target: event.target.as_ref(),
                denied: denied.then_some(true),
                via: origin.via.as_deref(),
                correlation_id: origin.correlation_id.as_deref(),
            },
        }
    }
}

pub(super) fn append(event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
    super::append_json(event, &Ecs::new(event), out)?;
    // Two objects are open there: `audit`, which is empty perhaps, and the whole.
    out.truncate(out.len() - 2);
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    let record = event.raw.line();
    // Only objects fit the field that the records of all events share.
    if record.trim_start().starts_with('{') {
        out.extend_from_slice(b"\"record\":");
        out.extend_from_slice(record.as_bytes());
    } else {
        out.extend_from_slice(b"\"original\":");
        super::append_json(event, &record, out)?;
    }
    out.extend_from_slice(b"}}");
    Ok(())
}

impl<'a> User<'a> {
    fn new(event: &'a AuditEvent) -> Option<Self> {
        let actor = event.actor.as_ref();
        let field = |get: fn(&Actor) -> Option<&str>| actor.and_then(get);
        let target = event.target.as_ref().filter(|t| identity(t) == Some("user"));
        let user = Self {
            id: field(|a| a.id.as_deref()),
            name: field(|a| a.name.as_deref()),
            email: field(|a| a.email.as_deref()),
            target: target
                .map(|t| UserTarget { id: t.id.as_deref(), name: t.name.as_deref() })
                .filter(|t| t.id.is_some() || t.name.is_some()),
        };
        let empty = user.id.or(user.name).or(user.email).is_none() && user.target.is_none();
        (!empty).then_some(user)
    }
}

impl<'a> Related<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        let actor = event.actor.iter().flat_map(|a| [&a.id, &a.name, &a.email]);
        let target = event.target.iter().filter(|t| identity(t) == Some("user"));
        let target = target.flat_map(|t| [&t.id, &t.name]);
        let mut user: Vec<&str> = Vec::new();
        for name in actor.chain(target).filter_map(|name| name.as_deref()) {
            if !user.contains(&name) {
                user.push(name);
            }
        }
        Self { ip: event.origin.ip.map(|ip| [ip]), user }
    }

    fn is_empty(&self) -> bool {
        self.ip.is_none() && self.user.is_empty()
    }
}

/// Returns `event.category` and `event.type`: the pairs are among those that the schema allows.
fn classify(event: &AuditEvent) -> (&'static str, Kinds) {
    let change = match event.action.kind {
        ActionKind::Login => return ("authentication", Kinds::One(["start"])),
        ActionKind::Authorize => {
            let denied = event.outcome == Outcome::Denied;
            return ("api", Kinds::One([if denied { "denied" } else { "allowed" }]));
        }
        ActionKind::Create => "creation",
        ActionKind::Delete => "deletion",
        ActionKind::Execute => "start",
        ActionKind::Other => "info",
        ActionKind::Read => "access",
        ActionKind::Update => "change",
    };
    let changes = matches!(change, "creation" | "deletion" | "change");
    match event.target.as_ref().and_then(identity).filter(|_| changes) {
        Some("role") => ("iam", Kinds::Two([change, "admin"])),
        Some(identity) => ("iam", Kinds::Two([change, identity])),
        None if event.outcome == Outcome::Denied => ("api", Kinds::Two([change, "denied"])),
        None => ("api", Kinds::One([change])),
    }
}

/// Returns whether the target is a user, a group or a role.
fn identity(target: &Target) -> Option<&'static str> {
    let kind = target.kind.as_deref()?;
    // `auth.user` of Django is a user too.
    let last = kind.rsplit(['.', ':', '/']).next().unwrap_or(kind);
    ["user", "group", "role"].into_iter().find(|known| last.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, line};
    use crate::{Action, ActionKind, Actor, Format, Outcome, Raw, Target};

    #[test]
    fn what_the_schema_has_names_for_gets_them() {
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
            r#"{"@timestamp":"2022-10-13T12:34:56.789Z","ecs":{"version":"9.0.0"},"#,
            r#""event":{"id":"t/1","kind":"event","category":["iam"],"type":["change","user"],"#,
            r#""action":"user.update","outcome":"failure","provider":"db"},"message":"no","#,
            r#""user":{"id":"u1","name":"Ann","target":{"id":"u2"}},"#,
            r#""source":{"ip":"2001:db8::1"},"#,
            r#""related":{"ip":["2001:db8::1"],"user":["u1","Ann","u2"]},"#,
            r#""audit":{"target":{"id":"u2","type":"auth.User","scope":"org"},"denied":true,"#,
            r#""correlation_id":"c-1","record":{"b": 1.10,   "a": "x\ny"}}}"#,
        );
        assert_eq!(line(Format::Ecs, &event), expected);
    }

    #[test]
    fn a_bare_event_is_valid_whatever_the_record() {
        for (raw, field, value) in [
            ("{}", "record", serde_json::json!({})),
            ("[1, 2.50]", "original", "[1, 2.50]".into()),
            (r#""a\n""#, "original", r#""a\n""#.into()),
        ] {
            let mut event = event();
            event.raw = Raw::parse(raw).unwrap();
            let document: serde_json::Value =
                serde_json::from_str(&line(Format::Ecs, &event)).unwrap();
            assert_eq!(document["audit"][field], value, "{raw}");
            assert_eq!(document["event"]["type"], serde_json::json!(["info"]));
            assert!(document.get("user").is_none() && document.get("related").is_none());
        }
    }
}
