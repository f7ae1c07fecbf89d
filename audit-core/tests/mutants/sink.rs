use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::testkit::{MemoryDestination, SINK_RULES, SinkHarness, When};
use audit_core::{AuditEvent, Error, ErrorKind, EventId, Failure, Raw, Result, Sink, Written};

use crate::{assert_caught, violations};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bug {
    None,
    AcknowledgesBeforeDurable,
    BlamesTheNextEvent,
    ClaimsToDeduplicate,
    DeniesToDeduplicate,
    FailsWholeForOneEvent,
    ForgetsFailures,
    GivesUpWhatMayPass,
    PayloadIsRewritten,
    ReversesTheOrder,
    SecretInErrors,
    SendsNothingAllTheSame,
    SplitsAtLineBreaks,
    StopsAtTheFirstFailure,
    TakesErrorsForSuccess,
}

const SECRET: &str = "canary-5f1d";

struct Mutant {
    inner: Arc<dyn Sink>,
    bug: Bug,
    buffer: Mutex<Vec<AuditEvent>>,
}

#[async_trait]
impl Sink for Mutant {
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let mut events = events.to_vec();
        match self.bug {
            Bug::AcknowledgesBeforeDurable => {
                let late = std::mem::replace(&mut *self.buffer.lock().unwrap(), events);
                return self.inner.write(&late).await;
            }
            Bug::PayloadIsRewritten => {
                for event in &mut events {
                    // A tree of values loses doubled keys, number forms and escapes.
                    if let Ok(value) = serde_json::from_str::<serde_json::Value>(event.raw.get()) {
                        event.raw = Raw::parse(value.to_string())?;
                    }
                }
            }
            Bug::ReversesTheOrder => events.reverse(),
            Bug::SendsNothingAllTheSame if events.is_empty() => {
                let raw = Raw::parse("{}")?;
                let time = chrono::DateTime::UNIX_EPOCH;
                events.push(AuditEvent::new(EventId::new("flush"), "x".into(), time, raw));
            }
            Bug::SplitsAtLineBreaks => {
                let pieces = events.clone().into_iter().filter(|e| e.raw.get().contains('\n'));
                events.extend(pieces.map(|mut e| {
                    e.id = EventId::new(format!("{}, second line", e.id));
                    e
                }));
            }
            _ => {}
        }
        let answer = self.inner.write(&events).await;
        let mut written = match (answer, self.bug) {
            (Err(_), Bug::TakesErrorsForSuccess) => return Ok(Written::all()),
            (Err(e), Bug::SecretInErrors) => return Err(e.with("password", SECRET)),
            (Err(e), Bug::GivesUpWhatMayPass) => {
                return Err(Error::new(ErrorKind::Rejected, e.to_string()));
            }
            (answer, _) => answer?,
        };
        match self.bug {
            Bug::BlamesTheNextEvent => {
                for failure in &mut written.failures {
                    failure.index = (failure.index + 1) % events.len();
                }
            }
            Bug::ForgetsFailures => written.failures.clear(),
            Bug::GivesUpWhatMayPass => {
                for failure in &mut written.failures {
                    failure.error = Error::new(ErrorKind::Rejected, failure.error.to_string());
                }
            }
            Bug::FailsWholeForOneEvent => {
                if let Some(Failure { error, .. }) = written.failures.pop() {
                    return Err(error);
                }
            }
            _ => {}
        }
        Ok(written)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }

    fn deduplicates(&self) -> bool {
        match self.bug {
            Bug::ClaimsToDeduplicate => true,
            Bug::DeniesToDeduplicate => false,
            _ => self.inner.deduplicates(),
        }
    }
}

/// Writes one event after the other, and leaves the rest when one fails.
struct StopsAtTheFirstFailure(Arc<dyn Sink>);

#[async_trait]
impl Sink for StopsAtTheFirstFailure {
    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        for (index, event) in events.iter().enumerate() {
            let mut written = self.0.write(std::slice::from_ref(event)).await?;
            if let Some(failure) = written.failures.pop() {
                let failures = vec![Failure { index, ..failure }];
                return Ok(Written { duplicates: vec![], failures });
            }
        }
        Ok(Written::all())
    }
}

/// A whole destination, written by a sink that is not.
pub(crate) struct Harness {
    destination: MemoryDestination,
    bug: Bug,
}

impl Harness {
    pub(crate) fn new(bug: Bug) -> Self {
        let destination = match bug {
            Bug::ClaimsToDeduplicate => MemoryDestination::pipe(),
            _ => MemoryDestination::new(),
        };
        Self { destination, bug }
    }
}

#[async_trait]
impl SinkHarness for Harness {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let inner = self.destination.connect();
        if self.bug == Bug::StopsAtTheFirstFailure {
            return Arc::new(StopsAtTheFirstFailure(inner));
        }
        Arc::new(Mutant { inner, bug: self.bug, buffer: Mutex::default() })
    }
    async fn stored(&mut self) -> Vec<(EventId, String)> {
        self.destination.stored().await
    }
    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        self.destination.fail_items(items).await
    }
    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        self.destination.fail_call(kind, when).await
    }
    fn requests(&self) -> Option<usize> {
        self.destination.requests()
    }
    fn canary(&self) -> Option<String> {
        Some(SECRET.into())
    }
    async fn texts(&mut self) -> Vec<String> {
        vec![format!("{:?}", self.destination)]
    }
}

#[tokio::test(start_paused = true)]
async fn each_defect_of_a_sink_is_caught_by_its_rule() {
    let judge = async |bug| {
        let start = async || Box::new(Harness::new(bug)) as Box<dyn SinkHarness>;
        violations(SINK_RULES, start).await
    };
    assert_eq!(judge(Bug::None).await, []);
    for (bug, rule) in [
        (Bug::AcknowledgesBeforeDurable, "k01_keeps_what_it_reported_as_written"),
        (Bug::BlamesTheNextEvent, "k04_names_a_failed_event_and_keeps_its_neighbours"),
        (Bug::ClaimsToDeduplicate, "k02_writes_an_event_again_without_effect"),
        (Bug::DeniesToDeduplicate, "k02_writes_an_event_again_without_effect"),
        (Bug::FailsWholeForOneEvent, "k04_names_a_failed_event_and_keeps_its_neighbours"),
        (Bug::ForgetsFailures, "k04_names_a_failed_event_and_keeps_its_neighbours"),
        (Bug::GivesUpWhatMayPass, "k06_gives_each_failure_its_kind"),
        (Bug::PayloadIsRewritten, "k03_keeps_the_payload_byte_for_byte"),
        (Bug::ReversesTheOrder, "k08_keeps_the_order_of_a_key"),
        (Bug::SecretInErrors, "k10_shows_no_secret"),
        (Bug::SendsNothingAllTheSame, "k07_sends_nothing_for_nothing"),
        (Bug::SplitsAtLineBreaks, "k09_keeps_a_payload_with_line_breaks_one_record"),
        (Bug::StopsAtTheFirstFailure, "k04_names_a_failed_event_and_keeps_its_neighbours"),
        (Bug::TakesErrorsForSuccess, "k05_survives_a_write_that_failed_as_a_whole"),
    ] {
        assert_caught(&format!("{bug:?}"), rule, &judge(bug).await);
    }
}
