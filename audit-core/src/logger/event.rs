use std::sync::Arc;

use super::{AuditRecord, Shape};
use crate::{AuditEvent, Origin, Raw, Result};

impl AuditRecord {
    /// Makes the event that travels through a pipeline: its payload is the line of `shape`, its id
    /// and time are the record's, so that the same record always becomes the same event.
    ///
    /// An address that is not one is left out of the envelope, and stays in the payload.
    ///
    /// ```
    /// use audit_core::logger::{AuditLogger, Shape};
    /// # fn main() -> audit_core::Result<()> {
    /// let record = AuditLogger::new().info("Signed in").record()?;
    /// let event = record.to_event("shop", Shape::Audit)?;
    /// assert_eq!(event.id, *record.id());
    /// assert_eq!(event.raw.get(), record.to_json_line()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Shape::append_line`].
    pub fn to_event(&self, source: impl Into<Arc<str>>, shape: Shape) -> Result<AuditEvent> {
        let raw = Raw::written(self.to_line(shape)?);
        let mut event = AuditEvent::new(self.id().clone(), source.into(), self.time(), raw);
        event.action = self.action().clone();
        event.actor = self.actor();
        event.target = self.target();
        event.outcome = self.outcome();
        event.origin = Origin {
            ip: self.user().and_then(|user| user.ip.trim().parse().ok()),
            user_agent: self
                .http_request()
                .map(|request| &*request.user_agent)
                .filter(|agent| !agent.is_empty())
                .map(Into::into),
            via: self.application().map(Into::into),
            correlation_id: self.correlation_id().map(Into::into),
        };
        event.message = (!self.message().is_empty()).then(|| self.message().into());
        Ok(event)
    }
}
