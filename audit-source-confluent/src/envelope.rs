use std::net::IpAddr;

use audit_core::{Action, ActionKind, Actor, AuditEvent, Origin, Outcome, Target, Text};
use chrono::{DateTime, Utc};

use crate::payload::{Data, Payload, Principal, Resource};

/// A longer identifier is none: sinks use it as a key.
const MAX_ID: usize = 400;

/// What an event says of a record, beside its raw text.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    /// The CloudEvents identifier, if the record is a CloudEvent.
    pub(crate) id: Option<Box<str>>,
    pub(crate) time: Option<DateTime<Utc>>,
    action: Action,
    actor: Option<Actor>,
    target: Option<Target>,
    outcome: Outcome,
    origin: Origin,
    message: Option<Box<str>>,
}

impl Envelope {
    pub(crate) fn fill(self, event: &mut AuditEvent) {
        event.action = self.action;
        event.actor = self.actor;
        event.target = self.target;
        event.outcome = self.outcome;
        event.origin = self.origin;
        event.message = self.message;
    }
}

impl From<Payload<'_>> for Envelope {
    fn from(payload: Payload<'_>) -> Self {
        let time = payload.time.get().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
        Self {
            id: id(&payload),
            time: time.map(|time| time.to_utc()),
            action: action(&payload),
            actor: actor(&payload.data.0.authentication.0.principal.0),
            target: target(&payload),
            outcome: outcome(&payload.data.0),
            origin: origin(&payload.data.0),
            message: message(&payload.data.0),
        }
    }
}

/// `id` alone where it is a UUID; else it is only promised to be unique within its `source`.
fn id(payload: &Payload<'_>) -> Option<Box<str>> {
    let id = payload.id.get()?;
    let whole: Box<str> = match payload.source.get() {
        Some(source) if !is_uuid(id) => format!("{source}#{id}").into(),
        _ => id.into(),
    };
    Some(whole).filter(|id| id.len() <= MAX_ID)
}

fn is_uuid(text: &str) -> bool {
    let dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match dash(place) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

fn action(payload: &Payload<'_>) -> Action {
    let data = &payload.data.0;
    let method = data.method.get();
    let class = payload.kind.get().and_then(|kind| kind.rsplit('/').next());
    let kind = match class {
        Some("authentication") => ActionKind::Login,
        Some("authorization") => ActionKind::Authorize,
        _ => of_method(method.unwrap_or_default(), data.request.0.access.get()),
    };
    Action { name: method.or(payload.kind.get()).map(Into::into), kind }
}

fn of_method(method: &str, access: Option<&str>) -> ActionKind {
    const VERBS: [(&str, ActionKind); 29] = [
        ("Activate", ActionKind::Update),
        ("Add", ActionKind::Create),
        ("Alter", ActionKind::Update),
        ("Authenticat", ActionKind::Login),
        ("Authorize", ActionKind::Authorize),
        ("Bind", ActionKind::Create),
        ("Change", ActionKind::Update),
        ("Create", ActionKind::Create),
        ("Delete", ActionKind::Delete),
        ("Describe", ActionKind::Read),
        ("Fetch", ActionKind::Read),
        ("Get", ActionKind::Read),
        ("Grant", ActionKind::Create),
        ("Incremental", ActionKind::Update),
        ("Invite", ActionKind::Create),
        ("List", ActionKind::Read),
        ("Modify", ActionKind::Update),
        ("Pause", ActionKind::Execute),
        ("Register", ActionKind::Create),
        ("Remove", ActionKind::Delete),
        ("Restart", ActionKind::Execute),
        ("Resume", ActionKind::Execute),
        ("Revoke", ActionKind::Delete),
        ("Set", ActionKind::Update),
        ("SignIn", ActionKind::Login),
        ("SignOut", ActionKind::Login),
        ("UnBind", ActionKind::Delete),
        ("Unbind", ActionKind::Delete),
        ("Update", ActionKind::Update),
    ];
    let verb = method.rsplit('.').next().unwrap_or_default();
    match (VERBS.iter().find(|(prefix, _)| verb.starts_with(prefix)), access) {
        (Some((_, kind)), _) => *kind,
        (None, Some("READ_ONLY")) => ActionKind::Read,
        (None, Some("MODIFICATION")) => ActionKind::Update,
        (None, _) => ActionKind::Other,
    }
}

fn actor(principal: &Principal<'_>) -> Option<Actor> {
    let (kind, id) = match &principal.identity {
        Some((kind, id)) => (Some(*kind), id.get()),
        None if principal.internal.get().is_some() => (Some("system"), principal.internal.get()),
        None => {
            let text = principal.text.get();
            (text.and_then(kind_of), text)
        }
    };
    let email = principal.email.get();
    let id = id.or(email)?;
    Some(Actor {
        id: Some(id.into()),
        kind: kind.map(Into::into),
        name: None,
        email: email.map(Into::into),
    })
}

/// What a principal's identifier says of its kind: `User:sa-1`, `u-1`, `pool-1`.
fn kind_of(principal: &str) -> Option<&'static str> {
    let id = principal.strip_prefix("User:").unwrap_or(principal);
    let kinds = [("u-", "user"), ("sa-", "service"), ("pool-", "pool"), ("group-", "group")];
    kinds.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| *kind)
}

