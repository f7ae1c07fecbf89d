//! The keys of the configuration file, as its types have them: for editors and for people.

mod markdown;

use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use clap::Args;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::config::Top;
use crate::{exit, terminal};

/// `audit schema`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Write the reference for people, in Markdown
    #[arg(long)]
    pub markdown: bool,
}

/// Writes the schema, or the reference made of it, to stdout.
///
/// # Errors
/// As [`terminal::out`].
pub fn main(args: &Arguments) -> Result<u8> {
    let schema = schema();
    let text = if args.markdown {
        markdown::render(&schema)
    } else {
        serde_json::to_string_pretty(&schema)
            .map(|text| text + "\n")
            .map_err(|e| Error::new(ErrorKind::Unexpected, "cannot write the schema").because(e))?
    };
    terminal::out(|out| out.write_all(text.as_bytes()))?;
    Ok(exit::OK)
}

/// Returns the JSON Schema (draft 2020-12) of a configuration file, with the adapters that this program
/// was built with. Nothing in it refers to anything.
#[must_use]
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let generator = settings.with_transform(RecursiveTransform(as_written)).into_generator();
    generator.into_root_schema_for::<Top>().to_value()
}

/// Makes the schema of a type.
type Make = fn(&mut SchemaGenerator) -> Schema;

/// Every source, by the `type` that names it.
const SOURCES: &[(&str, Make)] = &[
    #[cfg(feature = "source-confluent")]
    ("confluent", audit_source_confluent::ConfluentConfig::json_schema),
    #[cfg(feature = "source-confluent")]
    ("confluent-files", audit_source_confluent::FilesConfig::json_schema),
    #[cfg(feature = "source-oci")]
    ("oci", audit_source_oci::OciConfig::json_schema),
    #[cfg(feature = "source-port")]
    ("port", audit_source_port::PortConfig::json_schema),
    #[cfg(any(
        feature = "source-sql-sqlite",
        feature = "source-sql-postgres",
        feature = "source-sql-mysql"
    ))]
    ("sql", audit_source_sql::SqlConfig::json_schema),
];

/// Every sink.
const SINKS: &[(&str, Make)] = &[
    #[cfg(feature = "sink-elastic")]
    ("elastic", audit_sink_elastic::ElasticConfig::json_schema),
    #[cfg(feature = "sink-file")]
    ("file", audit_sink_file::FileConfig::json_schema),
    #[cfg(feature = "sink-kafka")]
    ("kafka", audit_sink_kafka::KafkaConfig::json_schema),
    #[cfg(feature = "sink-report")]
    ("report", audit_sink_report::ReportConfig::json_schema),
];

/// Every place of the progress that has a table.
const CHECKPOINTS: &[(&str, Make)] = &[
    #[cfg(any(
        feature = "source-sql-sqlite",
        feature = "source-sql-postgres",
        feature = "source-sql-mysql"
    ))]
    ("sql", audit_source_sql::SqlCheckpointConfig::json_schema),
];

/// `source`.
pub(crate) fn sources(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "oneOf": tables(SOURCES, generator) })
}

/// `sink`.
pub(crate) fn sinks(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "oneOf": tables(SINKS, generator) })
}

/// `checkpoint`: a directory, or a table.
pub(crate) fn checkpoint(generator: &mut SchemaGenerator) -> Schema {
    let mut choices = vec![json!({ "type": "string" })];
    choices.extend(tables(CHECKPOINTS, generator));
    json_schema!({ "oneOf": choices })
}

/// A path, or `false`.
pub(crate) fn dead_letters(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "oneOf": [{ "type": "string" }, { "type": "boolean", "const": false }] })
}

/// `4194304`, `"4MiB"`.
pub(crate) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "title": "size",
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": r"^[0-9]+ *(B|kB|KiB|MB|MiB|GB|GiB)$|\$\{",
    })
}

fn tables(adapters: &[(&str, Make)], generator: &mut SchemaGenerator) -> Vec<Value> {
    adapters.iter().map(|(kind, make)| table(kind, make(generator)).to_value()).collect()
}

