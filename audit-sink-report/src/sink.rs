use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Sink, Written};

use crate::ReportConfig;

/// Counts events into reports.
#[derive(Debug)]
pub struct ReportSink {
    config: ReportConfig,
}

impl ReportSink {
    /// Creates the sink; touches no file until [`check`](Sink::check) or the first write.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: ReportConfig) -> Result<Self> {
        Ok(Self { config: config.parse()? })
    }
}

#[async_trait]
impl Sink for ReportSink {
    async fn check(&self) -> Result<()> {
        audit_core::durable::check_writable(&self.config.path)
    }

    async fn write(&self, _events: &[AuditEvent]) -> Result<Written> {
        Err(Error::new(ErrorKind::Unexpected, "reports cannot be written yet"))
    }
}
