//! What is in a topic.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub timestamp: Option<i64>,
    pub value: String,
}

impl Stored {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Reads a topic to its end, partition by partition. A topic that is not there is empty.
pub(crate) fn read(config: &ClientConfig, topic: &str, isolation: Isolation) -> Vec<Stored> {
    let mut config = config.clone();
    let consumer: BaseConsumer = config
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        )
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let partitions = metadata.topics()[0].partitions();
    if partitions.is_empty() {
        return Vec::new();
    }
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut stored, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ended < partitions.len() {
        assert!(Instant::now() < deadline, "{topic} cannot be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let headers = message.headers().map_or(Vec::new(), |headers| {
                    let owned = headers.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap())));
                    owned.collect()
                });
                stored.push(Stored {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(text),
                    headers,
                    timestamp: message.timestamp().to_millis(),
                    value: message.payload().map(text).unwrap_or_default(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(_)) | None => {}
        }
    }
    // Its end takes a moment.
    std::thread::spawn(move || drop(consumer));
    stored.sort_by_key(|s| (s.partition, s.offset));
    stored
}