/// The keys of an adapter, with the `type` that names it.
fn table(kind: &str, mut schema: Schema) -> Schema {
    let object = schema.ensure_object();
    object.insert("title".to_owned(), kind.into());
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = of_no_type(text);
    }
    if let Value::Object(properties) = object.entry("properties").or_insert_with(|| json!({})) {
        properties.insert("type".to_owned(), json!({ "type": "string", "const": kind }));
    }
    if let Value::Array(required) = object.entry("required").or_insert_with(|| json!([])) {
        required.insert(0, "type".into());
    }
    schema
}

/// Leaves out of what it is which Rust type takes it.
fn of_no_type(text: &str) -> String {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let first = first.split_once(": the options of").map_or(first, |(first, _)| first);
    let text = format!("{}.\n\n{rest}", first.trim_end_matches('.'));
    text.trim_end().to_owned()
}

/// Turns what the types say into what a file may say: there is no null in TOML, a duration is a text,
/// and links lead nowhere.
fn as_written(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    without_null(object);
    if is_duration(object.get("properties")) {
        object.remove("properties");
        object.remove("required");
        object.insert("title".to_owned(), "duration".into());
        object.insert("type".to_owned(), "string".into());
        let pattern = r"^ *[0-9]+ *[A-Za-zµ]+( *[0-9]+ *[A-Za-zµ]+)* *$|^0$|\$\{";
        object.insert("pattern".to_owned(), pattern.into());
    }
    if let Some(default) = object.get_mut("default")
        && is_duration(Some(default))
        && let Ok(duration) = serde_json::from_value::<Duration>(default.clone())
    {
        *default = humantime::format_duration(duration).to_string().into();
    }
    // `uint32` and the like are of no standard.
    object.remove("format");
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = plain(text);
    }
}

fn is_duration(value: Option<&Value>) -> bool {
    let keys = value.and_then(Value::as_object).map(|map| map.keys().collect::<Vec<_>>());
    keys.is_some_and(|keys| keys == ["nanos", "secs"])
}

fn without_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(mut choices)) = object.remove("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    match (choices.pop(), choices.is_empty()) {
        (Some(Value::Object(only)), true) => {
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
            // What was chosen may allow for null itself.
            without_null(object);
        }
        (last, _) => {
            choices.extend(last);
            object.insert("anyOf".to_owned(), choices.into());
        }
    }
}

/// Joins the lines of each paragraph, and keeps the text of links alone.
fn plain(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| match paragraph.starts_with('|') {
        true => paragraph.to_owned(),
        false => paragraph.replace('\n', " "),
    });
    let text = paragraphs.collect::<Vec<_>>().join("\n\n");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((label, after)) = link.split_once("`]") else { break };
        plain.extend([before, "`", label, "`"]);
        let target = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_keeps_the_text_of_its_links_alone() {
        for (text, expected) in [
            ("a\nb\n\n|c|\n|-|", "a b\n\n|c|\n|-|"),
            (
                "Only a [`Sink`](crate::Sink)\ncan. [`All`] of it.",
                "Only a `Sink` can. `All` of it.",
            ),
            ("a [`b", "a [`b"),
            (
                "see [RFC 1](https://rfc.example/1), `[x]`",
                "see [RFC 1](https://rfc.example/1), `[x]`",
            ),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn what_toml_cannot_say_is_not_in_it() {
        let mut schema = json_schema!({
            "description": "a choice",
            "anyOf": [{ "description": "inner", "enum": ["a", null] }, { "type": "null" }],
            "default": null,
            "properties": {
                "wait": {
                    "type": ["object", "null"],
                    "properties": { "secs": {}, "nanos": {} },
                    "required": ["secs", "nanos"],
                    "default": { "secs": 90, "nanos": 0 },
                },
                "format": { "type": "integer", "format": "uint32" },
            },
        });
        schemars::transform::Transform::transform(&mut RecursiveTransform(as_written), &mut schema);
        let wait = &schema.as_value()["properties"]["wait"];
        assert_eq!((&wait["type"], &wait["default"]), (&"string".into(), &"1m 30s".into()));
        assert!(wait.get("properties").is_none() && wait.get("required").is_none());
        assert_eq!(schema.as_value()["properties"]["format"], json!({ "type": "integer" }));
        assert_eq!(schema.as_value()["description"], "a choice");
        assert_eq!(schema.as_value()["enum"], json!(["a"]));
        assert!(schema.get("default").is_none() && schema.get("anyOf").is_none());
    }
}
