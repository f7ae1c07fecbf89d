use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::json::Json;
use super::record::Fields;
use super::{AuditRecord, Filter, HttpRequest, HttpResponse, Level, Provider, User, id};
use crate::{Action, ActionKind, Actor, Clock, Error, ErrorKind, EventId, Outcome, Result, Target};

/// Gathers what is known about an action, in any order, and makes records of it.
///
/// It keeps what was set: several records may be made of one logger, and a handler may add to what
/// a middleware began. The `set_` methods with plain arguments are those of the Python package; the
/// others take the types of this module.
///
/// ```
/// use audit_core::logger::{AuditLogger, User};
/// # fn main() -> audit_core::Result<()> {
/// let mut logger = AuditLogger::new();
/// logger
///     .set_http_request("GET", "https://shop.example/books?q=rust", "curl/8")
///     .user(User::authenticated("ada@example.com").roles(["staff"]))
///     .set_filter("Book", [("title", "rust")])
///     .info("List books");
/// assert_eq!(
///     logger.record()?.to_json_line()?,
///     concat!(
///         r#"{"audit": {"http_request": {"method": "GET", "url": "https://shop.example/books?q=rust", "#,
///         r#""user_agent": "curl/8"}, "http_response": null, "user": {"authenticated": true, "#,
///         r#""email": "ada@example.com", "roles": ["staff"], "ip": "", "#,
///         r#""provider": {"name": "", "realm": ""}}, "#,
///         r#""filter": {"object": "Book", "kwargs": [["title", "rust"]]}, "#,
///         r#""results": null, "type": "INFO", "message": "List books"}}"#,
///     ),
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct AuditLogger {
    clock: Clock,
    fields: Fields,
    id: Option<EventId>,
    time: Option<DateTime<Utc>>,
    failed_filter: Option<Box<str>>,
    failed_results: Option<Box<str>>,
}

impl AuditLogger {
    /// Creates a logger that knows nothing yet and takes the time from the system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where the time of records comes from.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the request; an unknown user agent is empty.
    pub fn set_http_request(&mut self, method: &str, url: &str, user_agent: &str) -> &mut Self {
        self.http_request(HttpRequest::new(method, url).user_agent(user_agent))
    }

    /// Sets the response; headers that are not given are `null` in the record.
    pub fn set_http_response(
        &mut self,
        status_code: u16,
        reason: &str,
        headers: Option<&[(&str, &str)]>,
    ) -> &mut Self {
        let response = HttpResponse::new(status_code, reason);
        self.http_response(match headers {
            Some(headers) => response.headers(headers.iter().copied()),
            None => response,
        })
    }

    /// Sets the user, with the arguments in the order they have in the record; roles that are not
    /// given are `null` there. (The Python package takes the provider before the e-mail address.)
    pub fn set_user(
        &mut self,
        authenticated: bool,
        email: &str,
        roles: Option<&[&str]>,
        ip: &str,
        provider: &str,
        realm: &str,
    ) -> &mut Self {
        let mut user =
            User::authenticated(email).ip(ip).provider(Provider::new(provider).realm(realm));
        user.authenticated = authenticated;
        self.user(match roles {
            Some(roles) => user.roles(roles.iter().copied()),
            None => user,
        })
    }

    /// Sets what was searched for: the kind of object, and the conditions as any value.
    ///
    /// Conditions that cannot be written as JSON fail each [`record`](Self::record) until others
    /// are set.
    pub fn set_filter(&mut self, object: &str, kwargs: impl Serialize) -> &mut Self {
        match Filter::new(object, kwargs) {
            Ok(filter) => self.filter(filter),
            Err(e) => {
                self.failed_filter = Some(cause(&e));
                self
            }
        }
    }

    /// Sets what was found or changed, as any value.
    ///
    /// Results that cannot be written as JSON fail each [`record`](Self::record) until others are
    /// set.
    pub fn set_results(&mut self, results: impl Serialize) -> &mut Self {
        match Json::of(&results) {
            Ok(results) => {
                self.fields.results = Some(results);
                self.failed_results = None;
            }
            Err(e) => self.failed_results = Some(e.to_string().into()),
        }
        self
    }

    /// Sets the request.
    pub fn http_request(&mut self, request: impl Into<HttpRequest>) -> &mut Self {
        self.fields.http_request = Some(request.into());
        self
    }

    /// Sets the response.
    pub fn http_response(&mut self, response: impl Into<HttpResponse>) -> &mut Self {
        self.fields.http_response = Some(response.into());
        self
    }

