//! The counts of a directory of reports: in memory as far as they are in use, on disk all of them.
//!
//! A batch is durable when it is in the journal. Publishing stores the days it touched, writes their
//! reports and begins a new journal. Each stored file carries the serial of the last batch it holds,
//! so that replaying a journal after a crash at any point adds nothing twice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use audit_core::{Error, ErrorKind, IdHash, RecentIds, Result};
use serde::{Deserialize, Serialize};

use crate::cells::Cells;
use crate::crosstab::StoredDay;
use crate::files::Files;
use crate::journal::{self, Feed, Journal, Replay, Version};
use crate::known::StoredKnown;
use crate::{Crosstab, Day, Known, Report, ReportConfig, cells, lines};

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
    loaded: BTreeMap<Day, Loaded>,
    /// Every day that has reports or is going to.
    all: BTreeSet<Day>,
    /// The days whose reports say something else than what is known.
    stale: BTreeSet<Day>,
    known: Known,
    known_serial: u64,
}

/// A day in memory.
#[derive(Debug)]
struct Loaded {
    counts: Crosstab,
    serial: u64,
    /// Whether there are reports of the day that were written from here.
    published: bool,
    stored: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "V: Deserialize<'de>"))]
struct DayFile<'a, V> {
    version: Version,
    serial: u64,
    published: bool,
    counts: StoredDay<'a, V>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "V: Deserialize<'de>"))]
struct KnownFile<'a, V> {
    version: Version,
    serial: u64,
    known: StoredKnown<'a, V>,
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
        let (known, known_serial) = match lines::read::<KnownFile<'_, Day>>(&files.known())? {
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
            loaded: BTreeMap::new(),
            all,
            stale: BTreeSet::new(),
            known,
            known_serial,
        };
        let replayed = !batches.is_empty();
        for batch in batches {
            let serial = batch.serial;
            store.apply(batch.counts(), serial)?;
        }
        // At once, so that what was replayed is durable by other means than a journal whose last
        // write may have failed, and that nothing is ever written behind a part of a line.
        if replayed || torn {
            store.publish()?;
        }
        Ok(store)
    }

    /// Makes a batch durable and counts it. After an error the store has to be opened anew.
    pub(crate) fn commit(&mut self, counts: Crosstab, ids: Vec<IdHash>) -> Result<()> {
        let len = ids.len();
        self.serial += 1;
        self.journal.append(self.serial, ids, &counts)?;
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
            self.load(day)?;
            let Self { loaded, files, config, known, .. } = self;
            if let Some(state) = loaded.get_mut(&day) {
                let report = Report::new(&state.counts, day, &config.sections, Some(known));
                files.publish(&report, config, state.published)?;
                (state.published, state.stored) = (true, false);
                state.save(day, files)?;
            }
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
        Ok(self.load(day)?.counts.events(day))
    }

    fn apply(&mut self, mut counts: Crosstab, serial: u64) -> Result<()> {
        if self.known_serial < serial {
            self.stale.extend(self.known.observe(&counts));
            self.known_serial = serial;
        }
        let how = match self.feed {
            Feed::Events => cells::sum,
            Feed::Looks => cells::max,
        };
        while let Some((day, counts)) = counts.first_day() {
            self.stale.insert(day);
            self.all.insert(day);
            let state = self.load(day)?;
            if state.serial < serial {
                state.counts.take_over(counts, how);
                (state.serial, state.stored) = (serial, false);
            }
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

    fn load(&mut self, day: Day) -> Result<&mut Loaded> {
        let entry = match self.loaded.entry(day) {
            Entry::Occupied(loaded) => return Ok(loaded.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let mut counts = Crosstab::new(self.config.max_labels);
        counts.ensure(day);
        let mut state = Loaded { counts, serial: 0, published: false, stored: false };
        let stored = match self.all.contains(&day) {
            true => lines::read::<DayFile<'_, Cells>>(&self.files.day(day))?,
            false => None,
        };
        if let Some(file) = stored {
            state.counts.restore(day, file.counts);
            (state.serial, state.published, state.stored) = (file.serial, file.published, true);
        }
        Ok(entry.insert(state))
    }

    /// Lets go of days when there are many.
    fn relieve(&mut self) -> Result<()> {
        let days = self.loaded.len();
        let labels = self.loaded.values().map(|state| state.counts.labels()).sum::<usize>();
        if days > MAX_LOADED || days > 2 && labels > MAX_LABELS {
            self.unload()?;
        }
        Ok(())
    }

    /// Lets go of all days.
    pub(crate) fn unload(&mut self) -> Result<()> {
        for (day, mut state) in std::mem::take(&mut self.loaded) {
            state.save(day, &self.files)?;
        }
        Ok(())
    }
}

impl Loaded {
    fn save(&mut self, day: Day, files: &Files) -> Result<()> {
        if self.stored {
            return Ok(());
        }
        let Self { serial, published, .. } = *self;
        let counts = self.counts.store(day);
        lines::replace(&files.day(day), &DayFile { version: Version, serial, published, counts })?;
        self.stored = true;
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
    lines::read::<KnownFile<'_, Day>>(&files.known())?;
    audit_core::durable::check_writable(&config.path)?;
    audit_core::durable::check_writable(&files.journal())
}
