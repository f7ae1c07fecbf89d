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
        let mut record =
            Record::with_opaque_to(&self.topic, number).payload(payload).headers(headers(event));
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

fn headers(event: &AuditEvent) -> OwnedHeaders {
    let time = event.time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let text = |key, value| Header { key, value: Some(value) };
    OwnedHeaders::new_with_capacity(4)
        .insert(text("id", event.id.as_str()))
        .insert(text("source", &event.source))
        .insert(text("time", &time))
        .insert(text("content-type", "application/json"))
}
