use std::fmt;
use std::marker::PhantomData;

use super::{AuditLogger, AuditRecord};
use crate::{ActionKind, Actor, Outcome, Result, Target};

/// A part of a [`Draft`] that was given.
#[derive(Debug)]
pub enum Given {}

/// A part of a [`Draft`] that is still missing.
#[derive(Debug)]
pub enum Missing {}

/// A record in the making that says who did what and how it ended: without any of the three it does
/// not compile.
///
/// ```
/// use audit_core::logger::{AuditLogger, AuditRecord};
/// use audit_core::{ActionKind, Actor, Outcome};
/// # fn main() -> audit_core::Result<()> {
/// let record = AuditRecord::draft()
///     .actor(Actor { id: Some("42".into()), ..Actor::default() })
///     .named_action("phone.update", ActionKind::Update)
///     .outcome(Outcome::Success)
///     .with(|logger| logger.info("Phone number changed"))
///     .record()?;
/// assert_eq!(record.outcome(), Outcome::Success);
/// # Ok(())
/// # }
/// ```
///
/// Without an actor (a10):
///
/// ```compile_fail,E0599
/// # use audit_core::{logger::AuditRecord, ActionKind, Outcome};
/// AuditRecord::draft().action(ActionKind::Update).outcome(Outcome::Success).record();
/// ```
///
/// Without an action (a10):
///
/// ```compile_fail,E0599
/// # use audit_core::{logger::AuditRecord, Actor, Outcome};
/// AuditRecord::draft().actor(Actor::default()).outcome(Outcome::Success).record();
/// ```
///
/// Without an outcome (a10):
///
/// ```compile_fail,E0599
/// # use audit_core::{logger::AuditRecord, Actor, ActionKind};
/// AuditRecord::draft().actor(Actor::default()).action(ActionKind::Update).send_log();
/// ```
#[must_use = "a draft is nothing until it is recorded or sent"]
pub struct Draft<Who = Missing, What = Missing, How = Missing> {
    logger: AuditLogger,
    parts: PhantomData<(Who, What, How)>,
}

impl AuditRecord {
    /// Begins a record that must say who did what and how it ended.
    pub fn draft() -> Draft {
        AuditLogger::new().draft()
    }
}

impl AuditLogger {
    /// Goes on with a draft: what is known stays, but who did what and how it ended must be said.
    pub fn draft(self) -> Draft {
        Draft { logger: self, parts: PhantomData }
    }
}

impl<Who, What, How> Draft<Who, What, How> {
    /// Sets who did it.
    pub fn actor(mut self, actor: Actor) -> Draft<Given, What, How> {
        self.logger.actor(actor);
        self.cast()
    }

    /// Sets what was done, by its kind alone.
    pub fn action(mut self, kind: ActionKind) -> Draft<Who, Given, How> {
        self.logger.action(kind);
        self.cast()
    }

    /// Sets what was done: the application's own name for it, and its kind.
    pub fn named_action(
        mut self,
        name: impl Into<Box<str>>,
        kind: ActionKind,
    ) -> Draft<Who, Given, How> {
        self.logger.named_action(name, kind);
        self.cast()
    }

    /// Sets how it ended.
    pub fn outcome(mut self, outcome: Outcome) -> Draft<Who, What, Given> {
        self.logger.outcome(outcome);
        self.cast()
    }

    /// Sets what it was done to.
    pub fn target(mut self, target: Target) -> Self {
        self.logger.target(target);
        self
    }

    /// Sets anything else a logger can hold.
    pub fn with(mut self, set: impl FnOnce(&mut AuditLogger) -> &mut AuditLogger) -> Self {
        set(&mut self.logger);
        self
    }

    fn cast<A, B, C>(self) -> Draft<A, B, C> {
        Draft { logger: self.logger, parts: PhantomData }
    }
}

impl Draft<Given, Given, Given> {
    /// Makes the record.
    ///
    /// # Errors
    /// As [`AuditLogger::record`].
    pub fn record(mut self) -> Result<AuditRecord> {
        self.logger.record()
    }

    /// Sends the record to where the logger's records go.
    ///
    /// # Errors
    /// As [`AuditLogger::send_log`].
    pub fn send_log(mut self) -> Result<()> {
        self.logger.send_log()
    }
}

impl<Who, What, How> fmt::Debug for Draft<Who, What, How> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Draft").field(&self.logger).finish()
    }
}
