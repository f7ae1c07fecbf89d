//! Proof that an implementation keeps its port's contract: the conformance suite, the crash fuse, and
//! stand-ins in memory. Feature `testkit`, for `[dev-dependencies]`.
//!
//! # The suite
//!
//! The numbered contracts of [`Source`], [`Sink`] and [`Checkpoint`] are the rules of the suite. You
//! write a small harness, which seeds your upstream or looks into your destination, and
//! [`conformance!`](crate::conformance) stamps one named test for each rule:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//!
//! use async_trait::async_trait;
//! use audit_core::testkit::SourceHarness;
//! use audit_core::{
//!     AuditEvent, Batch, Cursor, Error, ErrorKind, EventId, Limit, Raw, Read, Result, Source,
//! };
//! use chrono::DateTime;
//!
//! /// A journal that is only ever appended to; a record is known by its place.
//! type Journal = Arc<Mutex<Vec<String>>>;
//!
//! struct JournalSource {
//!     journal: Journal,
//!     next: usize,
//! }
//!
//! #[async_trait]
//! impl Source for JournalSource {
//!     async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
//!         self.next = from.map_or(Ok(0), |cursor| cursor.decode("journal", 1))?;
//!         Ok(())
//!     }
//!
//!     async fn read(&mut self, limit: Limit) -> Result<Read> {
//!         let (mut events, mut bytes) = (Vec::new(), 0);
//!         let lines = self.journal.lock().unwrap();
//!         for (n, line) in lines.iter().enumerate().skip(self.next).take(limit.max_events) {
//!             let id = EventId::new(format!("journal/{n}"));
//!             let raw = Raw::parse(line.as_str())?;
//!             let event = AuditEvent::new(id, "journal".into(), DateTime::UNIX_EPOCH, raw);
//!             bytes += event.size();
//!             if bytes > limit.max_bytes && !events.is_empty() {
//!                 break;
//!             }
//!             events.push(event);
//!         }
//!         if events.is_empty() {
//!             return Ok(Read::Idle(Duration::from_secs(1)));
//!         }
//!         self.next += events.len();
//!         Ok(Read::Batch(Batch::new(events, Cursor::encode("journal", 1, &self.next)?)))
//!     }
//!
//!     async fn check(&mut self) -> Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! /// What the suite needs to judge it.
//! #[derive(Default)]
//! struct JournalHarness {
//!     journal: Journal,
//! }
//!
//! #[async_trait]
//! impl SourceHarness for JournalHarness {
//!     async fn source(&mut self) -> Box<dyn Source> {
//!         Box::new(JournalSource { journal: self.journal.clone(), next: 0 })
//!     }
//!
//!     async fn seed(&mut self, records: usize) -> Vec<EventId> {
//!         let mut lines = self.journal.lock().unwrap();
//!         (0..records)
//!             .map(|_| {
//!                 let n = lines.len();
//!                 lines.push(format!(r#"{{"n":{n}}}"#));
//!                 EventId::new(format!("journal/{n}"))
//!             })
//!             .collect()
//!     }
//!
//!     async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
//!         self.seed(records).await // all its records carry the same time anyway
//!     }
//! }
//!
//! // In `tests/conformance.rs`:
//! audit_core::conformance!(
//!     source: async || JournalHarness::default(),
//!     except: {
//!         s07_finds_a_late_record_once: "a journal is only ever appended to",
//!         s09_reports_a_failure_with_its_kind: "memory does not fail",
//!         s09_hands_on_bad_records_without_holding_up_others: "only JSON can be appended",
//!     }
//! );
//! # // The tests are not run by a documentation test, so the rules are gone through here.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     use audit_core::testkit::{SOURCE_RULES, World, crash_at_every_call};
//! #     for rule in SOURCE_RULES.iter().filter(|r| !r.name().starts_with("s09")) {
//! #         let verdict = rule.judge(&mut JournalHarness::default()).await;
//! #         assert_eq!(verdict.is_ok(), !rule.name().starts_with("s07"), "{verdict:?}");
//! #     }
//! #     crash_at_every_call(async || World::of_source(JournalHarness::default())).await.unwrap();
//! # }
//! ```
//!
//! A rule that a harness has no means for fails until it is named in `except`; it is then listed as
//! ignored, with the reason. Nothing passes unrun. [`SOURCE_RULES`], [`SINK_RULES`] and
//! [`CHECKPOINT_RULES`] are the same rules for programs that go through them on their own.
//!
//! # The fuse
//!
//! [`crash_at_every_call`] runs the real [`Pipeline`] over your harness and kills it at its first
//! call to the outside, then in a fresh world at the second, and so on, before and after the call
//! took effect; each time the next life has to complete the work. [`survive_random_faults`] does the
//! same with several deaths and failures at random, from a seed, and [`stop_at_every_call`] asks for a
//! clean end instead. A [`Probe`] checks the pipeline's
//! invariant at every call on the way:
//!
//! ```
//! use audit_core::testkit::{
//!     MemoryUpstream, Verdict, World, crash_at_every_call, survive_random_faults,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Verdict {
//! let start = async || World::of_source(MemoryUpstream::history());
//! crash_at_every_call(start).await?;
//! survive_random_faults(start, 0..5).await
//! # }
//! ```
//!
//! # Stand-ins
//!
//! [`MemoryUpstream`], [`MemoryDestination`] and [`MemoryProgress`] keep the whole contract in
//! memory, with faults on demand, to be the other end of your tests.
//!
//! [`Checkpoint`]: crate::Checkpoint
//! [`Pipeline`]: crate::Pipeline
//! [`Sink`]: crate::Sink
//! [`Source`]: crate::Source

#[doc(hidden)]
pub mod checkpoint_rules;
mod crash;
mod drain;
mod fuse;
mod fused;
mod harness;
mod memory_progress;
mod memory_sink;
mod memory_source;
mod polls;
mod probe;
mod rules;
mod sample;
#[doc(hidden)]
pub mod sink_rules;
#[doc(hidden)]
pub mod source_rules;
mod violation;

pub use self::crash::{
    Parts, World, crash_at_every_call, stop_at_every_call, survive_random_faults,
};
pub use self::fuse::Fuse;
pub use self::fused::{FusedCheckpoint, FusedDeadLetters, FusedSink, FusedSource};
pub use self::harness::{CheckpointHarness, Damage, Save, SinkHarness, SourceHarness, When};
pub use self::memory_progress::MemoryProgress;
pub use self::memory_sink::MemoryDestination;
pub use self::memory_source::MemoryUpstream;
pub use self::probe::Probe;
#[doc(hidden)]
pub use self::rules::run_rule;
pub use self::rules::{CHECKPOINT_RULES, Rule, SINK_RULES, SOURCE_RULES};
pub use self::sample::{sample_events, sample_events_with_line_breaks, sample_id};
pub use self::violation::{Verdict, Violation};
pub use crate::conformance;
