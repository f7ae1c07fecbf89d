//! What the stand-in holds, and how it answers `_bulk` and `_mget`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

/// What happens to a document that is not there yet.
pub(crate) enum Fate {
    Taken,
    Throttled,
    Refused,
}

#[derive(Default)]
pub(crate) struct Store {
    /// By id: the document, if documents are kept.
    documents: HashMap<Box<str>, Option<Box<[u8]>>>,
    /// The checksums of the documents, to find one that is there under two ids.
    sums: HashSet<u64>,
    refused: HashSet<u64>,
    duplicates: u64,
    throttled: u64,
    keep: bool,
}

/// The parts of an answer that `filter_path` leaves in it.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    all: bool,
    index_of_error: bool,
}

impl Fields {
    pub(crate) fn of(query: &str) -> Self {
        let filter = query.split('&').find_map(|pair| pair.strip_prefix("filter_path="));
        let index_of_error = filter.is_none_or(|filter| filter.contains("error.index"));
        Self { all: filter.is_none(), index_of_error }
    }
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    create: Meta<'a>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "_id")]
    id: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct Wanted<'a> {
    #[serde(borrow)]
    docs: Vec<Meta<'a>>,
}

impl Store {
    pub(crate) fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Takes a body and appends the answer; `fate` decides about a document by its id.
    pub(crate) fn bulk(
        &mut self,
        index: &str,
        fields: Fields,
        body: &[u8],
        mut fate: impl FnMut(&[u8]) -> Fate,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        if !body.ends_with(b"\n") {
            return Err("The bulk request must be terminated by a newline [\\n]");
        }
        let start = out.len();
        let mut lines = body.split_inclusive(|b| *b == b'\n').map(|line| &line[..line.len() - 1]);
        let mut errors = false;
        out.extend_from_slice(b"\"items\":[");
        while let Some(action) = lines.next() {
            let action: Action<'_> =
                serde_json::from_slice(action).map_err(|_| "Malformed action/metadata line")?;
            let document = lines.next().ok_or("an action without a document")?;
            let id = &*action.create.id;
            let status = self.create(id, document, &mut fate);
            errors |= status != 201;
            item(index, id, status, fields, out);
        }
        if out.ends_with(b",") {
            out.pop();
        }
        out.extend_from_slice(b"]}");
        let head: &[u8] = if errors { b"{\"errors\":true," } else { b"{\"errors\":false," };
        out.splice(start..start, head.iter().copied());
        Ok(())
    }

    fn create(&mut self, id: &str, document: &[u8], fate: impl FnOnce(&[u8]) -> Fate) -> u16 {
        let place = match self.documents.entry(id.into()) {
            Entry::Occupied(_) => {
                self.duplicates += 1;
                return 409;
            }
            Entry::Vacant(place) => place,
        };
        match fate(id.as_bytes()) {
            Fate::Throttled => {
                self.throttled += 1;
                429
            }
            Fate::Refused => {
                self.refused.insert(hash(document));
                400
            }
            Fate::Taken => {
                self.sums.insert(hash(document));
                place.insert(self.keep.then(|| document.into()));
                201
            }
        }
    }

    /// Answers `_mget`.
    pub(crate) fn get_many(&self, body: &[u8], out: &mut Vec<u8>) -> serde_json::Result<()> {
        let wanted: Wanted<'_> = serde_json::from_slice(body)?;
        out.extend_from_slice(b"{\"docs\":[");
        for meta in wanted.docs {
            let source = self.documents.get(&*meta.id);
            let id = serde_json::to_string(&*meta.id)?;
            let found = source.is_some();
            out.extend_from_slice(format!("{{\"_id\":{id},\"found\":{found}").as_bytes());
            if let Some(Some(source)) = source {
                let source: &RawValue = serde_json::from_slice(source)?;
                out.extend_from_slice(b",\"_source\":");
                out.extend_from_slice(source.get().as_bytes());
            }
            out.extend_from_slice(b"},");
        }
        if out.ends_with(b",") {
            out.pop();
        }
        out.extend_from_slice(b"]}");
        Ok(())
    }

    /// Returns the members of an object. `documents` that differ from `stored` are stored twice.
    pub(crate) fn stats(&self) -> String {
        format!(
            r#""stored":{},"documents":{},"duplicates":{},"throttled":{},"refused":{}"#,
            self.documents.len(),
            self.sums.len(),
            self.duplicates,
            self.throttled,
            self.refused.len()
        )
    }
}

fn item(index: &str, id: &str, status: u16, fields: Fields, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"create\":{");
    if fields.all {
        out.extend_from_slice(format!(r#""_index":"{index}","_id":{id:?},"#).as_bytes());
        if status == 201 {
            out.extend_from_slice(
                br#""_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":1,"_primary_term":1,"#,
            );
        }
    }
    let error = match status {
        201 => None,
        409 => Some(("version_conflict_engine_exception", "document already exists")),
        429 => Some((
            "es_rejected_execution_exception",
            "rejected execution of coordinating operation",
        )),
        _ => Some(("mapper_parsing_exception", "failed to parse field [n] of type [long]")),
    };
    match error {
        None => out.extend_from_slice(b"\"status\":201"),
        Some((kind, reason)) => {
            let of = if fields.index_of_error {
                format!(r#","index":"{index}""#)
            } else {
                String::new()
            };
            let text =
                format!(r#""status":{status},"error":{{"type":"{kind}","reason":"{reason}"{of}}}"#);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.extend_from_slice(b"}},");
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let step =
        |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let sum =
        words.iter().fold(bytes.len() as u64, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}
