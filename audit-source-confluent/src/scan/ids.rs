use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::fields::{Fields, Slot};
use crate::view::View;

/// What an id is known by: never 0.
pub(crate) type IdHash = u64;

/// Hashes ids with a seed that nobody knows who may choose ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdHasher(u64);

impl IdHasher {
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one(0u8))
    }

    /// Returns what the identity of a record is known by; 0: it has none.
    pub(crate) fn of(self, line: &[u8], fields: &Fields) -> IdHash {
        let usual = fields.get(Slot::ID).filter(|(_, escaped)| !escaped);
        let usual = usual.and_then(|(span, _)| line.get(span)).filter(|id| is_uuid(id));
        // Nearly every identity is a UUID, which is told from others at a glance.
        match usual {
            Some(id) => self.hash(id),
            None => View::new(line, fields).id().map_or(0, |id| self.hash(id.as_bytes())),
        }
    }

    fn hash(self, id: &[u8]) -> IdHash {
        xxh3_64_with_seed(id, self.0).max(1)
    }
}

/// Whether these are the bytes of a UUID; without a branch, so that a vector unit can do it.
fn is_uuid(id: &[u8]) -> bool {
    let Ok(id) = <&[u8; 36]>::try_from(id) else { return false };
    let odd = |(place, byte): (usize, &u8)| match place {
        8 | 13 | 18 | 23 => *byte != b'-',
        _ => !byte.is_ascii_hexdigit(),
    };
    !id.iter().enumerate().fold(false, |found, byte| found | odd(byte))
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
        Self { window, now: Table::of(window), before: Table::of(window) }
    }

    /// Brings near what will be looked at, so that not each id waits for its memory alone.
    pub(crate) fn fetch(&self, ids: &[IdHash]) {
        let look =
            |table: &Table, id| table.slots.get(table.place(id)).copied().unwrap_or_default();
        let both = |id: &IdHash| look(&self.now, *id) ^ look(&self.before, *id);
        std::hint::black_box(ids.iter().map(both).fold(0, |all, slot| all ^ slot));
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

/// A set of hashes that are spread evenly, at most three quarters full.
#[derive(Debug)]
struct Table {
    /// 0: none.
    slots: Vec<u64>,
    len: usize,
    /// So many slots are enough for all it will ever hold.
    enough: usize,
}

impl Table {
    /// Creates a set that holds so many hashes at most.
    fn of(most: usize) -> Self {
        Self { slots: Vec::new(), len: 0, enough: (most + most / 3).max(1024) }
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    /// Returns where a hash belongs.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        // The upper half of the product is below the number of slots, and spread as the hash is.
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// Returns where the hash is, or the free slot where it would be.
    #[inline]
    fn find(&self, hash: u64) -> Option<usize> {
        let mut at = self.place(hash);
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 || slot == hash {
                return Some(at);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        self.len > 0 && self.find(hash).is_some_and(|at| self.slots[at] == hash)
    }

    /// Whether it is new.
    #[inline]
    fn insert(&mut self, hash: u64) -> bool {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let Some(at) = self.find(hash) else { return false };
        let new = self.slots[at] == 0;
        self.slots[at] = hash;
        self.len += usize::from(new);
        new
    }

    /// In great steps: memory costs more to get than to look at.
    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 8).clamp(1024, self.enough);
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
