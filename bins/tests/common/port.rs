//! Stand-ins for Port and Kafka of the adapters' own tests, for programs.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may"
)]

#[path = "../../../audit-source-port/tests/fake/mod.rs"]
pub mod fake;
#[path = "../../../audit-sink-kafka/tests/common/mock.rs"]
pub mod mock;
#[path = "../../../audit-sink-kafka/tests/common/reading.rs"]
pub mod reading;
