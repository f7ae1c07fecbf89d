//! The counts of a directory of reports: in memory as far as they are in use, on disk all of them.
//!
//! A batch is durable when it is in the journal. Publishing stores the days it touched, writes their
//! reports and begins a new journal. Each stored file carries the serial of the last batch it holds,
//! so that replaying a journal after a crash at any point adds nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use audit_core::{Error, ErrorKind, IdHash, RecentIds, Result};
use serde::{Deserialize, Serialize};

use crate::crosstab::StoredDay;
use crate::files::Files;
use crate::journal::{self, Feed, Journal, Replay, Version};
use crate::known::StoredKnown;
use crate::{Crosstab, Day, Known, Report, ReportConfig, lines, table};

/// So many days are held in memory at most, beside those of a batch.
const MAX_LOADED: usize = 40;
/// So many labels are held in memory at most, beside those of the last two days.
const MAX_LABELS: usize = 1_000_000;
/// So many days without events in a row get reports too, between days that have some.
const MAX_GAP: usize = 7;
/// A longer journal is worth a new one, in bytes.
const MAX_JOURNAL: u64 = 32 << 20;

#[derive(Debug)]
pub(crate) struct Store {
    config: ReportConfig,
    files: Files,
    feed: Feed,
    journal: Journal,
    serial: u64,
    pub(crate) window: RecentIds,
    days: Crosstab,
    loaded: BTreeMap<Day, Loaded>,
    /// Every day that has reports or is going to.
    all: BTreeSet<Day>,
    /// The days whose reports say something else than what is known.
    stale: BTreeSet<Day>,
    known: Known,
    known_serial: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Loaded {
    serial: u64,
    /// Whether there are reports of the day that were written from here.
    published: bool,
    stored: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct DayFile {
    version: Version,
    serial: u64,
    published: bool,
    counts: StoredDay,
}

#[derive(Debug, Serialize, Deserialize)]
struct KnownFile {
    version: Version,
    serial: u64,
    known: StoredKnown,
}

impl Store {
    /// Opens what is there and publishes what a crash left unpublished. The caller holds the lock.
    pub(crate) fn open(config: &ReportConfig, feed: Feed) -> Result<Self> {
        let files = Files::new(&config.path);
        files.prepare()?;
        let limit = config.max_labels;
        let (replay, all) = look(&files, feed)?;
        let fresh = || Replay {
            feed,
            serial: 0,
            window: RecentIds::new(),
            batches: Vec::new(),
            torn: false,
        };
        let found = replay.is_some();
        let Replay { serial, window, batches, torn, .. } = replay.unwrap_or_else(fresh);
        let (known, known_serial) = match lines::read::<KnownFile>(&files.known())? {
            Some(file) => (Known::restore(file.known, limit), file.serial),
            None => (Known::new(limit), 0),
        };
        let journal = match found {
            true => Journal::open(&files.journal())?,
            false => Journal::create(&files.journal(), feed, serial, &window)?,
        };
        let mut store = Self {
            config: config.clone(),
            files,
            feed,
            journal,
            serial,
            window,
            days: Crosstab::new(limit),
            loaded: BTreeMap::new(),
            all,
            stale: BTreeSet::new(),
            known,
            known_serial,
        };
        let replayed = !batches.is_empty();
        for batch in batches {
            let serial = batch.serial;
            store.apply(&batch.counts(limit), serial)?;
        }
        // At once, so that what was replayed is durable by other means than a journal whose last
        // write may have failed, and that nothing is ever written behind a part of a line.
        if replayed || torn {
            store.publish()?;
        }
        Ok(store)
    }

    /// Makes a batch durable and counts it. After an error the store has to be opened anew.
    pub(crate) fn commit(&mut self, counts: &Crosstab, ids: Vec<IdHash>) -> Result<()> {
        let len = ids.len();
        self.serial += 1;
        self.journal.append(self.serial, ids, counts)?;
        self.window.batch_done(len);
        self.apply(counts, self.serial)
    }

    /// Returns whether the journal is so long that it should be published.
    pub(crate) fn is_long(&self) -> bool {
        self.journal.len() > MAX_JOURNAL
    }

    /// Returns whether there is something to publish.
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Brings all reports up to date. After an error the store has to be opened anew.
    pub(crate) fn publish(&mut self) -> Result<()> {
        self.fill_gaps()?;
        for day in self.stale.clone() {
            let state = self.load(day)?;
            let report = Report::new(&self.days, day, &self.config.sections, Some(&self.known));
            self.files.publish(&report, &self.config, state.published)?;
            self.loaded.insert(day, Loaded { published: true, stored: false, ..state });
            self.save(day)?;
            self.relieve()?;
        }
        let known =
            KnownFile { version: Version, serial: self.known_serial, known: self.known.store() };
        lines::replace(&self.files.known(), &known)?;
        self.journal =
            Journal::create(&self.files.journal(), self.feed, self.serial, &self.window)?;
        self.stale.clear();
        Ok(())
    }

    /// Returns the number of events that are counted on a day.
    pub(crate) fn events(&mut self, day: Day) -> Result<u64> {
        self.load(day)?;
        Ok(self.days.events(day))
    }

    fn apply(&mut self, counts: &Crosstab, serial: u64) -> Result<()> {
        if self.known_serial < serial {
            self.stale.extend(self.known.observe(counts));
            self.known_serial = serial;
        }
        let how = match self.feed {
            Feed::Events => table::sum,
            Feed::Looks => table::max,
        };
        for day in counts.days() {
            let state = self.load(day)?;
            if state.serial < serial {
                self.days.take_over_day(counts, day, how);
                self.loaded.insert(day, Loaded { serial, stored: false, ..state });
            }
            self.stale.insert(day);
            self.all.insert(day);
            self.relieve()?;
        }
        Ok(())
    }

    /// Days without events between days that have some get reports, that say so.
    fn fill_gaps(&mut self) -> Result<()> {
        let mut missing = BTreeSet::new();
        for day in &self.stale {
            let before = self.all.range(..*day).next_back().map(|before| before.between(*day));
            let after = self.all.range(*day..).nth(1).map(|after| day.between(*after));
            for gap in [before, after].into_iter().flatten().filter(|gap| gap.len() <= MAX_GAP) {
                missing.extend(gap);
            }
        }
        for day in missing {
            self.load(day)?;
            self.stale.insert(day);
            self.all.insert(day);
        }
        Ok(())
    }

    fn load(&mut self, day: Day) -> Result<Loaded> {
        if let Some(loaded) = self.loaded.get(&day) {
            return Ok(*loaded);
        }
        let stored = match self.all.contains(&day) {
            true => lines::read::<DayFile>(&self.files.day(day))?,
            false => None,
        };
        let mut state = Loaded::default();
        self.days.ensure(day);
        if let Some(file) = stored {
            state = Loaded { serial: file.serial, published: file.published, stored: true };
            self.days.restore(day, file.counts);
        }
        self.loaded.insert(day, state);
        Ok(state)
    }

    fn save(&mut self, day: Day) -> Result<()> {
        let Some(state) = self.loaded.get_mut(&day).filter(|state| !state.stored) else {
            return Ok(());
        };
        let Loaded { serial, published, .. } = *state;
        let counts = self.days.store(day);
        let file = DayFile { version: Version, serial, published, counts };
        lines::replace(&self.files.day(day), &file)?;
        state.stored = true;
        Ok(())
    }

    /// Lets go of days when there are many.
    fn relieve(&mut self) -> Result<()> {
        let days = self.loaded.len();
        if days > MAX_LOADED || days > 2 && self.days.labels() > MAX_LABELS {
            for day in self.loaded.keys().copied().collect::<Vec<_>>() {
                self.save(day)?;
            }
            self.loaded.clear();
            self.days = Crosstab::new(self.config.max_labels);
        }
        Ok(())
    }
}

/// Reads the journal and the names of the days, changing nothing.
fn look(files: &Files, feed: Feed) -> Result<(Option<Replay>, BTreeSet<Day>)> {
    let all: BTreeSet<_> = files.stored_days()?.into_iter().collect();
    let replay = journal::read(&files.journal())?;
    match &replay {
        None if !all.is_empty() => Err(lines::unusable(&files.journal(), "incomplete")),
        Some(replay) if replay.feed != feed => {
            let (now, then) = (feed.as_str(), replay.feed.as_str());
            Err(Error::new(ErrorKind::Conflict, format!("these reports count {then}, not {now}"))
                .with("path", files.journal().display())
                .with_hint("let each way of counting have a directory of its own"))
        }
        _ => Ok((replay, all)),
    }
}

/// Finds out whether the store could be opened, changing nothing.
pub(crate) fn check(config: &ReportConfig, feed: Feed) -> Result<()> {
    let files = Files::new(&config.path);
    look(&files, feed)?;
    lines::read::<KnownFile>(&files.known())?;
    audit_core::durable::check_writable(&config.path)?;
    audit_core::durable::check_writable(&files.journal())
}
