use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{MemoryUpstream, SOURCE_RULES, SourceHarness, Violation};
use audit_core::{
    AuditEvent, Batch, Cursor, DeadLetter, Error, ErrorKind, EventId, Limit, Raw, Read, Result,
    Source,
};
use chrono::DateTime;

use crate::{assert_caught, violations};

/// Defects that can be put around a whole source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bug {
    None,
    BadRecordsAreDropped,
    CommittedMovesThePosition,
    CursorsAreHandles,
    ErrorsAllLookAlike,
    ErrorsLookIdle,
    IdsCount,
    MarksBeforeCommitted,
    MaxBytesIsIgnored,
    MaxEventsIsIgnored,
    MaxWaitIsIgnored,
    OpensOnlyOnce,
    PayloadIsRewritten,
    StartsOverWithAStrangeCursor,
}

struct Mutant {
    inner: Box<dyn Source>,
    bug: Bug,
    opened: bool,
    count: usize,
    handles: Vec<Cursor>,
}

#[async_trait]
impl Source for Mutant {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        if self.bug == Bug::OpensOnlyOnce && self.opened {
            return Ok(());
        }
        self.opened = true;
        let handle = from.filter(|_| self.bug == Bug::CursorsAreHandles);
        if let Some(handle) = handle {
            let cursor = self.handles.get(handle.decode::<usize>("handle", 1)?).cloned();
            return self.inner.open(cursor.as_ref()).await;
        }
        match self.inner.open(from).await {
            Err(_) if self.bug == Bug::StartsOverWithAStrangeCursor => self.inner.open(None).await,
            answer => answer,
        }
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let limit = match self.bug {
            Bug::MaxBytesIsIgnored => limit.bytes(usize::MAX),
            Bug::MaxEventsIsIgnored => limit.events(usize::MAX),
            _ => limit,
        };
        let read = match (self.inner.read(limit).await, self.bug) {
            (Err(_), Bug::ErrorsLookIdle) => return Ok(Read::Idle(Duration::ZERO)),
            (Err(e), Bug::ErrorsAllLookAlike) => {
                return Err(Error::new(ErrorKind::Unavailable, e.to_string()));
            }
            (read, _) => read?,
        };
        let Read::Batch(mut batch) = read else {
            if self.bug == Bug::MaxWaitIsIgnored {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            return Ok(read);
        };
        match self.bug {
            Bug::BadRecordsAreDropped => batch.rejected.clear(),
            Bug::IdsCount => {
                for event in &mut batch.events {
                    self.count += 1;
                    event.id = EventId::new(format!("{}/{}", event.id, self.count));
                }
            }
            Bug::MarksBeforeCommitted => self.inner.committed(&batch.cursor).await?,
            Bug::PayloadIsRewritten => {
                for event in &mut batch.events {
                    let value: serde_json::Value = serde_json::from_str(event.raw.get()).unwrap();
                    event.raw = Raw::parse(value.to_string())?;
                }
            }
            Bug::CursorsAreHandles => {
                let handle = Cursor::encode("handle", 1, &self.handles.len())?;
                self.handles.push(std::mem::replace(&mut batch.cursor, handle));
            }
            _ => {}
        }
        Ok(Read::Batch(batch))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        match self.bug {
            Bug::CursorsAreHandles => Ok(()),
            Bug::CommittedMovesThePosition => self.inner.open(Some(cursor)).await,
            _ => self.inner.committed(cursor).await,
        }
    }

    async fn check(&mut self) -> Result<()> {
        self.inner.check().await
    }
}

/// What simple programs take for a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Naive {
    /// The time of the last record; goes on behind it.
    BehindTheTime,
    /// The time of the last record; goes on with it.
    FromTheTime,
    /// Time and id: loses nothing but what comes late.
    TimeAndId,
    /// Time and id, and stops in front of a bad record until it is mended.
    StopsAtBadRecords,
}

struct NaiveSource {
    upstream: MemoryUpstream,
    naive: Naive,
    position: Option<(i64, String)>,
}

