//! The sink contract of `audit-core`, against a cluster that is not there.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SinkHarness, When};
use audit_core::{AuditEvent, ErrorKind, EventId, Format, Secret, Sink};
use audit_sink_elastic::{ElasticConfig, ElasticSink};
use common::{Fake, Fault};
use serde::Deserialize;
use serde_json::value::RawValue;

const CANARY: &str = "canary-2fb0";

struct Cluster {
    fake: Fake,
    config: ElasticConfig,
}

impl Cluster {
    async fn start(adapt: fn(&mut ElasticConfig)) -> Self {
        let fake = Fake::start().await;
        // "audit:canary-2fb0"
        fake.lock().authorization = Some("Basic YXVkaXQ6Y2FuYXJ5LTJmYjA=".to_owned());
        let mut config = common::config(&fake);
        config.username = Some("audit".to_owned());
        config.password = Some(Secret::new(CANARY));
        config.request_timeout = Duration::from_millis(400);
        adapt(&mut config);
        Self { fake, config }
    }
}

#[async_trait]
impl SinkHarness for Cluster {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        Arc::new(ElasticSink::new(self.config.clone()).unwrap())
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let documents = self.fake.documents();
        let record = |source: &str| match self.config.format {
            Format::Canonical => {
                #[derive(Deserialize)]
                struct Canonical<'a> {
                    #[serde(borrow)]
                    raw: &'a RawValue,
                }
                serde_json::from_str::<Canonical<'_>>(source).unwrap().raw.get().to_owned()
            }
            _ => {
                let (record, time) = source.rsplit_once(r#","@timestamp":""#).unwrap();
                assert!(time.ends_with("Z\"}"), "{source}");
                format!("{record}}}")
            }
        };
        documents
            .iter()
            .map(|(_, id, source)| (EventId::new(id.as_str()), record(source)))
            .collect()
    }

    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        items.iter().all(|(id, kind)| {
            let refusal = match kind {
                ErrorKind::Rejected => (400, "document_parsing_exception", "failed to parse"),
                ErrorKind::RateLimited => (429, "es_rejected_execution_exception", "queue is full"),
                ErrorKind::Unavailable => (503, "unavailable_shards_exception", "no primary"),
                _ => return false,
            };
            self.fake.refuse(id.as_str(), refusal);
            true
        })
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let after = when == When::After;
        let fault = match (kind, when) {
            (ErrorKind::Timeout, _) => Fault::Silence { after },
            (ErrorKind::Unavailable, When::Before) => Fault::status(503, "no_shard_available"),
            (ErrorKind::Unavailable, When::After) => Fault::Reset { after },
            (ErrorKind::RateLimited, When::Before) => {
                Fault::status(429, "circuit_breaking_exception")
            }
            (ErrorKind::Rejected, When::Before) => {
                Fault::RefuseAll(400, "document_parsing_exception")
            }
            (ErrorKind::Auth, When::Before) => Fault::status(401, "security_exception"),
            (ErrorKind::Config, When::Before) => Fault::status(400, "parse_exception"),
            _ => return false,
        };
        self.fake.fail(fault);
        true
    }

    fn key(&self, event: &AuditEvent) -> String {
        // An index has no order: each document stands for itself.
        event.id.to_string()
    }

    fn requests(&self) -> Option<usize> {
        Some(self.fake.lock().seen.len())
    }

    fn canary(&self) -> Option<String> {
        Some(CANARY.to_owned())
    }

    async fn texts(&mut self) -> Vec<String> {
        let mut url: ElasticConfig = self.config.clone();
        url.hosts = vec![format!("https://audit:{CANARY}@es.example").parse().unwrap()];
        let sink = ElasticSink::new(self.config.clone()).unwrap();
        vec![format!("{:?}", self.config), format!("{url:#?}"), format!("{sink:?}")]
    }
}

macro_rules! elastic_suite {
    ($module:ident, $adapt:expr) => {
        mod $module {
            audit_core::conformance!(sink: async || super::Cluster::start($adapt).await);
        }
    };
}

elastic_suite!(raw, |_| {});
elastic_suite!(canonical, |config| config.format = audit_core::Format::Canonical);
elastic_suite!(daily_in_many_small_requests, |config| {
    config.index = "audit-{yyyy.MM.dd}".to_owned();
    config.max_body_events = 2;
    config.gzip = Some(true);
});

mod fuse {
    use audit_core::testkit::{
        World, crash_at_every_call, stop_at_every_call, survive_random_faults,
    };

    use super::Cluster;

    async fn start() -> World {
        World::of_sink(Cluster::start(|config| config.max_body_events = 3).await)
    }

    fn holds(verdict: audit_core::testkit::Verdict) {
        if let Err(violation) = verdict {
            panic!("{violation}");
        }
    }

    #[tokio::test]
    async fn d02_d03_nothing_is_lost_or_doubled_by_a_death_at_any_call() {
        holds(crash_at_every_call(start).await);
    }

    #[tokio::test]
    async fn d08_nothing_is_lost_or_doubled_by_a_clean_end_at_any_call() {
        holds(stop_at_every_call(start).await);
    }

    #[tokio::test]
    async fn deaths_and_failures_at_random_are_survived() {
        holds(survive_random_faults(start, 0..12).await);
    }
}
