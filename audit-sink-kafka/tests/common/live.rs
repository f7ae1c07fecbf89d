//! A real broker, if there is one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit_core::{Secret, StreamId};
use audit_sink_kafka::{KafkaConfig, Mechanism, SaslConfig, TlsConfig, TransactionConfig};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::{Isolation, Stored, read};

/// A real broker, and topics that nobody else uses. They are removed with it.
#[derive(Debug)]
pub(crate) struct Live {
    pub brokers: String,
    pub topic: String,
    pub checkpoints: String,
}

impl Live {
    /// Finds the broker. Without one the test is skipped, which it says, unless one was promised.
    pub fn find(test: &str) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let brokers = variable("AUDIT_TEST_KAFKA");
        if brokers.is_none() {
            println!("{test}: skipped, AUDIT_TEST_KAFKA is not set");
        }
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let topic = format!("sink-kafka-{process}-{next}");
        Some(Self { brokers: brokers?, checkpoints: format!("{topic}-checkpoints"), topic })
    }

    /// As [`find`](Self::find), with topics of so many partitions.
    pub fn with_topics(test: &str, partitions: i32) -> Option<Self> {
        let live = Self::find(test)?;
        let (topic, checkpoints) = (live.topic.clone(), live.checkpoints.clone());
        live.create(&[
            NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)),
            NewTopic::new(&checkpoints, 1, TopicReplication::Fixed(1))
                .set("cleanup.policy", "compact"),
        ]);
        Some(live)
    }

    pub fn create(&self, topics: &[NewTopic<'_>]) {
        let answer = self
            .admin(async |admin| admin.create_topics(topics, &AdminOptions::new()).await.unwrap());
        assert!(answer.iter().all(Result::is_ok), "{answer:?}");
    }

    fn admin<T>(&self, ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> T) -> T {
        let admin = self.client().create().unwrap();
        wait(ask(&admin))
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub fn config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&self.brokers, &self.topic);
        config.delivery_timeout = Duration::from_secs(10);
        config
    }

    pub fn transactional(&self) -> KafkaConfig {
        let mut config = self.config();
        config.transaction = Some(TransactionConfig::new(&self.checkpoints));
        config
    }

    pub fn partitions(&self, topic: &str) -> usize {
        let client: BaseConsumer = self.client().create().unwrap();
        let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        metadata.topics()[0].partitions().len()
    }

    /// Where each partition of a topic ends.
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let client: BaseConsumer = self.client().create().unwrap();
        let wait = Duration::from_secs(5);
        let partitions = 0..i32::try_from(self.partitions(topic)).unwrap();
        partitions.map(|n| client.fetch_watermarks(topic, n, wait).unwrap().1).collect()
    }

    /// Puts so many records of somebody else into each of these partitions, with a pause after each.
    pub fn fill(
        &self,
        topic: &str,
        partitions: &[usize],
        count: usize,
        value: &str,
        pause: Duration,
    ) {
        let producer: ThreadedProducer<DefaultProducerContext> = self.client().create().unwrap();
        for _ in 0..count {
            for partition in partitions {
                let record = BaseRecord::to(topic).key("other").payload(value);
                let record = record.partition(i32::try_from(*partition).unwrap());
                producer.send(record).map_err(|e| e.0).unwrap();
            }
            std::thread::sleep(pause);
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    /// How far a reader of committed records gets in the first partition.
    pub fn read_committed_end(&self) -> i64 {
        let mut config = self.client();
        let client: BaseConsumer =
            config.set("isolation.level", "read_committed").create().unwrap();
        client.fetch_watermarks(&self.topic, 0, Duration::from_secs(5)).unwrap().1
    }

    /// Opens a transaction with one record; it ends with the producer.
    pub fn transaction(&self, id: &str, topic: &str) -> OpenTransaction {
        let mut config = self.client();
        let producer: ThreadedProducer<DefaultProducerContext> =
            config.set("transactional.id", id).create().unwrap();
        let wait = Duration::from_secs(10);
        producer.init_transactions(wait).unwrap();
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::to(topic).key("other").payload("{}")).map_err(|e| e.0).unwrap();
        producer.flush(wait).unwrap();
        OpenTransaction(producer)
    }

    pub fn read(&self, isolation: Isolation) -> Vec<Stored> {
        read(&self.client(), &self.topic, isolation)
    }

    /// The same broker behind TLS, which asks for the client's certificate.
    pub fn tls(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&must("AUDIT_TEST_KAFKA_SSL"), &self.topic);
        config.delivery_timeout = Duration::from_secs(5);
        let dir = must("AUDIT_TEST_TLS_DIR");
        let mut tls = TlsConfig::default();
        tls.ca_file = Some(format!("{dir}/ca.crt").into());
        tls.client_cert_file = Some(format!("{dir}/client.crt").into());
        tls.client_key_file = Some(format!("{dir}/client.key").into());
        config.tls = Some(tls);
        config
    }

    /// The same broker behind a login, with or without TLS.
    pub fn sasl(&self, mechanism: Mechanism, tls: bool) -> KafkaConfig {
        let listener =
            if tls { "AUDIT_TEST_KAFKA_SASL_SSL" } else { "AUDIT_TEST_KAFKA_SASL_PLAINTEXT" };
        let mut config = KafkaConfig::new(&must(listener), &self.topic);
        config.delivery_timeout = Duration::from_secs(5);
        let password = Secret::new(must("AUDIT_TEST_KAFKA_SASL_PASSWORD"));
        config.sasl =
            Some(SaslConfig::new(mechanism, must("AUDIT_TEST_KAFKA_SASL_USER"), password));
        if tls {
            let mut files = TlsConfig::default();
            files.ca_file = Some(format!("{}/ca.crt", must("AUDIT_TEST_TLS_DIR")).into());
            config.tls = Some(files);
        }
        config
    }
}

/// A transaction that is undone when this is dropped.
pub(crate) struct OpenTransaction(ThreadedProducer<DefaultProducerContext>);

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.0.abort_transaction(Duration::from_secs(10)).unwrap();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let topics = [self.topic.as_str(), self.checkpoints.as_str()];
        let _removed =
            self.admin(async |admin| admin.delete_topics(&topics, &AdminOptions::new()).await);
    }
}

/// Waits for a future of the admin client, which has a thread of its own to complete it; tests may
/// be on a runtime already, which would not let another block.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn must(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set"))
}

/// Without the variable the test is skipped, unless `AUDIT_LIVE` promises a server.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    let promised = std::env::var("AUDIT_LIVE").is_ok_and(|live| live == "1");
    assert!(value.is_some() || !promised, "AUDIT_LIVE is set, but {name} is not");
    value
}
