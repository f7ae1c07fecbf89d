//! Clusters, real and mocked, and what tests do with them.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "not every file uses everything")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a failed test, and one that is skipped says so"
)]

mod faulty;
mod live;
mod mock;
mod reading;

use audit_core::testkit::sample_events;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Sink, Written};

pub(crate) use faulty::{Fault, Faults, Faulty};
pub(crate) use live::Live;
pub(crate) use mock::Mock;
pub(crate) use reading::{Isolation, Stored, read};

/// Sample events by number.
pub(crate) fn events(range: std::ops::Range<usize>) -> Vec<AuditEvent> {
    sample_events(range.start, range.len()).unwrap()
}

/// Returns index and kind of each failure.
pub(crate) fn failures(written: &Written) -> Vec<(usize, ErrorKind)> {
    written.failures.iter().map(|f| (f.index, f.error.kind())).collect()
}

/// Expects that a call failed, in this way.
pub(crate) fn failed<T>(answer: Result<T>, kind: ErrorKind, retryable: bool) -> Error {
    let error = answer.map(drop).expect_err("the call went well");
    assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error:?}");
    error
}

/// Writes events and expects that all are stored.
pub(crate) async fn put(sink: &dyn Sink, events: &[AuditEvent]) {
    let written = sink.write(events).await.unwrap();
    assert_eq!(failures(&written), vec![], "{written:?}");
}
