use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What an id is known by: never 0.
pub(crate) type IdHash = u64;

/// Hashes ids with a seed that nobody knows who may choose ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHasher(u64);

impl IdHasher {
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0u8))
    }

    pub(crate) fn hash(self, id: &str) -> IdHash {
        xxh3_64_with_seed(id.as_bytes(), self.0).max(1)
    }
}

/// The ids seen last: at least `window` of them, and less than twice as many.
#[derive(Debug)]
pub(crate) struct Ids {
    window: usize,
    now: Table,
    /// The `window` ids before those of `now`.
    before: Table,
}

impl Ids {
    pub(crate) fn new(window: usize) -> Self {
        Self { window, now: Table::default(), before: Table::default() }
    }

    /// Adds an id; whether it was seen before.
    #[inline]
    pub(crate) fn is_repeat(&mut self, id: IdHash) -> bool {
        if self.window == 0 {
            return false;
        }
        if self.before.has(id) || !self.now.insert(id) {
            return true;
        }
        if self.now.len >= self.window {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
        }
        false
    }
}

/// A set of hashes that are spread evenly, at most half full.
#[derive(Debug, Default)]
struct Table {
    /// 0: none.
    slots: Vec<u64>,
    len: usize,
}

impl Table {
    fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    /// Returns where the hash is, or the free slot where it would be.
    #[inline]
    fn find(&self, hash: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 && self.slots[at] != hash {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        self.len > 0 && self.find(hash).is_some_and(|at| self.slots[at] == hash)
    }

    /// Whether it is new.
    #[inline]
    fn insert(&mut self, hash: u64) -> bool {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let Some(at) = self.find(hash) else { return false };
        let new = self.slots[at] == 0;
        self.slots[at] = hash;
        self.len += usize::from(new);
        new
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1024);
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for hash in old.into_iter().filter(|hash| *hash != 0) {
            if let Some(at) = self.find(hash) {
                self.slots[at] = hash;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn d11_an_id_is_known_for_the_window_and_not_for_twice_as_long(
            ids in prop::collection::vec(1..100_u64, 0..500),
            window in 1..50_usize,
        ) {
            let mut known = Ids::new(window);
            // New ids in the order they were taken for new.
            let mut taken: Vec<u64> = Vec::new();
            for id in ids {
                let repeat = known.is_repeat(id);
                let last = |count: usize| -> HashSet<u64> {
                    taken.iter().rev().take(count).copied().collect()
                };
                prop_assert!(repeat || !last(window).contains(&id));
                prop_assert!(!repeat || last(2 * window).contains(&id));
                if !repeat {
                    taken.push(id);
                }
            }
        }
    }

    #[test]
    fn no_window_knows_nothing() {
        let mut known = Ids::new(0);
        assert!(!known.is_repeat(1) && !known.is_repeat(1));
    }
}
