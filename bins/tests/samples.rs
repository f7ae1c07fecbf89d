//! Published records, in an SQLite table, reach the file byte for byte through the whole program.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Lab, config};
use rusqlite::types::Value;
use serde_json::value::RawValue;

const FILES: [&str; 5] = [
    include_str!("../../audit-source-sql/tests/data/django_auditlog_rows_default.json"),
    include_str!("../../audit-source-sql/tests/data/django_auditlog_rows_json.json"),
    include_str!("../../audit-source-sql/tests/data/resilient_logger_documents.json"),
    include_str!("../../audit-source-sql/tests/data/structured_log_transfer_messages.json"),
    include_str!("../../audit-source-sql/tests/data/structured_log_transfer_readme_rows.json"),
];

/// The elements of a JSON array, or the values of an object, each as the text it is there.
fn elements(text: &str) -> Vec<&str> {
    let list = serde_json::from_str::<Vec<&RawValue>>(text);
    let list = list.unwrap_or_else(|_| {
        let object: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_str(text).unwrap();
        object.into_values().collect()
    });
    list.into_iter().map(RawValue::get).collect()
}

/// Every record: the elements of each file, and of each list in it (the rows of each table).
fn records() -> Vec<&'static str> {
    let outer = FILES.iter().flat_map(|text| elements(text));
    outer.flat_map(|text| if text.starts_with('[') { elements(text) } else { vec![text] }).collect()
}

fn shipped(output: &str) -> Lab {
    let lab = Lab::new(0);
    lab.config(&config(output, ""));
    for (id, record) in (1..).zip(records()) {
        lab.add_value(id, Value::Text(record.to_owned()));
    }
    lab.run().expect(0);
    assert_eq!(lab.unsent(), 0);
    lab
}

/// As a file shows it: line breaks, which JSON has between tokens only, are spaces there.
fn on_one_line(record: &str) -> String {
    record.replace(['\n', '\r'], " ")
}

#[test]
fn each_record_is_a_line_of_ndjson_and_an_element_of_an_array() {
    let wanted: Vec<_> = records().into_iter().map(on_one_line).collect();
    assert!(wanted.len() > 20, "{}", wanted.len());
    assert_eq!(shipped("out.ndjson").lines("out.ndjson"), wanted);

    let array = std::fs::read_to_string(shipped("out.json").path("out.json")).unwrap();
    assert_eq!(elements(&array), wanted);
}
