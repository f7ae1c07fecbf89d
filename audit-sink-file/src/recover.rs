//! Compares the journal with the file, as after a crash, and says what has to be done.
//!
//! The same look serves [`check`](audit_core::Sink::check), which changes nothing, and the start of
//! a run, which then does it. After a failed write it is the only way back to work as well.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, RecentIds, Result, durable};

use crate::compress::Codec;
use crate::config::Layout;
use crate::journal::{self, Journal};
use crate::paths::{Paths, Seen};
use crate::replay::{Pending, Place, State};

/// What the files say, and what is to be done before the next batch.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) state: State,
    pub(crate) window: RecentIds,
    last_batch: Option<Fate>,
    next: Next,
}

/// What became of a batch that was announced and not noted as durable.
#[derive(Clone, Debug)]
enum Fate {
    /// It is in this file, whole.
    Whole(PathBuf),
    /// It is not; what there is of it in this file begins there, and is cut off.
    Absent(Option<(PathBuf, u64)>),
}

/// Where the next batch goes.
#[derive(Clone, Debug)]
enum Next {
    /// Behind this many bytes of the data file; cut off there first if it is longer.
    Append(Place),
    /// To a new data file. An empty one may be there.
    Fresh,
    /// As `Fresh`: the last data file was published, which the journal does not say yet.
    Published,
    /// As `Fresh`: the last data file is gone, and with it events that were not published.
    Lost,
}

/// Reads the journal and looks at the files.
///
/// `doubted`: the announcement of a batch that was not written without an error. After a failed sync
/// the system may show bytes that never reach the disk.
pub(crate) fn examine(
    paths: &Paths,
    layout: Layout,
    codec: Codec,
    doubted: Option<u64>,
) -> Result<Plan> {
    let (state, window) = journal::read(&paths.journal)?;
    let mut data = Seen::at(&paths.data)?;
    let last_batch = match &state.pending {
        Some(batch) => {
            // A batch before it may be pending as well: its note may have been lost, not its bytes.
            Some(fate(paths, data.as_ref(), batch, doubted != Some(batch.at))?)
        }
        None => None,
    };
    // What follows is decided by how things are after the last batch was settled.
    let mut settled = state.clone();
    match &last_batch {
        Some(Fate::Whole(_)) => settled.settle(),
        Some(Fate::Absent(cut)) => {
            settled.pending = None;
            if let (Some((path, len)), Some(data)) = (cut, &mut data)
                && *path == data.path
            {
                data.len = *len;
            }
        }
        None => {}
    }
    let next = match layout {
        Layout::Ndjson => next_line(paths, data, settled.place, codec)?,
        Layout::Array => next_element(paths, data, settled.place, codec)?,
    };
    Ok(Plan { state, window, last_batch, next })
}

fn fate(paths: &Paths, data: Option<&Seen>, batch: &Pending, trusted: bool) -> Result<Fate> {
    let (offset, end) = (batch.offset, batch.offset + batch.length);
    let whole = |seen: &Seen| -> Result<bool> {
        Ok(trusted && seen.len >= end && seen.has_content(offset, batch.length, batch.content)?)
    };
    let seen = match data {
        Some(data) if data.id == batch.file => Some(data.clone()),
        // Restored from a backup, perhaps: another file with the same bytes.
        Some(data) if data.len == end && whole(data)? => Some(data.clone()),
        // Renamed since, by a log rotation: it must not keep a torn line there.
        _ => paths.find(batch.file)?,
    };
    let Some(seen) = seen else { return Ok(Fate::Absent(None)) };
    if whole(&seen)? {
        return Ok(Fate::Whole(seen.path));
    }
    if seen.len > end && seen.path == paths.data {
        return Err(foreign(&seen, end, paths));
    }
    let torn = seen.len > offset && seen.len <= end;
    Ok(Fate::Absent(torn.then_some((seen.path, offset))))
}

fn next_line(
    paths: &Paths,
    data: Option<Seen>,
    place: Option<Place>,
    codec: Codec,
) -> Result<Next> {
    let Some(data) = data else { return Ok(Next::Fresh) };
    if let Some(place) = place.filter(|place| place.file == data.id) {
        if data.len == place.end {
            data.accept_head(codec)?;
            return Ok(Next::Append(place));
        }
        if data.len > place.end {
            return Err(foreign(&data, place.end, paths));
        }
    }
    // New to us, rotated by a copy and cut short, or restored: go on at its end.
    data.accept(data.len, codec)?;
    Ok(Next::Append(Place { file: data.id, begin: data.len, end: data.len }))
}

