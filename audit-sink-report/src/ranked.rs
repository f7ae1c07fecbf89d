//! Labels, of which only so many are kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::cells::Cells;

/// A place in an order of labels that has nothing to do with what they are or when they came.
pub(crate) type Rank = (u64, Box<str>);

fn rank(label: &str) -> (u64, &str) {
    (xxh3_64(label.as_bytes()), label)
}

/// What a label counts for against a limit: a long one takes the memory of several.
pub(crate) fn weight(label: &str) -> usize {
    1 + label.len() / 64
}

/// Labels with a value each. At a level, so many of them are kept as weigh no more than it, those that
/// rank lowest first: whatever the order they came in, the same. What is known of a label that is
/// kept is complete, for it was never left out before: levels only ever fall, and so does the bar.
#[derive(Clone, Debug)]
pub(crate) struct Ranked<V> {
    /// By the hash of the label, so that a label is found without a look at its text.
    rows: HashMap<u128, (Box<str>, V), BuildHasherDefault<AlreadyHashed>>,
    /// A secret of each table, so that nobody who may choose labels can prepare two that look alike.
    seed: u64,
    /// The first that was left out: labels that rank here or above are not kept.
    pub(crate) bar: Option<Rank>,
    weight: usize,
}

impl<V> Ranked<V> {
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        Self { rows: HashMap::default(), seed, bar: None, weight: 0 }
    }

    fn key(&self, label: &str) -> u128 {
        xxh3_128_with_seed(label.as_bytes(), self.seed)
    }

    pub(crate) fn get_mut(&mut self, label: &str) -> Option<&mut V> {
        let key = self.key(label);
        self.rows.get_mut(&key).map(|(_, value)| value)
    }

    pub(crate) fn get(&self, label: &str) -> Option<&V> {
        self.rows.get(&self.key(label)).map(|(_, value)| value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|(_, value)| value)
    }

    pub(crate) fn into_rows(self) -> impl Iterator<Item = (Box<str>, V)> {
        self.rows.into_values()
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    pub(crate) fn is_left_out(&self, label: &str) -> bool {
        self.bar.as_ref().is_some_and(|(hash, text)| rank(label) >= (*hash, text))
    }

    /// Adds a new label that is not left out.
    pub(crate) fn insert(&mut self, label: Box<str>, value: V) {
        self.weight += weight(&label);
        self.rows.insert(self.key(&label), (label, value));
    }

    /// Keeps what a level allows, and returns what has to leave.
    #[must_use]
    pub(crate) fn cut(&mut self, level: usize) -> Vec<(Box<str>, V)> {
        let bar = self.bar_at(level);
        self.lower(bar)
    }

    /// Lowers the bar, and returns what has to leave.
    #[must_use]
    pub(crate) fn lower(&mut self, bar: Option<Rank>) -> Vec<(Box<str>, V)> {
        let Some(bar) = bar.filter(|bar| self.bar.as_ref().is_none_or(|own| bar < own)) else {
            return Vec::new();
        };
        let above = |label: &str| rank(label) >= (bar.0, &*bar.1);
        let left = self.rows.extract_if(|_, (label, _)| above(label));
        let left: Vec<_> = left.map(|(_, row)| row).collect();
        self.weight -= left.iter().map(|(label, _)| weight(label)).sum::<usize>();
        // Memory of a flood that is over.
        self.rows.shrink_to(self.rows.len() * 2);
        self.bar = Some(bar);
        left
    }

    fn bar_at(&self, level: usize) -> Option<Rank> {
        if self.weight <= level {
            return self.bar.clone();
        }
        let mut ranks: Vec<_> = self.rows.values().map(|(label, _)| rank(label)).collect();
        ranks.sort_unstable();
        let mut sum = 0;
        let first = ranks.into_iter().find(|(_, label)| {
            sum += weight(label);
            sum > level
        });
        first.map(|(hash, label)| (hash, label.into()))
    }

    /// Returns the labels that a level keeps, in no order.
    pub(crate) fn kept(&self, level: usize) -> impl Iterator<Item = &str> {
        // What is in memory is below the bar that there is already.
        let bar = (self.weight > level).then(|| self.bar_at(level)).flatten();
        let below = move |label: &&str| bar.as_ref().is_none_or(|(h, t)| rank(label) < (*h, &**t));
        self.rows.values().map(|(label, _)| &**label).filter(below)
    }

    /// Returns the labels that a level keeps by their order, those that have to leave apart, and the
    /// bar.
    pub(crate) fn view(&self, level: usize) -> (Vec<(&str, &V)>, Vec<&V>, Option<Rank>) {
        let bar = self.bar_at(level);
        let above = |label: &str| bar.as_ref().is_some_and(|(h, t)| rank(label) >= (*h, &**t));
        let (mut kept, mut left) = (Vec::with_capacity(self.rows.len()), Vec::new());
        for (label, value) in self.rows.values() {
            if self.weight > level && above(label) {
                left.push(value);
            } else {
                kept.push((&**label, value));
            }
        }
        kept.sort_unstable_by_key(|(label, _)| *label);
        (kept, left, bar)
    }
}

/// A table as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "V: Deserialize<'de>"))]
pub(crate) struct Stored<'a, V> {
    pub(crate) rows: Vec<(Cow<'a, str>, V)>,
    #[serde(default, skip_serializing_if = "Cells::is_none")]
    pub(crate) other: Cells,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Rank>,
}

impl<V> Ranked<V> {
    /// Returns it as it is stored, without the counts of others.
    pub(crate) fn store(&self, level: usize) -> Stored<'_, &V> {
        let (rows, _, bar) = self.view(level);
        let rows = rows.into_iter().map(|(label, value)| (Cow::Borrowed(label), value)).collect();
        Stored { rows, other: Cells::NONE, bar }
    }

    pub(crate) fn restore(stored: Stored<'_, V>) -> Self {
        let mut ranked = Self { bar: stored.bar, ..Self::new() };
        for (label, value) in stored.rows {
            ranked.insert(label.into(), value);
        }
        ranked
    }
}

/// Passes on the low half of a key that is a hash already.
#[derive(Clone, Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        // The low half is all that the table needs; cutting off is meant.
        self.0 = hash as u64;
    }
}
