//! Judges an event by the classes and objects of the Open Cybersecurity Schema Framework.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The version that events say they follow, and a later one that they must fit too.
static SCHEMAS: LazyLock<[Schema; 2]> = LazyLock::new(|| {
    [include_str!("data/ocsf_1.4.0.json"), include_str!("data/ocsf_1.7.0.json")]
        .map(|text| serde_json::from_str(text).unwrap())
});

#[derive(Deserialize)]
struct Schema {
    version: String,
    classes: BTreeMap<String, Definition>,
    objects: BTreeMap<String, Definition>,
    types: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Definition {
    class_uid: Option<u64>,
    category_uid: Option<u64>,
    caption: Option<String>,
    #[serde(default)]
    at_least_one: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Attribute {
    Plain(String),
    Enumeration(String, BTreeMap<String, String>),
}

impl Attribute {
    fn words(&self) -> std::str::SplitWhitespace<'_> {
        let (Self::Plain(text) | Self::Enumeration(text, _)) = self;
        text.split_whitespace()
    }
}

pub(crate) fn judge(event: &Value) {
    for schema in &*SCHEMAS {
        let problems = schema.problems(event);
        assert!(problems.is_empty(), "OCSF {}: {problems:?}\n{event:#}", schema.version);
    }
    assert_eq!(event["metadata"]["version"], SCHEMAS[0].version);
}

impl Schema {
    fn problems(&self, event: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        let uid = |name: &str| event[name].as_u64();
        let class = self.classes.values().find(|class| class.class_uid == uid("class_uid"));
        let Some(class) = class else { return vec!["unknown class".to_owned()] };
        let activity = class.class_uid.zip(uid("activity_id")).map(|(c, a)| c * 100 + a);
        if uid("category_uid") != class.category_uid
            || uid("type_uid") != activity
            || event["class_name"].as_str() != class.caption.as_deref()
        {
            problems.push("class, category and type do not fit".to_owned());
        }
        self.check_object("", class, event.as_object().unwrap(), &mut problems);
        problems
    }

    fn check_object(
        &self,
        path: &str,
        of: &Definition,
        object: &Map<String, Value>,
        problems: &mut Vec<String>,
    ) {
        for (name, attribute) in &of.attributes {
            if attribute.words().any(|word| word == "required") && !object.contains_key(name) {
                problems.push(format!("{path}{name} is missing"));
            }
        }
        if !of.at_least_one.is_empty() && !of.at_least_one.iter().any(|n| object.contains_key(n)) {
            problems.push(format!("{path} has none of {:?}", of.at_least_one));
        }
        for (name, value) in object {
            let path = format!("{path}{name}");
            let Some(attribute) = of.attributes.get(name) else {
                problems.push(format!("{path} is unknown"));
                continue;
            };
            if attribute.words().any(|word| word == "deprecated") {
                problems.push(format!("{path} is deprecated"));
            }
            if let Attribute::Enumeration(_, known) = attribute {
                let sibling = object.get(&name.replace("_id", "")).or_else(|| {
                    (name == "activity_id").then(|| object.get("activity_name")).flatten()
                });
                match known.get(&value.to_string()) {
                    None => problems.push(format!("{path} is none of the enumeration")),
                    // The sibling of an unlisted value is the source's own word.
                    Some(caption) if *value != 99 && sibling.is_some_and(|s| s != caption) => {
                        problems.push(format!("{path} has another caption"));
                    }
                    Some(_) => {}
                }
            }
            let kind = attribute.words().next().unwrap();
            match (kind.strip_suffix("[]"), value.as_array()) {
                (Some(kind), Some(values)) => {
                    values.iter().for_each(|value| self.check(&path, kind, value, problems));
                }
                (None, None) => self.check(&path, kind, value, problems),
                _ => problems.push(format!("{path} is an array or should be one")),
            }
        }
    }

    fn check(&self, path: &str, kind: &str, value: &Value, problems: &mut Vec<String>) {
        let fits = match kind {
            "string_t" | "username_t" | "resource_uid_t" => value.is_string(),
            "integer_t" | "long_t" | "timestamp_t" => value.is_i64(),
            "ip_t" => value.as_str().is_some_and(|ip| ip.parse::<IpAddr>().is_ok()),
            "email_t" => {
                static EMAIL: LazyLock<Regex> =
                    LazyLock::new(|| Regex::new(&SCHEMAS[0].types["email_t"]).unwrap());
                value.as_str().is_some_and(|text| EMAIL.is_match(text))
            }
            "object" => value.is_object(),
            object => match (self.objects.get(object), value.as_object()) {
                (Some(definition), Some(object)) => {
                    self.check_object(&format!("{path}."), definition, object, problems);
                    true
                }
                _ => false,
            },
        };
        if !fits {
            problems.push(format!("{path} is no {kind}"));
        }
    }
}

#[test]
fn a_wrong_event_is_found_out() {
    let good = serde_json::json!({
        "metadata": { "version": "1.4.0", "product": { "name": "p" }, "uid": "1" },
        "time": 1, "category_uid": 3, "class_uid": 3004, "class_name": "Entity Management",
        "activity_id": 1, "activity_name": "Create", "type_uid": 300_401, "severity_id": 1,
        "entity": { "name": "e", "type": "User", "type_id": 2 },
    });
    judge(&good);
    for (pointer, value) in [
        ("/time", "now".into()),
        ("/type_uid", 300_402.into()),
        ("/activity_id", 77.into()),
        ("/activity_name", "Delete".into()),
        ("/entity", serde_json::json!({ "type": "User" })),
        ("/entity", serde_json::json!({ "name": "e", "colour": "red" })),
        ("/entity/type", "Group".into()),
        ("/metadata/product", serde_json::json!({})),
        ("/metadata", serde_json::json!({ "version": "1.4.0" })),
    ] {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        assert!(!SCHEMAS[0].problems(&event).is_empty(), "{pointer}");
    }
}
