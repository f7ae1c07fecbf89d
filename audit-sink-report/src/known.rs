use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::MAX_LABELS;
use crate::ranked::{Ranked, Stored};
use crate::{Crosstab, Day, Section};

/// When each principal and each method was seen for the first time, from which a report knows what
/// is new on its day.
///
/// The very first day is what others are compared with: nothing is new on it. Of each kind so many
/// labels are known as a [`Crosstab`] keeps; beyond, those are left out whose XXH3 is highest, and
/// never called new. So what is new depends on the events alone, not on their order.
#[derive(Clone, Debug)]
pub struct Known {
    principals: Ranked<Day>,
    methods: Ranked<Day>,
    first: Option<Day>,
    max_labels: usize,
}

/// The sections whose labels are remembered, each with the one that shows what is new.
const KINDS: [Section; 2] = [Section::Principals, Section::OtherEvents];

impl Default for Known {
    fn default() -> Self {
        Self::new(MAX_LABELS)
    }
}

impl Known {
    /// Creates an empty one that remembers so many labels of each kind, at least one.
    pub fn new(max_labels: usize) -> Self {
        Self { principals: Ranked::new(), methods: Ranked::new(), first: None, max_labels }
    }

    /// Learns what was counted, and returns the days whose reports have to say something else than
    /// before because of it.
    pub fn observe(&mut self, crosstab: &Crosstab) -> BTreeSet<Day> {
        let mut changed = BTreeSet::new();
        for day in crosstab.days().filter(|day| crosstab.events(*day) > 0) {
            if self.first.is_none_or(|first| day < first) {
                changed.extend([day].into_iter().chain(self.first.replace(day)));
            }
            for section in KINDS {
                let level = self.max_labels;
                let known = self.of_mut(section);
                for label in crosstab.labels_of(day, section) {
                    if let Some(first) = known.get_mut(label) {
                        if day < *first {
                            changed.extend([day, *first]);
                            *first = day;
                        }
                    } else if !known.is_left_out(label) {
                        changed.insert(day);
                        known.insert(label.into(), day);
                    }
                }
                changed.extend(known.cut(level).into_iter().map(|(_, first)| first));
            }
        }
        changed
    }

    /// Returns whether a label was seen on this day for the first time.
    pub(crate) fn is_new(&self, section: Section, label: &str, day: Day) -> bool {
        let known = match section.counted_as() {
            Section::Principals => &self.principals,
            _ => &self.methods,
        };
        self.first != Some(day) && known.get(label) == Some(&day)
    }

    /// Returns whether this is the day that others are compared with.
    pub(crate) fn begins(&self, day: Day) -> bool {
        self.first == Some(day)
    }

    fn of_mut(&mut self, section: Section) -> &mut Ranked<Day> {
        match section {
            Section::Principals => &mut self.principals,
            _ => &mut self.methods,
        }
    }

    pub(crate) fn store(&self) -> StoredKnown<'_, &Day> {
        StoredKnown {
            first: self.first,
            principals: self.principals.store(self.max_labels),
            methods: self.methods.store(self.max_labels),
        }
    }

    pub(crate) fn restore(stored: StoredKnown<'_, Day>, max_labels: usize) -> Self {
        Self {
            first: stored.first,
            principals: Ranked::restore(stored.principals),
            methods: Ranked::restore(stored.methods),
            max_labels,
        }
    }
}

/// What is known, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "V: Deserialize<'de>"))]
pub(crate) struct StoredKnown<'a, V> {
    first: Option<Day>,
    principals: Stored<'a, V>,
    methods: Stored<'a, V>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(n: i64) -> Day {
        crate::Hour::of_unix_seconds(n * 86_400).unwrap().day()
    }

    fn seen(events: &[(i64, u8)]) -> Crosstab {
        let mut crosstab = Crosstab::default();
        for (n, label) in events {
            crosstab.add(Section::OtherEvents, day(*n).hour(3), &label.to_string());
            crosstab.add(Section::Principals, day(*n).hour(3), &label.to_string());
        }
        crosstab
    }

    fn new(known: &Known) -> Vec<(i64, u8)> {
        let pairs = (0..10).flat_map(|n| (0..20).map(move |label| (n, label)));
        let is_new =
            |(n, label): &(i64, u8)| known.is_new(Section::NewMethods, &label.to_string(), day(*n));
        pairs.filter(is_new).collect()
    }

    #[test]
    fn nothing_is_new_on_the_first_day_also_when_an_earlier_one_turns_up() {
        let mut known = Known::default();
        known.observe(&seen(&[(5, 1), (6, 1), (6, 2)]));
        assert_eq!(new(&known), [(6, 2)]);
        let changed = known.observe(&seen(&[(4, 2)]));
        assert_eq!(new(&known), [(5, 1)], "2 is older now, and day 5 has something before it");
        assert_eq!(changed, BTreeSet::from([day(4), day(5), day(6)]));
        assert!(known.observe(&seen(&[(6, 1)])).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_new_depends_on_neither_order_nor_portions(
            events in prop::collection::vec((0..10i64, 0..20u8), 0..60),
            portion in 1..20usize,
            limit in 1..25usize,
        ) {
            let mut at_once = Known::new(limit);
            at_once.observe(&seen(&events));
            let mut portions = Known::new(limit);
            let backwards: Vec<_> = events.iter().rev().copied().collect();
            for part in backwards.chunks(portion) {
                let before = new(&portions);
                let changed = portions.observe(&seen(part));
                let text = serde_json::to_string(&portions.store()).unwrap();
                portions = Known::restore(serde_json::from_str(&text).unwrap(), limit);
                let after = new(&portions);
                let differ = |n: i64| {
                    before.iter().filter(|e| e.0 == n).ne(after.iter().filter(|e| e.0 == n))
                };
                for n in (0..10).filter(|n| differ(*n)) {
                    prop_assert!(changed.contains(&day(n)), "day {} changed unnoticed", n);
                }
            }
            prop_assert_eq!(new(&portions), new(&at_once));
        }
    }
}
