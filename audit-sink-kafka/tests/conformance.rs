//! The sink contract of `audit-core`, against a cluster that is not there.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SinkHarness, When};
use audit_core::{AuditEvent, ErrorKind, EventId, Format, Sink};
use audit_sink_kafka::{KafkaConfig, KafkaSink, Property};
use common::{Faults, Faulty, Isolation, Mock, read};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp};
use serde::Deserialize;
use serde_json::value::RawValue;

const CANARY: &str = "canary-6fd1";

struct Cluster {
    mock: Mock,
    config: KafkaConfig,
    /// Whether all records are in one order.
    ordered: bool,
    /// Whether faults may be tried that end with a time-out.
    patient: bool,
    faults: Faults,
}

impl Cluster {
    async fn start(partitions: i32, adapt: fn(&mut KafkaConfig)) -> Self {
        let mock = Mock::with_topic(partitions);
        let mut config = mock.config();
        config.properties.insert("sasl.password".to_owned(), Property::from(CANARY));
        adapt(&mut config);
        let patient = config.properties.len() == mock.config().properties.len() + 1;
        let ordered = partitions == 1;
        Self { mock, config, ordered, patient, faults: Faults::default() }
    }

    /// Lets each of the next requests fail in the same way, until the write is over.
    fn errors(&self, api: Api, error: Resp) {
        let orders = [self.mock.orders(), self.mock.orders()];
        let [before, after] = orders;
        self.around(
            move || before.give(move |c| c.request_errors(api, &[error; 1000])),
            move || after.give(move |c| c.clear_request_errors(api)),
        );
    }

    fn around(
        &self,
        before: impl FnOnce() + Send + 'static,
        after: impl FnOnce() + Send + 'static,
    ) {
        self.faults.lock().unwrap().around = Some((Box::new(before), Box::new(after)));
    }
}

#[async_trait]
impl SinkHarness for Cluster {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        Arc::new(Faulty {
            sink: Arc::new(KafkaSink::new(self.config.clone()).unwrap()),
            faults: Arc::clone(&self.faults),
            too_large: 1_100_000,
            deduplicates: false,
        })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.mock.brokers);
        let record = |value: String| match self.config.format {
            Format::Canonical => {
                #[derive(Deserialize)]
                struct Canonical<'a> {
                    #[serde(borrow)]
                    raw: &'a RawValue,
                }
                serde_json::from_str::<Canonical<'_>>(&value).unwrap().raw.get().to_owned()
            }
            _ => value,
        };
        let stored = read(&client, "audit", Isolation::Uncommitted).into_iter();
        stored.map(|s| (EventId::new(s.header("id")), record(s.value))).collect()
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        let possible = items.iter().all(|(_, kind)| *kind == ErrorKind::Rejected);
        if possible {
            let ids = items.iter().map(|(id, _)| id.clone());
            self.faults.lock().unwrap().oversize.extend(ids);
        }
        possible
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        match (kind, when) {
            // These take a second each: once is enough.
            (ErrorKind::Timeout | ErrorKind::Unavailable, _) if !self.patient => return false,
            (ErrorKind::Timeout, When::Before) => {
                self.errors(Api::Produce, Resp::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
            }
            (ErrorKind::Timeout, When::After) => {
                let [slow, fast] = [self.mock.orders(), self.mock.orders()];
                let delay = |time| {
                    move |c: &MockCluster<'_, _>| c.broker_round_trip_time(-1, time).unwrap()
                };
                self.around(
                    move || slow.give(delay(Duration::from_millis(1500))),
                    move || fast.give(delay(Duration::ZERO)),
                );
            }
            (ErrorKind::Unavailable, When::Before) => {
                let [down, up] = [self.mock.orders(), self.mock.orders()];
                self.around(
                    move || down.give(|c| c.broker_down(-1).unwrap()),
                    move || up.give(|c| c.broker_up(-1).unwrap()),
                );
            }
            (ErrorKind::Rejected, When::Before) => {
                self.errors(Api::Produce, Resp::RD_KAFKA_RESP_ERR_POLICY_VIOLATION);
            }
            (ErrorKind::Auth, When::Before) => {
                self.errors(Api::Produce, Resp::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
            }
            (ErrorKind::Config, When::Before) => {
                self.errors(Api::Produce, Resp::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS);
            }
            _ => return false,
        }
        true
    }

    fn key(&self, event: &AuditEvent) -> String {
        if self.ordered { String::new() } else { event.id.to_string() }
    }

    fn canary(&self) -> Option<String> {
        Some(CANARY.to_owned())
    }

    async fn texts(&mut self) -> Vec<String> {
        let sink = KafkaSink::new(self.config.clone()).unwrap();
        let mut bad = self.config.clone();
        bad.properties.insert("sasl.mechanisms".to_owned(), Property::from(CANARY));
        bad.properties.insert("linger.ms".to_owned(), Property::from("x"));
        let error = KafkaSink::new(bad).unwrap_err();
        vec![
            format!("{:#?} {:?}", self.config, self.config),
            format!("{sink:#?}"),
            format!("{error} {error:?}"),
        ]
    }
}

macro_rules! kafka_suite {
    ($module:ident, $partitions:literal, $adapt:expr) => {
        mod $module {
            audit_core::conformance!(
                sink: async || super::Cluster::start($partitions, $adapt).await
            );
        }
    };
}

kafka_suite!(one_partition, 1, |_| {});
kafka_suite!(four_partitions_canonical, 4, |config| {
    config.format = audit_core::Format::Canonical;
    config.compression = audit_sink_kafka::Compression::Zstd;
    config.properties.insert("linger.ms".to_owned(), "0".into());
});
kafka_suite!(little_room, 1, |config| {
    // Two records fit.
    config.properties.insert("queue.buffering.max.messages".to_owned(), "2".into());
    config.properties.insert("batch.num.messages".to_owned(), "1".into());
});

mod fuse {
    use audit_core::testkit::{
        World, crash_at_every_call, stop_at_every_call, survive_random_faults,
    };

    use super::Cluster;

    async fn start() -> World {
        World::of_sink(Cluster::start(1, |_| {}).await)
    }

    fn holds(verdict: audit_core::testkit::Verdict) {
        if let Err(violation) = verdict {
            panic!("{violation}");
        }
    }

    #[tokio::test]
    async fn d02_d03_nothing_is_lost_by_a_death_at_any_call() {
        holds(crash_at_every_call(start).await);
    }

    #[tokio::test]
    async fn d08_nothing_is_lost_by_a_clean_end_at_any_call() {
        holds(stop_at_every_call(start).await);
    }

    #[tokio::test]
    async fn deaths_and_failures_at_random_are_survived() {
        holds(survive_random_faults(start, 0..4).await);
    }
}
