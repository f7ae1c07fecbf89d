//! Counts the methods in downloaded files of an audit log: `methods FILE...`.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::collections::BTreeMap;

use audit_core::{Limit, Read, Source as _};
use audit_source_confluent::{FilesConfig, FilesSource};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut source = FilesSource::new(FilesConfig::new(std::env::args_os().skip(1)))?;
    source.open(None).await?;
    let (mut counts, mut rejected) = (BTreeMap::<_, usize>::new(), 0);
    while let Read::Batch(batch) = source.read(Limit::default()).await? {
        rejected += batch.rejected.len();
        for event in batch.events {
            let name = event.action.name.unwrap_or_default();
            *counts.entry((name, format!("{:?}", event.outcome))).or_default() += 1;
        }
    }
    for ((method, outcome), count) in counts {
        println!("{count:>8}  {outcome:<8} {method}");
    }
    println!("{rejected:>8}  rejected");
    Ok(())
}
