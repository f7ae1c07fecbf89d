//! Progress in a table: the contract of a checkpoint, and what two processes do to each other.
//!
//! SQLite needs nothing; the servers are those of `.ci/servers up`, see `tests/servers`.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod contract;
mod lease;
mod place;
mod processes;
