use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use audit_core::Result;
use audit_core::logger::{AuditRecord, Emitter};

use crate::queue::loss_record;

/// Lets the application go on when records cannot be written: an emitter that never fails.
///
/// What the emitter within does not take is lost and counted; once it takes records again, the first
/// that goes there is one of level CRITICAL that says how many were lost.
pub struct BestEffort<E> {
    inner: E,
    lost: AtomicU64,
    unreported: AtomicU64,
}

impl<E: Emitter> BestEffort<E> {
    /// Puts the policy over an emitter.
    pub fn new(inner: E) -> Self {
        Self { inner, lost: AtomicU64::new(0), unreported: AtomicU64::new(0) }
    }

    /// Returns how many records were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn report(&self) -> Result<()> {
        let lost = self.unreported.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return Ok(());
        }
        let reported = loss_record(lost).and_then(|record| self.inner.emit(&record));
        if reported.is_err() {
            self.unreported.fetch_add(lost, Ordering::Relaxed);
        }
        reported
    }
}

impl<E: Emitter> Emitter for BestEffort<E> {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        if let Err(error) = self.report().and_then(|()| self.inner.emit(record)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            if self.unreported.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(%error, "audit records are being lost");
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn waits(&self) -> bool {
        self.inner.waits()
    }
}

impl<E> fmt::Debug for BestEffort<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BestEffort").field("lost", &self.lost).finish_non_exhaustive()
    }
}
