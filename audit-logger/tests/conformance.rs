//! The source contract of `audit-core`, for the queue in memory and the one on disk.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

use std::fs;
use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::SourceHarness;
use audit_core::{EventId, Limit, Source};
use audit_logger::{AuditLogger, Emitter, Policy, Queue, QueueConfig, SpoolConfig};
use tempfile::TempDir;

struct Harness {
    dir: Option<TempDir>,
    /// The queue in memory lives as long as the process; a spool is opened anew.
    queue: Option<Queue>,
    seeded: i64,
}

impl Harness {
    fn memory() -> Self {
        let queue = Queue::open(QueueConfig::new(Policy::BestEffort)).unwrap();
        Self { dir: None, queue: Some(queue), seeded: 0 }
    }

    fn spool() -> Self {
        Self { dir: Some(tempfile::tempdir().unwrap()), queue: None, seeded: 0 }
    }

    fn queue(&mut self) -> &Queue {
        let dir = &self.dir;
        self.queue.get_or_insert_with(|| {
            let config = SpoolConfig::new(dir.as_ref().unwrap().path()).max_bytes(64 << 20);
            Queue::open(QueueConfig::new(Policy::Spool(config))).unwrap()
        })
    }

    fn add(&mut self, records: usize, tied: bool) -> Vec<EventId> {
        let add = |_| {
            self.seeded += 1;
            let seconds = if tied { 0 } else { self.seeded };
            let time = chrono::DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap();
            let mut logger = AuditLogger::new();
            logger.set_results(["é\n\"", "x"]).info(format!("{}", self.seeded)).time(time);
            let record = logger.record().unwrap();
            self.queue().emit(&record).unwrap();
            record.id().clone()
        };
        (0..records).map(add).collect()
    }
}

#[async_trait]
impl SourceHarness for Harness {
    async fn source(&mut self) -> Box<dyn Source> {
        if self.dir.is_some() {
            self.queue = None;
        }
        self.queue().source()
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        self.add(records, false)
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.add(records, true)
    }

    async fn seed_bad(&mut self) -> bool {
        if self.dir.is_none() {
            return false;
        }
        // A bit that fell over on the disk, in the record last written.
        self.add(1, false);
        let newest = fs::read_dir(self.dir.as_ref().unwrap().path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "spool"))
            .max()
            .unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        let at = bytes.len() - 10;
        bytes[at] ^= 1;
        let mut file = fs::OpenOptions::new().write(true).open(&newest).unwrap();
        file.write_all(&bytes).unwrap();
        true
    }

    fn limit(&self) -> Limit {
        Limit::default().wait(Duration::from_millis(2))
    }
}

mod memory {
    audit_core::conformance!(
        source: async || super::Harness::memory(),
        except: {
            s07_finds_a_late_record_once: "a queue is only ever appended to",
            s09_reports_a_failure_with_its_kind: "memory does not fail",
            s09_hands_on_bad_records_without_holding_up_others: "only events can be appended",
        }
    );
}

mod spool {
    audit_core::conformance!(
        source: async || super::Harness::spool(),
        except: {
            s07_finds_a_late_record_once: "a spool is only ever appended to",
            s09_reports_a_failure_with_its_kind: "a disk that fails is not at hand",
        }
    );
}

mod crash {
    use audit_core::testkit::{Verdict, World, crash_at_every_call, survive_random_faults};

    use super::Harness;

    #[tokio::test]
    async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
        crash_at_every_call(async || World::of_source(Harness::spool())).await?;
        crash_at_every_call(async || World::of_source(Harness::memory())).await
    }

    #[tokio::test]
    async fn random_deaths_lose_and_double_nothing() -> Verdict {
        survive_random_faults(async || World::of_source(Harness::spool()), 0..8).await
    }
}
