use std::fmt;
use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, Utc};

use super::fields::Scratch;
use super::json::Json;
use super::{Filter, HttpRequest, HttpResponse, Level, Shape, User, id, with_line};
use crate::{Action, Actor, Clock, EventId, Outcome, Result, Target};

/// One finished record of an application: what [`AuditLogger::record`](super::AuditLogger::record)
/// makes, and nothing changes any more.
///
/// It owns what was known when it was made, and can be sent to other threads.
pub struct AuditRecord {
    // Made when first asked for: a line of the default shape has neither.
    pub(super) id: OnceLock<EventId>,
    pub(super) time: OnceLock<DateTime<Utc>>,
    pub(super) clock: Option<Clock>,
    pub(super) fields: Scratch,
}

impl AuditRecord {
    pub(super) fn new() -> Self {
        Self { id: OnceLock::new(), time: OnceLock::new(), clock: None, fields: Scratch::default() }
    }

    /// Forgets the id and the time: what comes is another record.
    #[inline]
    pub(super) fn forget(&mut self) {
        // Most often there is nothing to forget.
        if self.time.get().is_some() || self.id.get().is_some() {
            self.forget_both();
        }
    }

    #[cold]
    fn forget_both(&mut self) {
        (self.id, self.time) = (OnceLock::new(), OnceLock::new());
    }

    /// Returns the id that was given, or a UUID of version 7 made for this record.
    pub fn id(&self) -> &EventId {
        self.id.get_or_init(|| id::unique(self.time()))
    }

    /// Returns the time that was given, or when the record was made.
    pub fn time(&self) -> DateTime<Utc> {
        static SYSTEM: LazyLock<Clock> = LazyLock::new(Clock::system);
        *self.time.get_or_init(|| self.clock.as_ref().unwrap_or(&SYSTEM).now())
    }

    /// Returns the level.
    pub fn level(&self) -> Level {
        self.fields.level
    }

    /// Returns the message; may be empty.
    pub fn message(&self) -> &str {
        &self.fields.message
    }

    /// Returns the request.
    pub fn http_request(&self) -> Option<&HttpRequest> {
        self.fields.http_request.get()
    }

    /// Returns the response.
    pub fn http_response(&self) -> Option<&HttpResponse> {
        self.fields.http_response.get()
    }

    /// Returns the user.
    pub fn user(&self) -> Option<&User> {
        self.fields.user.get()
    }

    /// Returns what was searched for.
    pub fn filter(&self) -> Option<&Filter> {
        self.fields.filter.get()
    }

    /// Returns what was found or changed, as JSON.
    pub fn results_json(&self) -> Option<&str> {
        self.results().map(Json::get)
    }

    pub(super) fn results(&self) -> Option<&Json> {
        self.fields.results.get()
    }

    /// Returns what was done.
    pub fn action(&self) -> &Action {
        &self.fields.envelope().action
    }

    /// Returns the name of the application that reports it.
    pub fn application(&self) -> Option<&str> {
        self.fields.envelope().application.as_deref()
    }

    /// Returns what ties records of one request or run together.
    pub fn correlation_id(&self) -> Option<&str> {
        self.fields.envelope().correlation_id.as_deref()
    }

    /// Returns who did it: the actor that was set, else the user if there is an e-mail address.
    pub fn actor(&self) -> Option<Actor> {
        self.fields.envelope().actor.clone().or_else(|| {
            let email = Some(&*self.user()?.email).filter(|email| !email.is_empty());
            email.map(|email| Actor {
                kind: Some("user".into()),
                email: Some(email.into()),
                ..Actor::default()
            })
        })
    }

    /// Returns what it was done to: the target that was set, else the filter's kind of object.
    pub fn target(&self) -> Option<Target> {
        self.fields.envelope().target.clone().or_else(|| {
            self.filter().map(|filter| Target {
                kind: Some(filter.object.as_str().into()),
                ..Target::default()
            })
        })
    }

    /// Returns how it ended: the outcome that was set, else what the response's status code says
    /// (401 and 403 denied, other codes from 400 failure, from 200 success).
    pub fn outcome(&self) -> Outcome {
        self.fields.envelope().outcome.unwrap_or_else(|| {
            match self.http_response().map(|response| response.status_code) {
                Some(401 | 403) => Outcome::Denied,
                Some(400..) => Outcome::Failure,
                Some(200..) => Outcome::Success,
                _ => Outcome::Unknown,
            }
        })
    }

    /// Returns the record as one line in the default shape, without a line end.
    ///
    /// # Errors
    /// As [`Shape::append_line`].
    pub fn to_json_line(&self) -> Result<String> {
        self.to_line(Shape::default())
    }

    /// Returns the record as one line of a shape, without a line end.
    ///
    /// # Errors
    /// As [`Shape::append_line`].
    pub fn to_line(&self, shape: Shape) -> Result<String> {
        // Written in memory that is kept, and copied, so that it has the size it needs from the start.
        with_line(self, shape, |line| {
            let text = str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line));
            text.map(str::to_owned).map_err(|e| super::shape::cannot_write(self).because(e))
        })
    }

    /// Appends the record to `out` as one line in the default shape, without a line end.
    ///
    /// # Errors
    /// As [`Shape::append_line`].
    pub fn append_line(&self, out: &mut Vec<u8>) -> Result<()> {
        Shape::default().append_line(self, out)
    }
}

impl Clone for AuditRecord {
    /// Copies all of it, id and time as well: it is the same record.
    fn clone(&self) -> Self {
        Self {
            id: OnceLock::from(self.id().clone()),
            time: OnceLock::from(self.time()),
            clock: None,
            fields: self.fields.clone(),
        }
    }
}

impl PartialEq for AuditRecord {
    fn eq(&self, other: &Self) -> bool {
        (self.id(), self.time()) == (other.id(), other.time()) && self.fields == other.fields
    }
}

impl fmt::Debug for AuditRecord {
    // The rest is audit data: it does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditRecord")
            .field("id", self.id())
            .field("time", &self.time())
            .field("level", &self.fields.level)
            .finish_non_exhaustive()
    }
}
