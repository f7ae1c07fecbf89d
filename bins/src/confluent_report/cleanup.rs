use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, FileCheckpoint, Result, durable};
use clap::Args;

use super::data::{self, Data};
use crate::app::App;
use crate::report::REJECTS;
use crate::{exit, terminal};

/// `confluent-report cleanup`.
#[derive(Args, Debug)]
pub struct Cleanup {
    /// The directory of downloads
    #[arg(long, env = "CONFLUENT_DATA_DIR", value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What is to be removed.
#[derive(Debug, Default)]
struct Rubbish {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    /// Removed only if nothing is left in them.
    if_empty: Vec<PathBuf>,
    bytes: u64,
    locks: Vec<durable::Lock>,
}

impl Cleanup {
    pub(super) fn run(&self, app: &App) -> Result<u8> {
        let rubbish = self.find()?;
        if rubbish.files.is_empty() && rubbish.directories.is_empty() {
            if !app.quiet {
                terminal::say("nothing to remove");
            }
            return Ok(exit::OK);
        }
        if !self.yes && !confirmed(&rubbish)? {
            terminal::say("nothing was removed");
            return Ok(exit::OK);
        }
        let files = rubbish.files.len();
        let bytes = terminal::count(rubbish.bytes);
        rubbish.remove()?;
        if !app.quiet {
            terminal::say(&format!("removed {files} files with {bytes} bytes; reports are kept"));
        }
        Ok(exit::OK)
    }

    /// Finds what this program wrote, and makes sure that nobody is writing it.
    fn find(&self) -> Result<Rubbish> {
        let mut rubbish = Rubbish::default();
        for file in Data::new(&self.data).own()? {
            let checkpoint = FileCheckpoint::open(file.state()).path(&super::stream()?);
            rubbish.locks.push(durable::Lock::acquire(&checkpoint)?);
            let (journal, letters) = (file.journal(), file.dead_letters());
            rubbish.file(file.path());
            rubbish.file(data::with_suffix(&journal, ".lock"));
            rubbish.file(journal);
            rubbish.file(data::with_suffix(&letters, ".lock"));
            rubbish.file(letters);
            rubbish.directories.push(file.state());
        }
        let rejects = Path::new(REJECTS);
        rubbish.file(data::with_suffix(rejects, ".lock"));
        rubbish.file(rejects.to_owned());
        rubbish.if_empty.push(self.data.clone());
        rubbish.if_empty.extend(rejects.parent().map(Path::to_owned));
        Ok(rubbish)
    }
}

impl Rubbish {
    fn file(&mut self, path: PathBuf) {
        if data::is_file(&path) {
            self.bytes += fs::symlink_metadata(&path).map_or(0, |m| m.len());
            self.files.push(path);
        }
    }

    fn remove(self) -> Result<()> {
        let gone = |result: io::Result<()>, path: &Path| match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(durable::io_error(&e, path).while_doing("clean up"))
            }
            _ => Ok(()),
        };
        for file in &self.files {
            gone(fs::remove_file(file), file)?;
        }
        // The state goes last: what is left when this is cut short is still known to be ours. Links
        // in it are removed, not followed.
        for directory in &self.directories {
            gone(fs::remove_dir_all(directory), directory)?;
        }
        drop(self.locks);
        for directory in &self.if_empty {
            // Somebody else's files stay, and their directory with them.
            if data::is_directory(directory) {
                drop(fs::remove_dir(directory));
            }
        }
        Ok(())
    }
}

fn confirmed(rubbish: &Rubbish) -> Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::new(
            ErrorKind::Config,
            "there is nobody to ask whether to remove files",
        )
        .with("files", rubbish.files.len())
        .with_hint("add --yes to remove them without a question"));
    }
    for file in &rubbish.files {
        terminal::say(&format!("  {}", terminal::neutral(&file.display().to_string())));
    }
    let bytes = terminal::count(rubbish.bytes);
    terminal::say(&format!("remove these files, {bytes} bytes in all? [y/N]"));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|e| Error::new(ErrorKind::Unavailable, "cannot read the answer").because(e))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
