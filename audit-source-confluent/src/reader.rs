mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use audit_core::{Batch, Clock, Cursor, Error, ErrorKind, Limit, Read, Result};
use chrono::DateTime;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use tracing::{debug, info, warn};

use self::share::Share;
use crate::client::{Client, Kept, Next};
use crate::position::Position;
use crate::record::{Found, Record, Records};
use crate::repeats::Repeats;
use crate::report::{Gap, Lag, Report};
use crate::settings::Settings;

/// How often how far reading is behind is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Reads the topic from positions of its own, or of its group, one blocking call at a time.
#[derive(Debug)]
pub(crate) struct Reader {
    settings: Arc<Settings>,
    client: Client,
    records: Records,
    clock: Clock,
    report: Report,
    retention: Option<Duration>,
    share: Share,
    /// Where to go on; also in partitions that others of the group read now.
    position: Position,
    /// Whether fetching has begun. It waits for the first read.
    fetching: bool,
    /// The end of each partition when the position was taken; where the first rest is due.
    goals: BTreeMap<i32, i64>,
    /// The end of each partition that is read, when it was last asked for.
    ends: BTreeMap<i32, i64>,
    asked: Instant,
    /// Partitions of which all was read that was there.
    drained: BTreeSet<i32>,
    rested: bool,
    /// What ended the read before, which had records.
    failed: Option<Error>,
    /// Read, and too large for the batch before. It is behind the position.
    held: Option<(i32, i64, Record)>,
    repeats: Repeats,
    lag: Lag,
    looked: Instant,
    told: Option<Instant>,
    waiting_since: Option<Instant>,
}

