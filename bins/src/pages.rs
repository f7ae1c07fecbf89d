//! Completion scripts and manual pages.

use std::fs;
use std::path::Path;

use audit_core::{Error, ErrorKind, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{exit, terminal};

/// Writes the completion script of a program for a shell to stdout.
///
/// # Errors
/// As [`terminal::out`].
pub fn completions<C: CommandFactory>(shell: Shell, name: &str) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut C::command(), name, &mut script);
    terminal::out(|out| out.write_all(&script))?;
    Ok(exit::OK)
}

/// Writes the manual page of a program to stdout, or one page a command to a directory.
///
/// # Errors
/// [`ErrorKind::Config`] when the directory cannot be written; else as [`terminal::out`].
pub fn manual<C: CommandFactory>(dir: Option<&Path>) -> Result<u8> {
    match dir {
        Some(dir) => {
            fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(C::command(), dir))
                .map_err(|e| {
                    Error::new(ErrorKind::Config, "cannot write the manual pages")
                        .with("directory", dir.display())
                        .because(e)
                })?;
        }
        None => {
            let page = clap_mangen::Man::new(C::command());
            terminal::out(|out| page.render(out))?;
        }
    }
    Ok(exit::OK)
}
