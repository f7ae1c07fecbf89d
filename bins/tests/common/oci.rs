//! The stand-in for the services of Oracle Cloud of the source's own tests, for programs.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may"
)]

#[path = "../../../audit-source-oci/tests/common/fake.rs"]
pub mod fake;
#[path = "../../../audit-source-oci/tests/common/records.rs"]
pub mod records;
#[path = "../../../audit-source-oci/tests/common/verify.rs"]
pub mod verify;
