//! Prints the audit log of an organisation, one JSON object a line.
//!
//! `cargo run -p audit-source-port --example show -- eu client-id 2026-01-01 2026-01-02 < secret`
#![expect(clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{self, Write};

use audit_core::{Limit, Read, Secret, Source};
use audit_source_port::{PortConfig, PortSource, parse_time};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, client_id, from, to] = &arguments[..] else {
        return Err("usage: show <eu|us|url> <client id> <from> <to> < secret".into());
    };
    let mut config = PortConfig::new(client_id, Secret::new(io::read_to_string(io::stdin())?));
    config.url.clone_from(url);
    config.from = Some(parse_time(from)?);
    config.to = Some(parse_time(to)?);

    let mut source = PortSource::new(config)?;
    source.open(None).await?;
    let mut out = io::stdout().lock();
    while let Read::Batch(batch) = source.read(Limit::default()).await? {
        for event in &batch.events {
            writeln!(out, "{}", event.raw.line())?;
        }
        for letter in &batch.rejected {
            eprintln!("{}: {}", letter.id(), letter.reason);
        }
    }
    Ok(())
}
