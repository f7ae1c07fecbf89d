//! Reads downloaded files on all cores, for programs that want a few facts of each record and no events.

mod chunks;
mod config;
mod ids;
mod record;
mod turns;
mod worker;

use std::sync::Mutex;

use audit_core::{Error, ErrorKind, Result};

use self::chunks::Chunks;
pub use self::chunks::Progress;
pub use self::config::ScanConfig;
pub use self::record::{Record, Reject};
pub use self::turns::Summary;
use self::turns::Turns;
use self::worker::Worker;

/// Reads lines one after the other as a scan does, for the fuzz target.
///
/// # Panics
/// When a line is not read as `serde_json` reads it.
#[cfg(fuzzing)]
pub fn check_lines(text: &[u8]) {
    let mut reader = crate::json::Reader::default();
    for line in text.split(|byte| *byte == b'\n') {
        let _is_json = crate::json::oracle::check(&mut reader, line);
    }
}

/// Reads files from the first to the last byte, once, with several threads.
///
/// Each record is checked as a whole: a line that is not UTF-8, not one JSON value, too large or
/// without a usable time is rejected, and the rest goes on. Records whose id came before are left out.
/// What is found, rejected and left out depends on the files and their order alone, not on the number
/// of threads or on which of them was faster.
///
/// Memory is bounded: about 1 MB a thread, 11 bytes an id of the window twice over, and what the states
/// hold. It does no more than read files, and blocks.
#[derive(Debug)]
pub struct Scan {
    config: ScanConfig,
    progress: Progress,
}

/// What a scan found: the states of its threads, and the sums.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scanned<S> {
    /// A state of each thread. Which records went to which is a matter of chance: merge them in a way
    /// that does not depend on it.
    pub states: Vec<S>,
    /// What became of the lines.
    pub summary: Summary,
}

impl Scan {
    /// Creates the scan of some files. Nothing is opened yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is no file, or one twice, or an option cannot be meant.
    pub fn new(config: ScanConfig) -> Result<Self> {
        Ok(Self { config: config.parse()?, progress: Progress::default() })
    }

    /// Returns how far a run is, to be looked at from another thread.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Finds out whether every file can be opened.
    ///
    /// # Errors
    /// As of the first that cannot, naming it.
    pub fn check(&self) -> Result<()> {
        chunks::check(&self.config.files).map_err(|e| e.while_doing("check the files"))
    }

    /// Reads the files. Each thread has a state of its own, made by `state`, to which `visit` brings
    /// each record once. `reject` is given every rejected line, in the order of the files.
    ///
    /// A file that turns out to be damaged ends there, and the others go on:
    /// [`failures`](Summary::failures) names it.
    ///
    /// # Errors
    /// As [`check`](Self::check), before anything is read; and those of `reject`, which end the scan.
    pub fn run<S: Send>(
        &self,
        state: impl Fn() -> S + Sync,
        visit: impl Fn(&mut S, &Record<'_>) + Sync,
        reject: impl FnMut(&Reject<'_>) -> Result<()> + Send,
    ) -> Result<Scanned<S>> {
        const OPERATION: &str = "scan the files";
        self.check()?;
        let chunks = Mutex::new(Chunks::new(&self.config, self.progress.clone()));
        let turns = Turns::new(&self.config, reject);
        let work = || {
            let mut own = state();
            Worker::new(&self.config).run(&chunks, &turns, |record| visit(&mut own, record));
            own
        };
        let states = std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.config.threads()).map(|_| scope.spawn(work)).collect();
            let mut states = vec![work()];
            for other in others {
                let state = other.join().map_err(|_| {
                    Error::new(ErrorKind::Unexpected, "a thread ended early").while_doing(OPERATION)
                })?;
                states.push(state);
            }
            Ok(states)
        })?;
        let summary = turns.finish().map_err(|e| e.while_doing(OPERATION))?;
        Ok(Scanned { states, summary })
    }
}
