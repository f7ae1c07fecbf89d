use std::collections::{HashSet, VecDeque};

use audit_core::AuditEvent;
use xxhash_rust::xxh3::xxh3_128;

/// Recognises records that come twice, among the last so many.
///
/// Only what is equal byte for byte is a repeat: of two records that share an id and differ, neither
/// is lost here.
#[derive(Debug)]
pub(crate) struct Repeats {
    capacity: usize,
    seen: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Repeats {
    pub(crate) fn of(capacity: usize) -> Self {
        Self { capacity, seen: HashSet::new(), order: VecDeque::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        self.order.clear();
    }

    /// Whether the record came before; from now on it did.
    pub(crate) fn is_repeat(&mut self, event: &AuditEvent) -> bool {
        if self.capacity == 0 {
            return false;
        }
        let print = xxh3_128(event.raw.get().as_bytes());
        if !self.seen.insert(print) {
            return true;
        }
        self.order.push_back(print);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use audit_core::{EventId, Raw};
    use chrono::DateTime;

    use super::*;

    fn event(text: &str) -> AuditEvent {
        let raw = Raw::parse(text).unwrap();
        AuditEvent::new(EventId::new("same"), "c".into(), DateTime::UNIX_EPOCH, raw)
    }

    #[test]
    fn only_the_same_bytes_within_the_window_are_a_repeat() {
        let mut repeats = Repeats::of(2);
        let mut came = |text: &str| repeats.is_repeat(&event(text));
        assert_eq!([came("1"), came("1"), came("2"), came("1")], [false, true, false, true]);
        assert_eq!([came("3"), came("1")], [false, false], "forgotten, as the window is full");
        assert!(!Repeats::of(0).is_repeat(&event("1")));
    }
}
