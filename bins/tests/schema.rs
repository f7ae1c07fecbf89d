//! What `audit schema` says is what the program reads.

#![cfg(all(
    feature = "schema",
    feature = "sink-elastic",
    feature = "sink-file",
    feature = "sink-kafka",
    feature = "sink-report",
    feature = "source-confluent",
    feature = "source-oci",
    feature = "source-port",
    feature = "source-sql-sqlite"
))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::process::Command;

use audit_bins::config::Config;
use audit_sink_elastic::ElasticConfig;
use audit_sink_file::FileConfig;
use audit_sink_kafka::KafkaConfig;
use audit_sink_report::ReportConfig;
use audit_source_confluent::{ConfluentConfig, FilesConfig};
use audit_source_oci::OciConfig;
use audit_source_port::PortConfig;
use audit_source_sql::{SqlCheckpointConfig, SqlConfig};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

fn schema() -> Value {
    let schema: Value = serde_json::from_str(&audit(&["schema"])).unwrap();
    assert_eq!(schema, audit_bins::schema::schema());
    schema
}

fn audit(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_audit")).args(args).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn pipeline(schema: &Value) -> &Value {
    &schema["properties"]["pipelines"]["additionalProperties"]
}

/// Returns the schemas of the adapters that stand at a key of a pipeline, with their names.
fn adapters<'a>(schema: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    let choices = pipeline(schema)["properties"][key]["oneOf"].as_array().unwrap().iter();
    choices.filter_map(|one| Some((one["properties"]["type"]["const"].as_str()?, one))).collect()
}

fn adapter<'a>(schema: &'a Value, key: &str, kind: &str) -> &'a Value {
    adapters(schema, key).into_iter().find(|(name, _)| *name == kind).unwrap().1
}

fn names(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

/// Calls `visit` for a schema and all in it, with the keys that lead there.
fn walk(schema: &Value, at: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(schema, at);
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{at}.{key}"), visit);
    }
    for (n, choice) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
        let name = choice["title"].as_str().map_or(n.to_string(), str::to_owned);
        walk(choice, &format!("{at}({name})"), visit);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{at}[]"), visit);
        }
    }
}

/// Returns what is wrong with a value, by the keywords that the schema uses.
fn problems(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => vec![],
        one => vec![one.clone()],
    };
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    if !types.is_empty() && !types.iter().any(|name| name == kind) {
        return vec![format!("{at}: a {kind}")];
    }
    if schema.get("const").is_some_and(|only| only != value)
        || schema["enum"].as_array().is_some_and(|all| !all.contains(value))
    {
        found.push(format!("{at}: not a choice"));
    }
    if let (Some(pattern), Value::String(text)) = (schema["pattern"].as_str(), value)
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        found.push(format!("{at}: not of this form"));
    }
    let outside = |keyword: &str, wrong: fn(f64, f64) -> bool| {
        let (bound, number) = (schema[keyword].as_f64(), value.as_f64());
        bound.zip(number).is_some_and(|(bound, number)| wrong(number, bound))
    };
    if outside("minimum", |number, bound| number < bound)
        || outside("maximum", |number, bound| number > bound)
    {
        found.push(format!("{at}: out of bounds"));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<_> =
            choices.iter().map(|choice| (choice, problems(choice, value, at))).collect();
        match all.iter().filter(|(_, found)| found.is_empty()).count() {
            1 => {}
            0 => {
                // Those of the adapter that is meant, if it is one.
                let named = |(choice, _): &&(&Value, Vec<String>)| {
                    value["type"].is_string()
                        && choice["properties"]["type"]["const"] == value["type"]
                };
                match all.iter().find(named) {
                    Some((_, problems)) => found.extend(problems.iter().cloned()),
                    None => found.push(format!("{at}: none of these")),
                }
            }
            _ => found.push(format!("{at}: several of these")),
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(problems(&schema["items"], item, &format!("{at}[]")));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(format!("{at}: unknown")),
            (Value::Null, more) => {
                found.extend(problems(&schema["propertyNames"], &json!(key), &at));
                found.extend(problems(more, value, &at));
            }
            (property, _) => found.extend(problems(property, value, &at)),
        }
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(key).is_none() {
            found.push(format!("{at}.{key}: missing"));
        }
    }
    found
}

fn problems_of(text: &str) -> Vec<String> {
    problems(&schema(), &toml::from_str(text).unwrap(), "")
}

const EXAMPLE: &str = r#"
[pipelines.a]
source = { type = "sql", url = "a.db" }
sink = { type = "file", path = "a.ndjson" }
"#;

#[test]
fn it_is_a_schema_that_needs_nothing_else() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(!schema.to_string().contains("\"$ref\""));
    walk(&schema, "", &mut |schema, at| {
        if schema.get("properties").is_some() {
            assert_eq!(schema["type"], "object", "{at}");
            assert_eq!(schema["additionalProperties"], false, "{at} takes unknown keys");
            for (key, property) in schema["properties"].as_object().unwrap() {
                let says = property["description"].as_str().or(property["const"].as_str());
                assert!(
                    says.is_some_and(|text| !text.contains("[`")),
                    "{at}.{key} is not described"
                );
                let typed = property.get("type").is_some() || property.get("oneOf").is_some();
                assert!(typed, "{at}.{key} has no type");
            }
        }
        assert!(schema["default"].is_null() || schema["writeOnly"] != true, "{at} shows a secret");
        assert!(problems(schema, &schema["default"], at).is_empty() || schema["default"].is_null());
    });
}

