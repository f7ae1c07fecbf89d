//! A cluster that is not there, and what tests do with it.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "not every file uses everything")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a step that fails is a failed test, and one that is skipped says so"
)]

mod fake;
mod http;
mod live;
mod store;

use audit_core::testkit::sample_events;
use audit_core::{AuditEvent, ErrorKind, Result, Retry, Sink, Written};
use audit_sink_elastic::{ElasticConfig, ElasticSink};

pub(crate) use fake::{Fake, Fault};
pub(crate) use live::Live;

/// A configuration for tests: nothing takes long.
pub(crate) fn config(fake: &Fake) -> ElasticConfig {
    let mut config = ElasticConfig::new(&fake.url(), "audit").unwrap();
    config.request_timeout = std::time::Duration::from_secs(5);
    config
}

pub(crate) fn sink(fake: &Fake) -> ElasticSink {
    ElasticSink::new(config(fake)).unwrap()
}

/// Sample events by number.
pub(crate) fn events(range: std::ops::Range<usize>) -> Vec<AuditEvent> {
    sample_events(range.start, range.len()).unwrap()
}

/// Returns index and kind of each failure.
pub(crate) fn failures(written: &Written) -> Vec<(usize, ErrorKind)> {
    written.failures.iter().map(|f| (f.index, f.error.kind())).collect()
}

/// Expects that a write failed as a whole, in this way.
pub(crate) fn failed(
    answer: Result<Written>,
    kind: ErrorKind,
    retryable: bool,
) -> audit_core::Error {
    let error = answer.map(|w| failures(&w)).expect_err("the write went well");
    assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error:?}");
    error
}

/// Writes events and expects that all are stored, so many of them before.
pub(crate) async fn put(sink: &dyn Sink, events: &[AuditEvent], duplicates: usize) {
    let written = sink.write(events).await.unwrap();
    assert_eq!((failures(&written), written.duplicates.len()), (vec![], duplicates), "{written:?}");
}

pub(crate) fn retry_of(written: &Written, index: usize) -> Retry {
    written.failures.iter().find(|f| f.index == index).unwrap().error.retry()
}
