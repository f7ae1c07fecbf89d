use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::cells::Cells;

/// Longer labels are cut, in bytes; a sum of the whole keeps them apart.
const MAX_LABEL: usize = 512;

/// What a label is called that is not known.
pub(crate) const UNKNOWN: &str = "(unknown)";

/// The counts of one label on one day.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row<'a> {
    /// The label as counted; none are all labels beyond the limit.
    pub label: Option<&'a str>,
    cells: Cow<'a, Cells>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(label: Option<&'a str>, cells: Cow<'a, Cells>) -> Self {
        Self { label, cells }
    }

    /// Returns the counts by hour.
    pub fn counts(&self) -> [u64; 24] {
        self.cells.all()
    }

    /// Returns the sum of the counts.
    pub fn total(&self) -> u64 {
        self.cells.total()
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label && self.counts() == other.counts()
    }
}

impl Eq for Row<'_> {}

/// Returns a label as it is counted.
pub(crate) fn bounded(label: &str) -> Cow<'_, str> {
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
    use super::*;
    use crate::{Crosstab, Hour, Section};

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
