//! `sql-to-elastic`: audit rows from a database into Elasticsearch or OpenSearch.

mod clear;
mod cli;
mod database;
mod elastic;

use audit_core::{Result, Source, StreamId};

pub use self::cli::{Clear, Cli, Command, InstallTemplate};
pub use self::database::Database;
pub use self::elastic::Elastic;
use crate::app::App;
use crate::config::Settings;
use crate::ship::{self, Program, Ship};
use crate::terminal;
use crate::wire::{self, WiredSink};

/// Runs the program.
///
/// # Errors
/// Those that keep it from starting; how the work ends is in the exit code.
pub async fn main(cli: &Cli, app: &App) -> Result<u8> {
    match &cli.command {
        None | Some(Command::Send) if !cli.enabled => {
            terminal::say("nothing is sent: ENABLE_SEND_AUDIT_LOG is false");
            Ok(crate::exit::OK)
        }
        None | Some(Command::Send) => ship::send(cli, app).await,
        Some(Command::Clear(args)) => clear::main(cli, args, app).await,
        Some(Command::InstallTemplate(args)) => cli.elastic.install(&cli.database, args).await,
        Some(Command::Common(command)) => ship::command(cli, command, app).await,
    }
}

impl Program for Cli {
    const NAME: &'static str = "sql-to-elastic";

    fn ship(&self) -> &Ship {
        &self.ship
    }

    fn source(&self) -> Result<Box<dyn Source>> {
        wire::sql(self.database.config()?)
    }

    fn sink(&self, _: &StreamId) -> Result<WiredSink> {
        wire::elastic(self.elastic.config(&self.database)?)
    }

    fn adjust(&self, mut settings: Settings) -> Result<Settings> {
        let limit = self.database.batch_limit()?;
        settings.max_events = (limit > 0 && !self.ship.follow).then_some(limit);
        if let Some(chunk) = self.database.chunk_size()? {
            settings.limit = settings.limit.events(chunk);
        }
        Ok(settings)
    }
}
