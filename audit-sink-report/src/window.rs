//! The ids of the events counted last, by which a repeat is known.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// At least this many ids are known, and always those of the last two batches: what may be sent
/// again after a crash is the batch in flight.
pub(crate) const KEPT: usize = 65_536;

/// An event id as kept here: hashed, so that each takes the same small space.
pub(crate) type IdHash = u128;

/// A set of ids that forgets the oldest.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Random for each store, so that nobody who may choose ids can prepare two that look alike.
    seed: u64,
    known: HashSet<IdHash, BuildHasherDefault<AlreadyHashed>>,
    order: VecDeque<IdHash>,
    last_batch: usize,
}

impl Window {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub(crate) fn hash(&self, id: &str) -> IdHash {
        xxh3_128_with_seed(id.as_bytes(), self.seed)
    }

    /// Adds an id and returns whether it is new.
    pub(crate) fn insert(&mut self, id: IdHash) -> bool {
        let new = self.known.insert(id);
        if new {
            self.order.push_back(id);
        }
        new
    }

    /// Forgets what is too old, after a batch of `len` new ids.
    pub(crate) fn batch_done(&mut self, len: usize) {
        let keep = KEPT.max(len.saturating_add(self.last_batch));
        self.last_batch = len;
        let forgotten = self.order.len().saturating_sub(keep);
        self.order.drain(..forgotten).for_each(|old| {
            self.known.remove(&old);
        });
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the ids, oldest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = IdHash> {
        self.order.iter().copied()
    }
}

/// Passes on the low half of a key that is a hash already.
#[derive(Debug, Default)]
pub(crate) struct AlreadyHashed(u64);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d11_forgets_the_oldest_and_no_more() {
        let mut window = Window::new(7);
        for n in 0..KEPT as u128 + 10 {
            assert!(window.insert(n) && !window.insert(n));
            window.batch_done(1);
        }
        assert_eq!(window.iter().len(), KEPT);
        assert!(!window.insert(10), "the oldest that is kept");
        assert!(window.insert(9), "the newest that was forgotten");
    }

    #[test]
    fn the_last_two_batches_stay_whole() {
        let mut window = Window::new(7);
        for batch in 0..3_u128 {
            assert!((0..KEPT as u128).all(|n| window.insert(batch << 32 | n)));
            window.batch_done(KEPT);
        }
        assert_eq!(window.iter().len(), 2 * KEPT);
    }
}
