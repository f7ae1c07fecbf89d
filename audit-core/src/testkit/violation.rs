use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, EventId, Result as CoreResult};

/// A broken rule: which, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    rule: &'static str,
    message: String,
}

impl Violation {
    /// Creates a violation; the suite fills in the rule.
    pub fn new(message: impl Into<String>) -> Self {
        Self { rule: "", message: message.into() }
    }

    /// Names the rule that was broken. The innermost name stays.
    #[must_use]
    pub fn of(mut self, rule: &'static str) -> Self {
        if self.rule.is_empty() {
            self.rule = rule;
        }
        self
    }

    /// Says where in the rule it happened.
    #[must_use]
    pub fn during(mut self, step: impl fmt::Display) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// Returns the full name of the rule, which is also the name of its test.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// Returns what was seen.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says that a harness does not offer what a rule needs.
    pub(super) fn undeclared(ability: &str) -> Self {
        Self::new(format!(
            "the harness cannot {ability}; if no harness for this adapter could, name this test in \
             `except` with the reason"
        ))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.rule.is_empty() {
            write!(f, "{}: ", self.rule)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Violation {}

/// What a rule returns.
pub type Verdict<T = ()> = Result<T, Violation>;

pub(super) fn ensure(holds: bool, message: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::new(message())) }
}

/// Turns an unexpected error of the port under test into a violation.
pub(super) trait OrViolation<T> {
    fn or_violation(self, call: &str) -> Verdict<T>;
}

impl<T> OrViolation<T> for CoreResult<T> {
    fn or_violation(self, call: &str) -> Verdict<T> {
        self.map_err(|e| Violation::new(format!("{call} failed: {}", whole(&e))))
    }
}

/// Returns an error and its causes in one line.
pub(super) fn whole(error: &Error) -> String {
    let mut text = format!("{error} [{}]", error.kind());
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        text.push_str(&format!(": {e}"));
        cause = e.source();
    }
    text
}

/// Checks that `found` holds every id of `expected` once, and no other, in any order.
pub(super) fn exactly<'a>(
    expected: impl IntoIterator<Item = &'a EventId>,
    found: impl IntoIterator<Item = &'a EventId>,
) -> Verdict {
    let mut balance: BTreeMap<&EventId, (u32, u32)> = BTreeMap::new();
    for id in expected {
        balance.entry(id).or_default().0 += 1;
    }
    for id in found {
        balance.entry(id).or_default().1 += 1;
    }
    let names = |pick: fn(u32, u32) -> bool| {
        let ids = balance.iter().filter(|(_, (e, f))| pick(*e, *f));
        ids.map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(" ")
    };
    let parts = [
        ("missing", names(|e, f| f < e)),
        ("more than once", names(|e, f| f > e && e > 0)),
        ("foreign", names(|e, _| e == 0)),
    ];
    let found: Vec<_> = parts
        .iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| format!("{what}: {ids}"))
        .collect();
    ensure(found.is_empty(), || found.join("; "))
}
