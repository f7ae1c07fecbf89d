use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// An event id as [`RecentIds`] keeps it: hashed, so that each takes the same small space.
pub type IdHash = u128;

/// The ids of the events that a sink took last, by which it knows a repeat.
///
/// For sinks that keep their ids in a file of their own: `iter` and `insert` write and read it. At
/// least [`KEPT`](Self::KEPT) ids are known, and always those of the last two batches: what may be
/// sent again after a crash is the batch in flight. About 40 bytes an id.
#[derive(Debug)]
pub struct RecentIds {
    seed: u64,
    known: HashSet<IdHash, BuildHasherDefault<AlreadyHashed>>,
    order: VecDeque<IdHash>,
    last_batch: usize,
}

impl RecentIds {
    /// So many ids are known at least.
    pub const KEPT: usize = 65_536;

    /// Creates an empty one with a seed that nobody can foresee: who may choose ids cannot prepare
    /// two that look alike.
    pub fn new() -> Self {
        // The standard library keys its hash tables with a random number.
        Self::with_seed(RandomState::new().hash_one(0u8))
    }

    /// Creates an empty one with the seed of ids that were kept.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, known: HashSet::default(), order: VecDeque::new(), last_batch: 0 }
    }

    /// Returns the seed, which has to be kept along with the ids.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Hashes an id.
    pub fn hash(&self, id: &str) -> IdHash {
        xxh3_128_with_seed(id.as_bytes(), self.seed)
    }

    /// Adds an id and returns whether it is new.
    pub fn insert(&mut self, id: IdHash) -> bool {
        let new = self.known.insert(id);
        if new {
            self.order.push_back(id);
        }
        new
    }

    /// Forgets what is too old, after a batch of `len` new ids.
    pub fn batch_done(&mut self, len: usize) {
        let keep = Self::KEPT.max(len.saturating_add(self.last_batch));
        self.last_batch = len;
        let forgotten = self.order.len().saturating_sub(keep);
        self.order.drain(..forgotten).for_each(|old| {
            self.known.remove(&old);
        });
    }

    /// Takes back the newest `len` ids.
    pub fn take_back(&mut self, len: usize) {
        let kept = self.order.len().saturating_sub(len);
        self.order.drain(kept..).for_each(|id| {
            self.known.remove(&id);
        });
    }

    /// Forgets everything but the seed.
    pub fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
        self.last_batch = 0;
    }

    /// Returns the ids, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IdHash> {
        self.order.iter().copied()
    }
}

impl Default for RecentIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Passes on the low half of a key that is a hash already.
#[derive(Debug, Default)]
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: u128 = RecentIds::KEPT as u128;

    #[test]
    fn d11_forgets_the_oldest_and_no_more() {
        let mut ids = RecentIds::new();
        for n in 0..KEPT + 10 {
            let id = ids.hash(&n.to_string());
            assert!(ids.insert(id) && !ids.insert(id));
            ids.batch_done(1);
        }
        assert_eq!(ids.iter().len(), RecentIds::KEPT);
        assert!(!ids.insert(ids.hash("10")), "the oldest that is kept");
        assert!(ids.insert(ids.hash("9")), "the newest that was forgotten");
    }

    #[test]
    fn the_last_two_batches_stay_whole() {
        let mut ids = RecentIds::with_seed(7);
        for batch in 0..3_u128 {
            assert!((0..KEPT).all(|n| ids.insert(batch << 32 | n)));
            ids.batch_done(RecentIds::KEPT);
        }
        assert_eq!(ids.iter().len(), 2 * RecentIds::KEPT);
    }

    #[test]
    fn takes_back_the_newest() {
        let mut ids = RecentIds::with_seed(7);
        (0..5).for_each(|n| assert!(ids.insert(n)));
        ids.take_back(2);
        assert_eq!(ids.iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(ids.insert(4));
        ids.clear();
        assert_eq!((ids.iter().len(), ids.seed()), (0, 7));
    }

    #[test]
    fn the_same_seed_finds_the_same_ids_again() {
        let ids = RecentIds::new();
        assert_eq!(RecentIds::with_seed(ids.seed()).hash("a"), ids.hash("a"));
        assert_ne!(RecentIds::with_seed(ids.seed() ^ 1).hash("a"), ids.hash("a"));
    }
}
