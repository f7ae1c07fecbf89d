use audit_core::{Error, ErrorKind, Result};

/// Runs file access where it holds up no other task.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::new(ErrorKind::Unexpected, "the work did not finish").because(e)),
    }
}
