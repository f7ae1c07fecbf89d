//! Writes three events twice, as after a crash: the index holds each once.
//!
//! `cargo run -p audit-sink-elastic --example ship -- http://127.0.0.1:9200 audit-example`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use audit_core::{AuditEvent, EventId, Raw, Result, Sink};
use audit_sink_elastic::{ElasticConfig, ElasticSink};
use chrono::DateTime;

fn event(n: u32) -> Result<AuditEvent> {
    let raw = Raw::parse(format!(r#"{{"user":"user-{n}","action":"login"}}"#))?;
    let id = EventId::new(format!("example-{n}"));
    Ok(AuditEvent::new(id, Arc::from("example"), DateTime::UNIX_EPOCH, raw))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "http://127.0.0.1:9200".to_owned());
    let index = arguments.next().unwrap_or_else(|| "audit-example".to_owned());
    let events = (1..=3).map(event).collect::<Result<Vec<_>>>()?;
    for _ in 0..2 {
        let sink = ElasticSink::new(ElasticConfig::new(&host, &index)?)?;
        sink.check().await?;
        let written = sink.write(&events).await?;
        println!("{index}: {} of 3 events were there already", written.duplicates.len());
    }
    Ok(())
}
