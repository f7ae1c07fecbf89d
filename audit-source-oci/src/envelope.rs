use std::sync::Arc;

use audit_core::{
    Action, ActionKind, Actor, AuditEvent, Envelope, Error, ErrorKind, EventId, Origin, Outcome,
    Raw, Result, Target, Text,
};
use chrono::{DateTime, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::filter::Filter;

/// Reads a record's envelope in one pass; says no event if it is not one that the filter keeps.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for what is not JSON, or has no id.
pub(crate) fn read(
    text: Box<str>,
    source: &Arc<str>,
    else_time: DateTime<Utc>,
    filter: &Filter,
) -> Result<Option<AuditEvent>> {
    let (raw, mut found) =
        Raw::read(text, |parser| Record::deserialize(parser).map(|record| record.find(filter)))?;
    if found.envelope.id.is_none() {
        // Perhaps a name is there twice: a tree takes the last one, as most readers do.
        let tree = serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
        found = Record::deserialize(&tree).map(|record| record.find(filter)).unwrap_or_default();
    }
    let Found { wanted, mut envelope } = found;
    let Some(id) = envelope.id.take() else {
        return Err(Error::new(ErrorKind::InvalidData, "the record has no eventId"));
    };
    if !wanted {
        return Ok(None);
    }
    let time = envelope.time.unwrap_or(else_time);
    Ok(Some(envelope.into_event(id, Arc::clone(source), time, raw)))
}

#[derive(Default)]
struct Found {
    envelope: Envelope,
    wanted: bool,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    event_id: Text<'a>,
    #[serde(borrow)]
    event_time: Text<'a>,
    #[serde(borrow)]
    event_type: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    data: Object<Data<'a>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    event_grouping_id: Text<'a>,
    #[serde(borrow)]
    event_name: Text<'a>,
    #[serde(borrow)]
    compartment_id: Text<'a>,
    #[serde(borrow)]
    resource_name: Text<'a>,
    #[serde(borrow)]
    resource_id: Text<'a>,
    #[serde(borrow)]
    identity: Object<Identity<'a>>,
    #[serde(borrow)]
    request: Object<Request<'a>>,
    #[serde(borrow)]
    response: Object<Response<'a>>,
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(borrow)]
    principal_name: Text<'a>,
    #[serde(borrow)]
    principal_id: Text<'a>,
    #[serde(borrow)]
    auth_type: Text<'a>,
    #[serde(borrow)]
    ip_address: Text<'a>,
    #[serde(borrow)]
    user_agent: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Request<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    action: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

impl Record<'_> {
    fn find(self, filter: &Filter) -> Found {
        let Self { event_id, event_time, event_type, source, data: Object(data) } = self;
        let (Object(who), Object(request), Object(response)) =
            (data.identity, data.request, data.response);
        let wanted = filter.keeps(event_type.get(), data.event_name.get());
        let kind = action_kind(event_type.get(), data.event_name.get(), request.action.get());
        let actor = Actor {
            id: who.principal_id.into_boxed(),
            kind: who.auth_type.into_boxed(),
            email: who.principal_name.get().filter(|name| is_address(name)).map(Into::into),
            name: who.principal_name.into_boxed(),
        };
        let target = Target {
            kind: data.resource_id.get().and_then(resource_type).map(Into::into),
            id: data.resource_id.into_boxed(),
            name: data.resource_name.into_boxed(),
            scope: data.compartment_id.into_boxed(),
        };
        let time = event_time.get().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
        let drift = match (event_type.get(), time) {
            (None, _) => Some("eventType"),
            (_, None) => Some("eventTime"),
            _ => None,
        };
        let envelope = Envelope {
            id: event_id.into_boxed().map(EventId::new),
            time: time.map(Into::into),
            action: Action { name: event_type.into_boxed().or(data.event_name.into_boxed()), kind },
            actor: (actor != Actor::default()).then_some(actor),
            target: (target != Target::default()).then_some(target),
            outcome: outcome(response.status.get()),
            origin: Origin {
                ip: who.ip_address.get().and_then(|ip| ip.trim().parse().ok()),
                user_agent: who.user_agent.into_boxed(),
                via: source.into_boxed(),
                correlation_id: request.id.into_boxed().or(data.event_grouping_id.into_boxed()),
            },
            message: response.message.into_boxed().or(data.message.into_boxed()),
            drift,
        };
        Found { envelope, wanted }
    }
}

