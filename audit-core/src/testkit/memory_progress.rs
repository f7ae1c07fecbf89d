use std::sync::Arc;

use async_trait::async_trait;

use super::CheckpointHarness;
use crate::{Checkpoint, MemoryCheckpoint};

/// Progress in memory that outlives the instances of its checkpoint: for tests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryProgress(Arc<MemoryCheckpoint>);

impl MemoryProgress {
    /// Makes one that knows no stream.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl CheckpointHarness for MemoryProgress {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        self.0.clone()
    }
}
