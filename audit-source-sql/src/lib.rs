#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(feature = "sqlite"),
    allow(dead_code, unused_imports, reason = "no database to read")
)]

mod client;
mod config;
mod cursor;
mod envelope;
mod error;
mod intake;
mod keys;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod time;

pub use config::SqlConfig;
pub use source::SqlSource;