    /// Sets the user.
    pub fn user(&mut self, user: User) -> &mut Self {
        self.fields.user = Some(user);
        self
    }

    /// Sets what was searched for.
    pub fn filter(&mut self, filter: Filter) -> &mut Self {
        self.fields.filter = Some(filter);
        self.failed_filter = None;
        self
    }

    /// Sets level and message.
    pub fn log(&mut self, level: Level, message: impl Into<Box<str>>) -> &mut Self {
        self.fields.level = level;
        self.fields.message = message.into();
        self
    }

    /// Sets the message, at level DEBUG.
    pub fn debug(&mut self, message: impl Into<Box<str>>) -> &mut Self {
        self.log(Level::Debug, message)
    }

    /// Sets the message, at level INFO.
    pub fn info(&mut self, message: impl Into<Box<str>>) -> &mut Self {
        self.log(Level::Info, message)
    }

    /// Sets the message, at level WARNING.
    pub fn warning(&mut self, message: impl Into<Box<str>>) -> &mut Self {
        self.log(Level::Warning, message)
    }

    /// Sets the message, at level ERROR.
    pub fn error(&mut self, message: impl Into<Box<str>>) -> &mut Self {
        self.log(Level::Error, message)
    }

    /// Sets the message, at level CRITICAL.
    pub fn critical(&mut self, message: impl Into<Box<str>>) -> &mut Self {
        self.log(Level::Critical, message)
    }

    /// Sets what was done, by its kind alone.
    pub fn action(&mut self, kind: ActionKind) -> &mut Self {
        self.fields.action = Action { name: None, kind };
        self
    }

    /// Sets what was done: the application's own name for it, and its kind.
    pub fn named_action(&mut self, name: impl Into<Box<str>>, kind: ActionKind) -> &mut Self {
        let name = Some(name.into());
        self.fields.action = Action { name, kind };
        self
    }

    /// Sets who did it. Without, the [`user`](Self::user) did.
    pub fn actor(&mut self, actor: Actor) -> &mut Self {
        self.fields.actor = Some(actor);
        self
    }

    /// Sets what it was done to. Without, the kind of object of the [`filter`](Self::filter).
    pub fn target(&mut self, target: Target) -> &mut Self {
        self.fields.target = Some(target);
        self
    }

    /// Sets how it ended. Without, the status code of the response tells.
    pub fn outcome(&mut self, outcome: Outcome) -> &mut Self {
        self.fields.outcome = Some(outcome);
        self
    }

    /// Sets the name of the application that reports it.
    pub fn application(&mut self, name: impl Into<Box<str>>) -> &mut Self {
        self.fields.application = Some(name.into());
        self
    }

    /// Sets what ties records of one request or run together.
    pub fn correlation_id(&mut self, id: impl Into<Box<str>>) -> &mut Self {
        self.fields.correlation_id = Some(id.into());
        self
    }

    /// Sets the id of the next record, and of that one only. Without, a new one is made.
    pub fn id(&mut self, id: EventId) -> &mut Self {
        self.id = Some(id);
        self
    }

    /// Sets the time of the next record, and of that one only. Without, it is now.
    pub fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.time = Some(time);
        self
    }

    /// Makes a record of what is known now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the filter or the results last set cannot be written as
    /// JSON.
    pub fn record(&mut self) -> Result<AuditRecord> {
        for (part, failed) in [("filter", &self.failed_filter), ("results", &self.failed_results)] {
            if let Some(reason) = failed {
                return Err(Error::new(ErrorKind::InvalidData, "cannot be written as JSON")
                    .while_doing("make an audit record")
                    .with("part", part)
                    .because(String::from(reason.clone())));
            }
        }
        let time = self.time.take().unwrap_or_else(|| self.clock.now());
        let id = self.id.take().unwrap_or_else(|| id::unique(time));
        Ok(AuditRecord::new(id, time, self.fields.clone()))
    }
}

fn cause(error: &Error) -> Box<str> {
    match std::error::Error::source(error) {
        Some(source) => source.to_string().into(),
        None => error.to_string().into(),
    }
}

impl Clone for AuditLogger {
    /// Copies what is known, but neither the id nor the time set for the next record: two records
    /// never share an id.
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            fields: self.fields.clone(),
            id: None,
            time: None,
            failed_filter: self.failed_filter.clone(),
            failed_results: self.failed_results.clone(),
        }
    }
}

impl fmt::Debug for AuditLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLogger").field("level", &self.fields.level).finish_non_exhaustive()
    }
}
