use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cells::{Cells, max, sum};
use crate::config::MAX_LABELS;
use crate::ranked::{Stored, weight};
use crate::row::bounded;
use crate::table::Table;
use crate::{Day, Hour, Row, Section};

/// Sections with counts of their own.
const OWN: usize = Section::NewPrincipals as usize;

/// Counts of events by day, section, label and hour.
///
/// Adding is cheap and takes no time to set up, so that each reader of a file may have its own and
/// [`merge`](Self::merge) them in the end. The result is the same in whatever order.
///
/// Memory is bounded: of all days and sections together, about so many labels are kept as `max_labels`
/// says, where one of 64 bytes counts for two, one of 128 for three and so on. Beyond, the largest
/// sections of days are cut to one size, so that a flood in one of them costs no other anything. Of
/// each those labels are kept whose XXH3 is lowest, which does not depend on the order either, and
/// the events of all others are counted as one ([`rows`](Self::rows) with no label). A row that is
/// kept is always complete. A label of one hour takes about 100 bytes, of more hours 350.
///
/// Of more than 4,096 days, which is eleven years, the latest are kept;
/// [`left_out`](Self::left_out) tells how many events the others had.
#[derive(Clone, Debug)]
pub struct Crosstab {
    days: Vec<(Day, Box<Tables>)>,
    /// The place of the day that was used last: events mostly come in order.
    last: usize,
    max_labels: usize,
    max_days: usize,
    /// What the labels in memory weigh.
    weight: usize,
    /// Whether what is in memory is what is kept.
    settled: bool,
    /// Whether labels were ever left out.
    cut: bool,
    left_out: u64,
    /// Which sections count, by their place.
    counted: [bool; OWN],
    scratch: String,
}

type Tables = [Table; OWN];

/// So many days are kept.
const MAX_DAYS: usize = 4096;

impl Default for Crosstab {
    fn default() -> Self {
        Self::new(MAX_LABELS)
    }
}

impl Crosstab {
    /// Creates an empty one that keeps so many labels in all, at least one.
    pub fn new(max_labels: usize) -> Self {
        Self {
            days: Vec::new(),
            last: 0,
            max_labels: max_labels.max(1),
            max_days: MAX_DAYS,
            weight: 0,
            settled: true,
            cut: false,
            left_out: 0,
            counted: [true; OWN],
            scratch: String::new(),
        }
    }

