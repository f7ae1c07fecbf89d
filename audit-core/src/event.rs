use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Envelope, Raw};

/// The deterministic identity of an event: the same record read twice has the same id, two
/// different records never share one. Sinks use it to make a repeat have no effect.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Box<str>);

impl EventId {
    /// Takes a source's own unique id, or one built of what identifies the record there.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.0)
    }
}

/// One audit event: a small envelope that this workspace reads, and the record as received.
///
/// The envelope holds what sinks, filters and reports need; whatever else a source reports stays in
/// [`raw`](Self::raw), which is never rewritten. Serialized, it is the canonical form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// The deterministic identity.
    pub id: EventId,
    /// The source's name as configured: `port`, `orders-db`.
    pub source: Arc<str>,
    /// When it happened, as the source says; else when the source recorded it.
    pub time: DateTime<Utc>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Action::is_unknown")]
    pub action: Action,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How it ended.
    #[serde(default)]
    pub outcome: Outcome,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Origin::is_unknown")]
    pub origin: Origin,
    /// A reason or remark for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
    /// The record exactly as received.
    pub raw: Raw,
    /// The field that records of this source always have, and that this one lacks or has in another
    /// form: a sign that the source has changed. Pipelines count it; no format shows it.
    #[serde(skip)]
    pub drift: Option<&'static str>,
}

impl AuditEvent {
    /// Creates an event of which only identity, time and payload are known.
    pub fn new(id: EventId, source: Arc<str>, time: DateTime<Utc>, raw: Raw) -> Self {
        Envelope::default().into_event(id, source, time, raw)
    }

    /// Returns about how much memory the event takes, in bytes; what [`Limit`](crate::Limit) counts.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.id.as_str().len() + self.raw.get().len()
    }
}

/// What was done: the source's own name for it, and its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The source's own name: `mds.Authorize`, `LaunchInstance.begin`, `lib_app.tag.create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The kind all sources share.
    #[serde(default)]
    pub kind: ActionKind,
}

impl Action {
    pub(crate) fn is_known(&self) -> bool {
        !self.is_unknown()
    }

    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// The kinds of action that all sources share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActionKind {
    /// A permission was asked for.
    Authorize,
    /// Something new was made.
    Create,
    /// Something was removed.
    Delete,
    /// Something was run.
    Execute,
    /// An identity was proved, or not.
    Login,
    /// Anything else.
    #[default]
    Other,
    /// Something was looked at.
    Read,
    /// Something was changed.
    Update,
}

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The source's identifier of the actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<str>>,
    /// What it is: `user`, `service`, `system`, or the source's role name.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// An e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Box<str>>,
}

/// What it was done to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The source's identifier of the thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Box<str>>,
    /// What it is: `User`, `instance`, `lib_app.tag`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The tenant, organization, environment or compartment it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Box<str>>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was refused for lack of permission.
    Denied,
    /// It was tried and went wrong.
    Failure,
    /// It was done.
    Success,
    /// The source does not say.
    #[default]
    Unknown,
}

/// Where the request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The client's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Box<str>>,
    /// The service or channel it came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Box<str>>,
    /// What ties events of one request or run together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Box<str>>,
}

impl Origin {
    pub(crate) fn is_known(&self) -> bool {
        !self.is_unknown()
    }

    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_survives_a_round_trip_byte_for_byte() {
        let raw = Raw::parse(r#"{"b": 1.10, "a": "\u0041", "a": 2}"#).unwrap();
        let time = DateTime::from_timestamp_millis(1_665_664_496_789).unwrap();
        let mut event = AuditEvent::new(EventId::new("t/1"), "db".into(), time, raw);
        event.action = Action { name: Some("x.Update".into()), kind: ActionKind::Update };
        event.origin.ip = Some("2001:db8::1".parse().unwrap());
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.contains(r#""raw":{"b": 1.10, "a": "\u0041", "a": 2}"#), "{text}");
        assert_eq!(serde_json::from_str::<AuditEvent>(&text).unwrap(), event);
    }
}