impl Reader {
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Clock,
        report: Report,
        retention: Option<Duration>,
    ) -> Result<Self> {
        Ok(Self {
            client: Client::new(&settings)?,
            records: Records::new(&settings.config.name, settings.config.max_record_bytes),
            repeats: Repeats::of(settings.config.repeat_window),
            share: Share::of(settings.config.group.as_ref()),
            position: Position { topic: settings.config.topic.clone(), ..Position::default() },
            settings,
            clock,
            report,
            retention,
            fetching: false,
            goals: BTreeMap::new(),
            ends: BTreeMap::new(),
            asked: Instant::now(),
            drained: BTreeSet::new(),
            rested: false,
            failed: None,
            held: None,
            lag: Lag::default(),
            looked: Instant::now(),
            told: None,
            waiting_since: None,
        })
    }

    /// Learns how long the topic keeps its records.
    pub(crate) fn keeps(&mut self, retention: Duration) {
        self.retention = Some(retention);
    }

    /// Finds out whether the topic can be read.
    pub(crate) fn check(&self) -> Result<()> {
        let first = self.client.partitions()?[0];
        self.client.kept(first)?;
        if self.settings.config.group.is_some() {
            self.client.committed(&[first])?;
        }
        Ok(())
    }

    /// Goes to the position; nothing is fetched yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for a gap, unless gaps are allowed.
    pub(crate) fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        let topic = &self.settings.config.topic;
        let known = from.map(|cursor| Position::decode(cursor, topic)).transpose()?;
        if self.goes_on_from(known.as_ref()) {
            self.client.calm();
            return self.client.partitions().map(drop);
        }
        self.stop()?;
        (self.rested, self.waiting_since) = (false, None);
        self.failed = None;
        self.repeats.clear();
        self.forget_all();
        self.position.next.clear();
        let partitions = self.client.partitions()?;
        let known = known.map(|position| position.next);
        if let Some(lost) = known.iter().flat_map(BTreeMap::keys).find(|p| !partitions.contains(p))
        {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "a partition is gone: the topic is another",
            )
            .with("partition", lost)
            .with_hint("set the checkpoint anew to read it from its beginning"));
        }
        if let Some(known) = &known {
            self.position.next.clone_from(known);
        }
        self.client.saved(&self.position.next);
        for partition in self.share.at_once(partitions) {
            let next = known.as_ref().map(|known| known.get(&partition).copied().unwrap_or(0));
            self.place(partition, next)?;
        }
        self.show_partitions();
        (self.looked, self.asked) = (Instant::now(), Instant::now());
        Ok(())
    }

    /// Sets the position in a partition; without one, to its beginning.
    fn place(&mut self, partition: i32, next: Option<i64>) -> Result<()> {
        let kept = self.client.kept(partition)?;
        let next = match next {
            Some(next) if next < kept.low || next > kept.high => self.gap(partition, next, kept)?,
            Some(next) => next,
            None => kept.low,
        };
        self.ends.insert(partition, kept.high);
        if next < kept.high {
            self.goals.insert(partition, kept.high);
        } else {
            self.drained.insert(partition);
        }
        self.position.next.insert(partition, next);
        Ok(())
    }

    /// Reads a partition no more. Where to go on in it stays known.
    fn forget(&mut self, partition: i32) {
        self.ends.remove(&partition);
        self.goals.remove(&partition);
        self.drained.remove(&partition);
        self.lag.stored.remove(&partition);
        self.held.take_if(|(of, ..)| *of == partition);
    }

    fn forget_all(&mut self) {
        self.ends.clear();
        self.goals.clear();
        self.drained.clear();
        self.lag = Lag::default();
        self.held = None;
    }

    fn show_partitions(&self) {
        self.report.lock().partitions = self.ends.keys().copied().collect();
    }

    /// Goes over what is gone if that is allowed, and returns where to go on.
    fn gap(&self, partition: i32, next: i64, kept: Kept) -> Result<i64> {
        let topic = &self.settings.config.topic;
        let Kept { low, high } = kept;
        let behind = next > high;
        if !self.settings.config.allow_gaps {
            let error = if behind {
                Error::new(
                    ErrorKind::InvalidData,
                    "the topic ends before the position: it was made anew",
                )
                .with("position", next)
                .with("end", high)
            } else {
                Error::new(ErrorKind::InvalidData, "records were removed before they were read")
                    .with("lost from offset", next)
                    .with("up to offset", low - 1)
            };
            return Err(error.with("topic", topic).with("partition", partition).with_hint(
                "they are beyond recovery here; set `allow_gaps = true` to go on with what is there",
            ));
        }
        warn!(
            topic,
            partition,
            position = next,
            first = low,
            end = high,
            "records are lost: a gap"
        );
        if !behind {
            self.report.lock().gaps.push(Gap { partition, from: next, to: low });
        }
        Ok(low)
    }

    /// Returns the next records. `asked` ends when nobody waits for the answer any more.
    pub(crate) fn read(&mut self, limit: Limit, asked: &Weak<()>) -> Result<Read> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(read) = self.follow_group()? {
            return Ok(read);
        }
        if self.is_drained() && !self.rested && self.held.is_none() {
            // All is read that was there: a run that does not follow ends here.
            self.begin_to_rest();
            return Ok(Read::Idle(Duration::ZERO));
        }
        if !self.fetching {
            self.start()?;
        }
        let mut batch = Gathered::default();
        if let Some((partition, offset, record)) = self.held.take() {
            self.take(&mut batch, partition, offset, record);
        }
        let deadline = Instant::now() + limit.max_wait;
        while batch.records < limit.max_events && batch.bytes < limit.max_bytes {
            if asked.strong_count() == 0 {
                // What was read is lost with this answer; `open` comes next.
                return Ok(Read::Idle(Duration::ZERO));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // What is there already is taken along, and nothing more is waited for.
            let wait = if batch.records > 0 { Duration::ZERO } else { left.min(SLICE) };
            let next = match self.client.next(wait) {
                // First what was read.
                Err(error) if batch.read > 0 => {
                    self.failed = Some(error);
                    break;
                }
                next => next?,
            };
            match next {
                Next::Message(message) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    if let Some(at) = stored(&message) {
                        self.lag.stored.insert(partition, at);
                    }
                    let record = record(&mut self.records, &message);
                    if batch.records > 0 && batch.bytes + record.size() > limit.max_bytes {
                        self.held = Some((partition, offset, record));
                        break;
                    }
                    drop(message);
                    self.take(&mut batch, partition, offset, record);
                }
                Next::End(partition) => {
                    self.drained.insert(partition);
                    if self.is_drained() {
                        break;
                    }
                }
                Next::Gone if batch.read > 0 => {
                    // First what was read; the next read finds the same again.
                    self.fetching = false;
                    break;
                }
                Next::Gone => return self.go_over_gaps(),
                Next::Nothing if batch.read == 0 && self.client.has_change() => {
                    if let Some(read) = self.follow_group()? {
                        return Ok(read);
                    }
                }
                Next::Nothing if batch.read > 0 || self.client.is_refused() || left.is_zero() => {
                    break;
                }
                Next::Nothing => {}
            }
        }
        if batch.read > 0 {
            self.waiting_since = Some(Instant::now());
            self.tell();
            let mut whole = Batch::new(batch.events, self.position.encode()?);
            whole.rejected = batch.rejected;
            return Ok(Read::Batch(whole));
        }
        if let Some(error) = self.client.trouble() {
            return Err(error);
        }
        if self.is_drained() {
            return self.rest();
        }
        self.overdue()
    }

    /// Nothing came though there is something, or the group did not say yet what is read here.
    fn overdue(&mut self) -> Result<Read> {
        if self.ends.is_empty() {
            return self.nothing();
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.settings.config.timeout {
            return Err(Error::new(
                ErrorKind::Timeout,
                "no record came though the topic holds some",
            ));
        }
        // Of a topic that was deleted the library says nothing.
        self.client.partitions()?;
        self.nothing()
    }

    /// Not idle, which would end a run before it has all.
    fn nothing(&self) -> Result<Read> {
        Ok(Read::Batch(Batch::new(Vec::new(), self.position.encode()?)))
    }

    /// Returns whether it is the first time.
    fn begin_to_rest(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.rested, true);
        if first && self.ends.is_empty() {
            info!(
                topic = self.settings.config.topic,
                "the group has no partition for this instance"
            );
        }
        first
    }

    /// There is nothing new now.
    fn rest(&mut self) -> Result<Read> {
        let first = self.begin_to_rest();
        self.tell();
        if self.looked.elapsed() >= self.settings.config.refresh_interval {
            self.looked = Instant::now();
            let partitions = self.client.partitions()?;
            let new = partitions.into_iter().filter(|p| !self.position.next.contains_key(p));
            for partition in self.share.at_once(new.collect()) {
                info!(topic = self.settings.config.topic, partition, "a new partition");
                self.place(partition, Some(0))?;
                self.fetching = false;
            }
        }
        let rest = self.settings.config.poll_interval;
        Ok(Read::Idle(if first || !self.fetching { Duration::ZERO } else { rest }))
    }

    /// Compares every position with what is kept, and goes on behind the gaps if that is allowed.
    fn go_over_gaps(&mut self) -> Result<Read> {
        self.stop()?;
        let partitions: Vec<_> = self.ends.keys().copied().collect();
        for partition in &partitions {
            let next = self.position.next.get(partition).copied();
            self.place(*partition, next)?;
        }
        if self.share.at_once(partitions).is_empty() {
            self.forget_all();
        }
        self.nothing()
    }

    /// Whether everything was read that was there when the position was taken, or later.
    fn is_drained(&self) -> bool {
        let reached = |(partition, end): (&i32, &i64)| {
            self.drained.contains(partition)
                || self.position.next.get(partition).is_some_and(|next| next >= end)
        };
        self.is_settled_in() && self.goals.iter().all(reached)
    }

    fn take(&mut self, batch: &mut Gathered, partition: i32, offset: i64, record: Record) {
        self.position.next.insert(partition, offset + 1);
        batch.read += 1;
        batch.bytes += record.size();
        match record {
            Record::Good { event, known, timed } => {
                if known && self.repeats.is_repeat(&event) {
                    debug!(partition, offset, "a repeat");
                    self.report.lock().repeats += 1;
                    return;
                }
                self.report.lock().without_time += u64::from(!timed);
                batch.events.push(event);
            }
            Record::Bad(letter) => batch.rejected.push(letter),
        }
        batch.records += 1;
    }

    /// Tells how far reading is behind.
    fn tell(&mut self) {
        if self.asked.elapsed() >= self.settings.config.refresh_interval {
            self.asked = Instant::now();
            for (partition, end) in &mut self.ends {
                // Only figures depend on it: what is wrong shows in reading.
                let Ok(kept) = self.client.kept(*partition) else { break };
                *end = kept.high;
            }
        }
        let next = &self.position.next;
        let backlog = self.lag.backlog(next, &self.ends, self.retention, self.clock.now());
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) && backlog.unread > 0 {
            self.told = Some(Instant::now());
            let left = backlog.time_to_loss.map(|t| Duration::from_secs(t.as_secs()));
            let shown = left.map(|t| humantime::format_duration(t).to_string());
            let topic = &self.settings.config.topic;
            if left.is_some_and(|left| left < self.settings.config.loss_warning) {
                warn!(
                    topic,
                    unread = backlog.unread,
                    time_to_loss = shown,
                    "unread records are about to be removed"
                );
            } else {
                info!(topic, unread = backlog.unread, time_to_loss = shown, "reading");
            }
        }
        self.report.lock().backlog = backlog;
    }
}

/// How long a call may go on that nobody waits for.
const SLICE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Gathered {
    events: Vec<audit_core::AuditEvent>,
    rejected: Vec<audit_core::DeadLetter>,
    /// Events and rejected ones.
    records: usize,
    /// These and the repeats.
    read: usize,
    bytes: usize,
}

fn stored(message: &BorrowedMessage<'_>) -> Option<DateTime<chrono::Utc>> {
    message.timestamp().to_millis().and_then(DateTime::from_timestamp_millis)
}

fn record(records: &mut Records, message: &BorrowedMessage<'_>) -> Record {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    let found = Found {
        place: format_args!("{topic}/{partition}/{offset}"),
        body: message.payload().unwrap_or_default(),
        stored: stored(message),
    };
    records.read(&found)
}
