//! Writes three events twice, as after a crash: the file holds each once.
//!
//! `cargo run -p audit-sink-file --example resume -- /tmp/audit.ndjson`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use audit_core::{AuditEvent, EventId, Raw, Result, Sink};
use audit_sink_file::{FileConfig, FileSink};
use chrono::DateTime;

fn event(n: u32) -> Result<AuditEvent> {
    let raw = Raw::parse(format!(r#"{{"user":"user-{n}","action":"login"}}"#))?;
    let id = EventId::new(format!("example-{n}"));
    Ok(AuditEvent::new(id, Arc::from("example"), DateTime::UNIX_EPOCH, raw))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "audit.ndjson".to_owned());
    let events = (1..=3).map(event).collect::<Result<Vec<_>>>()?;
    for _ in 0..2 {
        let sink = FileSink::new(FileConfig::new(&path))?;
        sink.check().await?;
        let written = sink.write(&events).await?;
        sink.close().await?;
        println!("{path}: {} events were there already", written.duplicates.len());
    }
    Ok(())
}
