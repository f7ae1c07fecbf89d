//! The formats, judged by the published schemas: events as the sources make them, and any others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod any_event;
mod cloudevents;
mod ecs;
mod ocsf;

use std::collections::BTreeMap;

use audit_core::{AuditEvent, Format};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

const SOURCES: [(&str, &str); 5] = [
    ("confluent", include_str!("data/events_confluent.ndjson")),
    ("django", include_str!("data/events_django.ndjson")),
    ("helsinki", include_str!("data/events_helsinki.ndjson")),
    ("oci", include_str!("data/events_oci.ndjson")),
    ("port", include_str!("data/events_port.ndjson")),
];

fn events(lines: &str) -> Vec<AuditEvent> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn line(format: Format, event: &AuditEvent) -> String {
    let mut out = Vec::new();
    format.append_line(event, &mut out).unwrap();
    let line = String::from_utf8(out).unwrap();
    assert!(!line.contains(['\n', '\r']), "{line}");
    line
}

/// Checks what is true of each format, whatever the event.
fn judge(event: &AuditEvent) {
    for format in Format::ALL {
        let line = line(*format, event);
        assert_eq!(record(*format, &line), event.raw.line(), "{}", format.as_str());
        match format {
            Format::Ecs => ecs::judge(&serde_json::from_str(&line).unwrap()),
            Format::Ocsf => ocsf::judge(&serde_json::from_str(&line).unwrap()),
            Format::CloudEvents => cloudevents::judge(&line),
            _ => {}
        }
    }
}

/// Returns the record that a line holds, byte for byte.
fn record(format: Format, line: &str) -> String {
    type Fields<'a> = BTreeMap<String, &'a RawValue>;
    if format == Format::Raw {
        return line.to_owned();
    }
    let line: Fields<'_> = serde_json::from_str(line).unwrap();
    let exact = |value: &RawValue| value.get().to_owned();
    let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).unwrap();
    match format {
        Format::Canonical => exact(line["raw"]),
        Format::CloudEvents => exact(line["data"]),
        // Only this format keeps line breaks.
        Format::Ocsf => text(line["raw_data"]).replace(['\n', '\r'], " "),
        Format::Ecs => {
            let audit: Fields<'_> = serde_json::from_str(line["audit"].get()).unwrap();
            let object = audit.get("record").map(|record| exact(record));
            object.unwrap_or_else(|| text(audit["original"]))
        }
        other => panic!("the record is not looked for in {}", other.as_str()),
    }
}

#[test]
fn m01_m02_m04_every_source_in_every_format_is_valid_and_keeps_its_record() {
    for (_, lines) in SOURCES {
        events(lines).iter().for_each(judge);
    }
}

#[test]
fn m01_golden_files_of_every_source() {
    for (source, lines) in SOURCES {
        let events = events(lines);
        for format in [Format::Ecs, Format::Ocsf, Format::CloudEvents] {
            let pretty = |event| {
                let value: Value = serde_json::from_str(&line(format, event)).unwrap();
                serde_json::to_string_pretty(&value).unwrap()
            };
            let all: Vec<String> = events.iter().map(pretty).collect();
            insta::assert_snapshot!(format!("{}_{source}", format.as_str()), all.join("\n"));
        }
    }
}

proptest! {
    #[test]
    fn any_event_is_valid_in_any_format(event in any_event::any_event()) {
        judge(&event);
    }
}
