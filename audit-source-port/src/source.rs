use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::window::{Found, Next, Window, WindowConfig, Windows};
use audit_core::{Batch, Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{debug, warn};

use crate::caps::Caps;
use crate::client::{Answer, Client};
use crate::config::{GRANULE, PortConfig};
use crate::cursor;
use crate::pace::ServerClock;
use crate::page::{self, Record};

/// Where reading begins unless told otherwise: 2020, before Port was.
const BEGINNING: DateTime<Utc> = match DateTime::from_timestamp(1_577_836_800, 0) {
    Some(time) => time,
    None => DateTime::UNIX_EPOCH,
};

/// How many records to ask for in the smallest window, if more than otherwise: it cannot be halved,
/// and the API gives so many by default.
const BURST: usize = 10_000;

/// A window that an overloaded API cannot answer in time is halved down to this, and no further.
const MIN_WINDOW_OF_SLOW: Duration = Duration::from_secs(60);

/// After so many answers in a row that led nowhere, no more are asked for at once. To halve the longest
/// window down to the smallest takes half as many.
const MAX_FRUITLESS: usize = 80;

/// Bodies larger than this are parsed on a thread of their own.
const LARGE_BODY: usize = 256 << 10;

/// Reads the audit log of a Port organisation.
///
/// It asks for one window of time after the other, and reads those again that may still get late
/// records. The crate's [documentation](crate) has the rest.
pub struct PortSource {
    client: Client,
    source: Arc<str>,
    /// Up to a tenth, by chance, and always the same.
    jitter: f64,
    reader: Option<Reader>,
}

/// Where reading stands.
struct Reader {
    windows: Windows<Record>,
    /// How they are planned.
    plan: WindowConfig,
    /// What was handed out last, or opened with.
    cursor: Option<Cursor>,
    /// Its times: up to where all is read, and up to where nothing more can appear.
    mark: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// What was asked for and not answered.
    under_way: Option<Window>,
    /// There is a record before this time, if all before it that is closed was empty.
    occupied_to: Option<DateTime<Utc>>,
    /// How many answers in a row led nowhere.
    fruitless: usize,
    /// Which records were in the last answer that had many.
    last_many: Option<u64>,
    caps: Caps,
}

impl PortSource {
    /// Creates a source. Nothing is asked yet, and no file is read.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: PortConfig) -> Result<Self> {
        let checked = config.check()?;
        let source = Arc::from(config.name.as_str());
        let jitter = (RandomState::new().hash_one(0) % 1000) as f64 / 10_000.0;
        let client = Client::new(config, checked)?;
        Ok(Self { client, source, jitter, reader: None })
    }

    /// Takes the time from this clock, which gives way to the server's own where that is known.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.client.clock = ServerClock::new(clock);
        self
    }

    /// Asks for the records of a window, and takes what comes.
    async fn answer(&mut self, window: Window) -> Result<()> {
        let Self { client, reader, source, .. } = self;
        let Some(reader) = reader else { return Err(not_opened()) };
        // There may be nothing for years: one record is enough to see.
        let probe = window.span() > client.config().longest_window();
        if probe && reader.is_occupied(window) {
            return reader.halve(window, "there is a record in it");
        }
        let smallest = window.span() <= GRANULE;
        let limit = client.config().limit;
        let limit = match (probe, smallest) {
            (true, _) => 1,
            (_, true) => limit.max(BURST),
            _ => limit,
        };
        reader.under_way = Some(window);
        // If the API does not count the beginning in, this does.
        let from = window.from() - TimeDelta::milliseconds(1);
        let body = match client.audit_log(from, window.to(), limit).await {
            Ok(Answer::Page(body)) => body,
            Ok(Answer::Nothing) => EMPTY.to_vec(),
            Ok(Answer::TooLarge) if smallest => return Err(too_large(window, client.config())),
            Ok(Answer::TooLarge) => {
                return reader.halve(window, "the answer is larger than allowed");
            }
            Ok(Answer::TooSlow(error)) | Err(error)
                if probe && error.kind() == ErrorKind::Timeout =>
            {
                debug!(%window, %error, "long times are asked for in parts");
                reader.plan.max_empty_span = Duration::ZERO;
                return reader.plan_anew();
            }
            Err(error) => return Err(error),
            Ok(Answer::TooSlow(error)) => {
                if window.span() > MIN_WINDOW_OF_SLOW {
                    reader.halve(window, "the API did not answer in time")?;
                }
                return Err(error);
            }
        };
        if client.clock.is_to_come(window.to()) {
            // The local clock is ahead: this window is not over yet on the server. Now that its
            // time is known, all is planned anew.
            debug!(%window, "the window is not over by the server's clock");
            return reader.plan_anew();
        }
        let records = parse(body, Arc::clone(source), window.from())
            .await
            .map_err(|e| e.while_doing("read the audit log").with("window", window))?;
        if probe && !records.is_empty() {
            reader.occupied_to = Some(window.to());
            return reader.halve(window, "there is a record in it");
        }
        if !probe && reader.caps.may_have_cut(records.len(), limit) {
            if !smallest {
                return reader.halve(window, "the answer may be cut off");
            }
            if records.len() >= limit {
                return Err(full(window, limit));
            }
            warn!(%window, records = records.len(), "as many records in the smallest window as in \
                the largest answer: if the API cuts answers there, some are missing");
        }
        reader.take_in(window, records, client.config().limit)
    }
}

