#![doc = include_str!("../README.md")]

mod config;
mod filter;
mod source;
mod time;

pub use config::PortConfig;
pub use filter::PortFilter;
pub use source::PortSource;
pub use time::parse_time;
