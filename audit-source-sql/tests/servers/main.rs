//! PostgreSQL and MariaDB as they are: the contract of a source, and what such tables hold.
//!
//! `.ci/servers up` starts them and says where they are. Without, the tests say that they are
//! skipped; with `AUDIT_LIVE=1` they fail then.
#![cfg(all(feature = "postgres", feature = "mysql"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod claim;
mod clear;
mod contract;
mod db;
mod django;
mod keyless;
mod keyset;
mod login;
mod notify;
mod passes;
mod tables;
