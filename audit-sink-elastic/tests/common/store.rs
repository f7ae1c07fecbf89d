//! What the fake cluster keeps, and how it answers `_bulk` and `_mget`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A refusal of one document: status, type, reason.
pub type Refusal = (u16, &'static str, &'static str);

/// The indices, and how the cluster is set.
#[derive(Debug)]
pub struct Store {
    /// Index, id and source, in the order of arrival.
    pub documents: Vec<(String, String, String)>,
    pub indices: BTreeSet<String>,
    /// Data streams and how many backing indices they have.
    pub streams: BTreeMap<String, u32>,
    pub auto_create: bool,
    pub readable: bool,
    /// Refusals by id, each for one write.
    pub refuse: HashMap<String, VecDeque<Refusal>>,
    /// Documents that go to the failure store.
    pub misfits: BTreeSet<String>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            documents: Vec::new(),
            indices: BTreeSet::new(),
            streams: BTreeMap::new(),
            auto_create: true,
            readable: true,
            refuse: HashMap::new(),
            misfits: BTreeSet::new(),
        }
    }
}

#[derive(Deserialize)]
struct Action {
    create: Target,
}

#[derive(Deserialize)]
struct Target {
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: String,
}

impl Store {
    /// Performs a bulk body, or says why it is none.
    pub fn bulk(&mut self, default: Option<&str>, body: &[u8]) -> Result<Value, String> {
        let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
        let text =
            text.strip_suffix('\n').ok_or("The bulk request must be terminated by a newline")?;
        let lines: Vec<_> = text.split('\n').collect();
        let mut items = Vec::new();
        let mut errors = false;
        for pair in lines.chunks(2) {
            let [action, source] = pair else { return Err("the last action has no source".into()) };
            let action: Action = serde_json::from_str(action).map_err(|e| e.to_string())?;
            let Target { index, id } = action.create;
            if id.is_empty() || id.len() > 512 {
                return Err(format!("id is too long or empty: {} bytes", id.len()));
            }
            let index = index.as_deref().or(default).ok_or("index is missing")?;
            let item = self.create(index, &id, source);
            errors |= item.get("error").is_some();
            items.push(json!({ "create": item }));
        }
        Ok(json!({ "took": 3, "errors": errors, "items": items }))
    }

    fn create(&mut self, index: &str, id: &str, source: &str) -> Value {
        let concrete = match self.streams.get(index) {
            Some(generation) => format!(".ds-{index}-{generation:06}"),
            None => index.to_owned(),
        };
        let refusal = self.refuse.get_mut(id).and_then(VecDeque::pop_front).or_else(|| {
            let there = self.indices.contains(index) || self.streams.contains_key(index);
            let known = self.documents.iter().any(|(i, d, _)| *i == concrete && d == id);
            let stamped = source.contains(r#""@timestamp":""#);
            if !there && !self.auto_create {
                Some((404, "index_not_found_exception", "no such index and [auto_create] is off"))
            } else if known {
                Some((409, "version_conflict_engine_exception", "document already exists"))
            } else if !source.trim_start().starts_with('{') {
                Some((400, "mapper_parsing_exception", "failed to parse"))
            } else if self.streams.contains_key(index) && !stamped {
                Some((400, "mapper_parsing_exception", "data stream timestamp field is missing"))
            } else {
                None
            }
        });
        if let Some((status, kind, reason)) = refusal {
            let error = json!({ "type": kind, "reason": reason, "index": concrete, "shard": "0",
                "index_uuid": "aAsFqTI0Tc2W0LCWgPNrOA" });
            return json!({ "_index": concrete, "_id": id, "status": status, "error": error });
        }
        let store = if self.misfits.contains(id) { "used" } else { "not_applicable_or_unknown" };
        if !self.misfits.contains(id) {
            self.indices.insert(index.to_owned());
            self.documents.push((concrete.clone(), id.to_owned(), source.to_owned()));
        }
        json!({ "_index": concrete, "_id": id, "_version": 1, "result": "created", "status": 201,
            "_shards": { "total": 2, "successful": 1, "failed": 0 }, "_seq_no": 0,
            "_primary_term": 1, "failure_store": store })
    }

    /// Answers a multi-get. Sources come as they were stored, byte for byte.
    pub fn mget(&self, body: &[u8]) -> String {
        #[derive(Deserialize)]
        struct Body {
            docs: Vec<Target>,
        }
        #[derive(Deserialize)]
        struct Target {
            #[serde(rename = "_index")]
            index: String,
            #[serde(rename = "_id")]
            id: String,
        }
        let body: Body = serde_json::from_slice(body).unwrap();
        let docs: Vec<_> = body
            .docs
            .iter()
            .map(|Target { index, id }| {
                let same = |(i, d, _): &&(String, String, String)| i == index && d == id;
                let ids = format!(r#""_index":{},"_id":{}"#, json!(index), json!(id));
                match self.documents.iter().find(same) {
                    None => format!(r#"{{{ids},"found":false}}"#),
                    Some((_, _, source)) => {
                        let source: &RawValue = serde_json::from_str(source).unwrap();
                        format!(r#"{{{ids},"_version":1,"found":true,"_source":{source}}}"#)
                    }
                }
            })
            .collect();
        format!(r#"{{"docs":[{}]}}"#, docs.join(","))
    }
}

/// Leaves of an answer what `filter_path` names.
pub fn filter(value: &Value, paths: &[Vec<&str>]) -> Option<Value> {
    if paths.iter().any(Vec::is_empty) {
        return Some(value.clone());
    }
    match value {
        Value::Array(all) => {
            let kept: Vec<_> = all.iter().filter_map(|v| filter(v, paths)).collect();
            (!kept.is_empty()).then(|| kept.into())
        }
        Value::Object(all) => {
            let kept = all.iter().filter_map(|(key, value)| {
                let fits = |path: &&Vec<&str>| path[0] == key || path[0] == "*";
                let below: Vec<_> = paths.iter().filter(fits).map(|p| p[1..].to_vec()).collect();
                Some((key.clone(), filter(value, &below)?))
            });
            let kept: serde_json::Map<_, _> = kept.collect();
            (!kept.is_empty()).then(|| kept.into())
        }
        _ => None,
    }
}
