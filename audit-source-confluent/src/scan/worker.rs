use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use audit_core::Result;
use chrono::{DateTime, Utc};

use crate::fields::Fields;
use crate::json;
use crate::scan::chunks::{Chunk, Chunks};
use crate::scan::ids::IdHasher;
use crate::scan::turns::{Bad, Found, Turns};
use crate::scan::{Record, Reject, ScanConfig};
use crate::view::View;

/// One thread of a scan, with all the memory it needs.
pub(crate) struct Worker {
    max_line: usize,
    json: json::Reader,
    chunk: Chunk,
    found: Found,
    good: Vec<Good>,
}

/// A record, in the chunk.
#[derive(Clone, Debug)]
struct Good {
    line: Range<usize>,
    fields: Fields,
    time: DateTime<Utc>,
}

impl Worker {
    pub(crate) fn new(config: &ScanConfig) -> Self {
        Self {
            max_line: config.max_record_bytes as usize,
            json: json::Reader::default(),
            chunk: Chunk::default(),
            found: Found::default(),
            good: Vec::new(),
        }
    }

    /// Works until there is nothing more.
    pub(crate) fn run<F: FnMut(&Reject<'_>) -> Result<()>>(
        &mut self,
        chunks: &Mutex<Chunks>,
        turns: &Turns<F>,
        mut visit: impl FnMut(&Record<'_>),
    ) {
        let _ends = Ends(turns);
        let next =
            |chunk: &mut Chunk| chunks.lock().unwrap_or_else(PoisonError::into_inner).next(chunk);
        while next(&mut self.chunk) {
            self.find(turns.hasher());
            if !turns.take(&mut self.chunk, &mut self.found) {
                break;
            }
            for (good, repeat) in self.good.iter().zip(&self.found.repeats) {
                let line = self.chunk.text().get(good.line.clone());
                if let Some(line) = line.filter(|_| !repeat) {
                    visit(&Record { view: View::new(line, &good.fields), time: good.time });
                }
            }
        }
    }

    /// Reads the lines of the chunk.
    fn find(&mut self, hasher: IdHasher) {
        let Self { max_line, json, chunk, found, good } = self;
        found.ids.clear();
        found.bad.clear();
        let (mut start, mut lines) = (0, 0);
        while start < chunk.text().len() {
            let rest = &chunk.text()[start..];
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let body = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let line = start..start + body.len();
            let slot = found.ids.len();
            if good.len() == slot {
                good.push(Good {
                    line: 0..0,
                    fields: Fields::default(),
                    time: DateTime::UNIX_EPOCH,
                });
            }
            let next = &mut good[slot];
            if body.len() <= *max_line && json.read(body, &mut next.fields) {
                let view = View::new(body, &next.fields);
                match view.time() {
                    Some(time) => {
                        found.ids.push(hasher.of(body, &next.fields));
                        (next.line, next.time) = (line, time);
                    }
                    None => found.bad.push(Bad { line: lines, body: line, undated: true }),
                }
            } else if !body.trim_ascii().is_empty() {
                found.bad.push(Bad { line: lines, body: line, undated: false });
            }
            lines += 1;
            start += end + 1;
        }
        found.lines = lines;
    }
}

/// Ends the scan when a visitor panics, so that no thread waits for this one.
struct Ends<'a, F: FnMut(&Reject<'_>) -> Result<()>>(&'a Turns<F>);

impl<F: FnMut(&Reject<'_>) -> Result<()>> Drop for Ends<'_, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}
