use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{Cursor, Error, ErrorKind, Result, Revision, StreamId};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Context, retire};
use crate::error;
use crate::progress;
use crate::settings::Settings;
use crate::topic::{self, blocking};

/// What one question to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long readers wait for a transaction beyond the time that it may take itself.
const MARGIN: Duration = Duration::from_secs(10);

/// Reads what was last committed of a stream in the topic of checkpoints.
///
/// Reads to the end that the topic has now, and not only to what is stable: another stream's open
/// transaction would hide what this one committed behind it. Such a transaction is waited for.
///
/// # Errors
/// [`ErrorKind::InvalidData`] when the last record is damaged, [`ErrorKind::Config`] when there is
/// no topic and none may be made.
pub(crate) async fn last(
    settings: &Arc<Settings>,
    stream: &StreamId,
    topic: &str,
) -> Result<Option<(Cursor, Revision)>> {
    let Some(partitions) = topic::look(settings, topic).await? else {
        return match settings.create_topic {
            Some(_) => Ok(None),
            None => Err(topic::missing(topic)),
        };
    };
    let (settings, stream, topic) = (Arc::clone(settings), stream.clone(), topic.to_owned());
    blocking(move || {
        let reader = Reader { settings: &settings, topic: &topic, group: stream.as_str() };
        let found = reader.last_values(partitions, stream.as_str().as_bytes())?;
        let mut newest: Option<(Cursor, Revision)> = None;
        for value in &found {
            let saved = progress::decode(value, &stream, &topic)?;
            if newest.as_ref().is_none_or(|(_, revision)| *revision < saved.1) {
                newest = Some(saved);
            }
        }
        Ok(newest)
    })
    .await
}

struct Reader<'a> {
    settings: &'a Settings,
    topic: &'a str,
    group: &'a str,
}

impl Reader<'_> {
    fn client(&self, isolation: &str) -> Result<BaseConsumer<Context>> {
        let mut config = self.settings.reader();
        config
            // Named because the library asks for it; nothing joins a group.
            .set("group.id", self.group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50");
        config.create_with_context(Context::default()).map_err(|e| error::of_kafka(&e, None))
    }

    /// Returns the last committed value under a key in each partition that has one.
    fn last_values(&self, partitions: i32, key: &[u8]) -> Result<Vec<Vec<u8>>> {
        let all = self.client("read_uncommitted")?;
        let mut ends = Vec::new();
        for partition in 0..partitions {
            let (low, high) = self.watermarks(&all, partition)?;
            if low < high {
                ends.push((partition, low, high));
            }
        }
        retire(all);
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.client("read_committed")?;
        let transaction = self.settings.transaction.as_ref().map_or(MARGIN, |t| t.timeout);
        let deadline = Instant::now() + transaction + MARGIN;
        for (partition, _, high) in &ends {
            while self.watermarks(&committed, *partition)?.1 < *high {
                if Instant::now() > deadline {
                    return Err(self.stuck());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let mut assignment = TopicPartitionList::new();
        for (partition, low, _) in &ends {
            assignment
                .add_partition_offset(self.topic, *partition, Offset::Offset(*low))
                .map_err(|e| error::of_kafka(&e, None))?;
        }
        committed.assign(&assignment).map_err(|e| error::of_kafka(&e, None))?;
        let found = self.read(&committed, ends.len(), key, deadline);
        retire(committed);
        found
    }

    fn read(
        &self,
        consumer: &BaseConsumer<Context>,
        partitions: usize,
        key: &[u8],
        deadline: Instant,
    ) -> Result<Vec<Vec<u8>>> {
        let mut values: BTreeMap<i32, Option<Vec<u8>>> = BTreeMap::new();
        // A partition that is written to meanwhile ends more than once.
        let mut ended = BTreeSet::new();
        while ended.len() < partitions {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    if message.key() == Some(key) {
                        // Without a value it was taken back: the stream starts over.
                        let value = message.payload().map(<[u8]>::to_vec);
                        values.insert(message.partition(), value);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(Err(error)) if consumer.context().is_refused() => {
                    return Err(consumer.context().explain(&error));
                }
                // The library tries again by itself.
                Some(Err(_)) | None => {}
            }
            if Instant::now() > deadline {
                return Err(self.stuck());
            }
        }
        Ok(values.into_values().flatten().collect())
    }

    fn watermarks(&self, client: &BaseConsumer<Context>, partition: i32) -> Result<(i64, i64)> {
        client.fetch_watermarks(self.topic, partition, PATIENCE).map_err(|e| {
            client
                .context()
                .explain(&e)
                .while_doing("load the checkpoint")
                .with("topic", self.topic)
                .with("partition", partition)
        })
    }

    fn stuck(&self) -> Error {
        Error::new(ErrorKind::Unavailable, "the checkpoints cannot be read to their end")
            .while_doing("load the checkpoint")
            .with("topic", self.topic)
            .with_hint("a transaction of another writer is open; it ends with its time-out")
    }
}