fn time_of(body: &str) -> i64 {
    let (_, at) = body.split_once(r#""at":"#).unwrap();
    at.trim_end_matches('}').parse().unwrap()
}

#[async_trait]
impl Source for NaiveSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.position = from.map(|cursor| cursor.decode("naive", 1)).transpose()?;
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let mut records: Vec<_> = self.upstream.records();
        let key = |id: &EventId| format!("{:0>30}", id.as_str());
        records.sort_by_key(|(id, body)| (time_of(body), key(id)));
        if let Some((time, last)) = &self.position {
            records.retain(|(id, body)| match self.naive {
                Naive::BehindTheTime => time_of(body) > *time,
                Naive::FromTheTime => time_of(body) >= *time,
                _ => (time_of(body), key(id)) > (*time, last.clone()),
            });
        }
        let cursor = |p: &Option<(i64, String)>| Cursor::encode("naive", 1, p);
        let mut batch = Batch::new(Vec::new(), cursor(&self.position)?);
        for (id, body) in records.into_iter().take(limit.max_events) {
            let position = Some((time_of(&body), key(&id)));
            match Raw::parse(body.as_str()) {
                Ok(raw) => {
                    let event = AuditEvent::new(id, "naive".into(), DateTime::UNIX_EPOCH, raw);
                    batch.events.push(event);
                }
                Err(error) => {
                    batch.rejected.push(DeadLetter::record(id, body, &error));
                    if self.naive == Naive::StopsAtBadRecords {
                        break;
                    }
                }
            }
            self.position = position;
        }
        if batch.events.is_empty() && batch.rejected.is_empty() {
            return Ok(Read::Idle(Duration::ZERO));
        }
        batch.cursor = cursor(&self.position)?;
        Ok(Read::Batch(batch))
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

type Make = Box<dyn Fn(&MemoryUpstream) -> Box<dyn Source> + Send>;

/// A whole upstream, read by a source that is not.
pub(crate) struct Harness {
    upstream: MemoryUpstream,
    make: Make,
}

#[async_trait]
impl SourceHarness for Harness {
    async fn source(&mut self) -> Box<dyn Source> {
        (self.make)(&self.upstream)
    }
    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        self.upstream.seed(records).await
    }
    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.upstream.seed_tied(records).await
    }
    async fn seed_bad(&mut self) -> bool {
        self.upstream.seed_bad().await
    }
    async fn seed_late(&mut self) -> Option<EventId> {
        self.upstream.seed_late().await
    }
    async fn payload(&mut self, id: &EventId) -> Option<String> {
        self.upstream.payload(id).await
    }
    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        self.upstream.fail_next(kind).await
    }
}

impl Harness {
    pub(crate) fn with(upstream: MemoryUpstream, bug: Bug) -> Self {
        let make: Make = Box::new(move |upstream| {
            let inner = upstream.connect();
            Box::new(Mutant { inner, bug, opened: false, count: 0, handles: Vec::new() })
        });
        Self { upstream, make }
    }

    pub(crate) fn naive(naive: Naive) -> Self {
        let make: Make = Box::new(move |upstream| {
            Box::new(NaiveSource { upstream: upstream.clone(), naive, position: None })
        });
        Self { upstream: MemoryUpstream::history(), make }
    }
}

async fn judge(start: impl Fn() -> Harness) -> Vec<Violation> {
    let start = async || Box::new(start()) as Box<dyn SourceHarness>;
    violations(SOURCE_RULES, start).await
}

#[tokio::test(start_paused = true)]
async fn each_defect_of_a_source_is_caught_by_its_rule() {
    for upstream in [MemoryUpstream::history, MemoryUpstream::flags] {
        assert_eq!(judge(|| Harness::with(upstream(), Bug::None)).await, []);
    }
    for (bug, rule) in [
        (Bug::BadRecordsAreDropped, "s09_hands_on_bad_records_without_holding_up_others"),
        (Bug::CommittedMovesThePosition, "s10_reads_the_same_however_often_committed_is_called"),
        (Bug::CursorsAreHandles, "s04_goes_on_in_another_process"),
        (Bug::ErrorsAllLookAlike, "s09_reports_a_failure_with_its_kind"),
        (Bug::ErrorsLookIdle, "s09_reports_a_failure_with_its_kind"),
        (Bug::IdsCount, "s02_gives_the_same_record_the_same_id_and_bytes"),
        (Bug::MaxBytesIsIgnored, "s05_keeps_to_max_bytes"),
        (Bug::MaxEventsIsIgnored, "s05_keeps_to_max_events"),
        (Bug::MaxWaitIsIgnored, "s05_keeps_to_max_wait"),
        (Bug::OpensOnlyOnce, "s08_loses_nothing_when_a_read_is_dropped"),
        (Bug::PayloadIsRewritten, "s02_gives_the_same_record_the_same_id_and_bytes"),
        (Bug::StartsOverWithAStrangeCursor, "s04_refuses_a_foreign_or_newer_cursor"),
    ] {
        let found = judge(|| Harness::with(MemoryUpstream::history(), bug)).await;
        assert_caught(&format!("{bug:?}"), rule, &found);
    }
    let found = judge(|| Harness::with(MemoryUpstream::flags(), Bug::MarksBeforeCommitted)).await;
    for rule in [
        "s03_goes_on_from_every_cursor_it_returned",
        "s10_reads_the_same_however_often_committed_is_called",
    ] {
        assert_caught("MarksBeforeCommitted", rule, &found);
    }
}

#[tokio::test(start_paused = true)]
async fn each_naive_position_is_caught_by_its_rule() {
    for (position, rule) in [
        (Naive::BehindTheTime, "s06_loses_no_equal_timestamps_between_batches"),
        (Naive::FromTheTime, "s01_reads_every_record_exactly_once"),
        (Naive::FromTheTime, "s03_goes_on_from_every_cursor_it_returned"),
        (Naive::TimeAndId, "s07_finds_a_late_record_once"),
        (Naive::StopsAtBadRecords, "s09_hands_on_bad_records_without_holding_up_others"),
    ] {
        let found = judge(|| Harness::naive(position)).await;
        assert_caught(&format!("{position:?}"), rule, &found);
    }
}
