//! Against a real broker: see `.ci/README.md` for how to start one. Without it, tests say that they
//! were skipped; with `AUDIT_LIVE=1` they fail instead.

#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use audit_core::Sink;
use audit_sink_kafka::KafkaSink;
use common::{Isolation, Live, events, put};

macro_rules! live {
    ($test:literal, $partitions:literal) => {
        match Live::with_topics($test, $partitions) {
            Some(live) => live,
            None => return,
        }
    };
}

#[tokio::test]
async fn a_record_has_key_headers_time_and_value_of_the_event() {
    let live = live!("a_record_has_key_headers_time_and_value_of_the_event", 3);
    let sink = KafkaSink::new(live.config()).unwrap();
    sink.check().await.unwrap();
    let events = events(0..5);
    put(&sink, &events).await;
    let mut stored = live.read(Isolation::Uncommitted);
    stored.sort_by_key(|s| s.key.clone());
    for (stored, event) in stored.iter().zip(&events) {
        assert_eq!(stored.key.as_deref(), Some(event.id.as_str()));
        assert_eq!(stored.value, event.raw.get());
        assert_eq!(stored.timestamp, Some(event.time.timestamp_millis()));
        let headers = [("id", stored.key.as_deref().unwrap()), ("source", "testkit")];
        for (name, value) in headers {
            assert_eq!(stored.header(name), value);
        }
    }
    assert_eq!(stored.len(), 5);
}
