//! The contract of a source, against the stand-in of the API.

#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SourceHarness, Verdict, World as Rig};
use audit_core::testkit::{crash_at_every_call, stop_at_every_call, survive_random_faults};
use audit_core::{ErrorKind, EventId, Source};

use common::{Fault, Json, MINUTE, Record, SECOND, World, sample, sample_id};

/// The API, and records that come in as time passes.
struct Organisation {
    world: World,
    next: u64,
    late: i64,
}

impl Organisation {
    async fn new() -> Self {
        let mut world = World::new().await;
        // Batches of one record would make the suite ask a great many times otherwise.
        world.config.limit = 4;
        world.config.request_timeout = Duration::from_millis(300);
        Self { world, next: 0, late: 0 }
    }

    /// Adds a record that happened and shows at these times.
    fn add(&mut self, happened: i64, shows: i64) -> EventId {
        let json = Json::Kept(sample(self.next, happened));
        self.world.fake.lock().add(Record { at: happened, appears: shows, json });
        self.next += 1;
        EventId::new(sample_id(self.next - 1))
    }
}

#[async_trait]
impl SourceHarness for Organisation {
    async fn source(&mut self) -> Box<dyn Source> {
        Box::new(self.world.source())
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        for _ in 0..records {
            let now = self.world.time.now();
            ids.push(self.add(now, now));
            self.world.time.pass(1234);
        }
        ids
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let now = self.world.time.now();
        let ids = (0..records).map(|_| self.add(now, now)).collect();
        self.world.time.pass(SECOND);
        ids
    }

    async fn payload(&mut self, id: &EventId) -> Option<String> {
        self.world.fake.lock().text_of(id.as_str())
    }

    async fn seed_bad(&mut self) -> bool {
        let now = self.world.time.now();
        let json = Json::Kept(format!("[{now}]"));
        self.world.fake.lock().add(Record { at: now, appears: now, json });
        self.world.time.pass(SECOND);
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        self.late += 1;
        let now = self.world.time.now();
        let id = self.add(now - MINUTE - self.late, now);
        self.world.time.pass(SECOND);
        Some(id)
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        let fake = &self.world.fake;
        match kind {
            // A token that is refused is renewed once.
            ErrorKind::Auth => (0..2).for_each(|_| fake.fail(Fault::status(401))),
            ErrorKind::Config => fake.fail(Fault::status(422)),
            ErrorKind::InvalidData => fake.fail(Fault::Instead(r#"{"ok":true}"#.to_owned())),
            ErrorKind::RateLimited => fake.fail(Fault::status(429)),
            ErrorKind::Timeout => fake.fail(Fault::Silence),
            ErrorKind::Unavailable => fake.fail(Fault::Torn),
            _ => return false,
        }
        true
    }

    async fn idle(&mut self, wait: Duration) {
        self.world.time.pass(wait.as_millis() as i64 + 1);
    }
}

audit_core::conformance!(source: Organisation::new);

mod crash {
    use super::*;

    async fn rig() -> Rig {
        let mut organisation = Organisation::new().await;
        // Larger pages than batches: a crash in the middle of one.
        organisation.world.config.limit = 100;
        Rig::of_source(organisation)
    }

    #[tokio::test]
    async fn d02_d03_a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
        crash_at_every_call(rig).await
    }

    #[tokio::test]
    async fn d08_a_stop_at_any_call_loses_and_doubles_nothing() -> Verdict {
        stop_at_every_call(rig).await
    }

    #[tokio::test]
    async fn random_deaths_lose_and_double_nothing() -> Verdict {
        survive_random_faults(rig, 0..10).await
    }
}
