//! The [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs).

use std::net::IpAddr;

use serde::Serialize;

use crate::{ActionKind, Actor, AuditEvent, Outcome, Target};

/// The version of the schema whose field names are used.
const VERSION: &str = "8.17.0";

/// An event in the names of the schema, without the record. What the schema has no name for is
/// under `audit`.
#[derive(Serialize)]
pub(super) struct Ecs<'a> {
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
    pub(super) fn new(event: &'a AuditEvent) -> Self {
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