#[test]
fn secrets_are_marked() {
    let mut found = BTreeSet::new();
    walk(&schema(), "", &mut |schema, at| {
        if schema["writeOnly"] == true {
            found.insert(at.rsplit(['.', ')']).next().unwrap().to_owned());
        }
    });
    let expected = [
        "api_key",
        "bearer",
        "client_secret",
        "key",
        "key_password",
        "pass_phrase",
        "password",
        "private_key",
        "properties[]",
        "proxy",
        "token",
        "url",
    ];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn every_adapter_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.toml");
    for (key, good) in [("source", "sql"), ("sink", "file"), ("checkpoint", "")] {
        let text = match good {
            "" => EXAMPLE.to_owned() + "checkpoint = { type = \"no such\" }",
            good => EXAMPLE.replace(&format!("{good:?}"), "\"no such\""),
        };
        fs::write(&path, text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_audit"));
        let output = check.args(["check", "-c"]).arg(&path).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let known = said.split("valid here: ").nth(1).and_then(|rest| rest.lines().next());
        let known: Vec<_> = known.unwrap_or_else(|| panic!("{said}")).split(", ").collect();
        let schema = schema();
        let kinds: Vec<_> = adapters(&schema, key).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, known);
    }
}

/// Checks an adapter's part of the schema against the type that reads it.
#[track_caller]
fn agrees<T: DeserializeOwned + Debug>(key: &str, kind: &str, least: Value) {
    let schema = schema();
    let schema = adapter(&schema, key, kind);

    // Serde lists the fields that a type has.
    let error = serde_json::from_value::<T>(json!({ "no such key": 1 })).unwrap_err().to_string();
    let (_, fields) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    let mut fields: BTreeSet<_> = fields.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    fields.insert("type".to_owned());
    assert_eq!(names(schema), fields);

    let needed = least.as_object().unwrap().keys().map(String::as_str);
    let needed: BTreeSet<_> = needed.chain(["type"]).collect();
    let required = schema["required"].as_array().unwrap();
    assert_eq!(required.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), needed);

    let mut with_defaults = least.as_object().unwrap().clone();
    for (key, property) in schema["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            with_defaults.insert(key.clone(), default.clone());
        }
    }
    let read = |table: Map<String, Value>| -> T { serde_json::from_value(table.into()).unwrap() };
    let least = read(least.as_object().unwrap().clone());
    assert_eq!(format!("{least:?}"), format!("{:?}", read(with_defaults)));
}

#[test]
fn keys_and_defaults_of_every_adapter_are_those_of_its_type() {
    agrees::<ConfluentConfig>("source", "confluent", json!({ "brokers": "b:9092" }));
    agrees::<FilesConfig>("source", "confluent-files", json!({ "files": ["a"] }));
    agrees::<OciConfig>("source", "oci", json!({}));
    agrees::<PortConfig>("source", "port", json!({}));
    agrees::<SqlConfig>("source", "sql", json!({ "url": "a.db" }));
    agrees::<ElasticConfig>("sink", "elastic", json!({ "hosts": ["h"], "index": "i" }));
    agrees::<FileConfig>("sink", "file", json!({ "path": "a" }));
    agrees::<KafkaConfig>("sink", "kafka", json!({ "brokers": "b:9092", "topic": "t" }));
    agrees::<ReportConfig>("sink", "report", json!({ "path": "r" }));
    agrees::<SqlCheckpointConfig>("checkpoint", "sql", json!({ "url": "a.db" }));
}

