use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;

use audit_core::{ActionKind, Error, Outcome};
use chrono::{DateTime, Utc};

use crate::fields::Slot;
use crate::view::View;

/// What a record says, borrowed from its line; in the words of an [`AuditEvent`](audit_core::AuditEvent),
/// and the same as its event says.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) view: View<'a>,
    pub(crate) time: DateTime<Utc>,
}

impl<'a> Record<'a> {
    /// Returns the line, without its line end.
    pub fn line(&self) -> &'a [u8] {
        self.view.line()
    }

    /// Returns the identity, if the record has one.
    pub fn id(&self) -> Option<Cow<'a, str>> {
        self.view.id()
    }

    /// Returns when it happened.
    pub fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// Returns the method; of a record that has none, its type.
    pub fn action(&self) -> Option<Cow<'a, str>> {
        self.view.method()
    }

    /// Returns the kind of the action.
    pub fn action_kind(&self) -> ActionKind {
        self.view.action_kind()
    }

    /// Returns who did it: the identifier of the actor.
    pub fn principal(&self) -> Option<Cow<'a, str>> {
        self.view.principal().map(|(id, _)| id)
    }

    /// Returns the e-mail address of the actor.
    pub fn email(&self) -> Option<Cow<'a, str>> {
        self.view.text(Slot::EMAIL)
    }

    /// Returns how it ended.
    pub fn outcome(&self) -> Outcome {
        self.view.outcome()
    }

    /// Returns the operation that a permission was asked for: `Describe`.
    pub fn operation(&self) -> Option<Cow<'a, str>> {
        self.view.text(Slot::OPERATION)
    }

    /// Returns the status of the first error of the result: `401`.
    pub fn error_status(&self) -> Option<Cow<'a, str>> {
        self.view.text(Slot::ERROR_STATUS)
    }

    /// Returns the resource's name (CRN), as it is.
    pub fn resource(&self) -> Option<Cow<'a, str>> {
        self.view.first([Slot::RESOURCE, Slot::SUBJECT])
    }

    /// Returns the client's address.
    pub fn client(&self) -> Option<IpAddr> {
        self.view.client()
    }
}

/// A line that is no record.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reject<'a> {
    /// The file it is in.
    pub path: &'a Path,
    /// Which line of the file it is, from 1.
    pub line: u64,
    /// The line as it is, without its line end; of one that is too long, the beginning.
    pub body: &'a [u8],
    /// Why.
    pub error: &'a Error,
}
