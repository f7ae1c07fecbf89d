use audit_core::{AuditEvent, Format, Result};
use chrono::SecondsFormat;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::config::{Key, Timestamp};

/// How events become records.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) topic: String,
    pub(crate) key: Key,
    pub(crate) format: Format,
    pub(crate) timestamp: Timestamp,
}

/// A record on its way to the client library, which copies it.
pub(crate) type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

impl Rules {
    /// Makes the record of an event; `value` holds its payload where that has to be built.
    pub(crate) fn record<'a>(
        &'a self,
        event: &'a AuditEvent,
        number: usize,
        value: &'a mut Vec<u8>,
    ) -> Result<Record<'a>> {
        let payload = match self.format {
            // The record as it was received, without a copy if it is one line.
            Format::Raw if is_one_line(event.raw.get()) => event.raw.get().as_bytes(),
            format => {
                value.clear();
                format.append_line(event, value)?;
                value.as_slice()
            }
        };
        let key = match self.key {
            Key::Id => Some(event.id.as_str()),
            Key::Target => event.target.as_ref().and_then(|target| target.id.as_deref()),
            Key::Actor => event.actor.as_ref().and_then(|actor| actor.id.as_deref()),
            Key::None => None,
        };
        let mut record = Record::with_opaque_to(&self.topic, number)
            .payload(payload)
            .headers(headers(event, self.format));
        record.key = key.map(str::as_bytes);
        if self.timestamp == Timestamp::Event {
            // Nothing is before 1970 for Kafka, and 0 is "now" for librdkafka.
            record = record.timestamp(event.time.timestamp_millis().max(1));
        }
        Ok(record)
    }
}

fn is_one_line(text: &str) -> bool {
    memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none()
}

fn headers(event: &AuditEvent, format: Format) -> OwnedHeaders {
    let time = event.time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let text = |key, value| Header { key, value: Some(value) };
    OwnedHeaders::new_with_capacity(4)
        .insert(text("id", event.id.as_str()))
        .insert(text("source", &event.source))
        .insert(text("time", &time))
        .insert(text("content-type", format.media_type()))
}

#[cfg(test)]
mod tests {
    use audit_core::{Actor, EventId, Raw};
    use chrono::DateTime;
    use rdkafka::message::Headers as _;

    use super::*;

    fn event(raw: &str, millis: i64) -> AuditEvent {
        let time = DateTime::from_timestamp_millis(millis).unwrap();
        AuditEvent::new(EventId::new("e/1"), "db".into(), time, Raw::parse(raw).unwrap())
    }

    fn rules(key: Key, format: Format) -> Rules {
        Rules { topic: "audit".to_owned(), key, format, timestamp: Timestamp::Event }
    }

    #[test]
    fn a_raw_record_on_one_line_is_not_copied() {
        let (event, mut value) = (event(r#"{"b":1.10,"a":2,"a":3}"#, 5), Vec::new());
        let rules = rules(Key::Id, Format::Raw);
        let record = rules.record(&event, 7, &mut value).unwrap();
        assert!(std::ptr::eq(record.payload.unwrap(), event.raw.get().as_bytes()));
        assert_eq!((record.key, record.timestamp), (Some(b"e/1".as_slice()), Some(5)));
        assert_eq!(record.delivery_opaque, 7);
        let headers = record.headers.unwrap();
        let names: Vec<_> = headers.iter().map(|h| h.key.to_owned()).collect();
        assert_eq!(names, ["id", "source", "time", "content-type"]);
        assert_eq!(headers.get_as::<str>(2).unwrap().value, Some("1970-01-01T00:00:00.005Z"));
    }

    #[test]
    fn k09_line_breaks_become_spaces_and_old_times_stay_times() {
        let (event, mut value) = (event("{\r\n\"a\":\n1}", -86_400_000), Vec::new());
        let rules = rules(Key::Actor, Format::Raw);
        let record = rules.record(&event, 0, &mut value).unwrap();
        assert_eq!(record.payload, Some(b"{  \"a\": 1}".as_slice()));
        assert_eq!((record.key, record.timestamp), (None, Some(1)), "0 would be now");
    }

    #[test]
    fn a_key_is_what_is_asked_for_or_none() {
        let mut event = event("1", 1);
        event.actor = Some(Actor { id: Some("ada".into()), ..Actor::default() });
        let key = |key| {
            let mut value = Vec::new();
            let rules = rules(key, Format::Canonical);
            let record = rules.record(&event, 0, &mut value).unwrap();
            record.key.map(|key| String::from_utf8(key.to_vec()).unwrap())
        };
        assert_eq!(key(Key::Actor).as_deref(), Some("ada"));
        assert_eq!((key(Key::Target), key(Key::None)), (None, None));
    }

    #[test]
    fn the_content_type_is_that_of_the_format() {
        for (format, expected) in [
            (Format::Raw, "application/json"),
            (Format::Ocsf, "application/json"),
            (Format::CloudEvents, "application/cloudevents+json"),
        ] {
            let (event, mut value) = (event("{}", 5), Vec::new());
            let rules = rules(Key::Id, format);
            let record = rules.record(&event, 0, &mut value).unwrap();
            let header = record.headers.unwrap();
            assert_eq!(header.get_as::<str>(3).unwrap().value, Some(expected));
        }
    }
}
