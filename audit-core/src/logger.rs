//! The data model of application audit logging: a builder, the finished record, and its shapes.
//!
//! [`AuditLogger`] gathers what is known about one action and keeps it, so that a request handler, a
//! view and a response hook can each add their part. [`AuditLogger::send_log`] sends it to an
//! [`Emitter`]: standard output, or what the crate `audit-logger` has. [`AuditLogger::record`] makes
//! an [`AuditRecord`], which is immutable, has an id and a time, and can be written in any [`Shape`]
//! or turned into an [`AuditEvent`](crate::AuditEvent) that travels through a pipeline.
//!
//! [`Shape::Audit`] is the line of the Python package `datapunt-audit-log` 0.4.0, byte for byte:
//! seven keys in a fixed order, `null` where nothing was set, `, ` and `: ` between tokens, ASCII
//! only. What differs, on purpose:
//!
//! - DEBUG records are sent like any other; the package drops them silently.
//! - Values of fields, headers and URL parameters named like a secret become `***` ([`Masking`]);
//!   the package writes `Set-Cookie` and tokens as they are.
//! - What is very large is cut and says so ([`Limits`]).
//! - [`AuditLogger::send_log`] returns an error when the record was not written; the package does
//!   not tell.
//! - NaN and the infinities, which JSON does not have, become `null`; the package writes invalid JSON.
//! - A value that cannot be written as JSON fails [`AuditLogger::record`]; the package loses the
//!   record and does not tell the caller.
//! - Values are taken when they are set; the package shows later changes of the same object.
//! - Headers given twice are joined by `, `, as HTTP does, so that none is lost.

mod admission;
mod builder;
mod diff;
mod draft;
mod emitter;
mod event;
mod fields;
mod id;
mod json;
mod limits;
mod line;
mod mask;
mod parts;
mod record;
mod shape;
mod text;
mod writer;

pub use builder::AuditLogger;
pub use diff::Diff;
pub use draft::{Draft, Given, Missing};
pub use emitter::Emitter;
pub use limits::Limits;
pub use mask::{Mask, Masking};
pub use parts::{Filter, HttpRequest, HttpResponse, Level, Provider, User};
pub use record::AuditRecord;
pub use shape::Shape;
pub use writer::{LineWriter, StandardStream, with_line};
