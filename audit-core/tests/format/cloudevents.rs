//! Judges an event by the JSON Schema of CloudEvents, and by what its specification says beside it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| serde_json::from_str(include_str!("data/cloudevents_1.0.2.json")).unwrap());

#[derive(Deserialize)]
struct Schema {
    required: Vec<String>,
    properties: BTreeMap<String, Property>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    r#type: Vec<String>,
    min_length: Option<usize>,
    format: Option<String>,
}

pub(crate) fn judge(line: &str) {
    let problems = problems(line);
    assert!(problems.is_empty(), "{problems:?}\n{line}");
}

fn problems(line: &str) -> Vec<String> {
    // Values as text: a tree cannot hold the lone surrogates that a record may escape.
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(line).unwrap();
    let missing = SCHEMA.required.iter().filter(|name| !all.contains_key(*name));
    let mut problems: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
    for (name, value) in &all {
        // The schema allows any data.
        if name == "data" {
            continue;
        }
        let value: Value = serde_json::from_str(value.get()).unwrap();
        let text = value.as_str().unwrap_or_default();
        let fits = match SCHEMA.properties.get(name) {
            Some(property) => {
                property.r#type.iter().any(|t| t == "string")
                    && value.is_string()
                    && text.chars().count() >= property.min_length.unwrap_or_default()
                    && match property.format.as_deref() {
                        Some("date-time") => DateTime::parse_from_rfc3339(text).is_ok(),
                        Some("uri-reference") => is_relative_reference(text),
                        _ => true,
                    }
            }
            // 3.1 of the specification: the names of extensions; attributes are not empty.
            None => {
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                    && name.len() <= 20
                    && !text.is_empty()
            }
        };
        if !fits || !text.chars().all(is_allowed) {
            problems.push(format!("{name} is not as it has to be"));
        }
    }
    if all.get("specversion").is_none_or(|version| version.get() != "\"1.0\"") {
        problems.push("another version".to_owned());
    }
    problems
}

/// RFC 3986: a path without a scheme; what else a reference may have is not used here.
fn is_relative_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(i, b)| match b {
        b'%' => bytes.get(i + 1..i + 3).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)),
        _ => b.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(b),
    })
}

/// 3.2 of the specification, type String: neither control characters nor noncharacters.
fn is_allowed(c: char) -> bool {
    let code = u32::from(c);
    let control = code < 0x20 || (0x7f..0xa0).contains(&code);
    let noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    !control && !noncharacter
}

#[test]
fn a_wrong_event_is_found_out() {
    let good = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "a/b%20c", "type": "t",
        "time": "2026-01-01T00:00:00Z", "outcome": "success",
    });
    judge(&good.to_string());
    for (name, value) in [
        ("specversion", "0.3"),
        ("id", ""),
        ("id", "a\u{7f}"),
        ("source", "a b"),
        ("source", "a:b"),
        ("time", "now"),
        ("Outcome", "x"),
        ("correlation_id", "x"),
        ("outcome", ""),
    ] {
        let mut event = good.clone();
        event[name] = value.into();
        assert!(!problems(&event.to_string()).is_empty(), "{name}: {value:?}");
    }
    assert!(!problems("{}").is_empty());
}