/// The least answer there is.
const EMPTY: &[u8] = br#"{"ok":true,"audits":[]}"#;

impl Reader {
    fn begin(client: &Client, from: Option<&Cursor>) -> Result<Self> {
        let config = client.config();
        let plan = config.windows();
        let (windows, mark) = match from {
            Some(cursor) => {
                let position = cursor::decode(cursor)?;
                let mark = (position.closed_to(), position.complete_to());
                let mut windows = Windows::resume(plan, position)?;
                windows.retarget(config.to);
                (windows, Some(mark))
            }
            None => {
                let from = config.from.unwrap_or(BEGINNING);
                (Windows::new(plan, from, config.to)?, None)
            }
        };
        let cursor = from.cloned();
        let caps = Caps::default();
        Ok(Self {
            windows,
            plan,
            cursor,
            mark,
            under_way: None,
            occupied_to: None,
            fruitless: 0,
            last_many: None,
            caps,
        })
    }

    /// Goes on from what was taken, as if nothing had been asked since.
    fn plan_anew(&mut self) -> Result<()> {
        self.windows = Windows::resume(self.plan, self.windows.position())?;
        self.under_way = None;
        Ok(())
    }

    /// Whether it is known that there is a record in a window.
    fn is_occupied(&self, window: Window) -> bool {
        self.occupied_to.is_some_and(|to| window.from() < to && to <= window.to())
    }

    fn halve(&mut self, window: Window, why: &str) -> Result<()> {
        debug!(%window, why, "asking again in halves");
        self.windows.full(window)?;
        self.under_way = None;
        Ok(())
    }

    fn take_in(&mut self, window: Window, records: Vec<Record>, many: usize) -> Result<()> {
        // Only the smallest window may have many. If they are the same over and over, the API does not
        // look at the times asked for.
        let print = fingerprint(&records);
        if records.len() < many || self.last_many.replace(print) != Some(print) {
            self.fruitless = 0;
        }
        if !records.is_empty() {
            self.occupied_to = None;
        }
        let found = |record: Record| {
            let id: Arc<str> = record.id().as_str().into();
            // Which time the API goes by is not documented, and the next window's answer may hold it
            // again.
            Found::new(id, record.time(window.from()), record).filed_at(window.to())
        };
        let accepted = self.windows.accept(window, records.into_iter().map(found))?;
        self.windows.finish(window)?;
        self.under_way = None;
        debug!(%window, accepted.new, accepted.known, "read");
        Ok(())
    }

