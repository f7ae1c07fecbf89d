use std::borrow::Cow;

use audit_core::{Raw, Result};
use serde::Deserialize;

use crate::tokens::{Place, Token, inner, splice, walk};

/// How the keys of a record are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Keys {
    /// As the service sends them: `eventType`.
    #[default]
    Camel,
    /// As Oracle's SDK for Python has them: `event_type`.
    Snake,
}

/// Spells the keys that belong to the form of a record as Oracle's SDK for Python does: those of the
/// record, of `data`, and of `identity`, `request` and `response` in it.
///
/// The names in maps are data, and stay: tags, parameters, headers, payload, `stateChange`,
/// `additionalDetails`. So do all values.
///
/// # Errors
/// None for a record that is JSON.
pub(crate) fn snake(record: &Raw) -> Result<Raw> {
    let mut edits = Vec::new();
    walk(record.get().as_bytes(), inner, |token| {
        let Token::Name { at, of, name } = token else { return };
        let fixed = matches!(of, Place::Root | Place::Data | Place::Identity | Place::Exchange);
        // Names with escapes are not the service's own.
        if fixed && name.len() + 2 == at.len() && name.iter().any(u8::is_ascii_uppercase) {
            edits.push((at.start + 1..at.end - 1, Cow::Owned(snake_name(&name))));
        }
    });
    let text = splice(record.get().as_bytes(), edits);
    Raw::parse(String::from_utf8_lossy(&text))
}

fn snake_name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 4);
    for (n, byte) in name.iter().enumerate() {
        if byte.is_ascii_uppercase() && n > 0 {
            out.push(b'_');
        }
        out.push(byte.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn spelled(text: &str) -> String {
        snake(&Raw::parse(text).unwrap()).unwrap().get().to_owned()
    }

    #[test]
    fn the_keys_of_the_form_are_those_of_the_sdk_and_the_names_in_maps_stay() {
        let text = r#"{ "eventType":"a.B", "eventTypeVersion" : "2.0","data":{"compartmentId":1.10,
            "freeformTags":{"costCenter":"x"},"definedTags":{"nameSpace":{"keyName":"v"}},
            "identity":{"ipAddress":null},"request":{"headers":{"X-Real-IP":["eventType"]},
            "parameters":{"compartmentId":["c"]}},"response":{"responseTime":"t","payload":{"someId":1}},
            "stateChange":{"previous":{"displayName":"a"},"current":null},
            "additionalDetails":{"imageId":"i"}}}"#;
        let expected = r#"{ "event_type":"a.B", "event_type_version" : "2.0","data":{"compartment_id":1.10,
            "freeform_tags":{"costCenter":"x"},"defined_tags":{"nameSpace":{"keyName":"v"}},
            "identity":{"ip_address":null},"request":{"headers":{"X-Real-IP":["eventType"]},
            "parameters":{"compartmentId":["c"]}},"response":{"response_time":"t","payload":{"someId":1}},
            "state_change":{"previous":{"displayName":"a"},"current":null},
            "additional_details":{"imageId":"i"}}}"#;
        assert_eq!(spelled(text), expected);
        assert_eq!(spelled(expected), expected, "again");
    }

    #[test]
    fn what_is_no_object_stays() {
        for text in ["7", "null", "\"eventType\"", "[]", "{}", r#"{"\u0041b":1}"#] {
            assert_eq!(spelled(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_record_stays_json_with_the_same_values(
            keys in prop::collection::vec("data|identity|request|[a-zA-Z\"\\\\é]{0,4}", 1..5),
            n in 0..4,
        ) {
            let leaf = [Value::from("eventType"), Value::from(1.5), serde_json::json!(["aB", null]),
                serde_json::json!({"aB": true})][n as usize].clone();
            let object: Value =
                keys.into_iter().map(|k| (k, leaf.clone())).collect::<serde_json::Map<_, _>>().into();
            let text = serde_json::json!({"data": {"identity": object}, "aB": object}).to_string();
            let values = |text: &str| {
                let mut found: Vec<String> = Vec::new();
                walk(text.as_bytes(), inner, |token| {
                    if let Token::Value { at, .. } = token {
                        found.extend(text.get(at).map(str::to_owned));
                    }
                });
                found
            };
            let out = spelled(&text);
            serde_json::from_str::<Value>(&out).unwrap();
            prop_assert_eq!(values(&out), values(&text));
        }
    }
}
