//! The reference of all keys.

use std::fmt::Arguments;

use serde_json::{Map, Value};

const BEGIN: &str = "\
# Configuration reference

Every key of the file that `audit run` reads. Written by `audit schema --markdown` from the types that read
it; `audit schema` writes the same for editors.

- A key with a dot stands in a table: `tls.ca_file` is the key `ca_file` of the table `tls`.
- A duration is a text of numbers with units: `\"30s\"`, `\"1m 30s\"`, `\"500ms\"`, `\"2h\"`, `\"7d\"`.
- A size is a number of bytes, or a text: `\"512KiB\"`, `\"4MiB\"`, `\"1GB\"`.
- A secret is a text that no log, error or report shows. Give it as `\"${VARIABLE}\"` or `\"${file:PATH}\"`, as
  any other text may be.
- A path is relative to the file.
- Any other key is an error.
";

/// Writes the reference of a schema.
pub(super) fn render(schema: &Value) -> String {
    let mut out = BEGIN.to_owned();
    section(&mut out, "Top level", schema);
    let pipeline = &schema["properties"]["pipelines"]["additionalProperties"];
    section(&mut out, "`[pipelines.NAME]`", pipeline);
    for key in ["source", "sink", "checkpoint"] {
        for adapter in choices(&pipeline["properties"][key]) {
            if let Some(kind) = adapter["properties"]["type"]["const"].as_str() {
                section(&mut out, &format!("`[pipelines.NAME.{key}]` of type `{kind}`"), adapter);
            }
        }
    }
    out
}

fn section(out: &mut String, title: &str, schema: &Value) {
    let mut table = String::new();
    rows(&mut table, "", schema);
    let what = schema["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
    append(
        out,
        format_args!(
            "\n## {title}\n\n{what}| key | type | default | |\n|---|---|---|---|\n{table}"
        ),
    );
}

/// Writes a row for each key, those first that have to be there, and for those of tables in it.
fn rows(out: &mut String, prefix: &str, schema: &Value) {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let is_required = |key: &str| list(&schema["required"]).iter().any(|name| name == key);
    let (first, then): (Vec<_>, Vec<_>) = properties.iter().partition(|(key, _)| is_required(key));
    for (key, value) in first.into_iter().chain(then) {
        let default = match value.get("default") {
            _ if is_required(key) => "required".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let kind = kind(value);
        append(out, format_args!("| `{prefix}{key}` | {kind} | {default} | {} |\n", what(value)));
        rows(out, &format!("{prefix}{key}."), value);
    }
}

/// Returns the name of a type: as people call it, if it has such a name.
fn kind(schema: &Value) -> String {
    if schema["writeOnly"] == true {
        return "secret".to_owned();
    }
    match (schema["title"].as_str(), &schema["type"]) {
        (Some(title @ ("duration" | "size")), _) => title.to_owned(),
        (_, Value::String(name)) if name == "object" => "table".to_owned(),
        (_, Value::String(name)) if name == "array" => {
            format!("array of {}s", kind(&schema["items"]))
        }
        (_, Value::String(name)) => name.clone(),
        (_, Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => {
            let mut kinds: Vec<_> = choices(schema).iter().map(kind).collect();
            kinds.dedup();
            kinds.join(" or ")
        }
    }
}

/// Returns the first paragraph of the description, and a line for each value there is.
fn what(schema: &Value) -> String {
    let mut text = first_paragraph(schema);
    let values = if schema["type"] == "array" { &schema["items"] } else { schema };
    for choice in choices(values) {
        if let Value::String(name) = &choice["const"]
            && choice.get("properties").is_none()
        {
            append(&mut text, format_args!("<br>`{name}`: {}", first_paragraph(choice)));
        }
    }
    if let Value::String(name) = &schema["const"] {
        append(&mut text, format_args!("`\"{name}\"`"));
    }
    text.replace('|', "\\|")
}

fn first_paragraph(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_once("\n\n").map_or(text, |(first, _)| first).to_owned()
}

fn choices(schema: &Value) -> &[Value] {
    list(&schema["oneOf"])
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn append(out: &mut String, text: Arguments<'_>) {
    out.push_str(&text.to_string());
}
