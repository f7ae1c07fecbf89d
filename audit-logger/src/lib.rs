#![doc = include_str!("../README.md")]

mod best_effort;
mod capture;
mod config;
mod flush;
#[cfg(feature = "tower")]
mod http;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod outbox;
mod queue;
mod rolling;
mod tee;
#[cfg(feature = "tracing")]
mod trace;

pub use audit_core::logger::{
    AuditLogger, AuditRecord, Diff, Draft, Emitter, Filter, Given, HttpRequest, HttpResponse,
    Level, Limits, LineWriter, Mask, Masking, Missing, Provider, Shape, StandardStream, User,
};

pub use self::best_effort::BestEffort;
pub use self::capture::Capture;
pub use self::config::{Policy, QueueConfig, RollingConfig, SpoolConfig};
pub use self::flush::FlushGuard;
#[cfg(feature = "tower")]
pub use self::http::{Audit, AuditFuture, AuditLayer, AuditService, Exchange};
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use self::outbox::{Outbox, OutboxConfig, OutboxConnection};
pub use self::queue::{Queue, QueueGuard};
pub use self::rolling::RollingFile;
pub use self::tee::Tee;
#[cfg(feature = "tracing")]
pub use self::trace::AuditTracing;
