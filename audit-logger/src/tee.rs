use std::fmt;
use std::sync::Arc;

use audit_core::logger::{AuditRecord, Emitter};
use audit_core::{Error, ErrorKind, Result};

/// Sends each record to several emitters, and succeeds when enough of them do.
///
/// All of them are tried each time, in order. Those that fail while enough others succeed are reported
/// to `tracing`.
pub struct Tee {
    emitters: Vec<Arc<dyn Emitter>>,
    required: usize,
}

impl Tee {
    /// Succeeds only when all of them do.
    pub fn all(emitters: impl IntoIterator<Item = Arc<dyn Emitter>>) -> Self {
        let emitters: Vec<_> = emitters.into_iter().collect();
        Self { required: emitters.len().max(1), emitters }
    }

    /// Succeeds when so many of them do; 0 counts as 1.
    #[must_use]
    pub fn required(mut self, required: usize) -> Self {
        self.required = required.max(1);
        self
    }

    fn each(&self, call: impl Fn(&dyn Emitter) -> Result<()>) -> Result<()> {
        let mut done = 0;
        let mut failed = None;
        for (n, emitter) in self.emitters.iter().enumerate() {
            match call(&**emitter) {
                Ok(()) => done += 1,
                Err(error) => {
                    tracing::warn!(%error, emitter = n, "one of several emitters failed");
                    failed.get_or_insert(error);
                }
            }
        }
        if done >= self.required {
            return Ok(());
        }
        let (kind, retry) = failed
            .as_ref()
            .map_or((ErrorKind::Config, None), |error| (error.kind(), Some(error.retry())));
        let mut error = Error::new(kind, "too few emitters took the record")
            .with("took it", done)
            .with("required", self.required);
        if let Some(retry) = retry {
            error = error.with_retry(retry);
        }
        Err(match failed {
            Some(first) => error.because(first),
            None => error.with_hint("give as many emitters as are required"),
        })
    }
}

impl Emitter for Tee {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        self.each(|emitter| emitter.emit(record))
    }

    fn flush(&self) -> Result<()> {
        self.each(|emitter| emitter.flush())
    }

    fn waits(&self) -> bool {
        self.emitters.iter().any(|emitter| emitter.waits())
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee")
            .field("emitters", &self.emitters.len())
            .field("required", &self.required)
            .finish()
    }
}
