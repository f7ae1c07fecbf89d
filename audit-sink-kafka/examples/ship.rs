//! Ships three events through a pipeline, twice, in Kafka transactions: the second run finds nothing
//! left to do, and the topic holds each event once.
//!
//! `cargo run -p audit-sink-kafka --example ship -- localhost:9092 audit-example`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Batch, Cursor, EventId, Limit, Pipeline, Raw, Read, Result, Sink, Source, StreamId,
};
use audit_sink_kafka::{CreateTopic, KafkaConfig, TransactionConfig, TransactionalSink};
use chrono::DateTime;

/// Three logins.
struct Logins(u32);

#[async_trait]
impl Source for Logins {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.0 = from.map_or(Ok(0), |cursor| cursor.decode("logins", 1))?;
        Ok(())
    }

    async fn read(&mut self, _limit: Limit) -> Result<Read> {
        if self.0 == 3 {
            return Ok(Read::End);
        }
        self.0 += 1;
        let raw = Raw::parse(format!(r#"{{"user":"user-{}","action":"login"}}"#, self.0))?;
        let id = EventId::new(format!("login/{}", self.0));
        let event = AuditEvent::new(id, "example".into(), DateTime::UNIX_EPOCH, raw);
        Ok(Read::Batch(Batch::new(vec![event], Cursor::encode("logins", 1, &self.0)?)))
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "audit-example".to_owned());
    let stream: StreamId = topic.parse()?;
    for run in 1..=2 {
        let mut config = KafkaConfig::new(&brokers, &topic);
        config.create_topic = Some(CreateTopic::new(3));
        config.transaction = Some(TransactionConfig::new(format!("{topic}-checkpoints")));
        let sink = Arc::new(TransactionalSink::new(config, stream.clone())?);
        sink.check().await?;
        // The sink is the checkpoint as well.
        let pipeline =
            Pipeline::new(stream.clone(), Box::new(Logins(0)), sink.clone(), sink.clone());
        let summary = pipeline.run(std::future::pending()).await?;
        let saved = sink.peek().await?;
        let revision = saved.map_or(0, |(_, revision)| revision.0);
        println!("run {run}: {} delivered, checkpoint at revision {revision}", summary.delivered);
    }
    Ok(())
}
