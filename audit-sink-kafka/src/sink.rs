use std::fmt;

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Sink, Written};

use crate::KafkaConfig;
use crate::settings::Settings;

/// Writes events to a topic with an idempotent producer.
pub struct KafkaSink {
    settings: Settings,
}

impl KafkaSink {
    /// Creates a sink. Touches nothing outside: the first call connects.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when an option cannot be meant.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        Ok(Self { settings: Settings::parse(config)? })
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn check(&self) -> Result<()> {
        Err(Error::new(ErrorKind::Unexpected, "not written yet"))
    }

    async fn write(&self, _events: &[AuditEvent]) -> Result<Written> {
        Err(Error::new(ErrorKind::Unexpected, "not written yet"))
    }

    fn deduplicates(&self) -> bool {
        false
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("brokers", &self.settings.brokers)
            .field("topic", &self.settings.topic)
            .finish_non_exhaustive()
    }
}
