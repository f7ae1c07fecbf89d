//! The source contract of `audit-core`, against a cluster that is not there and against a real one.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SourceHarness, World, crash_at_every_call};
use audit_core::{Cursor, ErrorKind, EventId, Limit, Read, Result, Source};
use audit_source_confluent::{ConfluentConfig, ConfluentSource};
use common::{Live, Mock, Orders, id, produce, record};
use rdkafka::ClientConfig;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp};

/// What befalls the next call, and how it is undone.
type Fault = Arc<Mutex<Option<ErrorKind>>>;

/// A topic and its records.
struct Topic {
    keeper: Box<dyn Send>,
    orders: Option<Orders>,
    config: ConfluentConfig,
    client: ClientConfig,
    partitions: i32,
    next: usize,
    fault: Fault,
    /// How many groups were made: each source has one of its own, if any.
    groups: Option<usize>,
}

impl Topic {
    fn mock(partitions: i32) -> Self {
        let mock = Mock::with_topic(partitions);
        let (orders, config, client) = (Some(mock.orders()), mock.config(), mock.client());
        let fault = Fault::default();
        let keeper = Box::new(mock);
        Self { keeper, orders, config, client, partitions, next: 0, fault, groups: None }
    }

    /// A real topic whose sources are members of a group. Without a broker it is none of both.
    fn shared(partitions: i32) -> Self {
        let Some(live) = Live::with_topic("in a group", partitions) else {
            return Self::mock(partitions);
        };
        let (config, client, fault) = (live.config(), live.client(), Fault::default());
        let keeper = Box::new(live);
        let groups = Some(0);
        Self { keeper, orders: None, config, client, partitions, next: 0, fault, groups }
    }

    fn add(&self, texts: impl IntoIterator<Item = String>) {
        let texts = texts.into_iter().enumerate();
        let records: Vec<_> =
            texts.map(|(n, text)| (n as i32 % self.partitions, text, 1_770_000_000_000)).collect();
        produce(&self.client, &self.config.topic, &records);
    }
}

#[async_trait]
impl SourceHarness for Topic {
    async fn source(&mut self) -> Box<dyn Source> {
        let _keeper = &self.keeper;
        let mut config = self.config.clone();
        if let Some(groups) = &mut self.groups {
            *groups += 1;
            config.group = Some(format!("{}-{groups}", config.topic));
        }
        let source = ConfluentSource::new(config).unwrap();
        Box::new(Faulty { source, orders: self.orders.clone(), fault: Arc::clone(&self.fault) })
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let numbers = self.next..self.next + records;
        self.next += records;
        self.add(numbers.clone().map(record));
        numbers.map(|n| EventId::new(id(n))).collect()
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let numbers = self.next..self.next + records;
        self.next += records;
        self.add(numbers.clone().map(|n| {
            format!(r#"{{"id":"{}","source":"s","time":"2026-03-04T06:00:00Z"}}"#, id(n))
        }));
        numbers.map(|n| EventId::new(id(n))).collect()
    }

    async fn payload(&mut self, event: &EventId) -> Option<String> {
        let number: usize = event.as_str().rsplit('-').next()?.parse().ok()?;
        let whole = record(number);
        // Tied ones have a text of their own.
        (number < 4).then_some(whole)
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 1;
        self.add([format!("{{\"cut off\": {}", self.next)]);
        true
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        let possible = matches!(kind, ErrorKind::Auth | ErrorKind::Config | ErrorKind::Unavailable);
        if possible && self.orders.is_some() {
            *self.fault.lock().unwrap() = Some(kind);
        }
        possible && self.orders.is_some()
    }

    async fn idle(&mut self, wait: Duration) {
        tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
    }

    fn limit(&self) -> Limit {
        // To join a group takes a while.
        Limit::default().wait(Duration::from_millis(if self.groups.is_some() { 3000 } else { 300 }))
    }
}

/// A source that meets a fault in its next call.
struct Faulty {
    source: ConfluentSource,
    orders: Option<Orders>,
    fault: Fault,
}

impl Faulty {
    fn begin(&self) -> bool {
        let Some(kind) = self.fault.lock().unwrap().take() else { return false };
        self.orders.as_ref().unwrap().give(move |cluster| {
            let error = match kind {
                ErrorKind::Auth => Resp::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                ErrorKind::Config => Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                _ => return cluster.broker_down(1).unwrap(),
            };
            cluster.topic_error("audit", error).unwrap();
            for api in [Api::Fetch, Api::ListOffsets] {
                cluster.request_errors(api, &[error; 1000]);
            }
        });
        true
    }

    fn end(&self) {
        self.orders.as_ref().unwrap().give(|cluster| {
            cluster.broker_up(1).unwrap();
            let none = Resp::RD_KAFKA_RESP_ERR_NO_ERROR;
            cluster.topic_error("audit", none).unwrap();
            for api in [Api::Fetch, Api::ListOffsets] {
                cluster.clear_request_errors(api);
            }
        });
    }
}

#[async_trait]
impl Source for Faulty {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        let faulty = self.begin();
        let answer = self.source.open(from).await;
        if faulty {
            self.end();
        }
        answer
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let faulty = self.begin();
        let answer = self.source.read(limit).await;
        if faulty {
            self.end();
        }
        answer
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        self.source.committed(cursor).await
    }

    async fn check(&mut self) -> Result<()> {
        self.source.check().await
    }
}

mod one_partition {
    use super::*;

    async fn start() -> Topic {
        Topic::mock(1)
    }

    audit_core::conformance!(
        source: start,
        except: { s07_finds_a_late_record_once: "a partition is only ever appended to" }
    );
}

mod three_partitions {
    use super::*;

    async fn start() -> Topic {
        Topic::mock(3)
    }

    audit_core::conformance!(
        source: start,
        except: { s07_finds_a_late_record_once: "a partition is only ever appended to" }
    );
}

/// What the group was told counts as well as the cursor, so each source has a group that was told
/// nothing. `tests/group.rs` has what else there is to a group.
mod in_a_group {
    use super::*;

    async fn start() -> Topic {
        Topic::shared(2)
    }

    audit_core::conformance!(
        source: start,
        except: {
            s07_finds_a_late_record_once: "a partition is only ever appended to",
            s09_reports_a_failure_with_its_kind: "a real broker does not fail on demand"
        }
    );
}

#[tokio::test]
#[ignore = "half a minute: each life has a cluster of its own"]
async fn a_crash_at_any_call_loses_nothing() {
    crash_at_every_call(async || World::of_source(Topic::mock(2))).await.unwrap();
}

#[tokio::test]
#[ignore = "a minute: each life joins the group"]
async fn a_crash_at_any_call_in_a_group_loses_nothing() {
    crash_at_every_call(async || {
        let mut topic = Topic::shared(2);
        if topic.groups.take().is_some() {
            topic.config.group = Some(topic.config.topic.clone());
        }
        World::of_source(topic)
    })
    .await
    .unwrap();
}
