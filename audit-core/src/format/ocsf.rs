//! The [Open Cybersecurity Schema Framework](https://schema.ocsf.io/1.4.0/).

use std::net::IpAddr;

use serde::Serialize;

use crate::{ActionKind, Actor, AuditEvent, Origin, Outcome, Result, Target};

/// The version of the schema whose classes are used. Later ones with the same first number add to
/// them only.
const VERSION: &str = "1.4.0";

/// `severity_id`: a record of what was done says of itself no more than this.
const INFORMATIONAL: u8 = 1;

/// An event of any class; what its class has no attribute for is `None` or in `unmapped`.
#[derive(Serialize)]
struct Ocsf<'a> {
    metadata: Metadata<'a>,
    /// In milliseconds; what the source said exactly is in `raw_data`.
    time: i64,
    category_uid: u32,
    class_uid: u32,
    class_name: &'static str,
    activity_id: u32,
    activity_name: &'a str,
    type_uid: u32,
    severity_id: u8,
    status_id: u8,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(flatten)]
    class: Class<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Unmapped::is_empty")]
    unmapped: Unmapped<'a>,
    raw_data: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Named<'a>,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_uid: Option<&'a str>,
}

#[derive(Clone, Copy, Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Clone, Copy, Serialize)]
struct ActingUser<'a> {
    user: Thing<'a>,
}

/// A user, a managed entity or a resource.
#[derive(Clone, Copy, Serialize)]
struct Thing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_addr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_id: Option<u8>,
}

#[derive(Serialize)]
struct Api<'a> {
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Named<'a>>,
}

#[derive(Serialize)]
struct Endpoint {
    ip: IpAddr,
}

#[derive(Serialize)]
struct HttpRequest<'a> {
    user_agent: &'a str,
}

