use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The records that came last: tells a repeated one.
///
/// A record is repeated only if all its bytes are the same, its id among them. Two that share no
/// more than the id are both handed on, for a sink to tell.
pub(crate) struct Seen {
    /// Unknown outside, so that nobody can make a record that passes for another.
    seed: u64,
    prints: HashSet<u128>,
    order: VecDeque<u128>,
    capacity: usize,
}

impl Seen {
    pub(crate) fn new(capacity: usize) -> Self {
        let seed = RandomState::new().hash_one(capacity);
        Self { seed, prints: HashSet::new(), order: VecDeque::new(), capacity }
    }

    /// Remembers a record; says whether it came before.
    pub(crate) fn repeats(&mut self, record: &[u8]) -> bool {
        let print = xxh3_128_with_seed(record, self.seed);
        if !self.prints.insert(print) {
            return true;
        }
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.prints.remove(&oldest);
        }
        self.order.push_back(print);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d11_tells_what_came_lately_and_forgets_the_rest() {
        let mut seen = Seen::new(3);
        assert!(!seen.repeats(b"a1") && !seen.repeats(b"b"));
        assert!(seen.repeats(b"a1"));
        assert!(!seen.repeats(b"a2"), "another record with the same id");
        for n in 0..100_u8 {
            assert!(!seen.repeats(&[n, n]));
        }
        assert!(!seen.repeats(b"a1"), "forgotten");
        assert!(seen.prints.len() <= 3 && seen.order.len() <= 3);
    }
}
