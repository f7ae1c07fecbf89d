//! The fake cluster of the sink's own tests, for programs.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may"
)]

#[path = "../../../audit-sink-elastic/tests/common/fake.rs"]
pub mod fake;
#[path = "../../../audit-sink-elastic/tests/common/http.rs"]
pub mod http;
#[path = "../../../audit-sink-elastic/tests/common/store.rs"]
pub mod store;

use std::ops::Deref;

pub use fake::{Fake, Fault};
use tokio::runtime::Runtime;

/// A fake cluster with a runtime of its own, for tests that wait for processes.
pub struct Cluster {
    fake: Fake,
    _runtime: Runtime,
}

impl Cluster {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fake = runtime.block_on(Fake::start());
        Self { fake, _runtime: runtime }
    }

    /// Returns the documents as JSON, in the order of their ids.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let mut documents = self.documents();
        documents.sort_by(|a, b| a.1.cmp(&b.1));
        documents.iter().map(|(_, _, source)| serde_json::from_str(source).unwrap()).collect()
    }
}

impl Deref for Cluster {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}
