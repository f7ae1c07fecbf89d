use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use audit_core::{AuditEvent, DeadLetter, Envelope, Error, ErrorKind, EventId, Limit, Raw, Result};
use chrono::{DateTime, Utc};

use crate::client::{Facts, Handed};
use crate::config::SqlConfig;
use crate::keys::{self, Key};
use crate::record::Records;
use crate::row::{Row, Value};

/// What makes rows events, the same for all rows of a source.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) source: Arc<str>,
    pub(crate) table: String,
    pub(crate) id_prefix: String,
    pub(crate) facts: Facts,
    pub(crate) records: Records,
    pub(crate) max_event_bytes: usize,
}

impl Shape {
    pub(crate) fn new(config: &SqlConfig, facts: Facts) -> Self {
        Self {
            source: config.source_name().into(),
            table: config.table().to_owned(),
            id_prefix: config.id_prefix(),
            facts,
            records: Records::new(config),
            max_event_bytes: config.max_event_bytes,
        }
    }
}

/// Takes rows, makes them events or rejects, and says when it is full.
///
/// It works where the rows are, on the driver's thread, so that a row's bytes are copied once.
#[derive(Debug)]
pub(crate) struct Intake {
    shape: Arc<Shape>,
    limit: Limit,
    now: DateTime<Utc>,
    /// Rows handed out in an earlier pass and not marked yet, with their prints.
    seen: Arc<HashMap<Key, u64>>,
    bytes: usize,
    /// Where ids are put together.
    text: String,
    /// Where records are put together.
    buffer: Vec<u8>,
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) rejected: Vec<DeadLetter>,
    pub(crate) handed: Handed,
    /// The key of the last row that was taken or passed over.
    pub(crate) last: Option<Key>,
}

impl Intake {
    /// `expected` is about how many rows there will be.
    pub(crate) fn new(
        shape: Arc<Shape>,
        limit: Limit,
        now: DateTime<Utc>,
        seen: Arc<HashMap<Key, u64>>,
        expected: usize,
    ) -> Self {
        Self {
            shape,
            limit,
            now,
            seen,
            bytes: 0,
            text: String::new(),
            buffer: Vec::new(),
            events: Vec::with_capacity(expected.min(limit.max_events)),
            rejected: Vec::new(),
            handed: Handed::default(),
            last: None,
        }
    }

