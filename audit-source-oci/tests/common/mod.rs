//! A stand-in for the Audit and Identity services, and a source that reads it.
//!
//! The stand-in is strict where the documentation is: it checks every signature with OpenSSL, the date, the
//! parameters, and the range; and it fails in all the ways a service does, on demand.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unused_imports,
    reason = "helpers of tests, not all of which use them all"
)]

mod fake;
mod january;
mod platform;
mod records;
mod verify;

pub use fake::{Fake, Fault, Seen};
pub use january::{CHILD, TENANCY, all, drain, id, ids, january, reads_all, source, time};
pub use platform::Platform;
pub use records::{Records, record};
pub use verify::{KEY_BITS, TestKey, key};
