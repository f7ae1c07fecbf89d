//! Judges a document by the field list of the Elastic Common Schema.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| serde_json::from_str(include_str!("data/ecs_9.0.0.json")).unwrap());

#[derive(Deserialize)]
struct Schema {
    version: String,
    fields: BTreeMap<String, String>,
    allowed: BTreeMap<String, Vec<String>>,
    types_of_category: BTreeMap<String, Vec<String>>,
}

pub(crate) fn judge(document: &Value) {
    let problems = problems(document);
    assert!(problems.is_empty(), "{problems:?}\n{document:#}");
    assert_eq!(document["ecs"]["version"], SCHEMA.version);
}

fn problems(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for required in ["@timestamp", "ecs"] {
        if document.get(required).is_none() {
            problems.push(format!("{required} is missing"));
        }
    }
    for (name, value) in document.as_object().unwrap() {
        // What the schema has no name for: it leaves names that are not its own to its users.
        if name != "audit" {
            check(name, value, &mut problems);
        }
    }
    let texts = |field: &str| -> Vec<&str> {
        let values = document["event"][field].as_array();
        values.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let categories = texts("category");
    for kind in texts("type") {
        let expected = |category: &&str| &SCHEMA.types_of_category[*category];
        if !categories.iter().map(expected).any(|kinds| kinds.iter().any(|k| k == kind)) {
            problems.push(format!("{kind} is not expected of {categories:?}"));
        }
    }
    problems
}

fn check(path: &str, value: &Value, problems: &mut Vec<String>) {
    if let Some(object) = value.as_object() {
        for (name, value) in object {
            check(&format!("{path}.{name}"), value, problems);
        }
        return;
    }
    let Some(kind) = SCHEMA.fields.get(path) else {
        problems.push(format!("{path} is unknown"));
        return;
    };
    let (kind, values) = match (kind.strip_suffix("[]"), value.as_array()) {
        (Some(kind), Some(values)) => (kind, values.as_slice()),
        (None, None) => (kind.as_str(), std::slice::from_ref(value)),
        _ => {
            problems.push(format!("{path} is an array or should be one"));
            return;
        }
    };
    for value in values {
        let text = value.as_str();
        let fits = match kind {
            "keyword" | "text" | "match_only_text" | "wildcard" => text.is_some(),
            "date" => text.is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok()),
            "ip" => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            _ => false,
        };
        let allowed = SCHEMA.allowed.get(path);
        if !fits || allowed.is_some_and(|a| !text.is_some_and(|text| a.iter().any(|a| a == text))) {
            problems.push(format!("{path} is no {kind}, or not allowed"));
        }
    }
}

#[test]
fn a_wrong_document_is_found_out() {
    let good = serde_json::json!({
        "@timestamp": "2026-01-01T00:00:00Z", "ecs": { "version": "9.0.0" },
        "event": { "kind": "event", "category": ["api"], "type": ["info"] },
        "source": { "ip": "192.0.2.1" },
    });
    judge(&good);
    for (pointer, value) in [
        ("/@timestamp", "yesterday".into()),
        ("/source/ip", "/192.0.2.1".into()),
        ("/event/kind", "audit".into()),
        ("/event/category", "api".into()),
        ("/event/type", serde_json::json!(["group"])),
        ("/source", serde_json::json!({ "address_book": "x" })),
    ] {
        let mut document = good.clone();
        *document.pointer_mut(pointer).unwrap() = value;
        assert!(!problems(&document).is_empty(), "{pointer}");
    }
}
