//! The sink contract of `audit-core`.
//!
//! A report keeps counts, not records. So the suite's records are made labels here, each its own: what
//! is stored is then one count of one label, byte for byte, and a record that was lost, doubled or
//! changed shows.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::testkit::{
    SinkHarness, Verdict, When, World, crash_at_every_call, sample_id, stop_at_every_call,
    survive_random_faults,
};
use audit_core::{
    Action, ActionKind, AuditEvent, Error, ErrorKind, EventId, Result, Sink, Written,
};
use audit_sink_report::{ReportConfig, ReportFormat, ReportSink, Section};
use chrono::DateTime;

/// A report of one file: what is on disk many times here is the same for all.
fn small(path: &Path) -> ReportConfig {
    ReportConfig::new(path).formats([ReportFormat::Json]).sections([Section::OtherEvents])
}

/// A directory of reports.
struct Directory {
    directory: tempfile::TempDir,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    call: Option<When>,
    refused: BTreeSet<EventId>,
}

impl Directory {
    fn start() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), faults: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("reports")
    }
}

#[async_trait]
impl SinkHarness for Directory {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let path = self.path();
        let sink = ReportSink::new(small(&path)).unwrap();
        Arc::new(Labelled { sink, path, faults: self.faults.clone() })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let mut stored = Vec::new();
        for day in common::days(&self.path()) {
            for (section, label, _, count) in common::records(&self.path(), &day.to_string()) {
                if section == "OTHER_EVENTS" {
                    let id = sample_id(&label).unwrap_or_else(|| EventId::new(label.as_str()));
                    stored.extend((0..count).map(|_| (id.clone(), label.clone())));
                }
            }
        }
        stored
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        let possible = items.iter().all(|(_, kind)| *kind == ErrorKind::Rejected);
        if possible {
            self.faults.lock().unwrap().refused.extend(items.iter().map(|(id, _)| id.clone()));
        }
        possible
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let possible = kind == ErrorKind::Config || when == When::After;
        if possible {
            self.faults.lock().unwrap().call = Some(when);
        }
        possible
    }

    /// A report has no order but that of its labels.
    fn key(&self, event: &AuditEvent) -> String {
        event.id.to_string()
    }
}

/// A sink to whose events the record is the name of the action; an event to be refused comes from
/// before 1970; a call that is to fail finds a file in place of the directory, or its answer is lost.
struct Labelled {
    sink: ReportSink,
    path: PathBuf,
    faults: Arc<Mutex<Faults>>,
}

#[async_trait]
impl Sink for Labelled {
    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let mut events = events.to_vec();
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            for event in &mut events {
                let name = Some(event.raw.line().into());
                event.action = Action { name, kind: ActionKind::Other };
                if faults.refused.remove(&event.id) {
                    event.time = DateTime::from_timestamp(-1, 0).unwrap();
                }
            }
            if events.is_empty() { None } else { faults.call.take() }
        };
        match fault {
            None => self.sink.write(&events).await,
            Some(When::Before) => {
                // A new sink on a path that no directory can have.
                let away = self.path.with_extension("away");
                let there = std::fs::rename(&self.path, &away).is_ok();
                std::fs::write(&self.path, "").unwrap();
                let answer = ReportSink::new(small(&self.path)).unwrap().write(&events).await;
                std::fs::remove_file(&self.path).unwrap();
                if there {
                    std::fs::rename(&away, &self.path).unwrap();
                }
                answer
            }
            Some(When::After) => {
                let _lost = self.sink.write(&events).await?;
                Err(Error::new(ErrorKind::Timeout, "no answer"))
            }
        }
    }

    async fn close(&self) -> Result<()> {
        self.sink.close().await
    }
}

audit_core::conformance!(
    sink: async || Directory::start(),
    except: { k10_shows_no_secret: "there is no secret in the configuration" }
);

#[tokio::test]
async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
    crash_at_every_call(async || World::of_sink(Directory::start())).await
}

#[tokio::test]
async fn a_stop_at_any_call_loses_and_doubles_nothing() -> Verdict {
    stop_at_every_call(async || World::of_sink(Directory::start())).await
}

#[tokio::test]
async fn random_faults_lose_and_double_nothing() -> Verdict {
    survive_random_faults(async || World::of_sink(Directory::start()), 0..20).await
}
