//! The data model of application audit logging: a builder, the finished record, and its shapes.
//!
//! [`AuditLogger`] gathers what is known about one action and keeps it, so that a request handler, a
//! view and a response hook can each add their part. [`AuditLogger::record`] makes an
//! [`AuditRecord`], which is immutable, has an id and a time, and can be written in any [`Shape`] or
//! turned into an [`AuditEvent`](crate::AuditEvent) that travels through a pipeline.
//!
//! [`Shape::Audit`] is the line of the Python package `datapunt-audit-log` 0.4.0, byte for byte:
//! seven keys in a fixed order, `null` where nothing was set, `, ` and `: ` between tokens, ASCII
//! only. What differs, on purpose:
//!
//! - DEBUG records are made like any other; the package drops them silently.
//! - NaN and the infinities, which JSON does not have, become `null`; the package writes invalid JSON.
//! - A value that cannot be written as JSON fails [`AuditLogger::record`]; the package loses the
//!   record and does not tell the caller.
//! - Values are taken when they are set; the package shows later changes of the same object.
//! - Headers given twice are joined by `, `, as HTTP does, so that none is lost.

mod builder;
mod event;
mod id;
mod json;
mod parts;
mod record;
mod shape;

pub use builder::AuditLogger;
pub use parts::{Filter, HttpRequest, HttpResponse, Level, Provider, User};
pub use record::AuditRecord;
pub use shape::Shape;
