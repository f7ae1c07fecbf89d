use std::borrow::Cow;

use audit_core::{Action, Actor, Envelope, EventId, Origin, Target};

use crate::fields::Slot;
use crate::view::View;

/// Reads what an event says of a record, beside its raw text. It has an id only if it is a CloudEvent.
pub(crate) fn read(record: View<'_>) -> Envelope {
    let boxed = |text: Cow<'_, str>| -> Box<str> { text.into() };
    let (id, time, method) = (record.id(), record.time(), record.method());
    // CloudEvents asks for the first two, Confluent's own schema for all.
    let drift = match (&id, time, &method) {
        (None, ..) => Some("id"),
        (_, None, _) => Some("time"),
        (.., None) => Some("data.methodName"),
        _ => None,
    };
    Envelope {
        id: id.map(|id| EventId::new(boxed(id))),
        time,
        action: Action { name: method.map(boxed), kind: record.action_kind() },
        actor: actor(&record),
        target: target(&record),
        outcome: record.outcome(),
        origin: Origin {
            ip: record.client(),
            user_agent: None,
            via: record.text(Slot::SERVICE).map(boxed),
            correlation_id: record
                .first([Slot::REQUEST_ID, Slot::CORRELATION, Slot::CONNECTION])
                .map(boxed),
        },
        message: record
            .first([
                Slot::MESSAGE,
                Slot::AUTHENTICATION_ERROR,
                Slot::ERROR_DETAIL,
                Slot::ERROR_TYPE,
            ])
            .map(boxed),
        drift,
    }
}

fn actor(record: &View<'_>) -> Option<Actor> {
    let (id, kind) = record.principal()?;
    let email = record.text(Slot::EMAIL);
    Some(Actor {
        id: Some(id.into()),
        kind: kind.map(Into::into),
        name: None,
        email: email.map(Into::into),
    })
}

fn target(record: &View<'_>) -> Option<Target> {
    let boxed = |slot| record.text(slot).map(Into::into);
    let mut target = match boxed(Slot::CLOUD_ID) {
        Some(id) => {
            Target { id: Some(id), kind: boxed(Slot::CLOUD_TYPE), name: None, scope: scope(record) }
        }
        None => record
            .first([Slot::RESOURCE, Slot::SUBJECT])
            .map_or_else(Target::default, |crn| of_crn(&crn)),
    };
    target.name = boxed(Slot::RESOURCE_NAME);
    target.kind = boxed(Slot::RESOURCE_TYPE).or(target.kind);
    (target != Target::default()).then_some(target)
}

/// `organization=…/environment=…`, as in a resource name.
fn scope(record: &View<'_>) -> Option<Box<str>> {
    let named = |(kind, id)| {
        let id = record.text(id)?;
        let kind = record.text(kind).unwrap_or(Cow::Borrowed("resource")).to_ascii_lowercase();
        Some(format!("{kind}={id}"))
    };
    let all: Vec<_> = Slot::scopes().filter_map(named).collect();
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
