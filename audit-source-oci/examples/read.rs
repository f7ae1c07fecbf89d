//! Reads OCI Audit, and says how many events there are, and what it took.
//!
//! `cargo run --release -p audit-source-oci --example read -- options.json`
//!
//! The file holds the options of a source as JSON: `{"profile": "DEFAULT", "start": "2024-01-01"}`. A
//! second argument sets `concurrency`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;
use std::time::Instant;

use audit_core::{Error, ErrorKind, Limit, Read, Result, Source};
use audit_source_oci::{OciConfig, OciSource};

#[tokio::main]
async fn main() -> Result<()> {
    let wrong = |message: &str| Error::new(ErrorKind::Config, message.to_owned());
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| wrong("give a file with options"))?;
    let text = std::fs::read_to_string(&path).map_err(|e| wrong("cannot read it").because(e))?;
    let mut config: OciConfig =
        serde_json::from_str(&text).map_err(|e| wrong("these are not options").because(e))?;
    if let Some(n) = arguments.next() {
        config.concurrency = n.parse().map_err(|_| wrong("not a number"))?;
    }
    config.home = std::env::var_os("HOME").map(PathBuf::from);
    let mut source = OciSource::new(config)?;
    let report = source.report();
    source.open(None).await?;
    let (begun, mut events, mut bytes) = (Instant::now(), 0_usize, 0_usize);
    while let Read::Batch(batch) = source.read(Limit::default()).await? {
        events += batch.events.len();
        bytes += batch.events.iter().map(|event| event.raw.get().len()).sum::<usize>();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let counts = report.counts();
    println!(
        "{events} events, {bytes} bytes, {} pages, {} windows in {seconds:.2} s",
        counts.pages, counts.windows
    );
    Ok(())
}
