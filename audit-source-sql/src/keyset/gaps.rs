use serde::{Deserialize, Serialize};

use super::marks::Marks;
use crate::keys::{Key, Keys, Span};

/// From about so many missing keys on, rows behind them wait until some are given up.
const MOST: usize = 10_000;
/// How many missing keys that were given up are looked for all the same.
const OLD: usize = 64;

/// A position among whole numbers that a database gives out in order, and transactions commit in any
/// order: the highest key handed out, and the keys below it that were not there yet.
///
/// A missing key is waited for until it was given out a settle time ago. Then it counts as rolled
/// back or deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gaps {
    /// The highest key handed out.
    pub(crate) high: Option<i64>,
    /// Missing below it, in order.
    #[serde(with = "runs")]
    missing: Vec<Run>,
    /// Missing for so long that nobody waits for them, in the order of giving up.
    #[serde(with = "runs")]
    old: Vec<Run>,
    /// At a time, in milliseconds since 1970, all keys up to a key had been given out.
    marks: Marks,
}

pub(super) type Run = (i64, i64);

impl Gaps {
    /// Learns that this is the highest key in the table now.
    pub(crate) fn saw(&mut self, now: i64, highest: Option<i64>) {
        if let Some(key) = highest {
            self.marks.push(now, key);
        }
    }

    /// Returns which keys are worth a look, as few ranges that hold little else.
    pub(crate) fn watched(&self) -> Vec<Run> {
        /// Keys between two gaps that are rather read past than asked around.
        const NEAR: i64 = 10_000;
        let mut all: Vec<_> = self.missing.iter().chain(&self.old).copied().collect();
        all.sort_unstable();
        let mut ranges: Vec<Run> = Vec::new();
        for (a, b) in all {
            match ranges.last_mut() {
                Some((_, last)) if a.saturating_sub(*last) <= NEAR => *last = b.max(*last),
                _ => ranges.push((a, b)),
            }
        }
        ranges
    }

    /// Returns whether a key was missing.
    pub(crate) fn is_missing(&self, key: i64) -> bool {
        find(&self.missing, key).is_ok() || self.is_old(key)
    }

    /// Returns whether a key was given up.
    pub(crate) fn is_old(&self, key: i64) -> bool {
        self.old.iter().any(|(a, b)| (*a..=*b).contains(&key))
    }

    /// Gives up what was given out before this time and still is missing. Only right after a look at
    /// all that is watched; `found` are the keys, in order, that it showed to be there. They are in
    /// the position until they are handed out, for a process that ends before.
    pub(crate) fn settle(&mut self, before: i64, found: &[Run]) {
        let Some(key) = self.marks.key_at(before) else { return };
        self.marks.forget(before);
        let is_missing = |(a, b): &Run| {
            let behind = found.partition_point(|(_, last)| last < a);
            found.get(behind).is_none_or(|(first, _)| first > b)
        };
        let settled = self.missing.partition_point(|(_, b)| *b <= key);
        let (given_up, stay): (Vec<_>, Vec<_>) =
            self.missing.drain(..settled).partition(is_missing);
        self.missing.splice(..0, stay);
        self.old.extend(given_up);
        let mut many = self.old.len().saturating_sub(OLD);
        self.old.retain(|run| {
            let goes = many > 0 && is_missing(run);
            many -= usize::from(goes);
            !goes
        });
    }

    /// Returns whether so much is missing that rows behind it have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.missing.len() >= MOST
    }

    /// Learns that a row was handed out.
    pub(crate) fn take(&mut self, key: i64) {
        match self.high {
            Some(high) if key <= high => {
                self.fill(key);
                return;
            }
            Some(high) if key - 1 > high => self.missing.push((high + 1, key - 1)),
            None if key > i64::MIN => self.missing.push((i64::MIN, key - 1)),
            _ => {}
        }
        self.high = Some(key);
    }

    fn fill(&mut self, key: i64) {
        let (list, at) = match find(&self.missing, key) {
            Ok(at) => (&mut self.missing, at),
            Err(_) => match self.old.iter().position(|(a, b)| (*a..=*b).contains(&key)) {
                Some(at) => (&mut self.old, at),
                None => return,
            },
        };
        let Some(&(a, b)) = list.get(at) else { return };
        let below = (a < key).then(|| (a, key - 1));
        let above = (key < b).then(|| (key + 1, b));
        list.splice(at..=at, below.into_iter().chain(above));
    }
}

