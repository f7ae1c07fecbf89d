//! `audit quickstart`: an example that needs nothing, and shows what happens.

mod database;
mod events;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Result, durable};

use self::database::Database;
use crate::app::App;
use crate::config::Config;
use crate::progress::seconds;
use crate::run::{self, Job, Options};
use crate::terminal::{count, say, shorten};
use crate::{cli, summary, terminal, wire};

const CONFIG: &str = r#"# Made by `audit quickstart`. Paths are relative to this file.
state_dir = "state"

[pipelines.quickstart]
# follow = true                  # go on when there is nothing new

[pipelines.quickstart.source]
type = "sql"
url = "sqlite://app.db"          # ${VARIABLE} is replaced by its value
table = "audit_logs"

[pipelines.quickstart.sink]
type = "file"
path = "audit.ndjson"            # try audit.ndjson.gz, audit.json.zst, or - for stdout
"#;

/// The places in the example's directory.
struct Places {
    config: PathBuf,
    database: PathBuf,
    output: PathBuf,
}

/// Runs `audit quickstart`.
///
/// # Errors
/// When the example cannot be made; how the shipping ends is in the exit code.
pub async fn main(args: &cli::Quickstart, app: &App) -> Result<u8> {
    let places = Places::make(&args.dir)?;
    let tell = |line: &str| {
        if !app.quiet {
            say(line);
        }
    };
    let mut database = Database::open(&places.database)?;
    let before = database.rows()?;
    let new = if before == 0 { args.events } else { (args.events / 10).max(1) };
    let written = database.write(before, new, args.broken)?;
    let (file, table) = (places.database.display(), database::TABLE);
    if before == 0 {
        tell(&format!("1. An application has written {} audit events", count(new.into())));
        tell(&format!("   to the table {table} of {file} (in {}).", seconds(written)));
    } else {
        tell(&format!("1. The table {table} of {file} has {} rows,", count(before)));
        tell(&format!(
            "   and {} new events were added (in {}).",
            count(new.into()),
            seconds(written)
        ));
    }
    if args.broken > 0 {
        tell(&format!(
            "   Broken among the new rows, cut off in the middle: {}.",
            count(args.broken.into())
        ));
    }
    let unsent = database.unsent()?;
    drop(database);
    tell(&format!("2. {} of its rows are not sent yet; they are shipped to", count(unsent)));
    tell(&format!(
        "   {}, as `audit run --config {}` would:",
        places.output.display(),
        places.config.display()
    ));
    tell("");

    let config = Config::load(&places.config)?.single(None)?;
    let options = Options { dry_run: false, follow: Some(false), total: Some(unsent) };
    let (source, sink) =
        (wire::source(&config.source)?, wire::sink(&config.sink, &config.settings.stream)?);
    let job = Job::new(&config.settings, source, sink, options);
    let reports = run::run(vec![job], app, Some(&places.config)).await?;
    if !app.quiet && reports.iter().all(|r| r.error.is_none()) {
        show(&places, &args.dir, args.broken > 0)?;
    }
    Ok(summary::code(&reports))
}

impl Places {
    fn make(dir: &Path) -> Result<Self> {
        durable::create_private_directory(dir)
            .map_err(|e| durable::io_error(&e, dir).while_doing("make the example"))?;
        let places = Self {
            config: dir.join("audit.toml"),
            database: dir.join("app.db"),
            output: dir.join("audit.ndjson"),
        };
        if !places.config.exists() {
            durable::create_private(&places.config)
                .and_then(|mut file| file.write_all(CONFIG.as_bytes()))
                .map_err(|e| durable::io_error(&e, &places.config))?;
        }
        Ok(places)
    }
}

/// Shows what came out, and what to try next.
fn show(places: &Places, dir: &Path, broken: bool) -> Result<()> {
    let (lines, last) = last_line(&places.output)?;
    say("");
    say(&format!(
        "{} now holds {} events, each once. The last:",
        places.output.display(),
        count(lines)
    ));
    say(&format!("  {}", shorten(&terminal::neutral(&last), 150)));
    say("");
    let (audit, config) = (program(), places.config.display());
    let again = quickstart_command(&audit, dir);
    say("Try next:");
    if broken {
        say(&format!("  {audit} dead-letters list --config {config}"));
        say(
            "      the broken rows, each with its reason; `dead-letters show … ID` shows one whole",
        );
    }
    say(&format!("  {again}"));
    say("      writes a few more events, and ships only those");
    if !broken {
        say(&format!("  {again} --broken 1"));
        say("      adds a row that is not JSON: it goes to the dead letters, the rest goes on");
    }
    say(&format!("  {audit} checkpoint show --config {config}"));
    say("      how far it has come");
    say(&format!("  {audit} run --config {config}"));
    say("      the same from its configuration file: nothing new, or what you add to the table");
    say(&format!("  {audit} check --config {config}"));
    say("      finds out whether a run could work, and writes nothing");
    Ok(())
}

fn last_line(path: &Path) -> Result<(u64, String)> {
    let failed = |e| durable::io_error(&e, path).while_doing("look at the output");
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut lines, mut line, mut last) = (0, Vec::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        lines += 1;
        std::mem::swap(&mut line, &mut last);
    }
    Ok((lines, String::from_utf8_lossy(&last).trim_end().to_owned()))
}

fn quickstart_command(audit: &str, dir: &Path) -> String {
    match dir == Path::new("./audit-quickstart") {
        true => format!("{audit} quickstart"),
        false => format!("{audit} quickstart --dir {}", dir.display()),
    }
}

/// Returns how this program can be called from here.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else { return "audit".to_owned() };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| program.parent() == Some(dir.as_path()))
    });
    if on_path {
        return "audit".to_owned();
    }
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| program.strip_prefix(here).ok().map(Path::to_owned));
    match below {
        Some(below) => format!("./{}", below.display()),
        None => program.display().to_string(),
    }
}

fn failed(error: rusqlite::Error, path: &Path) -> Error {
    Error::new(ErrorKind::Unavailable, "the example database cannot be used")
        .with("path", path.display())
        .with_hint("remove the example's directory and start again, or choose another with --dir")
        .because(error)
}
