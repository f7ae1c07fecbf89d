//! How often tests kill processes, and at which moments.
#![allow(dead_code, clippy::unwrap_used, reason = "a test may, and each uses its part")]

/// Returns how often, unless `AUDIT_SOAK_ROUNDS` says otherwise.
pub(crate) fn rounds(usual: u32) -> u32 {
    number("AUDIT_SOAK_ROUNDS").unwrap_or(usual)
}

pub(crate) fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A small generator of numbers (xorshift), the same ones for the same `AUDIT_SOAK_SEED`.
pub(crate) struct Random {
    pub(crate) seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new() -> Self {
        let seed: u64 = number("AUDIT_SOAK_SEED").unwrap_or(1);
        Self { seed, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }
}
