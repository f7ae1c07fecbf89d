mod client;
mod exchange;
mod layer;
mod service;

pub use self::exchange::{Audit, Exchange};
pub use self::layer::AuditLayer;
pub use self::service::{AuditFuture, AuditService};