/// Returns the second part of an OCID: `instance` of `ocid1.instance.oc1.phx.…`.
fn resource_type(ocid: &str) -> Option<&str> {
    let mut parts = ocid.split('.');
    let version = parts.next()?;
    parts.next().filter(|kind| version.starts_with("ocid") && !kind.is_empty())
}

/// Users of federated domains are called `oracleidentitycloudservice/ann@example.com`.
fn is_address(name: &str) -> bool {
    let parts = name.split_once('@');
    parts.is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && !name.contains(['/', ' '])
    })
}

fn outcome(status: Option<&str>) -> Outcome {
    match status.and_then(|status| status.trim().parse::<u16>().ok()) {
        Some(200..=399) => Outcome::Success,
        Some(401 | 403) => Outcome::Denied,
        Some(400..) => Outcome::Failure,
        _ => Outcome::Unknown,
    }
}

/// The first word of an operation's name says what it does; its HTTP method, where the word does not.
fn action_kind(kind: Option<&str>, name: Option<&str>, method: Option<&str>) -> ActionKind {
    let operation = name.or(kind).unwrap_or_default();
    let mut parts = operation.rsplit('.').skip_while(|part| matches!(*part, "begin" | "end"));
    let operation = parts.next().unwrap_or_default().trim();
    let contains = |text: &str, part: &str| {
        text.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part.as_bytes()))
    };
    if ["login", "logon", "signin", "signon", "authenticate"].iter().any(|w| contains(operation, w))
    {
        return ActionKind::Login;
    }
    let starts = |words: &[&str]| {
        words.iter().any(|word| {
            operation.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        })
    };
    let is =
        |words: &[&str]| method.is_some_and(|m| words.iter().any(|w| m.eq_ignore_ascii_case(w)));
    match () {
        () if starts(&["create", "launch", "add", "import", "upload", "register", "put"]) => {
            ActionKind::Create
        }
        () if starts(&["delete", "terminate", "remove", "purge", "deregister"]) => {
            ActionKind::Delete
        }
        () if starts(&["update", "change", "modify", "patch", "attach", "detach", "move"]) => {
            ActionKind::Update
        }
        () if starts(&["get", "list", "head", "describe", "search", "summarize", "query"]) => {
            ActionKind::Read
        }
        () if starts(&[
            "run",
            "execute",
            "invoke",
            "start",
            "stop",
            "reboot",
            "instanceaction",
        ]) =>
        {
            ActionKind::Execute
        }
        () if is(&["GET", "HEAD"]) => ActionKind::Read,
        () if is(&["PUT", "PATCH"]) => ActionKind::Update,
        () if is(&["DELETE"]) => ActionKind::Delete,
        () => ActionKind::Other,
    }
}

/// An object, or nothing where the record has something else: one odd field does not cost the others.
#[derive(Default)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(std::marker::PhantomData))
    }
}

struct ObjectVisitor<T>(std::marker::PhantomData<T>);

