use std::time::Duration;

use audit_core::{Error, Failure, Result, Retry, Written};

/// What has become of a write so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) duplicates: Vec<usize>,
    failures: Vec<Failure>,
    /// How many of the failures are held back by the state of the cluster, not by the document.
    held: usize,
}

impl Report {
    /// Notes an event that failed for a reason of its own.
    pub(crate) fn fail(&mut self, index: usize, error: Error) {
        self.failures.push(Failure { index, error });
    }

    /// Notes an event that cannot be written now, for no fault of its own.
    pub(crate) fn hold(&mut self, index: usize, error: Error) {
        self.held += 1;
        self.fail(index, error);
    }

    /// Notes events that cannot be written now, all for the same reason.
    pub(crate) fn hold_all(&mut self, indices: impl Iterator<Item = usize>, error: &Error) {
        for index in indices {
            let mut copy = Error::new(error.kind(), error.to_string()).with_retry(error.retry());
            if let Some(hint) = error.hint() {
                copy = copy.with_hint(hint);
            }
            self.hold(index, copy);
        }
    }

    /// Adds what was noted of other events.
    pub(crate) fn merge(&mut self, other: Self) {
        self.duplicates.extend(other.duplicates);
        self.failures.extend(other.failures);
        self.held += other.held;
    }

    pub(crate) fn fail_each(&mut self, failures: Vec<Failure>) {
        self.failures.extend(failures);
    }

    /// Ends the write of `total` events.
    ///
    /// When nothing at all came through and no document is at fault, the sink as a whole fails: the
    /// caller waits for the cluster, and gives no good event up.
    pub(crate) fn finish(mut self, total: usize) -> Result<Written> {
        if self.failures.len() == total && self.held == total {
            let asks = |f: &Failure| match f.error.retry() {
                Retry::After(time) => Some(time),
                Retry::Backoff | Retry::Never => None::<Duration>,
            };
            let longest = (0..total).max_by_key(|n| self.failures.get(*n).and_then(asks));
            if let Some(longest) = longest {
                return Err(self.failures.swap_remove(longest).error);
            }
        }
        self.failures.sort_unstable_by_key(|failure| failure.index);
        Ok(Written { duplicates: self.duplicates, failures: self.failures })
    }
}

#[cfg(test)]
mod tests {
    use audit_core::ErrorKind;

    use super::*;

    fn busy(seconds: u64) -> Error {
        let after = Retry::After(Duration::from_secs(seconds));
        Error::new(ErrorKind::RateLimited, "busy").with_retry(after)
    }

    #[test]
    fn a_cluster_that_takes_nothing_fails_as_a_whole() {
        let mut report = Report::default();
        report.hold(0, Error::new(ErrorKind::Unavailable, "down"));
        report.hold_all([1, 2].into_iter(), &busy(7));
        report.hold(3, busy(1));
        let error = report.finish(4).unwrap_err();
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
    }

    #[test]
    fn a_cluster_that_takes_or_judges_some_names_the_others() {
        let mut report = Report::default();
        report.hold(2, busy(7));
        report.hold(0, busy(7));
        let named = |w: Written| w.failures.iter().map(|f| f.index).collect::<Vec<_>>();
        assert_eq!(named(report.finish(3).unwrap()), [0, 2]);

        let mut report = Report::default();
        report.hold(0, busy(7));
        report.fail(1, Error::new(ErrorKind::Rejected, "no"));
        assert_eq!(named(report.finish(2).unwrap()), [0, 1]);
        assert!(Report::default().finish(0).is_ok());
    }
}