/// Durations, numbers and choices whose default is not in the schema are those that have none.
#[test]
fn a_plain_value_without_a_default_is_optional_by_its_meaning() {
    let mut without = BTreeSet::new();
    for key in ["source", "sink", "checkpoint"] {
        for (kind, schema) in adapters(&schema(), key) {
            let required = schema["required"].as_array().unwrap();
            for (name, property) in schema["properties"].as_object().unwrap() {
                let plain = property["title"] == "duration"
                    || property["type"] == "integer"
                    || property["type"] == "boolean"
                    || property.get("oneOf").is_some();
                if plain && property.get("default").is_none() && !required.contains(&json!(name)) {
                    without.insert(format!("{kind}.{name}"));
                }
            }
        }
    }
    let expected = [
        "confluent.retention",
        "elastic.gzip",
        "elastic.verify_duplicates",
        "file.compression",
        "file.layout",
        "file.level",
        "oci.preset",
    ];
    assert_eq!(without.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn keys_and_defaults_of_a_pipeline_are_those_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.toml");
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        Config::load(&path).map(|config| format!("{config:?}"))
    };
    let schema = schema();
    let mut text = EXAMPLE.to_owned();
    let mut nested = String::new();
    for (key, property) in pipeline(&schema)["properties"].as_object().unwrap() {
        if let Some(default) = property.get("default") {
            text += &format!("{key} = {default}\n");
        }
        for (inner, property) in property["properties"].as_object().into_iter().flatten() {
            nested += &format!("{key}.{inner} = {}\n", property["default"]);
        }
    }
    let text =
        format!("state_dir = {}\n{text}{nested}", schema["properties"]["state_dir"]["default"]);
    assert!(nested.lines().count() == 7 && text.contains("grace"), "{text}");
    assert_eq!(load(&text).unwrap(), load(EXAMPLE).unwrap());
    assert_eq!(problems_of(&text), [""; 0]);

    for (at, unknown) in
        [("", "no_such = 1\n[pipelines]\n"), ("a", ""), ("limits", ""), ("retry", "")]
    {
        let text = match at {
            "" => format!("{unknown}{}", EXAMPLE.trim_start_matches("\n[pipelines]")),
            "a" => format!("{EXAMPLE}no_such = 1"),
            table => format!("{EXAMPLE}{table}.no_such = 1"),
        };
        let error = load(&text).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        let (_, valid) = hint.split_once("valid here: ").unwrap_or_else(|| panic!("{error:?}"));
        let valid: BTreeSet<_> = valid.split(", ").map(str::to_owned).collect();
        let table = match at {
            "" => &schema,
            "a" => pipeline(&schema),
            table => &pipeline(&schema)["properties"][table],
        };
        assert_eq!(names(table), valid, "{at}");
        assert!(problems_of(&text).iter().any(|problem| problem.ends_with(".no_such: unknown")));
    }
}

#[test]
fn what_cannot_be_meant_has_a_problem() {
    assert_eq!(problems_of(EXAMPLE), [""; 0]);
    let with = |line: &str| problems_of(&format!("{EXAMPLE}{line}"));
    for good in [
        "dead_letters = false",
        "dead_letters = \"d.ndjson\"",
        "checkpoint = \"state\"",
        "checkpoint = { type = \"sql\", url = \"a.db\", lease = \"1m\" }",
        "limits.max_bytes = \"512 KiB\"",
        "grace = \"1m 30s\"",
        "grace = \"${GRACE}\"",
        "format = \"cloudevents\"",
    ] {
        assert_eq!(with(good), [""; 0], "{good}");
    }
    for (bad, problem) in [
        ("dead_letters = true", ".pipelines.a.dead_letters: none of these"),
        ("checkpoint = { type = \"sql\" }", ".pipelines.a.checkpoint.url: missing"),
        ("limits.max_bytes = \"4 parsec\"", ".pipelines.a.limits.max_bytes: not of this form"),
        ("limits.max_events = -1", ".pipelines.a.limits.max_events: out of bounds"),
        ("grace = \"soon\"", ".pipelines.a.grace: not of this form"),
        ("grace = 30", ".pipelines.a.grace: a integer"),
        ("format = \"xml\"", ".pipelines.a.format: none of these"),
        ("folow = true", ".pipelines.a.folow: unknown"),
    ] {
        assert_eq!(with(bad), [problem], "{bad}");
    }
    for (from, to, problem) in [
        ("path", "pth", ".pipelines.a.sink.pth: unknown"),
        ("\"file\"", "\"fiel\"", ".pipelines.a.sink: none of these"),
        ("pipelines.a", "pipelines.'a/b'", ".pipelines.a/b: not of this form"),
    ] {
        let found = problems_of(&EXAMPLE.replace(from, to));
        assert!(found.contains(&problem.to_owned()), "{found:?}");
    }
}

/// The blocks of a document in a language, less the indentation of lists.
fn blocks(text: &str, fence: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == fence {
            let inside = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push(inside.map(|line| line.trim().to_owned() + "\n").collect());
        }
    }
    blocks
}

#[test]
fn every_example_of_the_documentation_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut checked = 0;
    for readme in ["README.md", "bins/README.md"] {
        for block in blocks(&fs::read_to_string(root.join(readme)).unwrap(), "```toml") {
            let mut found = problems_of(&block);
            // Some show the one half or the other.
            found.retain(|problem| {
                !problem.ends_with(".source: missing") && !problem.ends_with(".sink: missing")
            });
            assert_eq!(found, [""; 0], "{readme}:\n{block}");
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

#[test]
fn every_packaged_example_is_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples");
    let mut checked = 0;
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "toml") {
            let found = problems_of(&fs::read_to_string(&file).unwrap());
            assert_eq!(found, [""; 0], "{}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn the_reference_of_all_keys_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIGURATION.md");
    let kept = fs::read_to_string(path).unwrap_or_default();
    let made = audit(&["schema", "--markdown"]);
    let stale = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "bins/CONFIGURATION.md is stale: cargo run --bin audit -- schema --markdown > bins/CONFIGURATION.md\n{stale:?}"
    );
    walk(&schema(), "", &mut |schema, at| {
        for key in schema["properties"].as_object().into_iter().flat_map(Map::keys) {
            let row = [format!("| `{key}` |"), format!(".{key}` |")];
            assert!(row.iter().any(|row| made.contains(row)), "{at}.{key}");
        }
    });
}
