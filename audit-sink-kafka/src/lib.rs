#![doc = include_str!("../README.md")]

mod config;
mod properties;
mod settings;
mod sink;
mod tls;

pub use config::{
    Compression, CreateTopic, KafkaConfig, Key, Mechanism, Property, SaslConfig, Timestamp,
    TlsConfig, TransactionConfig,
};
pub use sink::KafkaSink;
