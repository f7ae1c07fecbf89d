use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::table::{self, Stored, Table};
use crate::{Day, Hour, Section};

/// Longer labels are cut, in bytes; a sum of the whole keeps them apart.
const MAX_LABEL: usize = 512;
/// Sections with counts of their own.
const OWN: usize = Section::NewPrincipals as usize;

/// What a label is called that is not known.
pub(crate) const UNKNOWN: &str = "(unknown)";

/// Counts of events by day, section, label and hour.
///
/// Adding is cheap and takes no time to set up, so that each reader of a file may have its own and
/// [`merge`](Self::merge) them in the end. The result is the same in whatever order.
///
/// A section of a day has at most so many labels as `max_labels` says. Beyond, those are kept whose
/// XXH3 is lowest, which does not depend on the order either, and the events of all others are
/// counted as one ([`rows`](Self::rows) with no label). A row that is kept is always complete.
/// 100,000 labels of one hour each take about 10 MB, with every hour used 30 MB.
#[derive(Clone, Debug)]
pub struct Crosstab {
    days: Vec<(Day, Box<Tables>)>,
    /// The place of the day that was used last: events mostly come in order.
    last: usize,
    max_labels: usize,
    /// Which sections count, by their place.
    counted: [bool; OWN],
    scratch: String,
}

type Tables = [Table; OWN];

impl Default for Crosstab {
    fn default() -> Self {
        Self::new(100_000)
    }
}

impl Crosstab {
    /// Creates an empty one that keeps so many labels a section and day, at least one.
    pub fn new(max_labels: usize) -> Self {
        Self {
            days: Vec::new(),
            last: 0,
            max_labels: max_labels.max(1),
            counted: [true; OWN],
            scratch: String::new(),
        }
    }

    /// Counts in these sections only, and in that of all events; the others stay empty, and cost
    /// neither time nor memory.
    #[must_use]
    pub fn only(mut self, sections: &[Section]) -> Self {
        self.counted = [false; OWN];
        for section in sections.iter().chain([&Section::OtherEvents]) {
            self.counted[section.counted_as() as usize] = true;
        }
        self
    }

    /// Returns whether events are counted in a section.
    pub(crate) fn counts(&self, section: Section) -> bool {
        self.counted[section.counted_as() as usize]
    }

    /// Counts one event. The sections of what is new share the counts of the whole.
    pub fn add(&mut self, section: Section, hour: Hour, label: &str) {
        self.add_many(section, hour, label, 1);
    }

    /// Counts several events of one label and hour; none is no row.
    pub fn add_many(&mut self, section: Section, hour: Hour, label: &str, count: u64) {
        if count > 0 && self.counts(section) {
            let label = bounded(label);
            self.table(section, hour.day()).put(&label, hour.of_day(), count, table::sum);
        }
    }

    /// As [`add`](Self::add), with a label that is put together of parts.
    pub(crate) fn add_joined(&mut self, section: Section, hour: Hour, parts: &[&str], count: u64) {
        if let [label] = parts {
            return self.add_many(section, hour, label, count);
        }
        let mut label = std::mem::take(&mut self.scratch);
        label.clear();
        parts.iter().for_each(|part| label.push_str(part));
        self.add_many(section, hour, &label, count);
        self.scratch = label;
    }

    pub(crate) fn limit(&self) -> usize {
        self.max_labels
    }

    /// Adds what another counted: of other events.
    pub fn merge(&mut self, other: &Self) {
        self.take_over(other, table::sum);
    }

    /// Takes the larger of each two counts: of two looks at the same events, of which either may
    /// have missed some.
    ///
    /// No count gets larger than the truth by it, and none smaller than it was; joining the same
    /// again changes nothing.
    pub fn join(&mut self, other: &Self) {
        self.take_over(other, table::max);
    }

    fn take_over(&mut self, other: &Self, how: fn(u64, u64) -> u64) {
        other.days().for_each(|day| self.take_over_day(other, day, how));
    }

    /// Returns the days that have counts, in order.
    pub fn days(&self) -> impl ExactSizeIterator<Item = Day> {
        self.days.iter().map(|(day, _)| *day)
    }

    /// Returns the number of events of a day.
    pub fn events(&self, day: Day) -> u64 {
        self.total(day, Section::OtherEvents)
    }

