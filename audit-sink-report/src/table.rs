//! The counts of one section on one day.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Counts by hour of one label. Most labels of a flood appear in one hour only and take no more.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    One(u8, u64),
    Many(Box<[u64; 24]>),
}

impl Cells {
    pub(crate) const NONE: Self = Self::One(0, 0);

    pub(crate) fn put(&mut self, hour: usize, count: u64, how: impl Fn(u64, u64) -> u64) {
        let hour = hour.min(23);
        match self {
            Self::One(own, value) if usize::from(*own) == hour => *value = how(*value, count),
            Self::One(own, 0) => {
                *own = hour as u8;
                *self = Self::One(*own, how(0, count));
            }
            Self::One(..) => {
                let mut all = self.all();
                all[hour] = how(0, count);
                *self = Self::Many(Box::new(all));
            }
            Self::Many(all) => all[hour] = how(all[hour], count),
        }
    }

    pub(crate) fn put_all(&mut self, other: &Self, how: impl Fn(u64, u64) -> u64 + Copy) {
        match other {
            Self::One(_, 0) => {}
            Self::One(hour, count) => self.put(usize::from(*hour), *count, how),
            Self::Many(all) => {
                let counted = all.iter().enumerate().filter(|(_, count)| **count > 0);
                counted.for_each(|(hour, count)| self.put(hour, *count, how));
            }
        }
    }

    pub(crate) fn all(&self) -> [u64; 24] {
        match self {
            Self::One(hour, count) => {
                let mut all = [0; 24];
                all[usize::from(*hour).min(23)] = *count;
                all
            }
            Self::Many(all) => **all,
        }
    }

    fn pairs(&self) -> Vec<(u8, u64)> {
        (0..24).zip(self.all()).filter(|(_, count)| *count > 0).collect()
    }

    fn of_pairs(pairs: &[(u8, u64)]) -> Self {
        let mut cells = Self::NONE;
        pairs.iter().for_each(|(hour, count)| cells.put(usize::from(*hour), *count, sum));
        cells
    }

    fn is_none(&self) -> bool {
        self.all().iter().all(|count| *count == 0)
    }
}

pub(crate) fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b)
}

pub(crate) fn max(a: u64, b: u64) -> u64 {
    a.max(b)
}

/// A place in an order of labels that has nothing to do with what they are or when they came.
type Rank = (u64, Box<str>);

fn rank(label: &str) -> (u64, &str) {
    (xxh3_64(label.as_bytes()), label)
}

/// Labels with a value each, at most `limit` of them, and whatever the order they came in, the same:
/// those that rank lowest. What is known of a label that is kept is complete, for it was never
/// left out before: a table only ever lowers its bar.
#[derive(Clone, Debug)]
pub(crate) struct Ranked<V> {
    rows: HashMap<Box<str>, V, Hashing>,
    /// Labels that rank above this are not kept.
    bar: Option<Rank>,
    limit: usize,
}

impl<V> Ranked<V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: HashMap::default(), bar: None, limit: limit.max(1) }
    }

    pub(crate) fn get_mut(&mut self, label: &str) -> Option<&mut V> {
        self.rows.get_mut(label)
    }

    pub(crate) fn get(&self, label: &str) -> Option<&V> {
        self.rows.get(label)
    }

    pub(crate) fn is_above_bar(&self, label: &str) -> bool {
        self.bar.as_ref().is_some_and(|(hash, text)| rank(label) > (*hash, text))
    }

    /// Adds a new label that is not above the bar; returns the labels that have to leave for it.
    #[must_use]
    pub(crate) fn insert(&mut self, label: &str, value: V) -> Vec<(Box<str>, V)> {
        self.rows.insert(label.into(), value);
        // Only now and then, so that a flood costs little a label.
        if self.rows.len() >= self.limit.saturating_mul(2) { self.cut() } else { Vec::new() }
    }

    /// Lowers the bar, and returns the labels that have to leave.
    fn lower(&mut self, bar: Option<&Rank>) -> Vec<(Box<str>, V)> {
        let Some(bar) = bar else { return Vec::new() };
        if self.bar.as_ref().is_some_and(|own| own <= bar) {
            return Vec::new();
        }
        self.bar = Some(bar.clone());
        let Self { rows, .. } = self;
        rows.extract_if(|label, _| rank(label) > (bar.0, &*bar.1)).collect()
    }

    /// Sets the bar so that no more than `limit` labels are left.
    pub(crate) fn cut(&mut self) -> Vec<(Box<str>, V)> {
        let bar = self.bar_at_limit();
        self.lower(bar.as_ref())
    }

    fn bar_at_limit(&self) -> Option<Rank> {
        if self.rows.len() <= self.limit {
            return self.bar.clone();
        }
        let mut ranks: Vec<_> = self.rows.keys().map(|label| rank(label)).collect();
        let (_, bar, _) = ranks.select_nth_unstable(self.limit - 1);
        Some((bar.0, bar.1.into()))
    }

    /// Returns the labels by their order, those that would have to leave apart, and the bar.
    fn view(&self) -> (Vec<(&str, &V)>, Vec<&V>, Option<Rank>) {
        let bar = self.bar_at_limit();
        let above = |label: &str| bar.as_ref().is_some_and(|(h, t)| rank(label) > (*h, &**t));
        let (mut kept, mut left) = (Vec::with_capacity(self.rows.len()), Vec::new());
        for (label, value) in &self.rows {
            if above(label) { left.push(value) } else { kept.push((&**label, value)) }
        }
        kept.sort_unstable_by_key(|(label, _)| *label);
        (kept, left, bar)
    }
}

