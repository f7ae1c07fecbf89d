#![doc = include_str!("../README.md")]

mod client;
mod config;
mod envelope;
mod error;
mod files;
mod lines;
mod part;
mod payload;
mod position;
mod reader;
mod record;
mod repeats;
mod report;
mod settings;
mod source;

pub use config::{ConfluentConfig, Mechanism, Property, SaslConfig, TlsConfig};
pub use files::{FilesConfig, FilesSource};
pub use report::{Backlog, Counts, Gap, Report};
pub use source::ConfluentSource;