    /// Forgets what was taken.
    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        self.events.clear();
        self.rejected.clear();
        self.handed = Handed::default();
        self.last = None;
    }

    /// Returns an empty one of the same kind.
    pub(crate) fn anew(&self) -> Self {
        let (shape, seen) = (Arc::clone(&self.shape), Arc::clone(&self.seen));
        Self::new(shape, self.limit, self.now, seen, self.handed.prints.len())
    }

    /// Returns whether `other` would have taken what `taken`, one of this kind, has.
    pub(crate) fn would_take(&self, other: &Self, taken: &Self) -> bool {
        Arc::ptr_eq(&self.seen, &other.seen)
            && Arc::ptr_eq(&self.shape, &other.shape)
            && self.limit.max_bytes == other.limit.max_bytes
            && taken.taken().0 <= other.limit.max_events
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handed.prints.is_empty()
    }

    /// Returns how many rows and bytes were taken.
    pub(crate) fn taken(&self) -> (usize, usize) {
        (self.handed.prints.len(), self.bytes)
    }

    /// Returns how many rows and bytes there is still room for.
    pub(crate) fn room(&self) -> (usize, usize) {
        let (rows, bytes) = self.taken();
        let limit = self.limit;
        (limit.max_events.max(1).saturating_sub(rows), limit.max_bytes.saturating_sub(bytes))
    }

    fn is_full(&self) -> bool {
        self.handed.prints.len() >= self.limit.max_events.max(1)
            || self.bytes >= self.limit.max_bytes
    }

    /// Takes a row, or leaves it when it does not fit any more; returns whether to go on.
    pub(crate) fn offer(&mut self, row: Row<'_>) -> bool {
        // No table has rows without a key; one that claims to cannot be marked.
        let Some(key) = row.key.key() else { return true };
        if self.last.as_ref() == Some(&key) {
            // A twin: the same in every way that can be told.
            return true;
        }
        let print = row.print();
        if !self.seen.is_empty() && self.seen.get(&key) == Some(&print) {
            self.last = Some(key);
            return true;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let fits = self.take(&row, key, print, &mut buffer);
        self.buffer = buffer;
        fits && !self.is_full()
    }

    /// Takes a row if it fits.
    fn take(&mut self, row: &Row<'_>, key: Key, print: u64, buffer: &mut Vec<u8>) -> bool {
        let id = self.id(row, print);
        let body = self.shape.records.body(row, buffer);
        let size = size_of::<AuditEvent>() + id.as_str().len() + body.len();
        if !self.is_empty() && self.bytes.saturating_add(size) > self.limit.max_bytes {
            return false;
        }
        self.bytes = self.bytes.saturating_add(size);
        match self.read(row, &body) {
            Ok((raw, envelope)) => {
                let source = Arc::clone(&self.shape.source);
                let time = envelope
                    .time
                    .or_else(|| self.shape.records.created_at(row))
                    .unwrap_or(self.now);
                self.events.push(envelope.into_event(id, source, time, raw));
            }
            Err(error) => {
                let error = error
                    .with("table", &self.shape.table)
                    .with("row", shown(row.id.unwrap_or(row.key)));
                self.rejected.push(DeadLetter::record(id, body, &error));
            }
        }
        self.handed.push(key.clone(), print);
        self.last = Some(key);
        true
    }

    fn read(&self, row: &Row<'_>, body: &[u8]) -> Result<(Raw, Envelope)> {
        if body.len() > self.shape.max_event_bytes {
            return Err(Error::new(ErrorKind::InvalidData, "the message is larger than allowed")
                .with("bytes", body.len())
                .with("max_event_bytes", self.shape.max_event_bytes));
        }
        self.shape.records.read(row, body)
    }

    /// Returns `table:id:print`, with the key in between when the id alone does not name the row.
    fn id(&mut self, row: &Row<'_>, print: u64) -> EventId {
        let text = &mut self.text;
        text.clear();
        text.push_str(&self.shape.id_prefix);
        text.push(':');
        match row.id {
            None => push_value(text, row.key),
            Some(id) => {
                push_value(text, id);
                let facts = self.shape.facts;
                if facts.key_names_row && (!facts.id_is_unique || id == Value::Null) {
                    text.push('@');
                    push_value(text, row.key);
                }
            }
        }
        text.push(':');
        keys::push_hex(text, &print.to_be_bytes());
        EventId::new(text.as_str())
    }
}

/// Writes a value so that no two values look alike, whatever their types: `42`, `abc`, `'42'` (the
/// text), `x'00ff'`.
fn push_value(out: &mut String, value: Value<'_>) {
    // Writing to a string does not fail.
    _ = match value {
        Value::Null => write!(out, "null"),
        Value::Int(n) => write!(out, "{n}"),
        Value::Real(n) => write!(out, "{n:?}"),
        Value::Text(bytes) => {
            let text = keys::escape(bytes);
            if text.is_empty() || text == "null" || text.parse::<f64>().is_ok() {
                write!(out, "'{text}'")
            } else {
                out.push_str(&text);
                Ok(())
            }
        }
        Value::Blob(bytes) if bytes.len() > 64 => write!(out, "x'{}'", keys::escape(bytes)),
        Value::Blob(bytes) => {
            out.push_str("x'");
            keys::push_hex(out, bytes);
            out.push('\'');
            Ok(())
        }
    };
}

fn shown(value: Value<'_>) -> String {
    let mut out = String::new();
    push_value(&mut out, value);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn values_of_different_types_never_look_alike() {
        let values = [
            Value::Null,
            Value::Int(42),
            Value::Real(42.0),
            Value::Text(b"42"),
            Value::Text(b"42.0"),
            Value::Text(b"'42'"),
            Value::Text(b""),
            Value::Text(b"null"),
            Value::Text(b"x'3432'"),
            Value::Text(b"inf"),
            Value::Real(f64::INFINITY),
            Value::Blob(b"42"),
            Value::Blob(b""),
            Value::Text(b"a:b@c"),
            Value::Text(b"a\xff"),
            Value::Text(&[b'a'; 300]),
            Value::Blob(&[b'a'; 300]),
        ];
        let shown: HashSet<_> = values.into_iter().map(shown).collect();
        assert_eq!(shown.len(), values.len(), "{shown:?}");
        assert!(shown.contains("a%3Ab%40c") && shown.contains("x'3432'") && shown.contains("'42'"));
    }
}