/// Parts of the envelope that have no place in the class, by their canonical names.
#[derive(Default, Serialize)]
struct Unmapped<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Rest<'a, Target>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Rest<'a, Origin>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rest<'a, T> {
    All(&'a T),
    Scope { scope: &'a str },
    Via { via: &'a str },
}

/// A class, with the attributes that others do not have.
#[derive(Serialize)]
#[serde(untagged)]
enum Class<'a> {
    Authentication {
        user: Thing<'a>,
        service: Named<'a>,
    },
    EntityManagement {
        #[serde(skip_serializing_if = "Option::is_none")]
        actor: Option<ActingUser<'a>>,
        entity: Thing<'a>,
    },
    /// It requires `src_endpoint`, which the others may have too.
    ApiActivity {
        actor: ActingUser<'a>,
        api: Api<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resources: Option<[Thing<'a>; 1]>,
    },
    BaseEvent {},
}

impl<'a> Class<'a> {
    /// Returns the first class whose required attributes the event has.
    fn of(event: &'a AuditEvent) -> Self {
        use ActionKind::{Create, Delete, Login, Read, Update};
        let AuditEvent { action, origin, .. } = event;
        let user = event.actor.as_ref().and_then(Thing::user);
        let actor = user.map(|user| ActingUser { user });
        let entity = event.target.as_ref().and_then(Thing::entity);
        let via = origin.via.as_deref().map(|name| Named { name });
        match (action.kind, actor, entity, origin.ip, action.name.as_deref()) {
            (Login, Some(ActingUser { user }), ..) => {
                Self::Authentication { user, service: via.unwrap_or(Named { name: &event.source }) }
            }
            (Create | Read | Update | Delete, actor, Some(entity), ..) => {
                Self::EntityManagement { actor, entity }
            }
            (_, Some(actor), target, Some(_), Some(operation)) => Self::ApiActivity {
                actor,
                api: Api { operation, service: via },
                resources: target.map(|target| [Thing { type_id: None, ..target }]),
            },
            (_, actor, Some(entity), ..) => Self::EntityManagement { actor, entity },
            _ => Self::BaseEvent {},
        }
    }

    /// Returns `class_uid` and `class_name`; the thousands of the first are the category.
    fn id(&self) -> (u32, &'static str) {
        match self {
            Self::Authentication { .. } => (3002, "Authentication"),
            Self::EntityManagement { .. } => (3004, "Entity Management"),
            Self::ApiActivity { .. } => (6003, "API Activity"),
            Self::BaseEvent {} => (0, "Base Event"),
        }
    }

    /// Returns number and name of the activity. What has no number in this class is 99 and has the
    /// source's own name.
    fn activity(&self, event: &'a AuditEvent) -> (u32, &'a str) {
        let own = event.action.name.as_deref();
        let (id, word) = match event.action.kind {
            ActionKind::Create => (1, "Create"),
            ActionKind::Read => (2, "Read"),
            ActionKind::Update => (3, "Update"),
            ActionKind::Delete => (4, "Delete"),
            ActionKind::Login => (1, "Logon"),
            ActionKind::Authorize => (99, "Authorize"),
            ActionKind::Execute => (99, "Execute"),
            ActionKind::Other => return own.map_or((0, "Unknown"), |own| (99, own)),
        };
        match (self, event.action.kind) {
            (Self::Authentication { .. }, _) => (id, word),
            (Self::BaseEvent {}, _) | (_, ActionKind::Login) => (99, own.unwrap_or(word)),
            _ if id == 99 => (99, own.unwrap_or(word)),
            _ => (id, word),
        }
    }
}

impl<'a> Thing<'a> {
    /// Returns the actor, if there is something that tells it from others.
    fn user(actor: &'a Actor) -> Option<Self> {
        let (name, email) = (actor.name.as_deref(), actor.email.as_deref());
        let (kind, type_id) = typed(actor.kind.as_deref(), &[(1, "User"), (3, "System")]);
        // An address alone tells users apart, but the class does not take it for that.
        let name = name.or(email.filter(|_| actor.id.is_none()));
        let email_addr = email.filter(|email| is_address(email));
        Self { uid: actor.id.as_deref(), name, email_addr, kind, type_id }.known()
    }

    fn entity(target: &'a Target) -> Option<Self> {
        let known = [(1, "Device"), (2, "User"), (3, "Group"), (4, "Organization"), (5, "Policy")];
        let (kind, type_id) = typed(target.kind.as_deref(), &known);
        let (uid, name) = (target.id.as_deref(), target.name.as_deref());
        Self { uid, name, email_addr: None, kind, type_id }.known()
    }

    fn known(self) -> Option<Self> {
        (self.uid.is_some() || self.name.is_some()).then_some(self)
    }
}

/// Returns name and number of a type; one that the schema does not number keeps the source's word.
fn typed<'a>(word: Option<&'a str>, known: &[(u8, &'static str)]) -> (Option<&'a str>, Option<u8>) {
    let Some(word) = word else { return (None, None) };
    let found = known.iter().find(|(_, name)| name.eq_ignore_ascii_case(word));
    found.map_or((Some(word), Some(99)), |(id, name)| (Some(name), Some(*id)))
}

/// Returns whether the schema's pattern of an e-mail address fits.
fn is_address(text: &str) -> bool {
    let local = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+,-./=?^_`{|}~".contains(&b);
    let domain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    text.split_once('@').is_some_and(|(user, host)| {
        let parts = host.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
        !user.is_empty() && user.bytes().all(local) && parts && host.bytes().all(domain)
    })
}

impl<'a> Unmapped<'a> {
    fn new(event: &'a AuditEvent, class: &Class<'a>) -> Self {
        let (actor, target) = (event.actor.as_ref(), event.target.as_ref());
        let scope = target.and_then(|target| target.scope.as_deref());
        let via = event.origin.via.as_deref();
        let (has_actor, has_target) = match class {
            Class::Authentication { .. } => (true, false),
            Class::EntityManagement { actor, .. } => (actor.is_some(), true),
            Class::ApiActivity { resources, .. } => (true, resources.is_some()),
            Class::BaseEvent {} => (false, false),
        };
        Self {
            actor: actor.filter(|_| !has_actor),
            target: match target {
                Some(target) if !has_target => Some(Rest::All(target)),
                _ => scope.map(|scope| Rest::Scope { scope }),
            },
            origin: match class {
                Class::BaseEvent {} => event.origin.is_known().then_some(Rest::All(&event.origin)),
                Class::EntityManagement { .. } => via.map(|via| Rest::Via { via }),
                Class::Authentication { .. } | Class::ApiActivity { .. } => None,
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.actor.is_none() && self.target.is_none() && self.origin.is_none()
    }
}

pub(super) fn append(event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
    super::append_json(event, &Ocsf::new(event), out)
}

impl<'a> Ocsf<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        let class = Class::of(event);
        let (class_uid, class_name) = class.id();
        let (activity_id, activity_name) = class.activity(event);
        let (status_id, status) = match event.outcome {
            Outcome::Success => (1, "Success"),
            Outcome::Failure | Outcome::Denied => (2, "Failure"),
            Outcome::Unknown => (0, "Unknown"),
        };
        let origin = &event.origin;
        // The base event has no attributes for these.
        let request = Some(origin).filter(|_| class_uid != 0);
        Self {
            metadata: Metadata {
                version: VERSION,
                product: Named { name: &event.source },
                uid: event.id.as_str(),
                event_code: event.action.name.as_deref(),
                correlation_uid: origin.correlation_id.as_deref(),
            },
            time: event.time.timestamp_millis(),
            category_uid: class_uid / 1000,
            class_uid,
            class_name,
            activity_id,
            activity_name,
            type_uid: class_uid * 100 + activity_id,
            severity_id: INFORMATIONAL,
            status_id,
            status,
            status_detail: (event.outcome == Outcome::Denied).then_some("denied"),
            message: event.message.as_deref(),
            src_endpoint: request.and_then(|origin| origin.ip).map(|ip| Endpoint { ip }),
            http_request: request
                .and_then(|origin| origin.user_agent.as_deref())
                .map(|user_agent| HttpRequest { user_agent }),
            unmapped: Unmapped::new(event, &class),
            class,
            raw_data: event.raw.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{event, line};
    use super::*;
    use crate::{Action, Format};

    fn ocsf(event: &AuditEvent) -> Value {
        let value: Value = serde_json::from_str(&line(Format::Ocsf, event)).unwrap();
        assert_eq!(value["raw_data"], event.raw.get(), "byte for byte");
        value
    }

    fn text(text: &str) -> Option<Box<str>> {
        Some(text.into())
    }

    #[test]
    fn a_class_is_taken_only_if_its_required_attributes_are_known() {
        let mut event = event();
        event.action = Action { name: text("x.y"), kind: ActionKind::Authorize };
        assert_eq!(ocsf(&event)["class_uid"], 0);
        event.target = Some(Target { id: text("t"), ..Target::default() });
        assert_eq!(ocsf(&event)["class_uid"], 3004);
        event.actor = Some(Actor { id: text("ann"), ..Actor::default() });
        event.origin.ip = Some("192.0.2.1".parse().unwrap());
        assert_eq!(ocsf(&event)["class_uid"], 6003);
        event.action.kind = ActionKind::Delete;
        assert_eq!(ocsf(&event)["type_uid"], 300_404);
        event.action.kind = ActionKind::Login;
        assert_eq!(ocsf(&event)["type_uid"], 300_201);
        event.actor = Some(Actor { kind: text("system"), ..Actor::default() });
        let value = ocsf(&event);
        assert_eq!((&value["class_uid"], &value["activity_id"]), (&json!(3004), &json!(99)));
        assert_eq!(value["unmapped"]["actor"], json!({ "type": "system" }), "not told from others");
    }

    #[test]
    fn what_has_no_place_in_the_class_is_unmapped() {
        let mut event = event();
        event.origin.via = text("UI");
        event.outcome = Outcome::Denied;
        let value = ocsf(&event);
        assert_eq!((&value["status_id"], &value["status_detail"]), (&json!(2), &json!("denied")));
        assert_eq!(value["unmapped"], json!({ "origin": { "via": "UI" } }));
        event.target = Some(Target { id: text("t"), scope: text("org"), ..Target::default() });
        let value = ocsf(&event);
        let unmapped = json!({ "origin": { "via": "UI" }, "target": { "scope": "org" } });
        assert_eq!(value["unmapped"], unmapped);
    }

    #[test]
    fn types_with_a_number_have_it_and_others_keep_the_word_of_the_source() {
        let mut event = event();
        for (kind, known) in [
            ("user", json!({ "uid": "1", "type": "User", "type_id": 2 })),
            ("auth.User", json!({ "uid": "1", "type": "auth.User", "type_id": 99 })),
        ] {
            event.target = Some(Target { id: text("1"), kind: text(kind), ..Target::default() });
            assert_eq!(ocsf(&event)["entity"], known);
        }
    }

    #[test]
    fn an_address_is_one_or_at_least_a_name() {
        let mut event = event();
        event.target = Some(Target { id: text("1"), ..Target::default() });
        for (email, user) in [
            ("a+b@x.org", json!({ "name": "a+b@x.org", "email_addr": "a+b@x.org" })),
            ("ann", json!({ "name": "ann" })),
            ("@x.org", json!({ "name": "@x.org" })),
            ("a@x.", json!({ "name": "a@x." })),
        ] {
            event.actor = Some(Actor { email: text(email), ..Actor::default() });
            assert_eq!(ocsf(&event)["actor"]["user"], user);
        }
    }
}
