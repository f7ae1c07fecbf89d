use std::fmt;
use std::sync::Arc;

use audit_core::{AuditEvent, DeadLetter, Error, ErrorKind, EventId, Raw, Result};
use chrono::{DateTime, Utc};

use crate::envelope;
use crate::fields::Fields;
use crate::json;
use crate::view::View;

/// One record as it comes: its bytes, where they were found, and when they were stored there.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// What identifies the record if it does not identify itself.
    pub(crate) place: fmt::Arguments<'a>,
    pub(crate) body: &'a [u8],
    pub(crate) stored: Option<DateTime<Utc>>,
}

/// A record that was understood, or not.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are good")]
pub(crate) enum Record {
    Good {
        event: AuditEvent,
        /// Whether it says itself which record it is: then a second one is a repeat.
        known: bool,
        /// Whether it says itself when it happened.
        timed: bool,
    },
    Bad(DeadLetter),
}

impl Record {
    /// Returns what [`Limit`](audit_core::Limit) counts, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Good { event, .. } => event.size(),
            Self::Bad(letter) => size_of::<DeadLetter>() + letter.body().len(),
        }
    }
}

/// Makes events of the records of one source.
#[derive(Debug)]
pub(crate) struct Records {
    source: Arc<str>,
    max_bytes: usize,
    json: json::Reader,
    fields: Fields,
}

impl Records {
    /// Names the source; a record of more bytes is rejected.
    pub(crate) fn new(source: &str, max_bytes: u32) -> Self {
        Self {
            source: source.into(),
            max_bytes: max_bytes as usize,
            json: json::Reader::default(),
            fields: Fields::default(),
        }
    }

    pub(crate) fn read(&mut self, found: &Found<'_>) -> Record {
        self.event(found)
            .unwrap_or_else(|error| Record::Bad(DeadLetter::record(id(found), found.body, &error)))
    }

    fn event(&mut self, found: &Found<'_>) -> Result<Record> {
        if found.body.len() > self.max_bytes {
            return Err(too_large(found.body.len()));
        }
        let text = str::from_utf8(found.body).map_err(|e| invalid("not UTF-8").because(e))?;
        let raw = Raw::parse(text)?;
        self.fields.clear();
        if !self.json.read(found.body, &mut self.fields) {
            return Err(Error::new(ErrorKind::Unexpected, "two readers of JSON disagree"));
        }
        let envelope = envelope::read(View::new(found.body, &self.fields));
        let time = envelope.time.or(found.stored).ok_or_else(no_time)?;
        let (known, timed) = (envelope.id.is_some(), envelope.time.is_some());
        let id = envelope.id.clone().unwrap_or_else(|| id(found));
        let event = envelope.into_event(id, Arc::clone(&self.source), time, raw);
        Ok(Record::Good { event, known, timed })
    }
}

pub(crate) fn too_large(bytes: usize) -> Error {
    invalid("larger than allowed").with("bytes", bytes).with_hint("raise `max_record_bytes`")
}

pub(crate) fn no_time() -> Error {
    invalid("it has no usable time")
}

fn id(found: &Found<'_>) -> EventId {
    EventId::new(found.place.to_string())
}