macro_rules! nothing {
    ($($visit:ident($type:ty))*) => {$(
        fn $visit<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Object(T::default()))
        }
    )*};
}

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    nothing! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str) }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Object(T::default()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Object(T::default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../tests/data/get_instance.json");

    fn event(text: &str) -> Result<Option<AuditEvent>> {
        read(text.into(), &"oci".into(), DateTime::UNIX_EPOCH, &Filter::default())
    }

    #[test]
    fn oracles_own_example_is_understood() {
        let event = event(SAMPLE.trim()).unwrap().unwrap();
        assert_eq!(event.raw.get(), SAMPLE.trim(), "byte for byte");
        let mut canonical = serde_json::to_value(&event).unwrap();
        canonical["raw"] = Value::Null;
        insta::assert_snapshot!(serde_json::to_string_pretty(&canonical).unwrap(), @r#"
        {
          "action": {
            "kind": "read",
            "name": "com.oraclecloud.ComputeApi.GetInstance"
          },
          "actor": {
            "id": "ocid1.user.oc1..<unique_ID>",
            "name": "ExampleName",
            "type": "natv"
          },
          "id": "<unique_ID>",
          "origin": {
            "correlation_id": "<unique_ID>",
            "ip": "172.24.80.88",
            "user_agent": "Jersey/2.23 (HttpUrlConnection 1.8.0_212)",
            "via": "ComputeApi"
          },
          "outcome": "success",
          "raw": null,
          "source": "oci",
          "target": {
            "id": "ocid1.instance.oc1.phx.<unique_ID>",
            "name": "my_instance",
            "scope": "ocid1.tenancy.oc1..<unique_ID>",
            "type": "instance"
          },
          "time": "2020-09-18T00:10:59.252Z"
        }
        "#);
    }

    #[test]
    fn statuses_become_outcomes() {
        for (status, expected) in [
            ("200", Outcome::Success),
            ("302", Outcome::Success),
            ("401", Outcome::Denied),
            ("403", Outcome::Denied),
            ("404", Outcome::Failure),
            ("500", Outcome::Failure),
            ("", Outcome::Unknown),
            ("ok", Outcome::Unknown),
        ] {
            assert_eq!(outcome(Some(status)), expected, "{status}");
        }
        assert_eq!(outcome(None), Outcome::Unknown);
    }

    #[test]
    fn operations_become_kinds() {
        for (kind, name, method, expected) in [
            ("com.oraclecloud.ComputeApi.LaunchInstance.begin", "", "POST", ActionKind::Create),
            ("com.oraclecloud.computeapi.TerminateInstance.end", "", "DELETE", ActionKind::Delete),
            ("", "UpdateUser", "PUT", ActionKind::Update),
            ("", "ListBuckets", "GET", ActionKind::Read),
            ("com.oraclecloud.identitySignOn.LoginFailure", "", "POST", ActionKind::Login),
            ("", "InteractiveLogin", "", ActionKind::Login),
            ("", "InstanceAction", "POST", ActionKind::Execute),
            ("", "Rotate", "PATCH", ActionKind::Update),
            ("", "Rotate", "POST", ActionKind::Other),
            ("", "é", "HEAD", ActionKind::Read),
            ("", "", "", ActionKind::Other),
        ] {
            let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
            assert_eq!(action_kind(some(kind), some(name), some(method)), expected, "{kind}{name}");
        }
    }

    #[test]
    fn m03_odd_fields_do_not_cost_the_record() {
        let time = |text: &str| event(text).unwrap().unwrap().time;
        assert_eq!(time(r#"{"eventId":"a","eventTime":"yesterday"}"#), DateTime::UNIX_EPOCH);
        for data in ["null", "[]", "7", "\"x\"", r#"{"identity":[{}],"request":"None"}"#] {
            let text = format!(r#"{{"eventId":"a","data":{data}}}"#);
            assert_eq!(event(&text).unwrap().unwrap().id.as_str(), "a", "{data}");
        }
        let odd = r#"{"eventId":7,"data":{"response":{"status":404,"message":{"a":1}}}}"#;
        let odd = event(odd).unwrap().unwrap();
        assert_eq!((odd.id.as_str(), odd.outcome, odd.message), ("7", Outcome::Failure, None));
        let drift = |text: &str| event(text).unwrap().unwrap().drift;
        assert_eq!(drift(SAMPLE), None);
        assert_eq!(drift(&SAMPLE.replace("eventType", "type")), Some("eventType"));
        assert_eq!(drift(&SAMPLE.replace("2020-09-18T", "")), Some("eventTime"));
    }

    #[test]
    fn n05_names_that_come_twice_and_deep_nesting_are_bounded_trouble() {
        let twice = r#"{"eventId":"a","eventId":"b","data":{"eventName":"x","eventName":"GetY"}}"#;
        let twice = event(twice).unwrap().unwrap();
        assert_eq!((twice.id.as_str(), twice.action.kind), ("b", ActionKind::Read));
        let deep = |n| format!(r#"{{"eventId":"a","x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(event(&deep(100_000)).unwrap().unwrap().id.as_str(), "a");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in
            ["{}", "[]", "7", "null", "{\"eventId\":null}", "{\"eventId\":\"\"}", "{", "NaN"]
        {
            assert_eq!(event(text).unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
        }
    }
}
