//! Which partitions are read here, and who says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use audit_core::{Cursor, Read, Result};
use tracing::{info, warn};

use super::Reader;
use crate::client::{Change, Client, Start};
use crate::position::Position;

/// How long to wait before what was handed out is looked at again.
const SETTLING: Duration = Duration::from_millis(10);

/// Who says which partitions are read here.
#[derive(Debug)]
pub(super) enum Share {
    /// Nobody: all of them.
    All,
    /// A consumer group, which shares them out among its members.
    Group {
        /// Since when it gives us none, once it has answered.
        without: Option<Instant>,
        /// Since when partitions wait to be handed over.
        handing_over: Option<Instant>,
    },
}

impl Share {
    pub(super) fn of(group: Option<&String>) -> Self {
        match group {
            None => Self::All,
            Some(_) => Self::Group { without: None, handing_over: None },
        }
    }

    /// Returns those of a topic's partitions that need not be waited for.
    pub(super) fn at_once(&self, partitions: Vec<i32>) -> Vec<i32> {
        match self {
            Self::All => partitions,
            Self::Group { .. } => Vec::new(),
        }
    }
}

impl Reader {
    /// Begins to fetch. Of a group that is when it is joined: what it gives comes later.
    pub(super) fn start(&mut self) -> Result<()> {
        match self.share {
            Share::All => self.client.assign(&self.position.next)?,
            Share::Group { .. } => self.client.join()?,
        }
        self.fetching = true;
        self.waiting_since = Some(Instant::now());
        Ok(())
    }

    /// Stops fetching, and drops what was fetched. A group is left, to be joined again.
    pub(super) fn stop(&mut self) -> Result<()> {
        match &mut self.share {
            Share::All => self.client.unassign()?,
            Share::Group { .. } if !self.fetching => {}
            Share::Group { without, handing_over } => {
                (*without, *handing_over) = (None, None);
                let client = Client::new(&self.settings)?;
                client.saved(&self.client.all_settled());
                self.client = client;
            }
        }
        self.client.calm();
        self.fetching = false;
        Ok(())
    }

    /// Whether it can go on from a position without reading anything again: as a member of a group
    /// that has handed out just what is saved. Leaving it would disturb the others.
    pub(super) fn goes_on_from(&self, known: Option<&Position>) -> bool {
        let saved = |p: &i32| known.and_then(|known| known.next.get(p).copied());
        let nothing_more = |(p, next): (&i32, &i64)| {
            !self.client.holds(*p) || *next <= self.client.settled(*p).max(saved(p)).unwrap_or(-1)
        };
        matches!(self.share, Share::Group { .. })
            && self.fetching
            && self.position.next.iter().all(nothing_more)
    }

    /// Learns that everything up to a cursor is delivered and saved, and tells the group.
    pub(crate) fn committed(&self, cursor: &Cursor) -> Result<()> {
        let position = Position::decode(cursor, &self.settings.config.topic)?;
        self.client.settle(&position.next);
        Ok(())
    }

    /// Does what the group decided. Returns what to answer while that has to wait.
    pub(super) fn follow_group(&mut self) -> Result<Option<Read>> {
        while let Some(change) = self.client.change() {
            match change {
                Change::Given(partitions) => self.take_over(&partitions)?,
                Change::Taken { partitions, lost } => {
                    if !lost && self.is_unsettled(&partitions) && !self.is_out_of_patience() {
                        // The pipeline settles it meanwhile.
                        std::thread::sleep(SETTLING);
                        return self.nothing().map(Some);
                    }
                    self.hand_over(&partitions, lost)?;
                }
            }
            let has_none = self.ends.is_empty();
            if let Share::Group { without, handing_over } = &mut self.share {
                *handing_over = None;
                *without = has_none.then(|| without.unwrap_or_else(Instant::now));
            }
            self.waiting_since = Some(Instant::now());
            self.show_partitions();
        }
        Ok(None)
    }

    /// Begins where all before is delivered: as we know, or as another member told the group.
    fn take_over(&mut self, partitions: &[i32]) -> Result<()> {
        let told = match partitions {
            [] => BTreeMap::new(),
            some => self.client.committed(some)?,
        };
        let mut starts = BTreeMap::new();
        for partition in partitions {
            let told = told.get(partition).copied();
            let settled = self.client.settled(*partition).max(told);
            // What was read when it was ours before and is on its way is not read again.
            let read = self.position.next.get(partition).copied();
            let on_its_way = read > settled;
            self.place(*partition, read.max(settled))?;
            let next = self.position.next[partition];
            // What a topic that was made anew was told counts no more.
            let told = told.filter(|told| *told <= next);
            let settled = if on_its_way { settled.unwrap_or(0) } else { next };
            starts.insert(*partition, Start { next, settled, told });
        }
        self.client.take(&starts)?;
        info!(topic = self.settings.config.topic, ?partitions, "the group gave partitions");
        Ok(())
    }

    /// Leaves partitions to other members.
    fn hand_over(&mut self, partitions: &[i32], lost: bool) -> Result<()> {
        let topic = &self.settings.config.topic;
        if self.is_unsettled(partitions) {
            warn!(topic, ?partitions, lost, "others may deliver again what is on its way");
        }
        self.client.give(partitions, lost)?;
        info!(topic, ?partitions, "the group took partitions");
        partitions.iter().for_each(|partition| self.forget(*partition));
        Ok(())
    }

    /// Whether more was handed out of these than is delivered and saved.
    fn is_unsettled(&self, partitions: &[i32]) -> bool {
        partitions.iter().any(|p| self.position.next.get(p).copied() > self.client.settled(*p))
    }

    /// Whether what is to be handed over waits for too long.
    fn is_out_of_patience(&mut self) -> bool {
        let Share::Group { handing_over, .. } = &mut self.share else { return true };
        let since = handing_over.get_or_insert_with(Instant::now);
        since.elapsed() >= self.settings.config.timeout
    }

    /// Whether it is known which partitions are read here; none at all only after a while.
    pub(super) fn is_settled_in(&self) -> bool {
        match &self.share {
            Share::All => true,
            Share::Group { without, .. } => {
                let timeout = self.settings.config.timeout;
                !self.ends.is_empty() || without.is_some_and(|since| since.elapsed() >= timeout)
            }
        }
    }
}
