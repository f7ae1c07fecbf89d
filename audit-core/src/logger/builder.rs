use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::admission::Admission;
use super::{
    AuditRecord, Diff, Emitter, Filter, HttpRequest, HttpResponse, Level, Limits, LineWriter,
    Masking, StandardStream, User,
};
use crate::{Action, ActionKind, Actor, Clock, Error, ErrorKind, EventId, Outcome, Result, Target};

/// Gathers what is known about an action, in any order, and makes records of it.
///
/// It keeps what was set: several records may be made of one logger, and a handler may add to what
/// a middleware began. The `set_` methods are those of the Python package, with its arguments in its
/// order; the others take the types of this module.
///
/// [`send_log`](Self::send_log) writes to standard output, or to where
/// [`with_emitter`](Self::with_emitter) says. Passwords, tokens and cookies are [masked](Masking),
/// and what is very large is [cut](Limits), both visibly.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use audit_core::logger::{AuditLogger, User};
///
/// # fn main() -> audit_core::Result<()> {
/// let mut logger = AuditLogger::new();
/// logger
///     .set_http_request("GET", "https://shop.example/books?q=rust", "curl/8")
///     .user(User::authenticated("ada@example.com").roles(["staff"]))
///     .set_filter("Book", BTreeMap::from([("title", "rust")]))
///     .info("List books");
/// assert_eq!(
///     logger.record()?.to_json_line()?,
///     concat!(
///         r#"{"audit": {"http_request": {"method": "GET", "url": "https://shop.example/books?q=rust", "#,
///         r#""user_agent": "curl/8"}, "http_response": null, "user": {"authenticated": true, "#,
///         r#""email": "ada@example.com", "roles": ["staff"], "ip": "", "#,
///         r#""provider": {"name": "", "realm": ""}}, "#,
///         r#""filter": {"object": "Book", "kwargs": {"title": "rust"}}, "#,
///         r#""results": null, "type": "INFO", "message": "List books"}}"#,
///     ),
/// );
/// # Ok(())
/// # }
/// ```
pub struct AuditLogger {
    record: AuditRecord,
    failed_filter: Option<Box<str>>,
    failed_results: Option<Box<str>>,
    admission: Admission,
    level: Level,
    emitter: Option<Arc<dyn Emitter>>,
}

impl AuditLogger {
    /// Creates a logger that knows nothing yet, takes the time from the system and sends to
    /// standard output.
    pub fn new() -> Self {
        Self {
            record: AuditRecord::new(),
            failed_filter: None,
            failed_results: None,
            admission: Admission::default(),
            level: Level::Debug,
            emitter: None,
        }
    }

