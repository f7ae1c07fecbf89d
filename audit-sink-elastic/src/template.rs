use audit_core::{Error, ErrorKind, Format, Result};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tracing::info;

use crate::check::{self, Product};
use crate::client::{Client, Request};
use crate::config::Settings;
use crate::error;

/// The longest text that is indexed, in characters: four bytes each stay below Lucene's 32,766.
const MAX_KEYWORD_CHARS: u32 = 8191;

/// What [`ElasticSink::install_template`](crate::ElasticSink::install_template) creates.
///
/// Every text, number and boolean is searchable as a keyword, so that a field that changes its type
/// does not make a record unacceptable; every object whose fields are not known beforehand is one
/// field (`flattened`, in OpenSearch `flat_object`), however many keys it has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexTemplate {
    /// The template's own name.
    pub name: String,
    /// Which template wins where several fit; the built-in ones have 100. Default 200.
    pub priority: u32,
    /// Whether the sink's index is a data stream. Default: no.
    pub data_stream: bool,
}

impl IndexTemplate {
    /// Describes a template for plain indices.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), priority: 200, data_stream: false }
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets [`data_stream`](Self::data_stream).
    #[must_use]
    pub fn data_stream(mut self, data_stream: bool) -> Self {
        self.data_stream = data_stream;
        self
    }

    fn body(&self, settings: &Settings, product: &Product) -> Value {
        let mut body = json!({
            "index_patterns": [settings.index.wildcard()],
            "priority": self.priority,
            "template": { "mappings": mappings(settings.format, product) },
            "_meta": { "managed_by": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        });
        if self.data_stream {
            body["data_stream"] = json!({});
        }
        body
    }
}

pub(crate) async fn install(
    client: &Client,
    settings: &Settings,
    template: &IndexTemplate,
) -> Result<()> {
    if template.data_stream && settings.index.fixed().is_none() {
        return Err(Error::new(ErrorKind::Config, "a data stream has one name, without a date")
            .with("index", settings.index.wildcard()));
    }
    let product = check::product(client).await?.ok_or_else(|| {
        Error::new(ErrorKind::Auth, "the credentials may not ask which product this is")
            .with_hint("the cluster privilege `monitor` is needed for this step")
    })?;
    let body = serde_json::to_vec(&template.body(settings, &product)).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the template as JSON").because(e)
    })?;
    let request = Request {
        method: Method::PUT,
        path: &["_index_template", &template.name],
        query: &[],
        body: Some(Bytes::from(body)),
        max_answer: 1 << 20,
    };
    let reply = client.send(request).await?;
    if !reply.is_success() {
        return Err(error::of_reply(&reply).with("template", &template.name));
    }
    info!(template = template.name, "index template installed");
    Ok(())
}

fn mappings(format: Format, product: &Product) -> Value {
    let keyword = json!({ "type": "keyword", "ignore_above": MAX_KEYWORD_CHARS });
    let open = open_ended(product);
    let mut mappings = json!({
        "date_detection": false,
        "numeric_detection": false,
        "properties": { "@timestamp": { "type": "date" } },
        // The first that fits decides.
        "dynamic_templates": [
            { "objects": { "match_mapping_type": "object", "mapping": open } },
            { "scalars": { "match_mapping_type": "*", "mapping": keyword } },
        ],
    });
    let object = |names: &[&str]| {
        let fields = names.iter().map(|name| ((*name).to_owned(), keyword.clone()));
        json!({ "properties": Value::from(fields.collect::<serde_json::Map<_, _>>()) })
    };
    let address = json!({ "type": "ip", "ignore_malformed": true });
    if format == Format::Canonical {
        let mut origin = object(&["user_agent", "via", "correlation_id"]);
        origin["properties"]["ip"] = address;
        mappings["properties"] = json!({
            "@timestamp": { "type": "date" },
            "id": keyword,
            "source": keyword,
            "time": { "type": "date" },
            "action": object(&["name", "kind"]),
            "actor": object(&["id", "type", "name", "email"]),
            "target": object(&["id", "type", "name", "scope"]),
            "outcome": keyword,
            "origin": origin,
            "message": { "type": "text" },
            "raw": open,
        });
    } else if format == Format::Ecs {
        let mut user = object(&["id", "name", "email"]);
        user["properties"]["target"] = object(&["id", "name"]);
        let mut related = object(&["user"]);
        related["properties"]["ip"] = address.clone();
        mappings["properties"] = json!({
            "@timestamp": { "type": "date" },
            "ecs": object(&["version"]),
            "event": object(&["id", "kind", "category", "type", "action", "outcome", "provider"]),
            "message": { "type": "text" },
            "user": user,
            "source": { "properties": { "ip": address } },
            "user_agent": object(&["original"]),
            "related": related,
            "audit": { "properties": {
                "actor": object(&["type"]),
                "target": object(&["id", "type", "name", "scope"]),
                "denied": { "type": "boolean" },
                "via": keyword,
                "correlation_id": keyword,
                "record": open,
                "original": { "type": "keyword", "index": false, "doc_values": false },
            } },
        });
    } else if format == Format::Ocsf {
        mappings["properties"] = json!({
            "@timestamp": { "type": "date" },
            "time": { "type": "date", "format": "epoch_millis" },
            "message": { "type": "text" },
            "src_endpoint": { "properties": { "ip": address } },
            "raw_data": { "type": "keyword", "index": false, "doc_values": false },
        });
    } else if format == Format::CloudEvents {
        mappings["properties"]["time"] = json!({ "type": "date" });
        mappings["properties"]["data"] = open;
    }
    mappings
}

/// The type for an object with whatever keys.
fn open_ended(product: &Product) -> Value {
    match product {
        Product { is_opensearch: false, .. } => {
            json!({ "type": "flattened", "ignore_above": MAX_KEYWORD_CHARS })
        }
        Product { version, .. } if *version >= (2, 7) => json!({ "type": "flat_object" }),
        // Kept, but not searchable.
        _ => json!({ "type": "object", "enabled": false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElasticConfig;

    #[test]
    fn open_ended_parts_are_one_field_in_each_product() {
        let settings = ElasticConfig::new("h", "a-{yyyy.MM}").unwrap().parse().unwrap();
        for (is_opensearch, version, kind) in [
            (false, (7, 17), "flattened"),
            (false, (9, 0), "flattened"),
            (true, (1, 3), "object"),
            (true, (2, 7), "flat_object"),
            (true, (3, 0), "flat_object"),
        ] {
            let product = Product { is_opensearch, version };
            let body = IndexTemplate::new("t").body(&settings, &product);
            let objects = &body["template"]["mappings"]["dynamic_templates"][0]["objects"];
            assert_eq!(objects["mapping"]["type"], kind);
            assert_eq!(body["index_patterns"], json!(["a-*"]));
            let canonical = mappings(Format::Canonical, &product);
            assert_eq!(canonical["properties"]["raw"]["type"], kind);
            assert_eq!(canonical["properties"]["origin"]["properties"]["ip"]["type"], "ip");
            let ecs = mappings(Format::Ecs, &product);
            assert_eq!(ecs["properties"]["audit"]["properties"]["record"]["type"], kind);
            let ocsf = mappings(Format::Ocsf, &product);
            assert_eq!(ocsf["properties"]["raw_data"]["index"], false);
            let cloudevents = mappings(Format::CloudEvents, &product);
            assert_eq!(cloudevents["properties"]["data"]["type"], kind);
        }
    }
}