pub(crate) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use audit_core::{ActionKind, Outcome};
    use proptest::prelude::*;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Record {
        let body = text.as_ref();
        let stored = DateTime::from_timestamp_millis(1_770_000_000_000);
        let place = format_args!("audit/3/41");
        Records::new("confluent", 300_000).read(&Found { place, body, stored })
    }

    fn good(text: &str) -> AuditEvent {
        match read(text) {
            Record::Good { event, .. } => event,
            Record::Bad(letter) => panic!("{letter:?}"),
        }
    }

    fn envelope(text: &str) -> String {
        let event = good(text);
        assert_eq!(event.raw.get(), text, "byte for byte");
        let mut value = serde_json::to_value(&event).unwrap();
        value.as_object_mut().unwrap().remove("raw");
        serde_json::to_string_pretty(&value).unwrap()
    }

    const FIRST: &str = r#"{"id":"7a1bd9a9-7923-4550-8603-dc48fbc5772f","source":"crn:///kafka=k1","specversion":"0.3",
        "type":"io.confluent.kafka.server/authorization","time":"2020-03-31T10:00:03.532Z",
        "data":{"serviceName":"crn:///kafka=k1","methodName":"kafka.FetchConsumer","resourceName":"crn:///kafka=k1/topic=orders",
        "authenticationInfo":{"principal":"User:sa-123"},"authorizationInfo":{"granted":false,"operation":"Read",
        "resourceType":"Topic","resourceName":"orders","patternType":"LITERAL"},
        "request":{"correlation_id":"456","client_id":"c"},"requestMetadata":{"client_address":"/192.0.2.4"}}}"#;

    const SECOND: &str = r#"{"id":"e1","source":"crn://confluent.cloud/","specversion":"1.0","type":"io.confluent.cloud/request",
        "time":"2024-05-06T07:08:09.123456789+02:00","data":{"serviceName":"crn://confluent.cloud/","methodName":"CreateAPIKey",
        "cloudResources":[{"scope":{"resources":[{"type":"ORGANIZATION","resourceId":"o-1"},{"type":"ENVIRONMENT","resourceId":"env-1"}]},
        "resource":{"type":"API_KEY","resourceId":"KEY1"}}],
        "authenticationInfo":{"principal":{"confluentUser":{"resourceId":"u-1"},"email":"ann@example.com"},"result":"SUCCESS"},
        "request":{"accessType":"MODIFICATION","data":{"secret":"x"}},
        "requestMetadata":{"requestId":["r-1","r-2"],"clientAddress":[{"ip":"2001:db8::1","port":7}]},
        "result":{"status":"FAILURE","message":"quota exceeded"}}}"#;

    const SNAKES: &str = r#"{"id":"4a1bd9a9-7923-4550-8603-dc48fbc5772f","source":"s","specversion":"1.0",
        "type":"io.confluent.flink.server/authentication","time":"2024-05-06T07:08:09Z","data":{"service_name":"flink",
        "method_name":"flink.Authenticate","cloud_resources":{"resource":{"type":"FLINK_REGION","resource_id":"f-1"}},
        "authentication_info":{"principal":{"identity_pool":{"resource_id":"pool-1"}},"result":"SUCCESS"},
        "request_metadata":{"request_id":"r","client_address":[{"ip":"192.0.2.9"}]}}}"#;

    #[test]
    fn m01_the_first_generation() {
        insta::assert_snapshot!(envelope(FIRST));
    }

    #[test]
    fn m01_the_second_generation() {
        insta::assert_snapshot!(envelope(SECOND));
    }

    #[test]
    fn m01_the_spelling_of_flink() {
        insta::assert_snapshot!(envelope(SNAKES));
    }

    #[test]
    fn m03_what_is_missing_or_of_another_type_costs_nothing_else() {
        let event = good(
            r#"{"id":"e","source":"s","time":7,"data":{"methodName":"m","result":[[[1]]],
            "authenticationInfo":7,"authorizationInfo":[{"granted":true}],"clientAddress":"no","method_name":null}}"#,
        );
        assert_eq!((event.id.as_str(), event.outcome), ("s#e", Outcome::Success));
        assert_eq!(event.time.timestamp_millis(), 1_770_000_000_000, "when Kafka stored it");
        assert_eq!((event.actor, event.origin.ip, event.drift), (None, None, Some("time")));
        for whole in [FIRST, SECOND, SNAKES] {
            assert_eq!(good(whole).drift, None);
        }
        let renamed =
            SECOND.replace("methodName", "method").replace("\"type\":\"io", "\"kind\":\"io");
        assert_eq!(good(&renamed).drift, Some("data.methodName"));
        assert_eq!(good("[1,2]").drift, Some("id"));
        let event = good(r#"{"time":"+999999999-12-31T23:59:59.999999999-18:00"}"#);
        assert_eq!((event.id.as_str(), event.action.kind), ("audit/3/41", ActionKind::Other));
        assert_eq!(good("[1,2]").id.as_str(), "audit/3/41", "any JSON is a record");
        let long = "x".repeat(1000);
        assert_eq!(good(&format!(r#"{{"id":"{long}"}}"#)).id.as_str(), "audit/3/41");
    }

    #[test]
    fn m03_an_unknown_verdict_is_no_success() {
        let ends = |status: &str| {
            good(&format!(r#"{{"data":{{"result":{{"status":"{status}"}}}}}}"#)).outcome
        };
        assert_eq!(ends("SUCCESS"), Outcome::Success);
        assert_eq!(ends("UNAUTHENTICATED"), Outcome::Failure);
        assert_eq!(ends("PERMISSION_DENIED"), Outcome::Denied);
        assert_eq!(ends("SOMETHING_NEW"), Outcome::Failure);
        assert_eq!(good("{}").outcome, Outcome::Unknown);
    }

    #[test]
    fn n05_what_cannot_be_an_event_is_kept_with_its_bytes() {
        let large = format!("\"{}\"", "x".repeat(300_000));
        for body in [&b"{"[..], b"", b"Headers: []", b"\xff\xfe", b"{\"a\":NaN}", large.as_bytes()]
        {
            let Record::Bad(letter) = read(body) else { panic!("{body:?}") };
            assert_eq!((letter.body(), letter.id().as_str()), (body, "audit/3/41"));
            assert!(!letter.reason.contains("Headers"), "{}", letter.reason);
        }
    }

    #[test]
    fn n05_deep_nesting_duplicate_keys_and_lone_surrogates_are_bounded() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for field in ["data", "x", "id"] {
            good(&format!(r#"{{"{field}":{deep}}}"#));
        }
        good(&format!(r#"{{"data":{{"cloudResources":{deep}}}}}"#));
        good(r#"{"id":"\ud800"}"#);
        let event = good(r#"{"id":"1","id":"2","data":{"methodName":"a","method_name":"b"}}"#);
        assert_eq!((event.id.as_str(), event.action.name.as_deref()), ("2", Some("b")));
        let event =
            good(r#"{"i\u0064":"e","data":{"x":{"methodName":"no"},"methodNam\u0065":"m\u0061"}}"#);
        assert_eq!((event.id.as_str(), event.action.name.as_deref()), ("e", Some("ma")));
    }

    proptest! {
        #[test]
        fn m06_no_bytes_make_it_panic_and_none_are_lost(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[{}\\[\\]\",:ida0 ]{0,60}".prop_map(String::into_bytes),
            ],
        ) {
            match read(&body) {
                Record::Good { event, .. } => prop_assert_eq!(event.raw.get().as_bytes(), body),
                Record::Bad(letter) => prop_assert_eq!(letter.body(), body),
            }
        }
    }
}