/// The counts of one section on one day, by label and hour.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Ranked<Cells>,
    /// The counts of all labels that are not kept.
    other: Cells,
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self { rows: Ranked::new(limit), other: Cells::NONE }
    }

    pub(crate) fn put(
        &mut self,
        label: &str,
        hour: usize,
        count: u64,
        how: impl Fn(u64, u64) -> u64,
    ) {
        if let Some(cells) = self.rows.get_mut(label) {
            cells.put(hour, count, how);
        } else {
            self.put_new(label, &Cells::One(hour.min(23) as u8, count));
        }
    }

    #[cold]
    fn put_new(&mut self, label: &str, cells: &Cells) {
        if self.rows.is_above_bar(label) {
            self.other.put_all(cells, sum);
        } else {
            let left = self.rows.insert(label, cells.clone());
            left.iter().for_each(|(_, cells)| self.other.put_all(cells, sum));
        }
    }

    /// Takes over what another table counted.
    pub(crate) fn take_over(&mut self, other: &Self, how: impl Fn(u64, u64) -> u64 + Copy) {
        let left = self.rows.lower(other.rows.bar.as_ref());
        left.iter().for_each(|(_, cells)| self.other.put_all(cells, sum));
        let mut rest = other.other.clone();
        for (label, cells) in &other.rows.rows {
            if let Some(own) = self.rows.get_mut(label) {
                own.put_all(cells, how);
            } else if self.rows.is_above_bar(label) {
                rest.put_all(cells, sum);
            } else {
                self.put_new(label, cells);
            }
        }
        self.other.put_all(&rest, how);
    }

    /// Returns the labels with their counts, in order, and the counts of all others together.
    pub(crate) fn view(&self) -> (Vec<(&str, &Cells)>, [u64; 24]) {
        let (kept, left, _) = self.rows.view();
        let mut other = self.other.clone();
        left.into_iter().for_each(|cells| other.put_all(cells, sum));
        (kept, other.all())
    }

    /// Returns how many labels are in memory.
    pub(crate) fn len(&self) -> usize {
        self.rows.rows.len()
    }

    pub(crate) fn total(&self) -> u64 {
        let counts = self.rows.rows.values().chain([&self.other]).map(Cells::all);
        counts.flatten().fold(0, sum)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.rows.is_empty() && self.other.is_none()
    }
}

/// A table as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored<V> {
    rows: Vec<(Box<str>, V)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other: Vec<(u8, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bar: Option<Rank>,
}

impl<V: Copy> Ranked<V> {
    pub(crate) fn store(&self) -> Stored<V> {
        let (rows, _, bar) = self.view();
        let rows = rows.into_iter().map(|(label, value)| (label.into(), *value)).collect();
        Stored { rows, other: Vec::new(), bar }
    }

    pub(crate) fn restore(stored: Stored<V>, limit: usize) -> Self {
        let mut ranked = Self { bar: stored.bar, ..Self::new(limit) };
        for (label, value) in stored.rows {
            drop(ranked.insert(&label, value));
        }
        ranked
    }
}

