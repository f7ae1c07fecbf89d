use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::EventId;

/// Makes an id that no other record has, of this process or another: a UUID of version 7, which
/// sorts by time.
///
/// It is not made of the content: two equal actions at one instant are two events.
pub(super) fn unique(time: DateTime<Utc>) -> EventId {
    static START: LazyLock<[u64; 2]> =
        LazyLock::new(|| [1, 2].map(|n: u64| RandomState::new().hash_one(n)));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let [seed, salt] = *START;
    let mut input = [0; 24];
    let (parts, _) = input.as_chunks_mut::<8>();
    parts[0] = salt.to_le_bytes();
    parts[1] = COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
    // A forked child has the same salt and count.
    parts[2] = u64::from(process::id()).to_le_bytes();
    let random = xxh3_128_with_seed(&input, seed);

    let millis = u128::try_from(time.timestamp_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    let bits = millis << 80
        | 7 << 76
        | (random >> 64 & 0xfff) << 64
        | 0b10 << 62
        | random & 0x3fff_ffff_ffff_ffff;
    let mut id = String::with_capacity(36);
    for at in 0..32 {
        if matches!(at, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        let digit = (bits >> (124 - 4 * at)) as u8 & 0xf;
        id.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
    }
    EventId::new(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_one_instant_differ_and_carry_the_time() {
        let time = DateTime::from_timestamp_millis(1_665_664_496_789).unwrap();
        let ids: HashSet<_> = (0..10_000).map(|_| unique(time)).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            let id = id.as_str();
            assert!(id.starts_with("0183d157-3495-7"), "{id}");
            assert_eq!(id.len(), 36);
            assert_eq!(id.as_bytes()[14], b'7');
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        }
    }
}
