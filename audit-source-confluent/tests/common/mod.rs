#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod live;
mod mock;

use std::time::Duration;

use audit_core::{AuditEvent, Cursor, DeadLetter, Limit, Read, Result, Source};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

pub use live::{Live, must, wait};
pub use mock::{Mock, Orders};

/// Writes records, each to the partition given.
pub fn produce(client: &ClientConfig, topic: &str, records: &[(i32, String, i64)]) {
    let mut config = client.clone();
    config.set("enable.idempotence", "false").set("linger.ms", "0");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for (partition, payload, time) in records {
        let record = BaseRecord::<(), String>::to(topic)
            .payload(payload)
            .partition(*partition)
            .timestamp(*time);
        producer.send(record).map_err(|e| e.0).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// All that a source has until it rests.
#[derive(Debug, Default)]
pub struct Drained {
    pub events: Vec<AuditEvent>,
    pub rejected: Vec<DeadLetter>,
    pub cursor: Option<Cursor>,
}

impl Drained {
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<_> = self.events.iter().map(|e| e.id.as_str()).collect();
        ids.sort_unstable();
        ids
    }
}

pub fn limit() -> Limit {
    Limit::default().wait(Duration::from_millis(200))
}

pub async fn drain(source: &mut dyn Source) -> Result<Drained> {
    let mut all = Drained::default();
    loop {
        match source.read(limit()).await? {
            Read::Batch(batch) => {
                all.events.extend(batch.events);
                all.rejected.extend(batch.rejected);
                all.cursor = Some(batch.cursor);
            }
            Read::Idle(_) | Read::End => return Ok(all),
        }
    }
}

/// A record of the second generation.
pub fn record(id: usize) -> String {
    let (seconds, minutes) = (id % 60, id / 60 % 60);
    format!(
        r#"{{"id":"00000000-0000-4000-8000-{id:012}", "source":"crn://confluent.cloud/kafka=lkc-1","specversion":"1.0","type":"io.confluent.kafka.server/authorization","time":"2026-03-04T05:{minutes:02}:{seconds:02}.123456789Z","data":{{"methodName":"mds.Authorize"}}}}"#
    )
}

pub fn id(id: usize) -> String {
    format!("00000000-0000-4000-8000-{id:012}")
}
