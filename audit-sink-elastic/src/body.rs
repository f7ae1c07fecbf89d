use std::ops::Range;

use audit_core::{AuditEvent, Failure, Format, Result};
use bytes::Bytes;

use crate::IdFrom;
use crate::config::Settings;
use crate::document;
use crate::index::IndexName;

/// A write is spread over the connections, but not into bodies smaller than this: below it, the cost
/// of a request shows.
const MIN_SHARE_BYTES: usize = 512 << 10;

/// What decides how events become bodies.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) index: IndexName,
    pub(crate) format: Format,
    pub(crate) stamp: Vec<String>,
    pub(crate) id_from: IdFrom,
    pub(crate) max_bytes: usize,
    pub(crate) max_events: usize,
    pub(crate) concurrency: usize,
}

impl Rules {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            index: settings.index.clone(),
            format: settings.format,
            stamp: settings.stamp.clone(),
            id_from: settings.id_from,
            max_bytes: settings.max_body_bytes,
            max_events: settings.max_body_events,
            concurrency: settings.concurrency,
        }
    }

    /// Appends one event: the line that says what to do, and the document.
    fn append(&self, event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let appended = self.action(event, out).and_then(|()| {
            document::append(event, self.format, &self.stamp, out)?;
            out.push(b'\n');
            Ok(())
        });
        if appended.is_err() {
            out.truncate(start);
        }
        appended
    }

    fn action(&self, event: &AuditEvent, out: &mut Vec<u8>) -> Result<()> {
        let id = document::id(event, self.id_from)?;
        out.extend_from_slice(b"{\"create\":{");
        if self.index.fixed().is_none() {
            // Names hold nothing that JSON would have to escape.
            out.extend_from_slice(b"\"_index\":\"");
            self.index.append(event.time, out);
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(b"\"_id\":");
        append_string(&id, out);
        out.extend_from_slice(b"}}\n");
        Ok(())
    }
}

/// Appends a text as a JSON string.
pub(crate) fn append_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string to a vector does not fail.
    _ = serde_json::to_writer(out, text);
}

/// The body of one request, and whose lines are in it.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    pub(crate) body: Bytes,
    pub(crate) items: Vec<Item>,
    /// Events that are not in it, since they cannot be documents.
    pub(crate) refused: Vec<Failure>,
}

/// An event in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// Its place in the slice that is written.
    pub(crate) index: usize,
    /// Where its lines end in the body.
    pub(crate) end: usize,
}

impl Bulk {
    /// Returns a run of its items with the bytes that are theirs.
    pub(crate) fn part(&self, range: Range<usize>) -> Part<'_> {
        let items = self.items.get(range.start..range.end).unwrap_or_default();
        let before = range.start.checked_sub(1).and_then(|last| self.items.get(last));
        let start = before.map_or(0, |item| item.end);
        let end = items.last().map_or(start, |item| item.end);
        Part { body: self.body.slice(start..end), items, start }
    }
}

/// A run of the items of a body.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) body: Bytes,
    pub(crate) items: &'a [Item],
    start: usize,
}

impl Part<'_> {
    /// Returns the document of the n-th item, without the line end.
    pub(crate) fn document(&self, n: usize) -> &[u8] {
        let end_of = |n: usize| self.items.get(n).map_or(self.start, |item| item.end) - self.start;
        let begin = n.checked_sub(1).map_or(0, end_of);
        let lines = self.body.get(begin..end_of(n)).unwrap_or_default();
        let document = memchr::memchr(b'\n', lines).and_then(|line| lines.get(line + 1..));
        let document = document.unwrap_or_default();
        document.strip_suffix(b"\n").unwrap_or(document)
    }
}

/// Cuts events into bodies, each built when it is asked for.
#[derive(Debug)]
pub(crate) struct Cutter<'a> {
    events: &'a [AuditEvent],
    rules: &'a Rules,
    target: usize,
    next: usize,
    /// The lines of the event that was one too many for the last body.
    carry: Vec<u8>,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(events: &'a [AuditEvent], rules: &'a Rules, max_bytes: usize) -> Self {
        let all: usize = events.iter().map(|event| event.raw.get().len() + 150).sum();
        let share = (all / rules.concurrency + 1024).max(MIN_SHARE_BYTES);
        let target = share.min(rules.max_bytes).min(max_bytes);
        Self { events, rules, target, next: 0, carry: Vec::new() }
    }
}