fn target(payload: &Payload<'_>) -> Option<Target> {
    let data = &payload.data.0;
    let authorization = &data.authorization.0;
    let cloud = &data.cloud.0;
    let crn = data.resource.get().or(payload.subject.get());
    let mut target = match (cloud.resource.0.id.get(), crn) {
        (Some(id), _) => Target {
            id: Some(id.into()),
            kind: cloud.resource.0.kind.get().map(Into::into),
            name: None,
            scope: scope(&cloud.scope.0.resources.0),
        },
        (None, Some(crn)) => of_crn(crn),
        (None, None) => Target::default(),
    };
    let boxed = |text: &Text<'_>| text.get().map(Into::into);
    target.name = boxed(&authorization.resource_name);
    target.kind = boxed(&authorization.resource_type).or(target.kind);
    (target != Target::default()).then_some(target)
}

/// `organization=…/environment=…`, as in a resource name.
fn scope(resources: &[Resource<'_>]) -> Option<Box<str>> {
    let named = |r: &Resource<'_>| {
        let id = r.id.get()?;
        Some(format!("{}={id}", r.kind.get().unwrap_or("resource").to_ascii_lowercase()))
    };
    let all: Vec<_> = resources.iter().filter_map(named).collect();
    (!all.is_empty()).then(|| all.join("/").into())
}

/// Takes a resource name apart: `crn://authority/organization=…/kafka=…/topic=…`.
fn of_crn(crn: &str) -> Target {
    let id = Some(crn.into());
    let Some((_, path)) = crn.strip_prefix("crn://").and_then(|rest| rest.split_once('/')) else {
        return Target { id, ..Target::default() };
    };
    let (scope, last) = path.rsplit_once('/').unwrap_or(("", path));
    let kind = last.split_once('=').map(|(kind, _)| kind.into());
    let scope = (!scope.is_empty()).then(|| scope.into());
    Target { id, kind, name: None, scope }
}

fn outcome(data: &Data<'_>) -> Outcome {
    let authorization = &data.authorization.0;
    let granted = authorization.granted.get();
    let verdict = authorization.result.get();
    let denials = ["PERMISSION_DENIED", "UNAUTHORIZED", "FORBIDDEN"];
    let ends = [data.result.0.status.get(), data.authentication.0.result.get()];
    if granted == Some("false")
        || verdict == Some("DENY")
        || ends.iter().flatten().any(|end| denials.contains(end))
    {
        return Outcome::Denied;
    }
    if ends.iter().flatten().any(|end| *end != "SUCCESS") {
        return Outcome::Failure;
    }
    if ends.iter().any(Option::is_some) || granted == Some("true") || verdict == Some("ALLOW") {
        return Outcome::Success;
    }
    Outcome::Unknown
}

fn origin(data: &Data<'_>) -> Origin {
    let metadata = &data.metadata.0;
    let ip = |text: &Text<'_>| text.get()?.trim_start_matches('/').parse::<IpAddr>().ok();
    let correlation = [&metadata.request.0.0, &data.request.0.correlation, &metadata.connection];
    Origin {
        ip: ip(&metadata.address.0.0).or_else(|| ip(&data.address.0.0)),
        user_agent: None,
        via: data.service.get().map(Into::into),
        correlation_id: correlation.iter().find_map(|text| text.get()).map(Into::into),
    }
}

fn message(data: &Data<'_>) -> Option<Box<str>> {
    let result = &data.result.0;
    let texts = [
        &result.message,
        &data.authentication.0.error,
        &result.data.0.errors.0.detail,
        &result.data.0.error,
    ];
    texts.iter().find_map(|text| text.get()).map(Into::into)
}
