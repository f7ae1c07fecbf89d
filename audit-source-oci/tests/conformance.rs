//! The contract of a source, read one window at a time and several, and through crashes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::SourceHarness;
use audit_core::{ErrorKind, EventId, Limit, Source};
use audit_source_oci::{OciConfig, OciSource};
use chrono::TimeDelta;

use common::{Fake, Fault, record};

const TENANCY: &str = "ocid1.tenancy.oc1..t";

struct Upstream {
    fake: Fake,
    config: OciConfig,
    payloads: HashMap<String, String>,
    next: usize,
}

impl Upstream {
    fn new(change: impl FnOnce(&mut OciConfig)) -> Self {
        let fake = Fake::start();
        fake.lock().page_events = 3;
        let mut config = fake.config();
        config.start = Some(fake.lock().now - TimeDelta::minutes(2));
        config.window = Duration::from_secs(240);
        config.max_attempts = 1;
        config.request_timeout = Duration::from_millis(300);
        change(&mut config);
        Self { fake, config, payloads: HashMap::new(), next: 0 }
    }

    /// Adds an event that happened so long ago, and is processed now.
    fn add(&mut self, ago: TimeDelta) -> EventId {
        self.next += 1;
        let id = format!("{:08x}-aaaa-4bbb-8ccc-000000000000", self.next);
        let now = self.fake.lock().now;
        let text = record(&id, &format!("Event{}", self.next), now - ago);
        self.fake.add(TENANCY, now, text.clone());
        self.payloads.insert(id.clone(), text);
        EventId::new(id)
    }

    fn pass(&self, seconds: i64) {
        self.fake.lock().now += TimeDelta::seconds(seconds);
    }

    /// Lets a minute end, so that what was added is readable.
    fn settle(&self) {
        self.pass(60);
    }
}

#[async_trait]
impl SourceHarness for Upstream {
    async fn source(&mut self) -> Box<dyn Source> {
        Box::new(OciSource::new(self.config.clone()).unwrap().with_clock(self.fake.clock()))
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let add = |upstream: &mut Self| {
            upstream.pass(25);
            upstream.add(TimeDelta::seconds(1))
        };
        let ids = (0..records).map(|_| add(self)).collect();
        self.settle();
        ids
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.pass(25);
        let ids = (0..records).map(|_| self.add(TimeDelta::seconds(1))).collect();
        self.settle();
        ids
    }

    async fn payload(&mut self, id: &EventId) -> Option<String> {
        self.payloads.get(id.as_str()).cloned()
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 1;
        self.pass(25);
        let now = self.fake.lock().now;
        self.fake.add(TENANCY, now, format!(r#"{{"eventId":"bad-{}","cut":}}"#, self.next));
        self.settle();
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        let id = self.add(TimeDelta::hours(5));
        self.settle();
        Some(id)
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        let fault = match kind {
            ErrorKind::Auth => Fault::Status(401, "NotAuthenticated", vec![]),
            ErrorKind::Config => Fault::Status(302, "", vec![("location", "http://x/".into())]),
            ErrorKind::InvalidData => Fault::Body("<html>"),
            ErrorKind::RateLimited => Fault::Status(429, "TooManyRequests", vec![]),
            ErrorKind::Rejected => Fault::Status(400, "InvalidParameter", vec![]),
            ErrorKind::Timeout => Fault::Late(Duration::from_secs(2)),
            ErrorKind::Unavailable => Fault::status(503),
            _ => return false,
        };
        // Each life of the suite begins at the beginning, and so does the window that fails.
        let first = self.config.start.unwrap();
        self.fake.lock().broken.push((first, fault, 1));
        true
    }

    fn patience(&self) -> usize {
        1
    }

    fn limit(&self) -> Limit {
        // Longer than a request may take.
        Limit::default().wait(Duration::from_secs(2))
    }

    async fn idle(&mut self, wait: Duration) {
        let wait = TimeDelta::from_std(wait).unwrap();
        self.fake.lock().now += wait.max(TimeDelta::seconds(1));
    }
}

mod one_window_at_a_time {
    use super::*;

    async fn start() -> Upstream {
        Upstream::new(|config| config.concurrency = 1)
    }
    audit_core::conformance!(source: start);
}

mod several_windows_at_once {
    use super::*;

    async fn start() -> Upstream {
        Upstream::new(|config| config.concurrency = 4)
    }
    audit_core::conformance!(source: start);
}

mod several_compartments {
    use super::*;

    /// The second compartment is empty: each window is open while the first is read.
    async fn start() -> Upstream {
        let mut upstream = Upstream::new(|config| config.all_compartments = true);
        let other = "ocid1.compartment.oc1..a".to_owned();
        // Requests of one window may arrive in any order: it is the first to be read that fails.
        upstream.fake.lock().broken_in = Some(other.clone());
        upstream.fake.lock().compartments.push((other, "ACTIVE"));
        upstream.config.concurrency = 3;
        upstream
    }
    audit_core::conformance!(source: start);
}

mod crash {
    use audit_core::testkit::{
        Verdict, World, crash_at_every_call, stop_at_every_call, survive_random_faults,
    };

    use super::*;

    async fn world() -> World {
        World::of_source(Upstream::new(|config| config.concurrency = 4))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn d02_d03_a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
        crash_at_every_call(world).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn d08_a_stop_at_any_call_loses_and_doubles_nothing() -> Verdict {
        stop_at_every_call(world).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn random_deaths_lose_and_double_nothing() -> Verdict {
        survive_random_faults(world, 0..10).await
    }
}
