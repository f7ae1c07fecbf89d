use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::{Action, Actor, AuditEvent, EventId, Origin, Outcome, Raw, Target};

/// What a source reads of a record in one pass, beside its bytes. Everything may be missing.
///
/// Each field means what that of [`AuditEvent`] means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The identity that the record itself states.
    pub id: Option<EventId>,
    /// When it happened, if the record says so.
    pub time: Option<DateTime<Utc>>,
    /// What was done.
    pub action: Action,
    /// Who did it.
    pub actor: Option<Actor>,
    /// What it was done to.
    pub target: Option<Target>,
    /// How it ended.
    pub outcome: Outcome,
    /// Where the request came from.
    pub origin: Origin,
    /// A reason or remark for people.
    pub message: Option<Box<str>>,
    /// The field that every record of the source should have and this one lacks.
    pub drift: Option<&'static str>,
}

impl Envelope {
    /// Makes the event. `id` and `time` are the envelope's own, or what the source puts in their place.
    pub fn into_event(
        self,
        id: EventId,
        source: Arc<str>,
        time: DateTime<Utc>,
        raw: Raw,
    ) -> AuditEvent {
        AuditEvent {
            id,
            source,
            time,
            action: self.action,
            actor: self.actor,
            target: self.target,
            outcome: self.outcome,
            origin: self.origin,
            message: self.message,
            raw,
            drift: self.drift,
        }
    }
}