    /// Returns the sum of a section's counts on a day.
    pub fn total(&self, day: Day, section: Section) -> u64 {
        self.find(day, section).map_or(0, Table::total)
    }

    /// Returns the counts of a section on a day by label, in the order of the labels, and last, with
    /// no label, those of all labels beyond the limit, if there are any.
    pub fn rows(&self, day: Day, section: Section) -> Vec<Row<'_>> {
        let Some(table) = self.find(day, section) else { return Vec::new() };
        let (rows, other) = table.view();
        let rows = rows.into_iter().map(|(label, cells)| Row::new(Some(label), cells.all()));
        let other = Row::new(None, other);
        rows.chain((other.total() > 0).then_some(other)).collect()
    }

    fn find(&self, day: Day, section: Section) -> Option<&Table> {
        let place = self.days.binary_search_by_key(&day, |(day, _)| *day).ok()?;
        self.days[place].1.get(section.counted_as() as usize)
    }

    fn table(&mut self, section: Section, day: Day) -> &mut Table {
        &mut self.tables(day)[section.counted_as() as usize]
    }

    fn tables(&mut self, day: Day) -> &mut Tables {
        if self.days.get(self.last).is_none_or(|(last, _)| *last != day) {
            let found = self.days.binary_search_by_key(&day, |(day, _)| *day);
            self.last = found.unwrap_or_else(|place| {
                let tables = std::array::from_fn(|_| Table::new(self.max_labels));
                self.days.insert(place, (day, Box::new(tables)));
                place
            });
        }
        &mut self.days[self.last].1
    }

    /// Takes over one day of another.
    pub(crate) fn take_over_day(&mut self, other: &Self, day: Day, how: fn(u64, u64) -> u64) {
        let Ok(place) = other.days.binary_search_by_key(&day, |(day, _)| *day) else { return };
        let own = self.tables(day).iter_mut();
        own.zip(other.days[place].1.iter()).for_each(|(own, other)| own.take_over(other, how));
    }

    /// Has a day, also without events.
    pub(crate) fn ensure(&mut self, day: Day) {
        self.tables(day);
    }

    /// Returns how many labels are in memory.
    pub(crate) fn labels(&self) -> usize {
        self.days.iter().flat_map(|(_, tables)| tables.iter()).map(Table::len).sum()
    }

    pub(crate) fn store(&self, day: Day) -> StoredDay {
        let table = |section: &Section| {
            let table = self.find(day, *section).filter(|table| !table.is_empty())?;
            Some((*section, table.store()))
        };
        StoredDay(Section::ALL[..OWN].iter().filter_map(table).collect())
    }

    /// Takes over a day as it was stored.
    pub(crate) fn restore(&mut self, day: Day, stored: StoredDay) {
        let limit = self.max_labels;
        self.ensure(day);
        for (section, table) in stored.0 {
            *self.table(section, day) = Table::restore(table, limit);
        }
    }
}

/// Equal counts, whatever order they were added in.
impl PartialEq for Crosstab {
    fn eq(&self, other: &Self) -> bool {
        let own = Section::ALL[..OWN].iter();
        let mut pairs = own.flat_map(|section| self.days().map(move |day| (day, *section)));
        self.days().eq(other.days())
            && pairs.all(|(day, section)| self.rows(day, section) == other.rows(day, section))
    }
}

/// The tables of one day as they are stored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoredDay(BTreeMap<Section, Stored<Vec<(u8, u64)>>>);

/// The counts of one label on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row<'a> {
    /// The label as counted; none are all labels beyond the limit.
    pub label: Option<&'a str>,
    /// The counts by hour.
    pub counts: [u64; 24],
}

impl<'a> Row<'a> {
    pub(crate) fn new(label: Option<&'a str>, counts: [u64; 24]) -> Self {
        Self { label, counts }
    }

    /// Returns the sum of the counts.
    pub fn total(&self) -> u64 {
        self.counts.iter().copied().fold(0, table::sum)
    }
}

