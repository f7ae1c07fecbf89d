#![doc = include_str!("../README.md")]

mod client;
mod config;
mod credentials;
mod cursor;
mod elements;
mod envelope;
mod error;
mod fetch;
mod filter;
mod intake;
mod key;
mod plan;
mod principal;
mod profile;
mod redact;
mod region;
mod report;
mod retry;
mod seen;
mod sign;
mod source;
mod spelling;
mod spool;
mod target;
mod tls;
mod tokens;
mod window;
mod worker;

pub use config::{AuthMethod, OciConfig, ResourcePrincipal};
pub use filter::Preset;
pub use report::{Counts, Gap, Report};
pub use source::OciSource;
pub use spelling::Keys;
