/// What is known of how many records the API gives in one answer.
///
/// It documents a default and no maximum. If it gives fewer than were asked for, a cut answer looks
/// like a whole one; but then it holds a round number of records, and none is ever larger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caps {
    largest: usize,
}

impl Caps {
    /// Returns whether an answer may lack records: it has as many as were asked for, or a round
    /// number that no answer before has exceeded.
    pub(crate) fn may_have_cut(&mut self, records: usize, asked: usize) -> bool {
        let round = records > 0 && records.is_multiple_of(50);
        let doubtful = round && records >= self.largest;
        self.largest = self.largest.max(records);
        records >= asked || doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_cap_of_the_api_shows() {
        let mut caps = Caps::default();
        for (records, cut) in [
            (0, false),
            (49, false),
            (100, true),
            (100, true),
            (99, false),
            (101, false),
            (100, false),
            (300, true),
            (300, true),
            (1000, true),
            (1001, true),
        ] {
            assert_eq!(caps.may_have_cut(records, 1000), cut, "{records}");
        }
    }
}
