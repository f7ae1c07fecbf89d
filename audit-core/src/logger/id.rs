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
    EventId::new(hyphenated(bits))
}

/// The text of a UUID.
fn hyphenated(bits: u128) -> Box<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(bits.to_be_bytes()) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]];
    }
    let mut text = [b'-'; 36];
    for (to, from) in [(0..8, 0..8), (9..13, 8..12), (14..18, 12..16), (19..23, 16..20)] {
        text[to].copy_from_slice(&digits[from]);
    }
    text[24..].copy_from_slice(&digits[20..]);
    // Digits and hyphens are text.
    str::from_utf8(&text).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_has_every_digit_in_its_place(bits: u128) {
            let digits = format!("{bits:032x}");
            let (a, rest) = digits.split_at(8);
            let (b, rest) = rest.split_at(4);
            let (c, rest) = rest.split_at(4);
            let (d, e) = rest.split_at(4);
            prop_assert_eq!(&*hyphenated(bits), format!("{a}-{b}-{c}-{d}-{e}"));
        }
    }

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
