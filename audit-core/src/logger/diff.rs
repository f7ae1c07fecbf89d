use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::json::Json;
use crate::{Error, ErrorKind, Result};

/// Below this depth, objects are compared as a whole.
const MAX_DEPTH: usize = 32;

/// What changed between two states of a thing: `{"address.city": ["Delft", "Gouda"]}`.
///
/// Objects are gone through, their keys joined by dots; everything else is compared as a whole. A
/// field that is not there on one side is `null` on that side. Numbers keep every digit.
#[derive(Clone, Default, PartialEq)]
pub struct Diff {
    changes: Vec<(String, Json, Json)>,
}

impl Diff {
    /// Compares two states.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when one of them cannot be written as JSON.
    pub fn between(before: &impl Serialize, after: &impl Serialize) -> Result<Self> {
        let invalid = |e: serde_json::Error| {
            Error::new(ErrorKind::InvalidData, "cannot be written as JSON")
                .with("part", "changes")
                .because(e)
        };
        let (before, after) =
            (Json::of(before).map_err(invalid)?, Json::of(after).map_err(invalid)?);
        let mut diff = Self::default();
        diff.compare(String::new(), before.get(), after.get(), 0);
        Ok(diff)
    }

    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn compare(&mut self, path: String, before: &str, after: &str, depth: usize) {
        if before == after {
            return;
        }
        let objects = match depth < MAX_DEPTH {
            true => serde_json::from_str(before).ok().zip(serde_json::from_str(after).ok()),
            false => None,
        };
        let Some((Members(before), Members(after))) = objects else {
            self.changes.push((path, Json::of_text(before), Json::of_text(after)));
            return;
        };
        for (key, old) in &before {
            let new = after.iter().find(|(k, _)| k == key).map_or("null", |(_, new)| new.get());
            self.compare(join(&path, key), old.get(), new, depth + 1);
        }
        for (key, new) in after.iter().filter(|(k, _)| before.iter().all(|(b, _)| b != k)) {
            self.compare(join(&path, key), "null", new.get(), depth + 1);
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Serialize for Diff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.changes.len()))?;
        for (path, before, after) in &self.changes {
            map.serialize_entry(path, &[before, after])?;
        }
        map.end()
    }
}

impl fmt::Debug for Diff {
    // The values are audit data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.changes.iter().map(|(path, ..)| path)).finish()
    }
}

/// The members of an object, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn diff(before: &Value, after: &Value) -> String {
        serde_json::to_string(&Diff::between(before, after).unwrap()).unwrap()
    }

    #[test]
    fn names_what_changed_and_nothing_else() {
        let before = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": true, "same": {}});
        let after = json!({"a": 2, "b": {"c": [1], "d": "x"}, "new": {"e": null}, "same": {}});
        assert_eq!(
            diff(&before, &after),
            r#"{"a":[1,2],"b.c":[[1, 2],[1]],"gone":[true,null],"new":[null,{"e": null}]}"#
        );
        assert_eq!(diff(&json!(1), &json!({"a": 1})), r#"{"":[1,{"a": 1}]}"#);
        assert!(Diff::between(&before, &before).unwrap().is_empty());
    }

    #[test]
    fn numbers_keep_every_digit() {
        let diff = Diff::between(&u128::MAX, &(u128::MAX - 1)).unwrap();
        let text = serde_json::to_string(&diff).unwrap();
        assert_eq!(text, format!(r#"{{"":[{},{}]}}"#, u128::MAX, u128::MAX - 1));
    }

    #[test]
    fn deep_values_do_not_overflow_the_stack() {
        let deep = |leaf: u32| (0..120).fold(json!(leaf), |value, _| json!({ "k": value }));
        let text = diff(&deep(1), &deep(2));
        assert!(text.starts_with(r#"{"k.k."#), "{text}");
    }

    proptest! {
        #[test]
        fn is_empty_exactly_for_equal_values(a in "[a-c]{0,3}", b in "[a-c]{0,3}", n in 0..3, m in 0..3) {
            let value = |text: &str, number: i32| json!({ "t": text, "o": { "n": number } });
            let diff = Diff::between(&value(&a, n), &value(&b, m)).unwrap();
            prop_assert_eq!(diff.is_empty(), a == b && n == m);
        }
    }
}
