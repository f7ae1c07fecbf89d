use serde::{Deserialize, Serialize};

/// More of them say nothing that matters.
const MOST: usize = 32;

/// Pairs that grow together: when a clock stood at `at`, a table had reached `key`. A clock is a time
/// or a count of transactions.
///
/// Pairs may be left out: then an answer is an earlier one than it could be, which is safe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Marks(Vec<(i64, i64)>);

impl Marks {
    /// Adds a pair, if it says anything new.
    pub(super) fn push(&mut self, at: i64, key: i64) {
        if self.0.last().is_some_and(|(last_at, last)| *last >= key || *last_at >= at) {
            return;
        }
        self.0.push((at, key));
        if self.0.len() > MOST {
            // The first and the last stay.
            let mut place = 0;
            self.0.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }

    /// Returns the key that was reached at the latest known moment not after `at`.
    pub(super) fn key_at(&self, at: i64) -> Option<i64> {
        let until = self.0.partition_point(|(then, _)| *then <= at);
        until.checked_sub(1).and_then(|last| self.0.get(last)).map(|(_, key)| *key)
    }

    /// Forgets what no question about `at` or later needs.
    pub(super) fn forget(&mut self, at: i64) {
        let until = self.0.partition_point(|(then, _)| *then <= at);
        self.0.drain(..until.saturating_sub(1));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_are_never_later_than_the_truth(
            steps in prop::collection::vec((0..5_i64, 0..5_i64), 0..200), asked in 0..1000_i64,
        ) {
            let (mut marks, mut all, mut now) = (Marks::default(), Vec::new(), (0, 0));
            for (at, key) in steps {
                now = (now.0 + at, now.1 + key);
                all.push(now);
                marks.push(now.0, now.1);
                prop_assert!(marks.len() <= MOST);
            }
            let truth = all.iter().rev().find(|(at, _)| *at <= asked).map(|(_, key)| *key);
            prop_assert!(marks.key_at(asked) <= truth);
            let answer = marks.key_at(asked);
            marks.forget(asked);
            prop_assert_eq!(marks.key_at(asked), answer);
        }
    }
}
