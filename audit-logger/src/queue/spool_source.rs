use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::durable::io_error;
use audit_core::{Batch, Cursor, DeadLetter, EventId, Limit, Read, Result, Source};
use serde::{Deserialize, Serialize};

use super::spool::{Spool, event_of};

const KIND: &str = "audit-spool";

/// How much is read of a file at a time, at least.
const CHUNK: usize = 64 << 10;

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    segment: u64,
    offset: u64,
}

/// Reads the events of a spool. Blocks for as long as the disk takes.
pub(super) struct SpoolSource {
    spool: Arc<Spool>,
    at: Position,
    /// The end of what was handed out and not committed.
    under_way: Option<Position>,
}

impl SpoolSource {
    pub(super) fn new(spool: Arc<Spool>) -> Self {
        Self { spool, at: Position::default(), under_way: None }
    }

    /// Returns a batch, or nothing when all is read.
    fn batch(&mut self, limit: Limit) -> io::Result<Option<Batch>> {
        loop {
            let Some((segment, bytes)) = self.spool.segment_from(self.at.segment) else {
                return Ok(None);
            };
            if segment != self.at.segment {
                self.at = Position { segment, offset: 0 };
            }
            if self.at.offset < bytes {
                let (batch, end) = self.lines(self.at, bytes, limit)?;
                self.at = end;
                if batch.events.len() + batch.rejected.len() > 0 {
                    self.under_way = Some(end);
                    return Ok(Some(batch));
                }
            }
            // Only the last file may still grow.
            if self.spool.segment_from(segment + 1).is_none() {
                return Ok(None);
            }
            self.at = Position { segment: segment + 1, offset: 0 };
        }
    }

    /// Reads whole lines of one file.
    fn lines(&self, from: Position, end: u64, limit: Limit) -> io::Result<(Batch, Position)> {
        let file = File::open(self.spool.path(from.segment))?;
        let mut at = from;
        let mut batch = Batch::new(Vec::new(), encode(at)?);
        let (mut buffer, mut begin, mut size) = (Vec::new(), 0, 0);
        let mut read_to = from.offset;
        while batch.events.len() + batch.rejected.len() < limit.max_events.max(1) {
            let rest = buffer.get(begin..).unwrap_or_default();
            let Some(length) = rest.iter().position(|b| *b == b'\n') else {
                if read_to == end {
                    if !rest.is_empty() {
                        // Nobody was told that it was taken.
                        tracing::warn!(segment = at.segment, "the spool ends in half a record");
                        at.offset = end;
                    }
                    break;
                }
                buffer.drain(..begin);
                begin = 0;
                let old = buffer.len();
                let more = CHUNK.max(old).min(usize::try_from(end - read_to).unwrap_or(CHUNK));
                buffer.resize(old + more, 0);
                file.read_exact_at(&mut buffer[old..], read_to)?;
                read_to += more as u64;
                continue;
            };
            let line = &rest[..length];
            let event = event_of(line);
            size += event.as_ref().map_or(length, |event| event.size());
            if size > limit.max_bytes && batch.events.len() + batch.rejected.len() > 0 {
                break;
            }
            match event {
                Ok(event) => batch.events.push(event),
                Err(error) => {
                    let id = EventId::new(format!("spool/{}/{}", at.segment, at.offset));
                    batch.rejected.push(DeadLetter::record(id, line, &error));
                }
            }
            begin += length + 1;
            at.offset += length as u64 + 1;
        }
        batch.cursor = encode(at)?;
        Ok((batch, at))
    }
}

fn encode(position: Position) -> io::Result<Cursor> {
    Cursor::encode(KIND, 1, &position).map_err(io::Error::other)
}

#[async_trait]
impl Source for SpoolSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.under_way = None;
        self.at = from.map_or(Ok(Position::default()), |cursor| cursor.decode(KIND, 1))?;
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        for waited in [false, true] {
            // Before the look: what arrives after it is found by the next.
            let closed = self.spool.is_closed();
            let batch = self.batch(limit);
            let failed = |e| io_error(&e, self.spool.dir()).while_doing("read the spool");
            if let Some(batch) = batch.map_err(failed)? {
                return Ok(Read::Batch(batch));
            }
            if closed {
                return Ok(Read::End);
            }
            if self.under_way.is_some() || waited {
                break;
            }
            if tokio::time::timeout(limit.max_wait, self.spool.arrival()).await.is_err() {
                break;
            }
        }
        Ok(Read::Idle(Duration::ZERO))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        let position: Position = cursor.decode(KIND, 1)?;
        self.under_way = self.under_way.filter(|end| *end != position);
        self.spool.delivered(position.segment)
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}
