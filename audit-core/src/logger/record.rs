use std::fmt;

use chrono::{DateTime, Utc};

use super::json::Json;
use super::{Filter, HttpRequest, HttpResponse, Level, Shape, User};
use crate::{Action, Actor, EventId, Outcome, Result, Target};

/// What a logger knows and a record holds.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) http_request: Option<HttpRequest>,
    pub(super) http_response: Option<HttpResponse>,
    pub(super) user: Option<User>,
    pub(super) filter: Option<Filter>,
    pub(super) results: Option<Json>,
    pub(super) level: Level,
    pub(super) message: Box<str>,
    pub(super) action: Action,
    pub(super) actor: Option<Actor>,
    pub(super) target: Option<Target>,
    pub(super) outcome: Option<Outcome>,
    pub(super) application: Option<Box<str>>,
    pub(super) correlation_id: Option<Box<str>>,
}

/// One finished record of an application: what [`AuditLogger::record`](super::AuditLogger::record)
/// makes, and nothing changes any more.
#[derive(Clone, PartialEq)]
pub struct AuditRecord {
    id: EventId,
    time: DateTime<Utc>,
    pub(super) fields: Fields,
}

impl AuditRecord {
    pub(super) fn new(id: EventId, time: DateTime<Utc>, fields: Fields) -> Self {
        Self { id, time, fields }
    }

    /// Returns the id that was given, or a UUID of version 7 made for this record.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// Returns the time that was given, or when the record was made.
    pub fn time(&self) -> DateTime<Utc> {
        self.time
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
        self.fields.http_request.as_ref()
    }

    /// Returns the response.
    pub fn http_response(&self) -> Option<&HttpResponse> {
        self.fields.http_response.as_ref()
    }

    /// Returns the user.
    pub fn user(&self) -> Option<&User> {
        self.fields.user.as_ref()
    }

    /// Returns what was searched for.
    pub fn filter(&self) -> Option<&Filter> {
        self.fields.filter.as_ref()
    }

    /// Returns what was found or changed, as JSON.
    pub fn results_json(&self) -> Option<&str> {
        self.fields.results.as_ref().map(Json::get)
    }

    /// Returns what was done.
    pub fn action(&self) -> &Action {
        &self.fields.action
    }

    /// Returns the name of the application that reports it.
    pub fn application(&self) -> Option<&str> {
        self.fields.application.as_deref()
    }

    /// Returns what ties records of one request or run together.
    pub fn correlation_id(&self) -> Option<&str> {
        self.fields.correlation_id.as_deref()
    }

    /// Returns who did it: the actor that was set, else the user if there is an e-mail address.
    pub fn actor(&self) -> Option<Actor> {
        self.fields.actor.clone().or_else(|| {
            let email = Some(self.user()?.email.clone()).filter(|e| !e.is_empty());
            email.map(|email| Actor {
                kind: Some("user".into()),
                email: Some(email),
                ..Actor::default()
            })
        })
    }

    /// Returns what it was done to: the target that was set, else the filter's kind of object.
    pub fn target(&self) -> Option<Target> {
        self.fields.target.clone().or_else(|| {
            self.filter()
                .map(|filter| Target { kind: Some(filter.object.clone()), ..Target::default() })
        })
    }

    /// Returns how it ended: the outcome that was set, else what the response's status code says
    /// (401 and 403 denied, other codes from 400 failure, from 200 success).
    pub fn outcome(&self) -> Outcome {
        self.fields.outcome.unwrap_or_else(|| {
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
        let mut line = Vec::new();
        shape.append_line(self, &mut line)?;
        String::from_utf8(line).map_err(|e| super::shape::cannot_write(self).because(e))
    }

    /// Appends the record to `out` as one line in the default shape, without a line end.
    ///
    /// # Errors
    /// As [`Shape::append_line`].
    pub fn append_line(&self, out: &mut Vec<u8>) -> Result<()> {
        Shape::default().append_line(self, out)
    }
}

impl fmt::Debug for AuditRecord {
    // The rest is audit data: it does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditRecord")
            .field("id", &self.id)
            .field("time", &self.time)
            .field("level", &self.fields.level)
            .finish_non_exhaustive()
    }
}