fn find(runs: &[Run], key: i64) -> Result<usize, usize> {
    runs.binary_search_by(|(a, b)| {
        if *b < key {
            std::cmp::Ordering::Less
        } else if *a > key {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    })
}

/// As the keys of a flag's cursor: `[[1,6000],6002]`.
mod runs {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    use super::{Key, Keys, Run, Span};

    pub(super) fn serialize<S: Serializer>(runs: &[Run], serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = Keys::default();
        runs.iter().for_each(|(a, b)| keys.push_run(*a, *b));
        keys.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Run>, D::Error> {
        let keys = Keys::deserialize(from)?;
        let run = |span: &Span| match span {
            Span::Run(a, b) => Ok((*a, *b)),
            Span::One(Key::Int(n)) => Ok((*n, *n)),
            Span::One(_) => Err(D::Error::custom("a key that is no whole number")),
        };
        keys.spans().iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Reads as the source does, from a table with these keys.
    fn pass(gaps: &mut Gaps, table: &BTreeSet<i64>, now: i64, timeout: i64) -> Vec<i64> {
        gaps.saw(now, table.last().copied());
        let mut found = Vec::new();
        for (a, b) in gaps.watched() {
            found.extend(table.range(a..=b).copied().filter(|key| gaps.is_missing(*key)));
        }
        let runs: Vec<_> = found.iter().map(|key| (*key, *key)).collect();
        gaps.settle(now - timeout, &runs);
        if !gaps.is_full() {
            let high = gaps.high;
            found.extend(table.iter().copied().filter(|key| high.is_none_or(|high| *key > high)));
        }
        found.iter().for_each(|key| gaps.take(*key));
        found
    }

    #[test]
    fn q01_a_lower_key_that_is_committed_later_is_found_once() {
        let mut gaps = Gaps::default();
        assert_eq!(pass(&mut gaps, &[1, 3, 7].into(), 0, 100), [1, 3, 7]);
        assert_eq!(pass(&mut gaps, &[1, 2, 3, 5, 7].into(), 10, 100), [2, 5]);
        assert_eq!(pass(&mut gaps, &[1, 2, 3, 4, 5, 7, 8].into(), 20, 100), [4, 8]);
        assert!(pass(&mut gaps, &[1, 2, 3, 4, 5, 7, 8].into(), 30, 100).is_empty());
        let text = serde_json::to_string(&gaps).unwrap();
        assert_eq!(
            text,
            r#"{"high":8,"missing":[[-9223372036854775808,0],6],"old":[],"marks":[[0,7],[20,8]]}"#
        );
        assert_eq!(serde_json::from_str::<Gaps>(&text).unwrap(), gaps);
    }

    #[test]
    fn q03_rolled_back_keys_are_given_up_and_found_all_the_same_for_a_while() {
        let mut gaps = Gaps::default();
        pass(&mut gaps, &[1, 3].into(), 0, 100);
        pass(&mut gaps, &[1, 3].into(), 99, 100);
        assert!(!gaps.is_old(2) && gaps.is_missing(2));
        pass(&mut gaps, &[1, 3].into(), 100, 100);
        assert!(gaps.is_old(2) && gaps.missing.is_empty());
        assert_eq!(pass(&mut gaps, &[1, 2, 3].into(), 500, 100), [2]);
        for key in (5..1000).step_by(2) {
            pass(&mut gaps, &[key].into(), 1000 + key * 200, 100);
        }
        assert_eq!(gaps.old.len(), OLD);
        assert!(gaps.marks.len() < 4, "{gaps:?}");
    }

    #[test]
    fn a_stop_of_any_length_loses_no_key_that_was_missing() {
        let mut gaps = Gaps::default();
        pass(&mut gaps, &[1, 3].into(), 0, 100);
        // A day later: looked at once more before it is given up.
        assert_eq!(pass(&mut gaps, &[1, 2, 3].into(), 86_400_000, 100), [2]);
    }

    #[test]
    fn a_history_full_of_gaps_waits_once() {
        let table: BTreeSet<i64> = (0..60_000).step_by(2).collect();
        let mut gaps = Gaps::default();
        let mut found = 0;
        gaps.saw(0, table.last().copied());
        for key in &table {
            if gaps.is_full() {
                break;
            }
            gaps.take(*key);
            found += 1;
        }
        assert_eq!(found, MOST);
        assert!(pass(&mut gaps, &table, 50, 100).is_empty());
        let rest = pass(&mut gaps, &table, 100, 100);
        assert_eq!(found + rest.len(), table.len());
        pass(&mut gaps, &table, 101, 100);
        assert!(gaps.missing.is_empty(), "all were there a settle time ago");
    }

    #[derive(Clone, Debug)]
    enum Fate {
        Commits(i64),
        RollsBack,
    }

    proptest! {
        /// Whatever the order of commits: each row is handed out once, in the pass after its commit
        /// at the latest, if it is committed within the settle time.
        #[test]
        fn q02_every_row_comes_once_in_any_order_of_commits(
            fates in prop::collection::vec(
                (1..40_i64, prop_oneof![3 => (0..100_i64).prop_map(Fate::Commits), 1 => Just(Fate::RollsBack)]),
                1..80,
            ),
            polls in prop::collection::vec(1..60_i64, 1..60),
            restart in any::<bool>(),
        ) {
            // Keys are given out one by one; each commits after its delay.
            let (mut time, mut commits) = (0, BTreeMap::new());
            for (key, (wait, fate)) in fates.iter().enumerate() {
                time += wait / 4;
                if let Fate::Commits(delay) = fate {
                    commits.insert(key as i64, time + delay);
                }
            }
            let (mut gaps, mut found, mut now) = (Gaps::default(), Vec::new(), 0);
            let table = |now: i64| commits.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
            for wait in polls {
                now += wait;
                found.extend(pass(&mut gaps, &table(now), now, 100));
                if restart {
                    gaps = serde_json::from_str(&serde_json::to_string(&gaps).unwrap()).unwrap();
                }
                let all: BTreeSet<i64> = table(now);
                prop_assert_eq!(&found.iter().copied().collect::<BTreeSet<_>>(), &all);
                prop_assert_eq!(found.len(), all.len());
            }
            now += 10_000;
            found.extend(pass(&mut gaps, &table(now), now, 100));
            pass(&mut gaps, &table(now), now + 200, 100);
            prop_assert_eq!(found.len(), commits.len());
            prop_assert!(gaps.missing.is_empty(), "nothing is waited for for ever");
        }
    }
}
