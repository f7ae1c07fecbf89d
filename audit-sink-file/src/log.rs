//! An open output: batches go in whole or not at all, and none twice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use audit_core::{AuditEvent, Error, ErrorKind, RecentIds, Result, Written, durable};

use crate::array;
use crate::compress::{Codec, Encoder};
use crate::config::{Layout, Settings};
use crate::journal::{FileId, Journal};
use crate::paths::{Paths, Seen};
use crate::recover::{self, Settled};
use crate::replay::{Place, State};
use crate::stage::Stage;

/// The files of an output, open; blocking. After any error it is to be dropped and opened anew:
/// there is one way to recover, that after a crash.
#[derive(Debug)]
pub(crate) struct Log {
    settings: Settings,
    paths: Paths,
    encoder: Encoder,
    journal: Journal,
    state: State,
    window: RecentIds,
    data: Option<File>,
    stage: Stage,
}

impl Log {
    /// Opens what is there and mends what a crash left. The caller holds the lock.
    ///
    /// `doubted`: what [`doubted`](Self::doubted) said after the last failure.
    pub(crate) fn open(settings: &Settings, paths: &Paths, doubted: Option<u64>) -> Result<Self> {
        let Settings { layout, codec, .. } = *settings;
        let plan = recover::examine(paths, layout, codec, doubted)?;
        let Settled { journal, state, window, data } = plan.carry_out(paths)?;
        Ok(Self {
            settings: settings.clone(),
            paths: paths.clone(),
            encoder: Encoder::new(codec).map_err(|e| durable::io_error(&e, &paths.output))?,
            journal,
            state,
            window,
            data,
            stage: Stage::default(),
        })
    }

    /// Turns the new ones of these events into text; [`commit`](Self::commit) has to follow.
    pub(crate) fn stage(&mut self, events: &[AuditEvent]) -> Written {
        let Settings { format, layout, .. } = self.settings;
        self.stage.fill_new(events, format, layout, &mut self.window)
    }

    /// Returns whether there is something to commit.
    pub(crate) fn is_staged(&self) -> bool {
        self.stage.len() > 0
    }

    /// Makes the staged events durable.
    pub(crate) fn commit(&mut self) -> Result<()> {
        let place = self.place()?;
        let Some(file) = &self.data else { return Err(closed(&self.paths.data)) };
        let (text, ids) = self.stage.parts(self.settings.layout, place.end == 0);
        let failed = |e| durable::io_error(&e, &self.paths.data);
        let chunk = self.encoder.encode(text).map_err(failed)?;
        let write = |journal: &mut Journal| {
            journal.begin(place.file, place.end, chunk, ids)?;
            let mut file = file;
            file.write_all(chunk).and_then(|()| file.sync_data()).map_err(failed)
        };
        if let Err(error) = write(&mut self.journal) {
            self.undo(place.end);
            return Err(error);
        }
        self.state.place = Some(Place { end: place.end + chunk.len() as u64, ..place });
        self.window.batch_done(self.stage.len());
        // The batch is durable. Without the note it is found by its check sum.
        let mut note = self.journal.done();
        if self.journal.is_long() && note.is_ok() {
            note = self.journal.compact(&self.state, &self.window);
        }
        if let Err(error) = note {
            tracing::warn!(%error, "cannot note in the journal that a batch is durable");
        }
        Ok(())
    }

    /// Returns the announcement of a batch whose write failed, if it could not be taken back: the
    /// batch is not durable, whatever can be read of it.
    pub(crate) fn doubted(&self) -> Option<u64> {
        self.journal.announced()
    }

    /// Makes the output complete: publishes an array, makes an empty file where there is none.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.settings.layout {
            Layout::Ndjson => {
                if self.place()?.end == 0 && self.settings.codec != Codec::Plain {
                    // Without a member an empty file is no gzip or zstd file.
                    self.stage = Stage::default();
                    self.commit()?;
                }
                self.journal.sync()
            }
            Layout::Array if self.state.place.is_some() => {
                self.place()?;
                let Some(file) = self.data.take() else { return Err(closed(&self.paths.data)) };
                array::publish(&self.paths, file, &mut self.journal, self.settings.codec)?;
                self.state.place = None;
                Ok(())
            }
            Layout::Array => array::publish_empty(&self.paths, self.settings.codec),
        }
    }

    /// Makes sure of the file that the next batch goes to, and of its end.
    fn place(&mut self) -> Result<Place> {
        let codec = self.settings.codec;
        let seen = Seen::at(&self.paths.data)?;
        let place = match (self.settings.layout, self.state.place, seen) {
            (_, Some(place), Some(seen)) if self.data.is_some() && seen.id == place.file => {
                if seen.len == place.end {
                    return Ok(place);
                }
                if seen.len > place.end || self.settings.layout == Layout::Array {
                    return Err(recover::foreign(&seen, place.end, &self.paths));
                }
                tracing::info!(path = %seen.path.display(), "the file was cut short; going on at its end");
                seen.accept(seen.len, codec)?;
                Place { file: seen.id, begin: seen.len, end: seen.len }
            }
            (Layout::Ndjson, before, _) => {
                if before.is_some() && self.data.is_some() {
                    tracing::info!(path = %self.paths.data.display(), "the file was moved away; going on in a new one");
                }
                let (file, place) = open_or_create(&self.paths.data)?;
                if let Some(seen) = Seen::at(&self.paths.data)?.filter(|_| place.end > 0) {
                    seen.accept(place.end, codec)?;
                }
                self.data = Some(file);
                place
            }
            (Layout::Array, Some(_), _) if self.data.is_some() => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the file of unpublished events was moved away during the run",
                )
                .with("path", self.paths.data.display())
                .with_hint("move it back; rotate the published file, and between runs only"));
            }
            (Layout::Array, ..) => {
                let place = array::seed(&self.paths, codec, &mut self.journal)?;
                let (file, fresh) = open_or_create(&self.paths.data)?;
                self.data = Some(file);
                place.unwrap_or(fresh)
            }
        };
        self.state.place = Some(place);
        Ok(place)
    }

    /// Takes back what a failed write left: the file first, for its batch must stay announced as
    /// long as there may be a part of it.
    fn undo(&mut self, end: u64) {
        let Some(file) = &self.data else { return };
        let cut = || {
            if file.metadata()?.len() > end {
                file.set_len(end)?;
            }
            file.sync_data()
        };
        let undone = cut()
            .map_err(|e| durable::io_error(&e, &self.paths.data))
            .and_then(|()| self.journal.take_back());
        if let Err(error) = undone {
            tracing::warn!(%error, "cannot take back a failed write yet; it is done before the next");
        }
    }
}

/// Opens a file to write at its end.
fn open_or_create(path: &Path) -> Result<(File, Place)> {
    let open = || {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        durable::sync_directory(path)?;
        let metadata = file.metadata()?;
        let (file_id, len) = (FileId::of(&metadata), metadata.len());
        Ok((file, Place { file: file_id, begin: len, end: len }))
    };
    open().map_err(|e| durable::io_error(&e, path))
}

fn closed(path: &Path) -> Error {
    Error::new(ErrorKind::Unexpected, "no data file is open").with("path", path.display())
}
