//! Ships what programs leave in a directory into a database, until it is interrupted.
//!
//! `cargo run -p own-adapter --example ship -- SPOOL_DIR DATABASE STATE_DIR`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;
use std::sync::Arc;

use audit_core::{Error, ErrorKind, FileCheckpoint, FileDeadLetters, Pipeline, Sink, Source};
use own_adapter::{SpoolConfig, SpoolSource, SqliteConfig, SqliteSink};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [spool, database, state] = &arguments[..] else {
        return Err(Error::new(ErrorKind::Config, "give SPOOL_DIR, DATABASE and STATE_DIR").into());
    };
    let mut source = SpoolSource::new(SpoolConfig::new(spool));
    let sink = Arc::new(SqliteSink::new(SqliteConfig::new(database)));
    source.check().await?;
    sink.check().await?;

    let checkpoint = Arc::new(FileCheckpoint::open(state));
    let dead_letters = Arc::new(FileDeadLetters::open(state.join("spool.dead-letters.ndjson")));
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    let summary = Pipeline::new("spool".parse()?, Box::new(source), sink, checkpoint)
        .dead_letters(dead_letters)
        .follow(true)
        .run(interrupted)
        .await?;
    println!(
        "read {}: delivered {}, there already {}, dead letters {}",
        summary.read, summary.delivered, summary.duplicates, summary.dead_lettered
    );
    Ok(())
}
