#![doc = include_str!("../README.md")]

mod config;
mod filter;
mod report;
mod source;

pub use config::{AuthMethod, OciConfig, ResourcePrincipal};
pub use filter::Preset;
pub use report::{Counts, Gap, Report};
pub use source::OciSource;