    /// Sets where the time of records comes from.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.record.clock = Some(clock);
        self
    }

    /// Sets where [`send_log`](Self::send_log) sends to. Share one emitter among all loggers of a
    /// program: clones of a logger do.
    #[must_use]
    pub fn with_emitter(mut self, emitter: Arc<dyn Emitter>) -> Self {
        self.emitter = Some(emitter);
        self
    }

    /// Sets the lowest level that [`send_log`](Self::send_log) sends; every level by default.
    #[must_use]
    pub fn with_level(mut self, lowest: Level) -> Self {
        self.level = lowest;
        self
    }

    /// Sets which values are masked, for what is set from now on.
    #[must_use]
    pub fn with_masking(mut self, masking: Masking) -> Self {
        self.admission.masking = Some(Arc::new(masking));
        self
    }

    /// Sets how large parts may become, for what is set from now on.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.admission.limits = limits;
        self
    }

    /// Sets the request; an unknown user agent is empty.
    pub fn set_http_request(&mut self, method: &str, url: &str, user_agent: &str) -> &mut Self {
        let request = self.record.fields.http_request.renew();
        self.admission.limits.assign(&mut request.method, method);
        self.admission.url(&mut request.url, url);
        self.admission.limits.assign(&mut request.user_agent, user_agent);
        self
    }

    /// Sets the response; headers that are not given are `null` in the record.
    pub fn set_http_response(
        &mut self,
        status_code: u16,
        reason: &str,
        headers: Option<&[(&str, &str)]>,
    ) -> &mut Self {
        let response = self.record.fields.http_response.renew();
        response.status_code = status_code;
        self.admission.limits.assign(&mut response.reason, reason);
        match headers {
            Some(headers) => {
                let kept = response.headers.get_or_insert_default();
                self.admission.headers(kept, headers.iter().copied());
            }
            None => response.headers = None,
        }
        self
    }

    /// Sets the user; roles that are not given are `null` in the record.
    pub fn set_user(
        &mut self,
        authenticated: bool,
        provider: &str,
        email: &str,
        roles: Option<&[&str]>,
        ip: &str,
        realm: &str,
    ) -> &mut Self {
        let user = self.record.fields.user.renew();
        let limits = self.admission.limits;
        user.authenticated = authenticated;
        limits.assign(&mut user.provider.name, provider);
        limits.assign(&mut user.email, email);
        limits.assign(&mut user.ip, ip);
        limits.assign(&mut user.provider.realm, realm);
        match roles {
            Some(roles) => {
                let kept = user.roles.get_or_insert_default();
                kept.resize_with(roles.len(), String::new);
                kept.iter_mut().zip(roles).for_each(|(to, role)| limits.assign(to, role));
            }
            None => user.roles = None,
        }
        self
    }

    /// Sets what was searched for: the kind of object, and the conditions as any value.
    ///
    /// Conditions that cannot be written as JSON fail each [`record`](Self::record) until others
    /// are set.
    pub fn set_filter(&mut self, object: &str, kwargs: impl Serialize) -> &mut Self {
        let filter = self.record.fields.filter.renew();
        self.admission.limits.assign(&mut filter.object, object);
        self.failed_filter = self.admission.json(&mut filter.kwargs, &kwargs);
        self
    }

    /// Sets what was found or changed, as any value.
    ///
    /// Results that cannot be written as JSON fail each [`record`](Self::record) until others are
    /// set.
    pub fn set_results(&mut self, results: impl Serialize) -> &mut Self {
        let json = self.record.fields.results.renew();
        self.failed_results = self.admission.json(json, &results);
        self
    }

    /// Sets what changed, as the results: `{"changes": {"email": ["old", "new"]}}`, as [`Diff`]
    /// writes it.
    ///
    /// States that cannot be written as JSON fail each [`record`](Self::record) until other results
    /// are set.
    pub fn diff(&mut self, before: &impl Serialize, after: &impl Serialize) -> &mut Self {
        #[derive(Serialize)]
        struct Changes {
            changes: Diff,
        }
        match Diff::between(before, after) {
            Ok(changes) => self.set_results(Changes { changes }),
            Err(e) => {
                self.failed_results = Some(cause(&e));
                self
            }
        }
    }

    /// Sets the request.
    pub fn http_request(&mut self, request: impl Into<HttpRequest>) -> &mut Self {
        let mut request = request.into();
        self.admission.request(&mut request);
        self.record.fields.http_request.set(request);
        self
    }

    /// Sets the response.
    pub fn http_response(&mut self, response: impl Into<HttpResponse>) -> &mut Self {
        let mut response = response.into();
        self.admission.response(&mut response);
        self.record.fields.http_response.set(response);
        self
    }

    /// Sets the user.
    pub fn user(&mut self, mut user: User) -> &mut Self {
        self.admission.user(&mut user);
        self.record.fields.user.set(user);
        self
    }

    /// Sets what was searched for.
    pub fn filter(&mut self, mut filter: Filter) -> &mut Self {
        self.admission.limits.cut(&mut filter.object);
        self.admission.admit(&mut filter.kwargs);
        self.record.fields.filter.set(filter);
        self.failed_filter = None;
        self
    }

    /// Sets level and message.
    pub fn log(&mut self, level: Level, message: impl AsRef<str>) -> &mut Self {
        let fields = &mut *self.record.fields;
        fields.level = level;
        self.admission.limits.assign(&mut fields.message, message.as_ref());
        self
    }

    /// Sets the message, at level DEBUG.
    pub fn debug(&mut self, message: impl AsRef<str>) -> &mut Self {
        self.log(Level::Debug, message)
    }

    /// Sets the message, at level INFO.
    pub fn info(&mut self, message: impl AsRef<str>) -> &mut Self {
        self.log(Level::Info, message)
    }

    /// Sets the message, at level WARNING.
    pub fn warning(&mut self, message: impl AsRef<str>) -> &mut Self {
        self.log(Level::Warning, message)
    }

    /// Sets the message, at level ERROR.
    pub fn error(&mut self, message: impl AsRef<str>) -> &mut Self {
        self.log(Level::Error, message)
    }

    /// Sets the message, at level CRITICAL.
    pub fn critical(&mut self, message: impl AsRef<str>) -> &mut Self {
        self.log(Level::Critical, message)
    }

    /// Sets what was done, by its kind alone.
    pub fn action(&mut self, kind: ActionKind) -> &mut Self {
        self.record.fields.envelope_mut().action = Action { name: None, kind };
        self
    }

    /// Sets what was done: the application's own name for it, and its kind.
    pub fn named_action(&mut self, name: impl Into<Box<str>>, kind: ActionKind) -> &mut Self {
        let name = Some(name.into());
        self.record.fields.envelope_mut().action = Action { name, kind };
        self
    }

    /// Sets who did it. Without, the [`user`](Self::user) did.
    pub fn actor(&mut self, actor: Actor) -> &mut Self {
        self.record.fields.envelope_mut().actor = Some(actor);
        self
    }

    /// Sets what it was done to. Without, the kind of object of the [`filter`](Self::filter).
    pub fn target(&mut self, target: Target) -> &mut Self {
        self.record.fields.envelope_mut().target = Some(target);
        self
    }

    /// Sets how it ended. Without, the status code of the response tells.
    pub fn outcome(&mut self, outcome: Outcome) -> &mut Self {
        self.record.fields.envelope_mut().outcome = Some(outcome);
        self
    }

    /// Sets the name of the application that reports it.
    pub fn application(&mut self, name: impl Into<Box<str>>) -> &mut Self {
        self.record.fields.envelope_mut().application = Some(name.into());
        self
    }

    /// Sets what ties records of one request or run together.
    pub fn correlation_id(&mut self, id: impl Into<Box<str>>) -> &mut Self {
        self.record.fields.envelope_mut().correlation_id = Some(id.into());
        self
    }

    /// Sets the id of the next record, and of that one only. Without, a new one is made.
    pub fn id(&mut self, id: EventId) -> &mut Self {
        self.record.id = id.into();
        self
    }

    /// Sets the time of the next record, and of that one only. Without, it is now.
    pub fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.record.time = time.into();
        self
    }

    /// Returns whether a message was set that is not empty.
    pub fn has_message(&self) -> bool {
        !self.record.message().is_empty()
    }

    /// Returns whether results were set.
    pub fn has_results(&self) -> bool {
        self.record.results_json().is_some()
    }

    /// Makes a record of what is known now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the filter or the results last set cannot be written as
    /// JSON.
    pub fn record(&mut self) -> Result<AuditRecord> {
        self.complete()?;
        let record = self.record.clone();
        self.record.forget();
        Ok(record)
    }

    /// Sends a record of what is known now to standard output, or to the
    /// [emitter](Self::with_emitter) that was given. May be called again: each call is a record of
    /// its own.
    ///
    /// # Errors
    /// As [`record`](Self::record), and those of the emitter: then it was not sent.
    // Inline, as all that is left to do behind a system call.
    #[inline(always)]
    pub fn send_log(&mut self) -> Result<()> {
        self.complete()?;
        let sent = if self.record.level() < self.level {
            Ok(())
        } else if let Some(emitter) = &self.emitter {
            emitter.emit(&self.record)
        } else {
            print(&self.record)
        };
        self.record.forget();
        sent
    }

    #[inline]
    fn complete(&self) -> Result<()> {
        match (&self.failed_filter, &self.failed_results) {
            (None, None) => Ok(()),
            (Some(reason), _) => Err(not_json("filter", reason)),
            (None, Some(reason)) => Err(not_json("results", reason)),
        }
    }
}

