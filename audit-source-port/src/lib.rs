#![doc = include_str!("../README.md")]

mod body;
mod caps;
mod client;
mod config;
mod cursor;
mod envelope;
mod error;
mod filter;
mod http;
mod last_processed;
mod pace;
mod page;
mod part;
mod source;
mod split;
mod time;
mod token;

pub use config::PortConfig;
pub use filter::PortFilter;
pub use last_processed::LastProcessed;
pub use source::PortSource;
pub use time::parse_time;
