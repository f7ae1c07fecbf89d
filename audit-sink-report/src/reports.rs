use audit_core::{AuditEvent, Result};

use crate::journal::Feed;
use crate::store::{self, Store};
use crate::{Crosstab, Day, Hour, ReportConfig, facts, sink};

/// So many labels are brought into the reports at once.
const AT_ONCE: usize = 16_384;

/// The reports of a directory that are made from files, each of which is looked at as a whole.
///
/// Looks may overlap, and a later one may see less (a download that was cut off): of each count the
/// largest that was ever seen holds ([`Crosstab::join`]). So repeating a run changes nothing, and no
/// run makes a report worse. Calls block.
#[derive(Clone, Debug)]
pub struct Reports {
    config: ReportConfig,
}

/// What became of one day of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The day.
    pub day: Day,
    /// The events of the look on this day.
    pub seen: u64,
    /// The events of the report, which holds the larger counts of this look and of all before.
    pub reported: u64,
}

impl Crosstab {
    /// Counts an event of any source in each section it is in; false if it has a time that no report
    /// has, before 1970 or after 9999.
    pub fn count(&mut self, event: &AuditEvent) -> bool {
        let hour = Hour::of(&event.time);
        hour.inspect(|hour| facts::count(event, *hour, self)).is_some()
    }
}

impl Reports {
    /// Names the directory and what is to be in it; touches no file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](audit_core::ErrorKind::Config) for options that cannot be meant.
    pub fn new(config: ReportConfig) -> Result<Self> {
        Ok(Self { config: config.parse()? })
    }

    /// Finds out whether reports could be written. Changes nothing.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn check(&self) -> Result<()> {
        store::check(&self.config, Feed::Looks)
    }

    /// Brings the reports of all days of a look up to date, some days after the other, so that they need
    /// little memory beside the look.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](audit_core::ErrorKind::Conflict) when another process writes here, or
    /// a pipeline counts into this directory; `InvalidData` when what is stored is damaged; and what
    /// writing files may fail with.
    pub fn publish(&self, mut look: Crosstab) -> Result<Vec<Published>> {
        let mut publish = || {
            let _lock = sink::lock(&self.config)?;
            let mut store = Store::open(&self.config, Feed::Looks)?;
            let mut published = Vec::with_capacity(look.days().len());
            look.settle();
            while let Some(days) = look.first_days(AT_ONCE) {
                let seen: Vec<_> = days.days().map(|day| (day, days.events(day))).collect();
                store.commit(days, Vec::new())?;
                store.publish()?;
                for (day, seen) in seen {
                    published.push(Published { day, seen, reported: store.events(day)? });
                }
                store.unload()?;
            }
            Ok(published)
        };
        publish().map_err(|e: audit_core::Error| e.while_doing("write the reports"))
    }
}
