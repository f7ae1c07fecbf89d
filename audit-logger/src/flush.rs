use std::fmt;
use std::sync::Arc;

use audit_core::logger::Emitter;

/// Flushes an emitter when it is dropped: at the end of `main`, also when that panics.
///
/// For emitters that hold records back in memory, as a
/// [buffered](crate::LineWriter::buffered) `LineWriter`, and live in a `static` or elsewhere where
/// nothing drops them. `process::exit` drops nothing.
#[must_use = "dropped at once, it flushes nothing"]
pub struct FlushGuard {
    emitter: Arc<dyn Emitter>,
}

impl FlushGuard {
    /// Guards an emitter.
    pub fn new(emitter: Arc<dyn Emitter>) -> Self {
        Self { emitter }
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        if let Err(error) = self.emitter.flush() {
            tracing::error!(%error, "audit records were lost at the end");
        }
    }
}

impl fmt::Debug for FlushGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlushGuard")
    }
}
