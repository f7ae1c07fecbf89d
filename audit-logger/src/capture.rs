use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit_core::logger::{AuditRecord, Emitter};
use audit_core::{Error, ErrorKind, Result};

/// Keeps records in memory, for tests of an application. Clones share the records.
///
/// ```
/// use std::sync::Arc;
/// use audit_logger::{AuditLogger, Capture};
///
/// # fn main() -> audit_core::Result<()> {
/// let capture = Capture::new();
/// let mut audit = AuditLogger::new().with_emitter(Arc::new(capture.clone()));
/// audit.info("Signed in").send_log()?;
/// let record = capture.single();
/// assert_eq!(record.message(), "Signed in");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Capture {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    records: Vec<AuditRecord>,
    failing: bool,
}

impl Capture {
    /// Creates one that has no record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the records so far, in order.
    pub fn records(&self) -> Vec<AuditRecord> {
        self.lock().records.clone()
    }

    /// Returns the records so far, and forgets them.
    pub fn take(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut self.lock().records)
    }

    /// Returns the messages so far, in order.
    pub fn messages(&self) -> Vec<String> {
        self.lock().records.iter().map(|record| record.message().to_owned()).collect()
    }

    /// Returns the one record there is.
    ///
    /// # Panics
    /// When there is none or more than one; the message lists them.
    #[track_caller]
    pub fn single(&self) -> AuditRecord {
        let records = self.records();
        assert!(records.len() == 1, "expected one audit record, found {:?}", self.messages());
        records.into_iter().next().unwrap_or_else(|| unreachable!("there is one"))
    }

    /// Returns the first record that fits.
    ///
    /// # Panics
    /// When none does; the message lists those there are.
    #[track_caller]
    pub fn find(&self, fits: impl Fn(&AuditRecord) -> bool) -> AuditRecord {
        match self.records().into_iter().find(fits) {
            Some(record) => record,
            None => panic!("no audit record fits, found {:?}", self.messages()),
        }
    }

    /// Demands that there is no record.
    ///
    /// # Panics
    /// When there is one.
    #[track_caller]
    pub fn assert_empty(&self) {
        let messages = self.messages();
        assert!(messages.is_empty(), "expected no audit record, found {messages:?}");
    }

    /// Makes all that follows fail, or succeed again.
    pub fn fail(&self, failing: bool) {
        self.lock().failing = failing;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Emitter for Capture {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        let mut state = self.lock();
        if state.failing {
            return Err(Error::new(ErrorKind::Unavailable, "made to fail"));
        }
        state.records.push(record.clone());
        Ok(())
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("records", &self.lock().records.len()).finish()
    }
}
