//! The conformance suite, the crash fuse and memory stand-ins.

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

pub use self::crash::{Parts, World, crash_at_every_call, survive_random_faults};
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