fn next_element(
    paths: &Paths,
    data: Option<Seen>,
    place: Option<Place>,
    codec: Codec,
) -> Result<Next> {
    match (data, place) {
        (None, None) => Ok(Next::Fresh),
        (None, Some(place)) if place.begin == place.end => Ok(Next::Published),
        (None, Some(place)) => {
            let closing = closing(codec, &paths.output)?.len() as u64;
            let published = paths.find(place.file)?;
            Ok(match published.is_some_and(|seen| seen.len == place.end + closing) {
                true => Next::Published,
                false => Next::Lost,
            })
        }
        (Some(data), None) if data.len == 0 => Ok(Next::Fresh),
        (Some(data), None) => {
            Err(Error::new(ErrorKind::Conflict, "unpublished events whose journal is missing")
                .with("path", data.path.display())
                .with("journal", paths.journal.display())
                .with_hint("restore the journal; or end the file with `]` and keep it elsewhere"))
        }
        (Some(data), Some(place)) => {
            let closing = closing(codec, &paths.output)?;
            let more = data.len.checked_sub(place.end);
            let more = more.and_then(|more| closing.get(..usize::try_from(more).ok()?));
            // Longer by a part of the closing bracket: stopped while publishing.
            if let Some(more) = more
                && data.holds_at(place.end, more)?
            {
                return Ok(Next::Append(Place { file: data.id, ..place }));
            }
            Err(foreign(&data, place.end, paths))
        }
    }
}

/// Returns the bytes that end an array.
pub(crate) fn closing(codec: Codec, path: &Path) -> Result<Vec<u8>> {
    codec.fixed(b"\n]\n").map_err(|e| durable::io_error(&e, path))
}

/// The error for a file that is not as it was left.
pub(crate) fn foreign(seen: &Seen, expected: u64, paths: &Paths) -> Error {
    Error::new(ErrorKind::Conflict, "another program changed the file")
        .with("path", seen.path.display())
        .with("bytes", seen.len)
        .with("expected", expected)
        .with_hint(format!(
            "stop that program and cut the file to {expected} bytes; or keep what it wrote: end \
             its last line and move {} away, and events sent again may then repeat",
            paths.journal.display()
        ))
}

/// The files, open and settled.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) journal: Journal,
    pub(crate) state: State,
    pub(crate) window: RecentIds,
    /// The data file and its identity, if there is one to go on with.
    pub(crate) data: Option<File>,
}

impl Plan {
    /// Does what has to be done.
    pub(crate) fn carry_out(self, paths: &Paths) -> Result<Settled> {
        let Self { mut state, mut window, last_batch, next } = self;
        let mut journal = Journal::open(&paths.journal, &state, &window)?;
        match last_batch {
            None => {}
            Some(Fate::Whole(path)) => {
                // Seen is not yet durable.
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .and_then(|()| durable::sync_directory(&path))
                    .map_err(|e| durable::io_error(&e, &path))?;
                let len = state.pending.map_or(0, |batch| batch.count);
                state.settle();
                window.batch_done(len);
                journal.done()?;
            }
            Some(Fate::Absent(cut)) => {
                if let Some((path, len)) = cut {
                    tracing::info!(path = %path.display(), len, "cut off a batch that was not finished");
                    cut_off(&path, len)?;
                }
                if let Some(batch) = state.pending.take() {
                    window.take_back(batch.count);
                }
                journal.take_back()?;
            }
        }
        let data = match next {
            Next::Append(place) => {
                state.place = Some(place);
                Some(append_to(paths, place.end)?)
            }
            Next::Fresh => None,
            Next::Published => {
                state.place = None;
                journal.published()?;
                None
            }
            Next::Lost => {
                tracing::warn!(
                    path = %paths.data.display(),
                    "the unpublished events are gone; those sent again are taken as new"
                );
                state.place = None;
                window.clear();
                journal.compact(&state, &window)?;
                None
            }
        };
        Ok(Settled { journal, state, window, data })
    }
}

fn append_to(paths: &Paths, len: u64) -> Result<File> {
    let open = || {
        let file = OpenOptions::new().append(true).open(&paths.data)?;
        if file.metadata()?.len() > len {
            file.set_len(len)?;
            file.sync_data()?;
        }
        Ok(file)
    };
    open().map_err(|e| durable::io_error(&e, &paths.data))
}

fn cut_off(path: &Path, len: u64) -> Result<()> {
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_data()
    };
    cut().map_err(|e| durable::io_error(&e, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Seen;

    /// After a failed sync the system may show bytes that never reach the disk.
    #[test]
    fn c03_a_batch_whose_write_failed_is_cut_off_although_it_can_be_read() {
        for (trusted, len) in [(true, 8), (false, 4)] {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths::of(&dir.path().join("a.ndjson"), Layout::Ndjson).unwrap();
            std::fs::write(&paths.data, "{1}\n").unwrap();
            let seen = Seen::at(&paths.data).unwrap().unwrap();
            let (state, window) = journal::read(&paths.journal).unwrap();
            let mut journal = Journal::open(&paths.journal, &state, &window).unwrap();
            journal.begin(seen.id, 4, b"{2}\n", &[7]).unwrap();
            std::fs::write(&paths.data, "{1}\n{2}\n").unwrap();

            let doubted = journal.announced().filter(|_| !trusted);
            let plan = examine(&paths, Layout::Ndjson, Codec::Plain, doubted).unwrap();
            let mut settled = plan.carry_out(&paths).unwrap();
            assert_eq!(std::fs::metadata(&paths.data).unwrap().len(), len);
            assert_eq!(settled.window.insert(7), !trusted);
            assert_eq!(settled.state.place.unwrap().end, len);
            let (state, mut window) = journal::read(&paths.journal).unwrap();
            assert!(state.pending.is_none());
            assert_eq!(window.insert(7), !trusted, "the journal says the same");
        }
    }
}
