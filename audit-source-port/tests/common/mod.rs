//! What the tests do with the stand-in of the API.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "not every file uses everything")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a step that fails is a failed test")]

#[path = "../fake/mod.rs"]
pub(crate) mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use audit_core::{AuditEvent, Batch, Clock, Cursor, Limit, Read, Result, Secret, Source};
use audit_source_port::{PortConfig, PortSource};
use chrono::{DateTime, Utc};

pub(crate) use fake::{FakePort, Fault, Json, Record, sample, sample_id};

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2026-01-01T00:00:00Z.
pub(crate) const T0: i64 = 1_767_225_600_000;

pub(crate) fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
}

/// A time that only passes when told to.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn at(millis: i64) -> Self {
        Self(Arc::new(AtomicI64::new(millis)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.0.clone();
        Clock::from_fn(move || at(time.load(Ordering::SeqCst)))
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

/// The API at a time, and sources that read from it.
pub(crate) struct World {
    pub(crate) time: Time,
    pub(crate) fake: FakePort,
    pub(crate) config: PortConfig,
}

impl World {
    /// Begins at `T0`, and reads from there on.
    pub(crate) async fn new() -> Self {
        let time = Time::at(T0);
        let fake = FakePort::start(time.clock()).await;
        let mut config = PortConfig::new("client", Secret::new("s3cret-canary"));
        config.url = fake.url();
        config.from = Some(at(T0));
        config.max_window = Duration::from_secs(86_400);
        config.request_timeout = Duration::from_secs(5);
        Self { time, fake, config }
    }

    pub(crate) fn source(&self) -> PortSource {
        PortSource::new(self.config.clone()).unwrap().with_clock(self.time.clock())
    }

    pub(crate) async fn opened(&self, from: Option<&Cursor>) -> PortSource {
        let mut source = self.source();
        source.open(from).await.unwrap();
        source
    }

    pub(crate) fn requests(&self) -> usize {
        self.fake.lock().seen.len()
    }
}

/// What was read of a source: each id, how often, and the position behind.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) rejected: Vec<Vec<u8>>,
    pub(crate) cursor: Option<Cursor>,
}

impl Got {
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.id.as_str()).collect()
    }

    pub(crate) fn add(&mut self, batch: Batch) {
        self.events.extend(batch.events);
        self.rejected.extend(batch.rejected.iter().map(|letter| letter.body().to_vec()));
        self.cursor = Some(batch.cursor);
    }

    /// Expects every sample of these numbers exactly once, and nothing else.
    pub(crate) fn assert_all_once(&self, count: u64) {
        let mut times = BTreeMap::new();
        self.ids().into_iter().for_each(|id| *times.entry(id.to_owned()).or_insert(0) += 1);
        for n in 0..count {
            assert_eq!(times.remove(&sample_id(n)), Some(1), "sample {n} of {count}");
        }
        assert!(times.is_empty(), "{times:?}");
    }
}

pub(crate) fn limit(events: usize) -> Limit {
    Limit::default().events(events)
}

/// Why there is no more for now.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    Idle(Duration),
    End,
}

/// Reads until there is no more for now.
pub(crate) async fn drain(source: &mut dyn Source, got: &mut Got) -> Result<Stop> {
    for _ in 0..100_000 {
        match source.read(Limit::default()).await? {
            Read::Batch(batch) => got.add(batch),
            Read::Idle(wait) => return Ok(Stop::Idle(wait)),
            Read::End => return Ok(Stop::End),
        }
    }
    panic!("no end");
}

/// Expects that the next read fails, after those that return something.
pub(crate) async fn failure(source: &mut dyn Source) -> audit_core::Error {
    let mut got = Got::default();
    drain(source, &mut got).await.expect_err("no read failed")
}
