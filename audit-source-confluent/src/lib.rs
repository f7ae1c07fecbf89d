#![doc = include_str!("../README.md")]

mod client;
mod config;
mod envelope;
mod error;
mod fields;
mod files;
mod json;
mod lines;
mod position;
mod reader;
mod record;
mod repeats;
mod report;
pub mod scan;
mod settings;
mod source;
mod time;
mod view;

pub use config::{ConfluentConfig, Mechanism, Property, SaslConfig, TlsConfig};
pub use files::{FilesConfig, FilesSource};
pub use report::{Backlog, Counts, Gap, Report};
pub use source::ConfluentSource;
