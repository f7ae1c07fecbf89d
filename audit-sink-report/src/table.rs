//! The counts of one section on one day.

use crate::cells::{Cells, sum};
use crate::ranked::{Ranked, Stored};

/// The counts of one section on one day, by label and hour.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Ranked<Cells>,
    /// The counts of all labels that are not kept.
    other: Cells,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { rows: Ranked::new(), other: Cells::NONE }
    }

    /// Counts; whether the label is new.
    pub(crate) fn put(
        &mut self,
        label: &str,
        hour: usize,
        count: u64,
        how: impl Fn(u64, u64) -> u64,
    ) -> bool {
        let Some(cells) = self.rows.get_mut(label) else {
            return self.put_new(label, hour, count);
        };
        cells.put(hour, count, how);
        false
    }

    #[cold]
    fn put_new(&mut self, label: &str, hour: usize, count: u64) -> bool {
        let fits = !self.rows.is_left_out(label);
        if fits {
            self.rows.insert(label.into(), Cells::One(hour.min(23) as u8, count));
        } else {
            self.other.put(hour, count, sum);
        }
        fits
    }

    /// Takes over what another table counted.
    pub(crate) fn take_over(&mut self, mut other: Self, how: impl Fn(u64, u64) -> u64 + Copy) {
        if self.is_empty() && self.rows.bar.is_none() {
            *self = other;
            return;
        }
        let left = self.rows.lower(other.rows.bar.take());
        left.iter().for_each(|(_, cells)| self.other.put_all(cells, sum));
        for (label, cells) in other.rows.into_rows() {
            if let Some(own) = self.rows.get_mut(&label) {
                own.put_all(&cells, how);
            } else if self.rows.is_left_out(&label) {
                other.other.put_all(&cells, sum);
            } else {
                self.rows.insert(label, cells);
            }
        }
        self.other.put_all(&other.other, how);
    }

    /// Keeps what a level allows.
    pub(crate) fn cut(&mut self, level: usize) {
        let left = self.rows.cut(level);
        left.iter().for_each(|(_, cells)| self.other.put_all(cells, sum));
    }

    /// Returns the labels that a level keeps with their counts, in order, and the counts of all others
    /// together.
    pub(crate) fn view(&self, level: usize) -> (Vec<(&str, &Cells)>, Cells) {
        let (kept, left, _) = self.rows.view(level);
        (kept, self.other_with(left))
    }

    fn other_with(&self, left: Vec<&Cells>) -> Cells {
        let mut other = self.other.clone();
        left.into_iter().for_each(|cells| other.put_all(cells, sum));
        other
    }

    /// Returns the labels that a level keeps, in no order.
    pub(crate) fn kept(&self, level: usize) -> impl Iterator<Item = &str> {
        self.rows.kept(level)
    }

    /// Returns what the labels in memory weigh.
    pub(crate) fn weight(&self) -> usize {
        self.rows.weight()
    }

    /// Whether labels were left out.
    pub(crate) fn is_cut(&self) -> bool {
        self.rows.bar.is_some()
    }

    pub(crate) fn total(&self) -> u64 {
        self.rows.values().chain([&self.other]).map(Cells::total).fold(0, sum)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.other.is_none()
    }

    pub(crate) fn store(&self, level: usize) -> Stored<'_, &Cells> {
        let (kept, left, bar) = self.rows.view(level);
        let rows = kept.into_iter().map(|(label, cells)| (label.into(), cells)).collect();
        Stored { rows, other: self.other_with(left), bar }
    }

    pub(crate) fn restore(stored: Stored<'_, Cells>) -> Self {
        let other = stored.other.clone();
        Self { rows: Ranked::restore(stored), other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table to which labels come, and are cut now and then.
    fn counted(labels: impl IntoIterator<Item = usize>, level: usize) -> Table {
        let mut table = Table::new();
        for n in labels {
            if table.put(&n.to_string(), n % 24, 1, sum) && table.weight() >= 2 * level {
                table.cut(level);
            }
        }
        table
    }

    fn shown(table: &Table, level: usize) -> (Vec<(String, [u64; 24])>, [u64; 24]) {
        let (rows, other) = table.view(level);
        let rows = rows.into_iter().map(|(label, cells)| (label.to_owned(), cells.all()));
        (rows.collect(), other.all())
    }

    #[test]
    fn r04_a_flood_of_labels_leaves_the_same_rows_in_any_order() {
        let forth = counted((0..10_000).chain(0..500), 100);
        let back = counted((0..500).chain(0..10_000).rev(), 100);
        assert_eq!(shown(&forth, 100), shown(&back, 100));
        let (rows, other) = shown(&forth, 100);
        assert_eq!(rows.len(), 100);
        let all: u64 = rows.iter().flat_map(|(_, counts)| counts).chain(&other).sum();
        assert_eq!(all, 10_500, "no event is lost to the limit");
        assert_eq!(forth.total(), 10_500);
        for (label, counts) in rows {
            let n: usize = label.parse().unwrap();
            assert_eq!(counts[n % 24], 1 + u64::from(n < 500), "a row that is kept is complete");
        }
        assert!(forth.weight() < 200 && back.weight() < 200);
    }

    #[test]
    fn labels_of_any_length_are_the_same_in_any_order() {
        let label = |n: usize| format!("{n}-{}", "x".repeat(n * 37 % 500));
        let of = |labels: &mut dyn Iterator<Item = usize>| {
            let mut table = Table::new();
            for n in labels {
                table.put(&label(n), 1, 1, sum);
                table.cut(300);
            }
            table
        };
        let (forth, back) = (of(&mut (0..1000)), of(&mut (0..1000).rev()));
        assert_eq!(shown(&forth, 300), shown(&back, 300));
        assert!((290..=300).contains(&forth.weight()), "{}", forth.weight());
    }

    #[test]
    fn parts_of_a_flood_taken_together_are_the_whole() {
        let whole = counted(0..10_000, 100);
        for cut in [1, 50, 150, 5000, 9950] {
            let mut left = counted(0..cut, 100);
            left.take_over(counted(cut..10_000, 100), sum);
            assert_eq!(shown(&left, 100), shown(&whole, 100), "{cut}");
        }
    }

    #[test]
    fn what_is_stored_goes_on_as_if_never_stored() {
        let mut table = counted(0..5000, 100);
        let text = serde_json::to_string(&table.store(100)).unwrap();
        let mut restored = Table::restore(serde_json::from_str(&text).unwrap());
        assert_eq!(shown(&table, 100), shown(&restored, 100));
        for n in 2500..7500_usize {
            table.put(&n.to_string(), 3, 1, sum);
            restored.put(&n.to_string(), 3, 1, sum);
        }
        assert_eq!(shown(&table, 100), shown(&restored, 100));
        let hostile = serde_json::from_str(r#"{"rows":[["a",[[255,1]]]]}"#).unwrap();
        assert_eq!(shown(&Table::restore(hostile), 1).0[0].1[23], 1, "no hour is out of range");
    }
}
