use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Ids, grouped by the time until which they may come again (milliseconds).
pub(super) type Groups = Vec<(i64, Vec<Arc<str>>)>;

/// The ids of records that may be read again, each until the position passes the time given for it.
///
/// Whole ids, not hashes: a collision would be a lost record.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    until: BTreeMap<i64, Vec<Arc<str>>>,
    ids: HashSet<Arc<str>>,
    limit: usize,
    forgotten: u64,
}

impl Seen {
    pub(super) fn new(limit: usize) -> Self {
        Self { until: BTreeMap::new(), ids: HashSet::new(), limit, forgotten: 0 }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// Remembers an id. When that is one too many, forgets the one that is due first.
    pub(super) fn insert(&mut self, id: Arc<str>, until: i64) {
        if !self.ids.insert(id.clone()) {
            return;
        }
        self.until.entry(until).or_default().push(id);
        while self.ids.len() > self.limit
            && let Some(mut first) = self.until.first_entry()
        {
            if let Some(id) = first.get_mut().pop() {
                self.ids.remove(&id);
                self.forgotten += 1;
            }
            if first.get().is_empty() {
                first.remove();
            }
        }
    }

    /// Forgets the ids whose time is not after `position`.
    pub(super) fn prune(&mut self, position: i64) {
        let kept = self.until.split_off(&position.saturating_add(1));
        for id in std::mem::replace(&mut self.until, kept).values().flatten() {
            self.ids.remove(id);
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn groups(&self) -> Groups {
        let groups = self.until.iter();
        groups.map(|(until, ids)| (*until, ids.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d11_is_bounded_and_forgets_what_is_due_first() {
        let mut seen = Seen::new(3);
        for (id, until) in [("d", 40), ("a", 10), ("b", 20), ("a", 90), ("c", 30)] {
            seen.insert(id.into(), until);
        }
        assert_eq!(seen.forgotten(), 1);
        assert!(!seen.contains("a") && seen.contains("b"));
        seen.prune(30);
        assert_eq!(seen.groups(), [(40, vec!["d".into()])]);
        assert!(!seen.contains("c") && seen.contains("d"));
        assert_eq!(seen.forgotten(), 1, "what is due is not lost");
    }
}
