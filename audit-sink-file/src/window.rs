//! The ids of the events written last, by which a repeat is known.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// An event id as kept here: hashed, so that each takes the same small space.
pub(crate) type IdHash = u128;

/// At least this many ids are known, and always those of the last two batches: what may be sent
/// again after a crash is the batch in flight.
pub(crate) const KEPT: usize = 65_536;

/// Hashes an id. The seed is random for each journal, so that nobody who may choose ids can
/// prepare two that look alike.
pub(crate) fn hash(id: &str, seed: u64) -> IdHash {
    xxh3_128_with_seed(id.as_bytes(), seed)
}

/// A set of ids that forgets the oldest.
#[derive(Debug, Default)]
pub(crate) struct Window {
    known: HashSet<IdHash, BuildHasherDefault<AlreadyHashed>>,
    order: VecDeque<IdHash>,
    last_batch: usize,
}

impl Window {
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
        while self.order.len() > keep {
            if let Some(old) = self.order.pop_front() {
                self.known.remove(&old);
            }
        }
    }

    /// Takes back the newest `len` ids.
    pub(crate) fn take_back(&mut self, len: usize) {
        for _ in 0..len {
            if let Some(id) = self.order.pop_back() {
                self.known.remove(&id);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
        self.last_batch = 0;
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
        // The low half is the whole hash that the table needs; cutting off is meant.
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_and_no_more() {
        let mut window = Window::default();
        let id = |n: usize| hash(&n.to_string(), 7);
        for n in 0..KEPT + 10 {
            assert!(window.insert(id(n)));
            assert!(!window.insert(id(n)));
            window.batch_done(1);
        }
        assert_eq!(window.iter().len(), KEPT);
        assert!(!window.insert(id(10)), "the oldest that is kept");
        assert!(window.insert(id(9)), "the newest that was forgotten");
    }

    #[test]
    fn a_batch_larger_than_the_window_stays_whole() {
        let mut window = Window::default();
        for n in 0..2 * KEPT {
            window.insert(hash(&n.to_string(), 7));
        }
        window.batch_done(2 * KEPT);
        assert_eq!(window.iter().len(), 2 * KEPT);
    }

    #[test]
    fn takes_back_the_newest() {
        let mut window = Window::default();
        (0..5).for_each(|n| assert!(window.insert(n)));
        window.take_back(2);
        assert_eq!(window.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(window.insert(4));
    }
}
