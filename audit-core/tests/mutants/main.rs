//! The suite judged: deliberately broken implementations, each of which has to be caught by the rule
//! that is about its defect, beside a whole one that passes.

#![expect(clippy::unwrap_used, reason = "mutants are test code")]

mod checkpoint;
mod order;
mod sink;
mod source;

use audit_core::testkit::{Rule, Violation};

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
