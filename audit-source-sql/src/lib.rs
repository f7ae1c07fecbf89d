#![doc = include_str!("../README.md")]

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