fn bounded(label: &str) -> Cow<'_, str> {
    if label.is_empty() {
        return Cow::Borrowed(UNKNOWN);
    }
    if label.len() <= MAX_LABEL {
        return Cow::Borrowed(label);
    }
    let cut = label.get(..label.floor_char_boundary(MAX_LABEL - 20)).unwrap_or_default();
    Cow::Owned(format!("{cut}…{:016x}", xxh3_64(label.as_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Counted = Vec<(usize, u8, i64, u64)>;

    fn events() -> impl Strategy<Value = Counted> {
        prop::collection::vec((0..OWN, 0..12u8, 0..200i64, 1..9u64), 0..60)
    }

    fn of(events: &[(usize, u8, i64, u64)], limit: usize) -> Crosstab {
        let mut crosstab = Crosstab::new(limit);
        for (section, label, hour, count) in events {
            let hour = Hour::of_unix_seconds(hour * 3600).unwrap();
            crosstab.add_many(Section::ALL[*section], hour, &label.to_string(), *count);
        }
        crosstab
    }

    fn joined(a: &Crosstab, b: &Crosstab) -> Crosstab {
        let mut a = a.clone();
        a.join(b);
        a
    }

    fn merged(a: &Crosstab, b: &Crosstab) -> Crosstab {
        let mut a = a.clone();
        a.merge(b);
        a
    }

    fn grand_total(crosstab: &Crosstab) -> u64 {
        let sections = &Section::ALL[..OWN];
        let of = |day| sections.iter().map(move |section| crosstab.total(day, *section));
        crosstab.days().flat_map(of).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn r02_the_order_of_events_and_of_merges_has_no_effect(
            a in events(), b in events(), c in events(), limit in 1..20usize,
        ) {
            let all = [a.clone(), b.clone(), c.clone()].concat();
            let whole = of(&all, limit);
            let backwards: Vec<_> = all.iter().rev().copied().collect();
            prop_assert_eq!(&whole, &of(&backwards, limit));
            let (a, b, c) = (of(&a, limit), of(&b, limit), of(&c, limit));
            prop_assert_eq!(&merged(&a, &b), &merged(&b, &a));
            prop_assert_eq!(&merged(&merged(&a, &b), &c), &whole);
            prop_assert_eq!(&merged(&a, &merged(&b, &c)), &whole);
            prop_assert_eq!(grand_total(&whole), all.iter().map(|e| e.3).sum::<u64>());
        }

        #[test]
        fn joining_is_a_least_upper_bound(a in events(), b in events(), c in events()) {
            let (a, b, c) = (of(&a, 20), of(&b, 20), of(&c, 20));
            prop_assert_eq!(&joined(&a, &a), &a);
            prop_assert_eq!(&joined(&a, &b), &joined(&b, &a));
            prop_assert_eq!(&joined(&joined(&a, &b), &c), &joined(&a, &joined(&b, &c)));
            // A look that missed something adds nothing to one that did not.
            let whole = merged(&a, &b);
            prop_assert_eq!(&joined(&whole, &a), &whole);
            prop_assert_eq!(&joined(&a, &whole), &whole);
        }

        #[test]
        fn a_stored_day_is_the_same_day(a in events(), limit in 1..20usize) {
            let counted = of(&a, limit);
            let mut restored = Crosstab::new(limit);
            for day in counted.days() {
                let text = serde_json::to_string(&counted.store(day)).unwrap();
                restored.restore(day, serde_json::from_str(&text).unwrap());
            }
            prop_assert_eq!(restored, counted);
        }
    }

    #[test]
    fn long_labels_are_cut_and_stay_apart() {
        let hour = Hour::of_unix_seconds(0).unwrap();
        let mut crosstab = Crosstab::default();
        let long = "é".repeat(100_000);
        crosstab.add(Section::Denied, hour, &format!("{long}1"));
        crosstab.add(Section::Denied, hour, &format!("{long}2"));
        crosstab.add(Section::Denied, hour, &format!("{long}2"));
        crosstab.add(Section::Denied, hour, "");
        let rows = crosstab.rows(hour.day(), Section::Denied);
        let labels: Vec<_> = rows.iter().map(|row| row.label.unwrap()).collect();
        assert_eq!((labels.len(), labels[0]), (3, UNKNOWN));
        assert!(labels.iter().all(|label| label.len() <= MAX_LABEL));
        assert_eq!(rows.iter().map(Row::total).sum::<u64>(), 4);
    }
}
