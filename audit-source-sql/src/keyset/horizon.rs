use serde::{Deserialize, Serialize};

use super::marks::Marks;
use crate::keys::{Key, Keys};

/// A position among the transactions of a PostgreSQL server: every row of a transaction before
/// `from` was handed out.
///
/// Transactions have numbers. All below the oldest that still runs have ended, for good: their rows
/// are there or never will be, whatever the order of commits and keys. A pass reads the rows of the
/// transactions between two such horizons. A row of a savepoint has a number of its own, which is
/// larger than that of its transaction: it is passed when that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Horizon {
    /// The server's identifier: another counts other transactions.
    pub(crate) system: String,
    /// `None`: from the first row on.
    pub(crate) from: Option<i64>,
    /// The pass under way reads up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<i64>,
    /// It has handed out everything up to this key.
    #[serde(default, skip_serializing_if = "Keys::is_empty")]
    after: Keys,
    /// The highest key handed out, if keys are whole numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    high: Option<i64>,
    /// When a transaction was to be the next, a key had been given out: later transactions have
    /// higher ones.
    #[serde(default)]
    marks: Marks,
}

impl Horizon {
    pub(crate) fn of(system: String) -> Self {
        Self { system, ..Self::default() }
    }

    /// Begins a pass up to the oldest transaction that still runs, unless one is under way; returns
    /// whether there may be anything to find.
    pub(crate) fn begin(&mut self, oldest: i64, next: i64) -> bool {
        if self.to.is_some() {
            return true;
        }
        if self.from.is_some_and(|from| oldest <= from) {
            return false;
        }
        if let Some(key) = self.high {
            self.marks.push(next, key);
        }
        self.to = Some(oldest);
        true
    }

    /// Returns behind which key the pass goes on: no row that it looks for is at or before it.
    ///
    /// `look_back` keys may have been given out before a transaction had a number.
    pub(crate) fn after(&self, look_back: i64) -> Option<Key> {
        self.after.iter().next().or_else(|| {
            let reached = self.marks.key_at(self.from?)?;
            Some(Key::Int(reached.saturating_sub(look_back)))
        })
    }

    /// Learns that all rows up to this key were handed out.
    pub(crate) fn take(&mut self, last: Key) {
        if let Key::Int(key) = last {
            self.high = self.high.max(Some(key));
        }
        self.after = [last].into_iter().collect();
    }

    /// Ends the pass.
    pub(crate) fn end(&mut self) {
        self.from = self.to.take().or(self.from);
        self.after = Keys::default();
        if let Some(from) = self.from {
            self.marks.forget(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Row {
        xid: i64,
        key: i64,
        committed: i64,
    }

    /// Reads as the source does, two rows at a time.
    fn pass(place: &mut Horizon, rows: &[Row], now: i64, look_back: i64) -> Vec<i64> {
        // Numbers are given out one in each step of time.
        let running = rows.iter().filter(|row| row.xid <= now && row.committed > now);
        let oldest = running.map(|row| row.xid).min().unwrap_or(now + 1);
        let mut found = Vec::new();
        while place.begin(oldest, now + 1) {
            let (from, to) = (place.from.unwrap_or(i64::MIN), place.to.unwrap());
            let after = place.after(look_back).map_or(i64::MIN, |key| match key {
                Key::Int(key) => key,
                _ => unreachable!(),
            });
            let mut batch: Vec<_> = rows
                .iter()
                .filter(|row| row.committed <= now && row.xid >= from && row.xid < to)
                .map(|row| row.key)
                .filter(|key| *key > after)
                .collect();
            batch.sort_unstable();
            batch.truncate(2);
            match batch.last() {
                Some(last) => place.take(Key::Int(*last)),
                None => place.end(),
            }
            *place = serde_json::from_str(&serde_json::to_string(place).unwrap()).unwrap();
            found.extend(batch);
        }
        found
    }

    #[test]
    fn q01_a_lower_key_that_is_committed_later_is_read_once() {
        let row = |xid, key, committed| Row { xid, key, committed };
        // The lower number has the higher key; then the other way round.
        let rows = [row(10, 2, 15), row(11, 1, 20), row(30, 3, 40), row(31, 4, 35)];
        let mut place = Horizon::of("7".into());
        assert_eq!(pass(&mut place, &rows, 16, 0), [2]);
        assert_eq!(pass(&mut place, &rows, 25, 0), [1]);
        assert!(pass(&mut place, &rows, 36, 0).is_empty(), "an older one still runs");
        assert_eq!(pass(&mut place, &rows, 41, 0), [3, 4]);
        assert!(pass(&mut place, &rows, 50, 0).is_empty());
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(text, r#"{"system":"7","from":51,"high":4,"marks":[[51,4]]}"#);
    }

    proptest! {
        /// Keys are given out a few steps before or after the number, commits come in any order.
        #[test]
        fn q02_every_row_comes_once_in_any_order_of_commits(
            rows in prop::collection::vec((0..6_i64, 1..60_i64), 1..80),
            polls in prop::collection::vec(1..40_i64, 1..60),
        ) {
            let rows: Vec<_> = rows
                .into_iter()
                .zip(1..)
                // A key that is up to five behind what others have by now.
                .map(|((early, lasts), xid)| Row { xid, key: xid * 10 - early * 10 + early, committed: xid + lasts })
                .collect();
            let mut place = Horizon::of(String::new());
            let (mut found, mut now) = (Vec::new(), 0);
            for wait in polls.into_iter().chain([1000, 1]) {
                now += wait;
                found.extend(pass(&mut place, &rows, now, 60));
            }
            found.sort_unstable();
            let mut all: Vec<_> = rows.iter().map(|row| row.key).collect();
            all.sort_unstable();
            prop_assert_eq!(found, all);
            prop_assert!(place.marks.len() <= 2);
        }
    }
}
