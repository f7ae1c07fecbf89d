//! `port-to-kafka`: the audit log of Port.io into Kafka.

mod cli;
mod kafka;
mod last_processed;
mod port;

use std::fs;
use std::sync::Arc;

use audit_core::{Checkpoint, FileCheckpoint, Result, Source, StreamId, durable};

pub use self::cli::{Cli, Command};
pub use self::kafka::Kafka;
pub use self::port::Port;
use crate::app::App;
use crate::config::Settings;
use crate::ship::{self, Program, Ship};
use crate::wire::{self, WiredSink};

/// Runs the program.
///
/// # Errors
/// Those that keep it from starting; how the work ends is in the exit code.
pub async fn main(cli: &Cli, app: &App) -> Result<u8> {
    match &cli.command {
        None | Some(Command::Send) => ship::send(cli, app).await,
        Some(Command::Common(command)) => ship::command(cli, command, app).await,
    }
}

impl Program for Cli {
    const NAME: &'static str = "port-to-kafka";

    fn ship(&self) -> &Ship {
        &self.ship
    }

    fn source(&self) -> Result<Box<dyn Source>> {
        let mut config = self.port.config()?;
        if config.from.is_none() {
            config.from = last_processed::read(&self.last_processed_file)?;
        }
        wire::port(config)
    }

    fn sink(&self, stream: &StreamId) -> Result<WiredSink> {
        wire::kafka(self.kafka.config()?, stream)
    }

    /// A run from a given time is a stream of its own: it neither uses nor moves the progress of the
    /// others, and one that was cut short goes on where it was.
    fn adjust(&self, mut settings: Settings) -> Result<Settings> {
        if let Some(range) = self.port.range()? {
            settings.stream = format!("{}.{range}", settings.stream).parse()?;
        }
        Ok(settings)
    }

    fn watch(&self, checkpoint: Arc<dyn Checkpoint>) -> Arc<dyn Checkpoint> {
        match self.port.range() {
            Ok(None) => {
                Arc::new(last_processed::Mirror::new(checkpoint, self.last_processed_file.clone()))
            }
            _ => checkpoint,
        }
    }

    /// A run from a given time that has come to its end can be asked for again.
    fn finished(&self, settings: &Settings) -> Result<()> {
        if self.port.range()?.is_some() {
            let path = FileCheckpoint::open(&settings.checkpoint).path(&settings.stream);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(durable::io_error(&e, &path));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
