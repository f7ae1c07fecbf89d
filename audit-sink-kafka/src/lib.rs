#![doc = include_str!("../README.md")]

mod client;
mod config;
mod error;
mod journal;
mod progress;
mod properties;
mod record;
mod settings;
mod sink;
mod tls;
mod topic;
mod transaction;
mod verdict;

pub use config::{
    Compression, CreateTopic, KafkaConfig, Key, Mechanism, Property, SaslConfig, Timestamp,
    TlsConfig, TransactionConfig,
};
pub use sink::KafkaSink;
pub use transaction::TransactionalSink;
