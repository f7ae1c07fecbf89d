#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(all(feature = "sqlite", any(feature = "postgres", feature = "mysql"))),
    allow(dead_code, unused_imports, reason = "each database needs its own part")
)]

mod checkpoint;
mod cleaner;
mod client;
mod config;
mod cursor;
mod django;
mod envelope;
mod error;
mod intake;
mod keys;
mod keyset;
mod layout;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod rest;
mod row;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod time;

pub use checkpoint::{SqlCheckpoint, SqlCheckpointConfig};
pub use cleaner::Cleaner;
pub use config::{Changes, Layout, Mode, Operation, SqlConfig, SqlTls};
pub use source::SqlSource;