impl Iterator for Cutter<'_> {
    type Item = Bulk;

    fn next(&mut self) -> Option<Bulk> {
        let mut body = std::mem::take(&mut self.carry);
        let mut bulk = Bulk::default();
        let left = self.events.len() - self.next;
        if !body.is_empty() {
            bulk.items.push(Item { index: self.next - 1, end: body.len() });
        } else if left == 0 {
            return None;
        }
        bulk.items.reserve(left.min(self.rules.max_events));
        while let Some(event) = self.events.get(self.next) {
            if bulk.items.len() == self.rules.max_events {
                break;
            }
            if body.capacity() == 0 {
                body.reserve(self.target + 4096);
            }
            let index = self.next;
            self.next += 1;
            let before = body.len();
            match self.rules.append(event, &mut body) {
                Err(error) => bulk.refused.push(Failure { index, error }),
                Ok(()) if body.len() > self.target && before > 0 => {
                    self.carry = Vec::with_capacity(self.target + 4096);
                    self.carry.extend_from_slice(body.get(before..).unwrap_or_default());
                    body.truncate(before);
                    break;
                }
                Ok(()) => bulk.items.push(Item { index, end: body.len() }),
            }
        }
        bulk.body = Bytes::from(body);
        Some(bulk)
    }
}

#[cfg(test)]
mod tests {
    use audit_core::testkit::sample_events;
    use audit_core::{EventId, Raw};
    use proptest::prelude::*;

    use super::*;

    fn rules(index: &str, max_bytes: usize, max_events: usize) -> Rules {
        Rules {
            index: IndexName::parse(index).unwrap(),
            format: Format::Raw,
            stamp: Vec::new(),
            id_from: IdFrom::Event,
            max_bytes,
            max_events,
            concurrency: 1,
        }
    }

    fn text(bulk: &Bulk) -> &str {
        std::str::from_utf8(&bulk.body).unwrap()
    }

    #[test]
    fn a_body_is_two_lines_an_event() {
        let mut events = sample_events(3, 1).unwrap();
        events[0].id = EventId::new("a\"\n\u{1}é");
        let document = r#"{"id":"sample-3","spaced" : [ 1,2 ,  3 ],"empty":{},"@timestamp":"2023-11-14T22:13:23Z"}"#;
        for (index, action) in [
            ("audit", r#"{"create":{"_id":"a\"\n\u0001é"}}"#),
            ("a-{yyyy.MM}", r#"{"create":{"_index":"a-2023.11","_id":"a\"\n\u0001é"}}"#),
        ] {
            let rules = rules(index, 1000, 10);
            let bulks: Vec<_> = Cutter::new(&events, &rules, usize::MAX).collect();
            assert_eq!(bulks.len(), 1);
            assert_eq!(text(&bulks[0]), format!("{action}\n{document}\n"));
            assert_eq!(bulks[0].part(0..1).document(0), document.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_a_document_is_named_and_left_out() {
        let mut events = sample_events(0, 4).unwrap();
        events[0].raw = Raw::parse("[1]").unwrap();
        events[2].id = EventId::new("");
        let rules = rules("audit", 1000, 10);
        let bulks: Vec<_> = Cutter::new(&events, &rules, usize::MAX).collect();
        let refused: Vec<_> = bulks.iter().flat_map(|b| &b.refused).map(|f| f.index).collect();
        let items: Vec<_> = bulks.iter().flat_map(|b| &b.items).map(|i| i.index).collect();
        assert_eq!((refused, items), (vec![0, 2], vec![1, 3]));
        assert!(!text(&bulks[0]).contains("[1]") && text(&bulks[0]).lines().count() == 4);
    }

    proptest! {
        #[test]
        fn bodies_together_hold_each_event_once_and_keep_their_bounds(
            count in 0_usize..60, max_bytes in 1_usize..2000, max_events in 1_usize..20,
            learned in 1_usize..3000, bad in prop::collection::vec(0_usize..60, 0..4),
        ) {
            let mut events = sample_events(0, count).unwrap();
            for n in &bad {
                if let Some(event) = events.get_mut(*n) {
                    event.raw = Raw::parse("7").unwrap();
                }
            }
            let rules = rules("audit", max_bytes, max_events);
            let mut seen = Vec::new();
            for bulk in Cutter::new(&events, &rules, learned) {
                let n = bulk.items.len();
                prop_assert!(n <= max_events);
                prop_assert!(bulk.body.len() <= max_bytes.min(learned) || n == 1);
                prop_assert_eq!(text(&bulk).lines().count(), 2 * n);
                seen.extend(bulk.refused.iter().map(|f| f.index));
                seen.extend(bulk.items.iter().map(|i| i.index));
                // Halves are bodies themselves.
                for (range, offset) in [(0..n / 2, 0), (n / 2..n, n / 2)] {
                    let part = bulk.part(range.clone());
                    prop_assert_eq!(part.items.len(), range.len());
                    for (i, item) in part.items.iter().enumerate() {
                        let id = format!("\"id\":\"{}\"", events[item.index].id);
                        let document = std::str::from_utf8(part.document(i)).unwrap();
                        prop_assert!(document.contains(&id), "{} {} {}", offset, id, document);
                    }
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