impl Table {
    pub(crate) fn store(&self) -> Stored<Vec<(u8, u64)>> {
        let (rows, left, bar) = self.rows.view();
        let mut other = self.other.clone();
        left.into_iter().for_each(|cells| other.put_all(cells, sum));
        let rows = rows.into_iter().map(|(label, cells)| (label.into(), cells.pairs())).collect();
        Stored { rows, other: other.pairs(), bar }
    }

    pub(crate) fn restore(stored: Stored<Vec<(u8, u64)>>, limit: usize) -> Self {
        let mut table = Self::new(limit);
        table.rows.bar = stored.bar;
        table.other = Cells::of_pairs(&stored.other);
        for (label, pairs) in stored.rows {
            table.put_new(&label, &Cells::of_pairs(&pairs));
        }
        table
    }
}

/// Hashes labels with a seed of each table's own, so that nobody who may choose labels can prepare
/// many that collide.
#[derive(Clone, Debug)]
struct Hashing(u64);

impl Default for Hashing {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0u8))
    }
}

impl BuildHasher for Hashing {
    type Hasher = LabelHasher;

    fn build_hasher(&self) -> LabelHasher {
        LabelHasher(self.0)
    }
}

#[derive(Debug)]
struct LabelHasher(u64);

impl Hasher for LabelHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The end mark of a text, which says nothing: a key is one text.
    fn write_u8(&mut self, _: u8) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(labels: impl IntoIterator<Item = usize>, limit: usize) -> Table {
        let mut table = Table::new(limit);
        labels.into_iter().for_each(|n| table.put(&n.to_string(), n % 24, 1, sum));
        table
    }

    fn shown(table: &Table) -> (Vec<(String, [u64; 24])>, [u64; 24]) {
        let (rows, other) = table.view();
        (rows.into_iter().map(|(label, cells)| (label.to_owned(), cells.all())).collect(), other)
    }

    #[test]
    fn r04_a_flood_of_labels_leaves_the_same_rows_in_any_order() {
        let forth = counted((0..10_000).chain(0..500), 100);
        let back = counted((0..500).chain(0..10_000).rev(), 100);
        assert_eq!(shown(&forth), shown(&back));
        let (rows, other) = shown(&forth);
        assert_eq!(rows.len(), 100);
        let all: u64 = rows.iter().flat_map(|(_, counts)| counts).chain(&other).sum();
        assert_eq!(all, 10_500, "no event is lost to the limit");
        assert_eq!(forth.total(), 10_500);
        for (label, counts) in rows {
            let n: usize = label.parse().unwrap();
            assert_eq!(counts[n % 24], 1 + u64::from(n < 500), "a row that is kept is complete");
        }
        assert!(forth.rows.rows.len() < 200 && back.rows.rows.len() < 200);
    }

    #[test]
    fn parts_of_a_flood_taken_together_are_the_whole() {
        let whole = counted(0..10_000, 100);
        for cut in [1, 50, 150, 5000, 9950] {
            let mut left = counted(0..cut, 100);
            left.take_over(&counted(cut..10_000, 100), sum);
            assert_eq!(shown(&left), shown(&whole), "{cut}");
        }
    }

    #[test]
    fn what_is_stored_goes_on_as_if_never_stored() {
        let mut table = counted(0..5000, 100);
        let text = serde_json::to_string(&table.store()).unwrap();
        let mut restored = Table::restore(serde_json::from_str(&text).unwrap(), 100);
        assert_eq!(shown(&table), shown(&restored));
        for n in 2500..7500_usize {
            table.put(&n.to_string(), 3, 1, sum);
            restored.put(&n.to_string(), 3, 1, sum);
        }
        assert_eq!(shown(&table), shown(&restored));
        let hostile: Stored<Vec<(u8, u64)>> =
            serde_json::from_str(r#"{"rows":[["a",[[255,1]]]]}"#).unwrap();
        assert_eq!(shown(&Table::restore(hostile, 1)).0[0].1[23], 1, "no hour is out of range");
    }

    #[test]
    fn a_label_of_one_hour_takes_little() {
        assert_eq!(size_of::<Cells>(), 16);
        let mut cells = Cells::NONE;
        cells.put(7, 2, sum);
        assert!(matches!(cells, Cells::One(7, 2)));
        cells.put(9, 1, sum);
        cells.put(9, u64::MAX, sum);
        assert_eq!((cells.all()[7], cells.all()[9]), (2, u64::MAX), "and never overflows");
    }
}
