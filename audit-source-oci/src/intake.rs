use std::sync::Arc;

use audit_core::{AuditEvent, DeadLetter, Error, ErrorKind, EventId, Limit, Result};
use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::config::OciConfig;
use crate::cursor::At;
use crate::elements::{Element, Elements};
use crate::envelope;
use crate::fetch::Page;
use crate::filter::Filter;
use crate::redact::{redact, redact_broken};
use crate::report::Report;
use crate::seen::Seen;
use crate::spelling::{Keys, snake};
use crate::spool::Body;

/// How many records are remembered, to tell repeated ones.
const SEEN: usize = 20_000;

/// Makes events of the records of pages.
pub(crate) struct Intake {
    name: Arc<str>,
    filter: Filter,
    redact: bool,
    keys: Keys,
    max_event_bytes: usize,
    report: Report,
    seen: Seen,
    /// A record that did not fit into the last batch.
    held: Option<Record>,
}

/// A page being read.
pub(crate) struct Reading {
    elements: Elements<Body>,
    pub(crate) token: Option<String>,
    pub(crate) next: Option<String>,
    /// How many of its records are accounted for, and a print of the last.
    pub(crate) records: u64,
    pub(crate) last: u64,
    /// The time of records that do not say when they happened.
    else_time: DateTime<Utc>,
}

/// A batch that is being filled.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) rejected: Vec<DeadLetter>,
    limit: Limit,
    bytes: usize,
}

struct Record {
    made: Made,
    print: u64,
}

enum Made {
    Event(Box<AuditEvent>),
    Rejected(DeadLetter),
    Nothing,
}

/// Why filling stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Filled {
    /// The page has no more.
    Page,
    /// The batch has no room for the next record.
    Batch,
}

impl Draft {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { events: Vec::new(), rejected: Vec::new(), limit, bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rejected.is_empty()
    }

    fn is_full(&self) -> bool {
        self.events.len() + self.rejected.len() >= self.limit.max_events
            || (!self.is_empty() && self.bytes >= self.limit.max_bytes)
    }

    /// Takes a record, or gives it back if it does not fit.
    fn take(&mut self, record: Record) -> Option<Record> {
        let size = match &record.made {
            Made::Event(event) => event.size(),
            Made::Rejected(letter) => letter.body().len(),
            Made::Nothing => return None,
        };
        if self.is_full() || (!self.is_empty() && self.bytes + size > self.limit.max_bytes) {
            return Some(record);
        }
        self.bytes += size;
        match record.made {
            Made::Event(event) => self.events.push(*event),
            Made::Rejected(letter) => self.rejected.push(letter),
            Made::Nothing => {}
        }
        None
    }
}

impl Intake {
    pub(crate) fn new(config: &OciConfig, report: Report) -> Self {
        Self {
            name: config.name.as_str().into(),
            filter: Filter::new(&config.events, config.preset),
            redact: config.redact,
            keys: config.keys,
            max_event_bytes: config.max_event_bytes,
            report,
            seen: Seen::new(SEEN),
            held: None,
        }
    }

    /// Begins a page, behind the records that are accounted for; nothing if it is no longer the page
    /// that it was.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub(crate) fn begin(
        &mut self,
        page: Page,
        at: Option<&At>,
        else_time: DateTime<Utc>,
    ) -> Result<Option<Reading>> {
        let Page { body, token, next } = page;
        let elements = Elements::new(body, self.max_event_bytes);
        let mut reading = Reading { elements, token, next, records: 0, last: 0, else_time };
        let Some(at) = at else { return Ok(Some(reading)) };
        while reading.records < at.records {
            let Some(element) = reading.elements.next()? else { return Ok(None) };
            let (Element::Whole(bytes) | Element::Cut(bytes)) = element;
            self.seen.repeats(bytes);
            reading.last = xxh3_64(bytes);
            reading.records += 1;
        }
        Ok((reading.last == at.last).then_some(reading))
    }

    /// Fills a batch from a page.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] and [`ErrorKind::Unavailable`] for a page that is not one array.
    pub(crate) fn fill(&mut self, page: &mut Reading, draft: &mut Draft) -> Result<Filled> {
        loop {
            let record = match self.held.take() {
                Some(record) => record,
                None if draft.is_full() => return Ok(Filled::Batch),
                None => match page.elements.next()? {
                    Some(element) => self.make(element, page.else_time),
                    None => return Ok(Filled::Page),
                },
            };
            let print = record.print;
            self.held = draft.take(record);
            if self.held.is_some() {
                return Ok(Filled::Batch);
            }
            page.records += 1;
            page.last = print;
        }
    }

    fn make(&mut self, element: Element<'_>, else_time: DateTime<Utc>) -> Record {
        let (Element::Whole(bytes) | Element::Cut(bytes)) = element;
        let print = xxh3_64(bytes);
        if self.seen.repeats(bytes) {
            self.report.count(|counts| counts.repeated += 1);
            return Record { made: Made::Nothing, print };
        }
        let event = match element {
            Element::Cut(_) => Err(Error::new(ErrorKind::InvalidData, "the record is too large")
                .with("max_event_bytes", self.max_event_bytes)),
            Element::Whole(bytes) => self.event(bytes, else_time),
        };
        let made = match event {
            Ok(Some(event)) => Made::Event(Box::new(event)),
            Ok(None) => {
                self.report.count(|counts| counts.filtered += 1);
                Made::Nothing
            }
            Err(error) => {
                let id = EventId::new(format!("{}-rejected-{:032x}", self.name, xxh3_128(bytes)));
                let body =
                    if self.redact { redact_broken(bytes).into_owned() } else { bytes.to_vec() };
                Made::Rejected(DeadLetter::record(id, body, &error))
            }
        };
        Record { made, print }
    }

    fn event(&self, bytes: &[u8], else_time: DateTime<Utc>) -> Result<Option<AuditEvent>> {
        let text = if self.redact { redact(bytes) } else { bytes.into() };
        let text = std::str::from_utf8(&text).map_err(|e| {
            Error::new(ErrorKind::InvalidData, "not UTF-8").with("at", e.valid_up_to())
        })?;
        let mut event = envelope::read(text.into(), &self.name, else_time, &self.filter)?;
        if let (Keys::Snake, Some(event)) = (self.keys, &mut event) {
            event.raw = snake(&event.raw)?;
        }
        Ok(event)
    }
}
