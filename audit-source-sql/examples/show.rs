//! Prints the unsent events of a table, one JSON object a line, and marks nothing.
//!
//! `cargo run -p audit-source-sql --example show -- app.db [table]`

use std::io::{self, Write};

use audit_core::{Limit, Read, Source};
use audit_source_sql::{SqlConfig, SqlSource};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        return Err("usage: show <database> [table]".into());
    };
    let mut config = SqlConfig::new(path);
    config.table = args.next();
    let mut source = SqlSource::new(config)?;
    source.open(None).await?;
    let mut out = io::stdout().lock();
    while let Read::Batch(batch) = source.read(Limit::default()).await? {
        for event in &batch.events {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")?;
        }
        for letter in &batch.rejected {
            writeln!(io::stderr(), "{}: {}", letter.id(), letter.reason)?;
        }
    }
    Ok(())
}
