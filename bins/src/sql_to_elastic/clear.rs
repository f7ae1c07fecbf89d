use audit_core::{Clock, Error, ErrorKind, Result};
use audit_source_sql::Cleaner;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::json;
use tracing::info;

use super::cli::{Clear, Cli};
use crate::app::App;
use crate::signals::{Signals, Stop};
use crate::{exit, terminal};

/// Runs `sql-to-elastic clear`.
pub(super) async fn main(cli: &Cli, args: &Clear, app: &App) -> Result<u8> {
    if !args.enabled {
        terminal::say("nothing is deleted: CLEAR_AUDIT_LOG_ENTRIES is false");
        return Ok(exit::OK);
    }
    let before = ago(*args.older_than, Clock::system().now())?;
    let mut cleaner = Cleaner::new(cli.database.config()?)?;
    if let Some(chunk) = cli.database.chunk_size()? {
        cleaner = cleaner.with_chunk(chunk);
    }
    let mut deleted = 0;
    let stop = Stop::new();
    let interrupted = if cli.ship.dry_run {
        deleted = cleaner.count(before).await?;
        false
    } else {
        let signals = Signals::listen()?;
        let mut said = 0;
        tokio::select! {
            // Between two chunks or within one: what is committed stays, the rest is undone.
            () = stop.requested() => true,
            () = signals.watch(&stop) => true,
            result = cleaner.clear(before, |rows| {
                deleted = rows;
                if rows / 100_000 > said {
                    said = rows / 100_000;
                    info!(rows, "deleting");
                }
            }) => {
                deleted = result?;
                false
            }
        }
    };
    if !app.quiet {
        let rows = if deleted == 1 { "row" } else { "rows" };
        let what = match (cli.ship.dry_run, interrupted) {
            (true, _) => "would be deleted",
            (false, true) => "deleted, then stopped",
            (false, false) => "deleted",
        };
        let before = before.to_rfc3339_opts(SecondsFormat::Secs, true);
        terminal::say(&format!(
            "{} {rows} {what}, sent and made before {before}",
            terminal::count(deleted)
        ));
    }
    if cli.ship.summary_json {
        let summary = json!({
            "deleted": deleted,
            "before": before,
            "dry_run": cli.ship.dry_run,
            "interrupted": interrupted,
        });
        terminal::out(|out| writeln!(out, "{summary}"))?;
    }
    Ok(exit::OK)
}

fn ago(age: std::time::Duration, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let age = TimeDelta::from_std(age).ok();
    age.and_then(|age| now.checked_sub_signed(age)).ok_or_else(|| {
        Error::new(ErrorKind::Config, "no row can be that old").with("option", "--older-than")
    })
}
