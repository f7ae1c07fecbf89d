//! The suite judged: deliberately broken implementations, each of which has to be caught by the rule
//! that is about its defect, beside a whole one that passes.

#![expect(clippy::unwrap_used, reason = "mutants are test code")]

mod checkpoint;
mod order;
mod sink;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use audit_core::testkit::{
    CHECKPOINT_RULES, CheckpointHarness, MemoryDestination, MemoryProgress, MemoryUpstream, Rule,
    SINK_RULES, SOURCE_RULES, SinkHarness, SourceHarness, Violation,
};
use audit_core::{EventId, Sink, Source};

/// Judges an implementation by all rules, and returns the violations.
async fn violations<H: ?Sized>(
    rules: &[Rule<H>],
    start: impl AsyncFn() -> Box<H>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for rule in rules {
        found.extend(rule.judge(&mut *start().await).await.err());
    }
    found
}

fn assert_caught(mutant: &str, rule: &str, found: &[Violation]) {
    let names: Vec<_> = found.iter().map(Violation::rule).collect();
    assert!(names.contains(&rule), "{mutant} passes {rule}; it violates {names:?}");
}

/// Harnesses of whole parts that offer only what they must.
struct Bare<T>(T);

#[async_trait]
impl SourceHarness for Bare<MemoryUpstream> {
    async fn source(&mut self) -> Box<dyn Source> {
        self.0.source().await
    }
    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        self.0.seed(records).await
    }
    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.0.seed_tied(records).await
    }
}

#[async_trait]
impl SinkHarness for Bare<MemoryDestination> {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        self.0.sink().await
    }
    async fn stored(&mut self) -> Vec<(EventId, String)> {
        self.0.stored().await
    }
}

#[tokio::test]
async fn what_a_harness_cannot_do_fails_until_it_is_declared() {
    let source = async || Box::new(Bare(MemoryUpstream::history())) as Box<dyn SourceHarness>;
    let sink = async || Box::new(Bare(MemoryDestination::new())) as Box<dyn SinkHarness>;
    let progress = async || Box::new(MemoryProgress::new()) as Box<dyn CheckpointHarness>;
    for (found, numbers) in [
        (violations(SOURCE_RULES, source).await, vec!["s07", "s09", "s09"]),
        (violations(SINK_RULES, sink).await, vec!["k04", "k05", "k06", "k10"]),
        (
            violations(CHECKPOINT_RULES, progress).await,
            vec!["c05", "c06", "c06", "c06", "c06", "c08"],
        ),
    ] {
        let rules: Vec<_> = found.iter().map(|v| v.rule().split('_').next().unwrap()).collect();
        assert_eq!(rules, numbers);
        assert!(found.iter().all(|v| v.message().contains("`except`")), "{found:?}");
    }
}
