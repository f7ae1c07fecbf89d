//! Events of all shapes, also those that no source makes.

use std::net::IpAddr;

use audit_core::{Action, ActionKind, Actor, AuditEvent, EventId, Origin, Outcome, Raw, Target};
use chrono::DateTime;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    let words = prop_oneof![
        Just("user".to_owned()),
        Just("Group".to_owned()),
        Just("auth.role".to_owned()),
        Just("system".to_owned()),
        "[a-z+&]{1,4}@[a-z_.]{1,6}",
        "\\PC{1,8}",
        any::<char>().prop_map(String::from),
    ];
    option::of(words.prop_map(String::into_boxed_str))
}

fn action() -> impl Strategy<Value = Action> {
    let kinds = [
        ActionKind::Authorize,
        ActionKind::Create,
        ActionKind::Delete,
        ActionKind::Execute,
        ActionKind::Login,
        ActionKind::Other,
        ActionKind::Read,
        ActionKind::Update,
    ];
    (text(), prop::sample::select(kinds.to_vec())).prop_map(|(name, kind)| Action { name, kind })
}

fn actor() -> impl Strategy<Value = Option<Actor>> {
    let fields = (text(), text(), text(), text());
    option::of(fields.prop_map(|(id, kind, name, email)| Actor { id, kind, name, email }))
}

fn target() -> impl Strategy<Value = Option<Target>> {
    let fields = (text(), text(), text(), text());
    option::of(fields.prop_map(|(id, kind, name, scope)| Target { id, kind, name, scope }))
}

fn origin() -> impl Strategy<Value = Origin> {
    let fields = (option::of(any::<IpAddr>()), text(), text(), text());
    fields.prop_map(|(ip, user_agent, via, correlation_id)| Origin {
        ip,
        user_agent,
        via,
        correlation_id,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let all = [Outcome::Denied, Outcome::Failure, Outcome::Success, Outcome::Unknown];
    prop::sample::select(all.to_vec())
}

fn raw() -> impl Strategy<Value = Raw> {
    let records = prop_oneof![
        Just("{}".to_owned()),
        Just("{\"b\": 1.10,\r\n \"a\": [\"x\\ny\", 12345678901234567890123]}".to_owned()),
        Just("[1, 2.50]".to_owned()),
        Just("null".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        ".{0,8}".prop_map(|text| serde_json::json!({ "text": text }).to_string()),
    ];
    records.prop_map(|text| Raw::parse(text).unwrap())
}

pub(crate) fn any_event() -> impl Strategy<Value = AuditEvent> {
    let when = (0..4_000_000_000_i64, 0..1_000_000_000_u32);
    let whom = (".{1,12}", ".{1,6}", when, raw());
    let what = (action(), actor(), target(), outcome(), origin(), text());
    (whom, what).prop_map(|((id, source, (s, ns), raw), what)| {
        let time = DateTime::from_timestamp(s, ns).unwrap();
        let mut event = AuditEvent::new(EventId::new(id), source.into(), time, raw);
        (event.action, event.actor, event.target, event.outcome, event.origin, event.message) =
            what;
        event
    })
}