    fn take(&mut self, limit: Limit) -> Result<Option<Batch>> {
        let (mut count, mut bytes) = (0, 0_usize);
        let forgotten = self.windows.forgotten();
        let taken = self.windows.take(|record| {
            bytes = bytes.saturating_add(record.size());
            let fits = count < limit.max_events && (count == 0 || bytes <= limit.max_bytes);
            count += usize::from(fits);
            fits
        });
        let Some(taken) = taken else { return Ok(None) };
        let mark = (taken.position.closed_to(), taken.position.complete_to());
        if taken.records.is_empty() && self.mark == Some(mark) {
            // Known records, read again. There is nothing to save, and a process that ended at each
            // batch would never get past them.
            return Ok(None);
        }
        self.mark = Some(mark);
        let forgotten = self.windows.forgotten() - forgotten;
        if forgotten > 0 {
            warn!(
                forgotten,
                "more records within the look-back than are remembered; some will be \
                delivered again, under their old ids"
            );
        }
        let cursor = cursor::encode(&taken.position)?;
        self.cursor = Some(cursor.clone());
        let mut batch = Batch::new(Vec::with_capacity(taken.records.len()), cursor);
        for record in taken.records {
            match record {
                Record::Event(event) => batch.events.push(event),
                Record::Rejected(letter) => batch.rejected.push(letter),
            }
        }
        Ok(Some(batch))
    }
}

#[async_trait]
impl Source for PortSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        // After a failed read the position is the old one: what is known already stays, above all
        // how large a window may be.
        if self.reader.as_ref().is_none_or(|reader| reader.cursor.as_ref() != from) {
            self.reader = None;
            self.reader = Some(Reader::begin(&self.client, from)?);
        }
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        loop {
            let Some(reader) = &mut self.reader else { return Err(not_opened()) };
            match reader.take(limit) {
                Ok(Some(batch)) => return Ok(Read::Batch(batch)),
                Ok(None) => {}
                Err(error) => {
                    // What was taken is nowhere now: begin again from the saved position.
                    self.reader = None;
                    return Err(error);
                }
            }
            if let Some(window) = reader.under_way.take() {
                reader.windows.failed(window);
            }
            match reader.windows.next(self.client.clock.now()) {
                Next::Window(window) if reader.fruitless < MAX_FRUITLESS => {
                    reader.fruitless += 1;
                    self.answer(window).await?;
                }
                Next::Window(window) => {
                    reader.fruitless = 0;
                    reader.under_way = Some(window);
                    return Err(no_progress(window));
                }
                Next::Idle(wait) => return Ok(Read::Idle(wait.mul_f64(1.0 + self.jitter))),
                Next::End => return Ok(Read::End),
                Next::Pending => {
                    return Err(Error::new(ErrorKind::Unexpected, "windows wait for each other"));
                }
            }
        }
    }

    async fn check(&mut self) -> Result<()> {
        let to = self.client.clock.now();
        let answer = self.client.audit_log(to - TimeDelta::minutes(1), to, 1).await;
        match answer.map_err(|e| e.while_doing("check the audit log"))? {
            Answer::Page(body) => page::read(&body, &self.source, to).map(drop),
            Answer::Nothing | Answer::TooLarge => Ok(()),
            Answer::TooSlow(error) => Err(error),
        }
    }
}

impl fmt::Debug for PortSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortSource").field("config", self.client.config()).finish_non_exhaustive()
    }
}

async fn parse(body: Vec<u8>, source: Arc<str>, otherwise: DateTime<Utc>) -> Result<Vec<Record>> {
    if body.len() < LARGE_BODY {
        return page::read(&body, &source, otherwise);
    }
    let parsed = tokio::task::spawn_blocking(move || page::read(&body, &source, otherwise)).await;
    parsed.map_err(|e| Error::new(ErrorKind::Unexpected, "parsing was ended").because(e))?
}

fn fingerprint(records: &[Record]) -> u64 {
    let mut hasher = DefaultHasher::new();
    records.iter().for_each(|record| record.id().hash(&mut hasher));
    hasher.finish()
}

fn not_opened() -> Error {
    Error::new(ErrorKind::Unexpected, "the source was not opened")
}

fn full(window: Window, limit: usize) -> Error {
    Error::new(ErrorKind::Rejected, "the smallest window holds more records than one answer can")
        .with("window", window)
        .with("limit", limit)
        .with_hint("raise `limit`, or narrow the filter")
}

fn too_large(window: Window, config: &PortConfig) -> Error {
    Error::new(ErrorKind::Rejected, "the answer for the smallest window is larger than allowed")
        .with("window", window)
        .with("max_answer_bytes", config.max_answer_bytes)
        .with_hint("raise max_answer_bytes")
}

fn no_progress(window: Window) -> Error {
    Error::new(ErrorKind::Unavailable, "the API answers, but its answers lead nowhere")
        .with("window", window)
        .with_hint("its clock may go back, or it may ignore the times asked for")
}