    /// Creates an empty one that keeps all there is: for what is bounded otherwise.
    pub(crate) fn unbounded() -> Self {
        Self { max_days: usize::MAX, ..Self::new(usize::MAX) }
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
    pub fn counts(&self, section: Section) -> bool {
        self.counted[section.counted_as() as usize]
    }

    /// Counts one event. The sections of what is new share the counts of the whole.
    pub fn add(&mut self, section: Section, hour: Hour, label: &str) {
        self.add_many(section, hour, label, 1);
    }

    /// Counts several events of one label and hour; none is no row.
    pub fn add_many(&mut self, section: Section, hour: Hour, label: &str, count: u64) {
        if count == 0 || !self.counts(section) {
            return;
        }
        let label = bounded(label);
        match self.tables(hour.day()) {
            Some(tables) => {
                let table = &mut tables[section.counted_as() as usize];
                if table.put(&label, hour.of_day(), count, sum) {
                    self.grown(weight(&label));
                }
            }
            None if section.counted_as() == Section::OtherEvents => {
                self.left_out = sum(self.left_out, count);
            }
            None => {}
        }
    }

    #[cold]
    fn grown(&mut self, by: usize) {
        self.weight += by;
        self.settled = false;
        // Only now and then, so that a flood costs little a label.
        if self.weight > self.max_labels.saturating_add(self.max_labels / 4) {
            self.settle();
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
        self.take_over(other.clone(), sum);
    }

    /// As [`merge`](Self::merge), and empties the other, without a copy.
    pub fn take(&mut self, other: &mut Self) {
        let empty = Self { counted: other.counted, ..Self::new(other.max_labels) };
        self.take_over(std::mem::replace(other, empty), sum);
    }

    /// Takes the larger of each two counts: of two looks at the same events, of which either may
    /// have missed some.
    ///
    /// No count gets larger than the truth by it, and none smaller than it was; joining the same
    /// again changes nothing.
    pub fn join(&mut self, other: &Self) {
        self.take_over(other.clone(), max);
    }

    pub(crate) fn take_over(&mut self, other: Self, how: fn(u64, u64) -> u64) {
        self.left_out = how(self.left_out, other.left_out);
        self.cut |= other.cut;
        for (day, tables) in other.days {
            let Some(own) = self.tables(day) else {
                self.left_out = sum(self.left_out, events(&tables));
                continue;
            };
            let before = weigh(own);
            own.iter_mut().zip(*tables).for_each(|(own, other)| own.take_over(other, how));
            let after = weigh(own);
            self.weight -= before;
            self.grown(after);
        }
    }

    /// Returns the days that have counts, in order.
    pub fn days(&self) -> impl ExactSizeIterator<Item = Day> {
        self.days.iter().map(|(day, _)| *day)
    }

    /// Returns the number of events on days that are not kept, because there are too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns about how many labels are in memory, over all days and sections.
    pub fn labels(&self) -> usize {
        self.weight
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
        let (rows, other) = table.view(self.level());
        let row = |(label, cells)| Row::new(Some(label), Cow::Borrowed(cells));
        let other = (!other.is_none()).then(|| Row::new(None, Cow::Owned(other)));
        rows.into_iter().map(row).chain(other).collect()
    }

    fn find(&self, day: Day, section: Section) -> Option<&Table> {
        let place = self.days.binary_search_by_key(&day, |(day, _)| *day).ok()?;
        self.days[place].1.get(section.counted_as() as usize)
    }

    /// Returns the tables of a day; none if the day is not kept.
    fn tables(&mut self, day: Day) -> Option<&mut Tables> {
        if self.days.get(self.last).is_none_or(|(last, _)| *last != day) {
            let found = self.days.binary_search_by_key(&day, |(day, _)| *day);
            self.last = match found {
                Ok(place) => place,
                Err(place) => self.insert(place, day)?,
            };
        }
        self.days.get_mut(self.last).map(|(_, tables)| &mut **tables)
    }

    /// Makes place for a day; none if there is none.
    #[cold]
    fn insert(&mut self, mut place: usize, day: Day) -> Option<usize> {
        if self.days.len() >= self.max_days {
            place = place.checked_sub(1)?;
            let (_, oldest) = self.days.remove(0);
            self.weight -= weigh(&oldest);
            self.left_out = sum(self.left_out, events(&oldest));
        }
        self.days.insert(place, (day, Box::new(std::array::from_fn(|_| Table::new()))));
        Some(place)
    }

    /// Lets go of what is beyond the limit.
    pub(crate) fn settle(&mut self) {
        let level = self.level();
        if level < usize::MAX {
            self.cut = true;
            self.days.iter_mut().for_each(|(_, tables)| {
                tables.iter_mut().for_each(|table| table.cut(level));
            });
            self.weight = self.days.iter().map(|(_, tables)| weigh(tables)).sum();
        }
        self.settled = true;
    }

    /// Returns how much of each table is kept: so much that all together are within the limit, where a
    /// table that was cut has had more than any level since.
    fn level(&self) -> usize {
        if self.settled || !self.cut && self.weight <= self.max_labels {
            return usize::MAX;
        }
        let tables = || self.days.iter().flat_map(|(_, tables)| tables.iter());
        let mut whole: Vec<_> = tables().filter(|t| !t.is_cut()).map(Table::weight).collect();
        whole.sort_unstable();
        let mut rest = self.max_labels;
        let mut left = tables().count();
        for weight in whole {
            if weight > rest / left {
                return rest / left;
            }
            rest -= weight;
            left -= 1;
        }
        rest.checked_div(left).unwrap_or(usize::MAX)
    }

    /// Takes the first days out, as many as hold about so many labels, at least one.
    pub(crate) fn first_days(&mut self, labels: usize) -> Option<Self> {
        let mut sum = 0;
        let fits = |(_, tables): &&(Day, Box<Tables>)| {
            sum += weigh(tables);
            sum <= labels
        };
        let count = self.days.iter().take_while(fits).count().max(1).min(self.days.len());
        let days: Vec<_> = self.days.drain(..count).collect();
        let weight = days.iter().map(|(_, tables)| weigh(tables)).sum();
        self.weight -= weight;
        (count > 0).then(|| Self { days, weight, cut: self.cut, ..Self::unbounded() })
    }

    /// Takes the first day out.
    pub(crate) fn first_day(&mut self) -> Option<(Day, Self)> {
        let first = self.first_days(0)?;
        let day = first.days().next()?;
        Some((day, first))
    }

    /// Returns the labels of a section on a day, in no order.
    pub(crate) fn labels_of(&self, day: Day, section: Section) -> impl Iterator<Item = &str> {
        let level = self.level();
        self.find(day, section).into_iter().flat_map(move |table| table.kept(level))
    }

    /// Has a day, also without events.
    pub(crate) fn ensure(&mut self, day: Day) {
        self.tables(day);
    }

    pub(crate) fn store(&self, day: Day) -> StoredDay<'_, &Cells> {
        let level = self.level();
        let table = |section: &Section| {
            let table = self.find(day, *section).filter(|table| !table.is_empty())?;
            Some((*section, table.store(level)))
        };
        StoredDay(Section::ALL[..OWN].iter().filter_map(table).collect())
    }

    /// Takes over a day as it was stored.
    pub(crate) fn restore(&mut self, day: Day, stored: StoredDay<'_, Cells>) {
        let mut restored = Self::unbounded();
        restored.ensure(day);
        for (section, table) in stored.0 {
            let table = Table::restore(table);
            restored.cut |= table.is_cut();
            if let Some(tables) = restored.tables(day) {
                tables[section.counted_as() as usize] = table;
            }
        }
        self.take_over(restored, sum);
    }
}

fn weigh(tables: &Tables) -> usize {
    tables.iter().map(Table::weight).sum()
}

/// Returns the number of events of a day's tables.
fn events(tables: &Tables) -> u64 {
    tables[Section::OtherEvents as usize].total()
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
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "V: Deserialize<'de>"))]
pub(crate) struct StoredDay<'a, V>(BTreeMap<Section, Stored<'a, V>>);

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
            a in events(), b in events(), c in events(), limit in 1..100usize,
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
            let (a, b, c) = (of(&a, 1000), of(&b, 1000), of(&c, 1000));
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
    fn r04_a_flood_takes_no_more_than_the_limit_and_nothing_from_others() {
        let mut crosstab = Crosstab::new(5000);
        let mut most = 0;
        for n in 0..100_000 {
            let hour = Hour::of_unix_seconds(n % 40 * 86_400 + n * 7 % 86_400).unwrap();
            let (flooded, calm) = (Section::AuthEvents, Section::OtherEvents);
            crosstab.add(flooded, hour, &format!("{n}{}", "x".repeat(n as usize % 700)));
            crosstab.add(calm, hour, &(n % 9).to_string());
            most = most.max(crosstab.labels());
        }
        assert!(most <= 5000 / 4 * 5 + 9, "{most}");
        let (mut labels, mut events) = (0, 0);
        for day in crosstab.days() {
            assert_eq!(crosstab.rows(day, Section::OtherEvents).len(), 9, "no row is left out");
            let rows = crosstab.rows(day, Section::AuthEvents);
            labels += rows.iter().filter_map(|row| row.label).map(weight).sum::<usize>();
            events += rows.iter().map(Row::total).sum::<u64>();
            let last = rows.last().unwrap();
            assert!(last.label.is_none() && last.total() > 2000, "all others are one row");
        }
        assert_eq!((events, labels + 40 * 9 <= 5000, labels > 4000), (100_000, true, true));
    }

    #[test]
    fn r04_of_too_many_days_the_latest_are_kept_and_the_others_are_told() {
        let of = |days: &mut dyn Iterator<Item = i64>| {
            let mut crosstab = Crosstab::default();
            for day in days {
                let hour = Hour::of_unix_seconds(day * 86_400).unwrap();
                crosstab.add(Section::Denied, hour, "x");
                crosstab.add_many(Section::OtherEvents, hour, "x", 2);
            }
            crosstab
        };
        let (forth, back) = (of(&mut (0..10_000)), of(&mut (0..10_000).rev()));
        assert_eq!((forth.days().len(), forth.left_out()), (MAX_DAYS, 2 * (10_000 - 4096)));
        assert_eq!((back.left_out(), forth.labels()), (forth.left_out(), 2 * MAX_DAYS));
        assert!(forth == back && forth.days().next() == "1986-03-02".parse().ok());
        let mut parts = of(&mut (2000..7000));
        parts.take(&mut of(&mut (0..2000)));
        parts.merge(&of(&mut (7000..10_000)));
        assert!(parts == forth && parts.left_out() == forth.left_out());
    }
}
