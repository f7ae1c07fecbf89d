//! Counts the methods in downloaded files of an audit log: `scan FILE...`, on all cores or on as many
//! as `THREADS` says.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::collections::BTreeMap;

use audit_source_confluent::scan::{Scan, ScanConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = ScanConfig::new(std::env::args_os().skip(1));
    config.threads = std::env::var("THREADS").map_or(Ok(0), |threads| threads.parse())?;
    type Counts = BTreeMap<String, u64>;
    let scanned = Scan::new(config)?.run(
        Counts::new,
        |counts, record| {
            let method = record.action().unwrap_or_default();
            match counts.get_mut(&*method) {
                Some(count) => *count += 1,
                None => drop(counts.insert(method.into_owned(), 1)),
            }
        },
        |_| Ok(()),
    )?;
    let mut whole = Counts::new();
    for (method, count) in scanned.states.into_iter().flatten() {
        *whole.entry(method).or_default() += count;
    }
    for (method, count) in whole {
        println!("{count:>8}  {method}");
    }
    println!("{:#?}", scanned.summary);
    Ok(())
}
