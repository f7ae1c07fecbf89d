#![doc = include_str!("../README.md")]

pub mod app;
#[cfg(feature = "logger")]
pub mod audit_log;
pub mod backfill;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
#[cfg(all(feature = "source-confluent", feature = "sink-file", feature = "sink-report"))]
pub mod confluent_report;
pub mod dead_letters;
pub mod exit;
pub mod logging;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "source-oci")]
pub mod oci;
#[cfg(all(feature = "source-oci", feature = "sink-file"))]
pub mod oci_export;
pub mod pages;
#[cfg(all(feature = "source-port", feature = "sink-kafka"))]
pub mod port_to_kafka;
pub mod progress;
#[cfg(all(feature = "source-sql-sqlite", feature = "sink-file"))]
pub mod quickstart;
mod reload;
#[cfg(feature = "sink-report")]
pub mod report;
pub mod run;
#[cfg(feature = "schema")]
pub mod schema;
pub mod ship;
pub mod signals;
#[cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "sink-elastic"
))]
pub mod sql_to_elastic;
pub mod summary;
pub mod terminal;
pub mod wire;

/// Compiles and runs the examples of the workspace's README.
#[cfg(all(doctest, feature = "source-sql-sqlite", feature = "sink-file"))]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct WorkspaceReadme;
