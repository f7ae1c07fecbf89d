use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{DeadLetter, DeadLetters};
use crate::Result;

/// Keeps dead letters in memory: for tests.
#[derive(Debug, Default)]
pub struct MemoryDeadLetters {
    letters: Mutex<Vec<DeadLetter>>,
}

impl MemoryDeadLetters {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all letters put so far, repeats included.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let mut kept = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(letters);
        Ok(())
    }
}
