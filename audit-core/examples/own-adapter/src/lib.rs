#![doc = include_str!("../README.md")]

mod blocking;
mod config;
mod error;
mod files;
mod record;
mod sink;
mod source;

pub use config::{SpoolConfig, SqliteConfig};
pub use sink::{SCHEMA, SqliteSink};
pub use source::SpoolSource;