fn print(record: &AuditRecord) -> Result<()> {
    static STDOUT: LazyLock<LineWriter<StandardStream>> = LazyLock::new(LineWriter::stdout);
    STDOUT.emit(record)
}

#[cold]
fn not_json(part: &'static str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidData, "cannot be written as JSON")
        .while_doing("make an audit record")
        .with("part", part)
        .because(String::from(reason))
}

fn cause(error: &Error) -> Box<str> {
    match std::error::Error::source(error) {
        Some(source) => source.to_string().into(),
        None => error.to_string().into(),
    }
}

impl Default for AuditLogger {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for AuditLogger {
    /// Copies what is known and where it goes, but neither the id nor the time set for the next
    /// record: two records never share an id.
    fn clone(&self) -> Self {
        Self {
            failed_filter: self.failed_filter.clone(),
            failed_results: self.failed_results.clone(),
            admission: self.admission.clone(),
            level: self.level,
            emitter: self.emitter.clone(),
            // The largest part comes last, so that it is not moved.
            record: AuditRecord {
                clock: self.record.clock.clone(),
                fields: self.record.fields.clone(),
                id: OnceLock::new(),
                time: OnceLock::new(),
            },
        }
    }
}

impl fmt::Debug for AuditLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLogger").field("level", &self.record.level()).finish_non_exhaustive()
    }
}
