//! A real broker, if there is one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit_source_confluent::ConfluentConfig;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

/// A real broker, and a topic that nobody else uses. It is removed with it.
#[derive(Debug)]
pub struct Live {
    pub brokers: String,
    pub topic: String,
}

impl Live {
    /// Finds the broker. Without one the test is skipped, which it says, unless one was promised.
    pub fn with_topic(test: &str, partitions: i32) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let Some(brokers) = variable("AUDIT_TEST_KAFKA") else {
            println!("{test}: skipped, AUDIT_TEST_KAFKA is not set");
            return None;
        };
        let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let live = Self { brokers, topic: format!("source-confluent-{process}-{next}") };
        let new = NewTopic::new(&live.topic, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "259200000")
            .set("message.timestamp.type", "CreateTime");
        let made = live
            .admin(async |admin| admin.create_topics(&[new], &AdminOptions::new()).await.unwrap());
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        Some(live)
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

    pub fn config(&self) -> ConfluentConfig {
        self.config_of(&self.brokers)
    }

    pub fn config_of(&self, brokers: &str) -> ConfluentConfig {
        let mut config = ConfluentConfig::new(brokers);
        config.topic.clone_from(&self.topic);
        config.timeout = Duration::from_secs(10);
        config.poll_interval = Duration::from_millis(10);
        config
    }

    /// Removes what is before an offset, as retention does.
    pub fn remove_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).unwrap();
        self.admin(async |admin| admin.delete_records(&list, &AdminOptions::new()).await.unwrap());
    }

    pub fn grow_to(&self, partitions: usize) {
        let new = NewPartitions::new(&self.topic, partitions);
        let made = self.admin(async |admin| {
            admin.create_partitions(&[new], &AdminOptions::new()).await.unwrap()
        });
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _removed = self.admin(async |admin| {
            admin.delete_topics(&[self.topic.as_str()], &AdminOptions::new()).await
        });
    }
}

/// Waits for a future of the admin client, which has a thread of its own to complete it; tests may
/// be on a runtime already, which would not let another block.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn must(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set"))
}

/// Without the variable the test is skipped, unless `AUDIT_LIVE` promises a server.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    let promised = std::env::var("AUDIT_LIVE").is_ok_and(|live| live == "1");
    assert!(value.is_some() || !promised, "AUDIT_LIVE is set, but {name} is not");
    value
}
