#![doc = include_str!("../README.md")]

mod answer;
mod body;
mod check;
mod client;
mod config;
mod conflict;
mod document;
mod error;
mod host;
mod index;
mod node;
mod report;
mod sink;
mod stamp;
mod template;
mod tls;
mod verdict;

pub use config::{ElasticConfig, IdFrom};
pub use host::Host;
pub use sink::ElasticSink;
pub use template::IndexTemplate;
