use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use audit_core::logger::{AuditLogger, HttpResponse, Level};
use audit_core::{Outcome, Result};
use http::{Extensions, HeaderMap, Method, Uri, response};
use serde::Serialize;

/// The head of a request, for closures that find out who it is from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URI as the server has it.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What layers before this one, and the server, know of the request.
    pub extensions: &'a Extensions,
}

/// The record of the request at hand, in the request's extensions: a handler adds to it what only it
/// knows.
///
/// ```
/// use audit_logger::Audit;
///
/// // In axum, the argument is `Extension(audit): Extension<Audit>`.
/// async fn list_books(audit: Audit) {
///     audit.with(|record| record.set_filter("Book", [("title", "rust")]).info("List books"));
/// }
/// ```
#[derive(Clone)]
pub struct Audit(Arc<Mutex<AuditLogger>>);

impl Audit {
    /// Adds to the record. The lock is held meanwhile: do nothing slow within.
    pub fn with(&self, add: impl FnOnce(&mut AuditLogger) -> &mut AuditLogger) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

/// A request whose record is still to be sent; it is sent once, at the latest when this is dropped.
pub(super) struct Open {
    audit: Audit,
    summary: String,
    began: Instant,
    sent: bool,
    /// The request was being handled; still so after a panic.
    pub(super) in_handler: bool,
}

#[derive(Serialize)]
struct Timing {
    duration_ms: f64,
}

impl Open {
    pub(super) fn new(logger: AuditLogger, summary: String) -> Self {
        let audit = Audit(Arc::new(Mutex::new(logger)));
        Self { audit, summary, began: Instant::now(), sent: false, in_handler: false }
    }

    pub(super) fn audit(&self) -> Audit {
        self.audit.clone()
    }

    /// Adds the response.
    pub(super) fn answered(&self, parts: &response::Parts) {
        let reason = parts.status.canonical_reason().unwrap_or_default();
        let headers = parts.headers.iter().map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let response = HttpResponse::new(parts.status.as_u16(), reason).headers(headers);
        self.audit.with(|logger| {
            if let Some(outcome) = grpc_outcome(&parts.headers) {
                logger.outcome(outcome);
            }
            logger.http_response(response)
        });
    }

    /// Adds that there is no response.
    pub(super) fn failed(&self) {
        self.audit.with(|logger| logger.outcome(Outcome::Failure));
    }

    pub(super) fn send(mut self) -> Result<()> {
        self.finish(None)
    }

    fn finish(&mut self, without_answer: Option<(Level, &str)>) -> Result<()> {
        self.sent = true;
        let elapsed = self.began.elapsed();
        let mut logger = self.audit.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !logger.has_message() {
            match without_answer {
                Some((level, why)) => logger.log(level, format!("{}: {why}", self.summary)),
                None => logger.info(&self.summary),
            };
        }
        if !logger.has_results() {
            let micros = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
            logger.set_results(Timing { duration_ms: f64::from(micros) / 1000.0 });
        }
        logger.send_log()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.sent {
            return;
        }
        let sent = if self.in_handler {
            self.failed();
            self.finish(Some((Level::Error, "the handler panicked")))
        } else {
            self.finish(Some((Level::Warning, "the client went away")))
        };
        if let Err(error) = sent {
            tracing::error!(%error, "the audit record of a request was not taken");
        }
    }
}

/// gRPC answers 200 and says how it ended in a header, or in a trailer that comes later.
fn grpc_outcome(headers: &HeaderMap) -> Option<Outcome> {
    Some(match headers.get("grpc-status")?.as_bytes() {
        b"0" => Outcome::Success,
        b"7" | b"16" => Outcome::Denied,
        _ => Outcome::Failure,
    })
}
