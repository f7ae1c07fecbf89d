use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Batch, Cursor, Limit, Read, Result, Source};
use serde::{Deserialize, Serialize};

use super::memory::Memory;

const KIND: &str = "audit-queue";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    instance: u64,
    number: u64,
}

/// Reads the events that wait in memory.
pub(super) struct MemorySource {
    memory: Arc<Memory>,
    next: u64,
}

impl MemorySource {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, next: 1 }
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        let position = from.map(|cursor| cursor.decode::<Position>(KIND, 1)).transpose()?;
        // The queue of another process died with it.
        let number = position.filter(|p| p.instance == self.memory.instance).map(|p| p.number);
        self.next = self.memory.position(number);
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        for waited in [false, true] {
            let (events, next) = self.memory.hand_out(self.next, limit.max_events, limit.max_bytes);
            if next > self.next {
                self.next = next;
                let position = Position { instance: self.memory.instance, number: next - 1 };
                return Ok(Read::Batch(Batch::new(events, Cursor::encode(KIND, 1, &position)?)));
            }
            let (closed, under_way) = self.memory.outlook();
            if closed {
                return Ok(Read::End);
            }
            // At once, so that those who wait for what is under way are told soon.
            if under_way || waited {
                break;
            }
            let arrival = tokio::time::timeout(limit.max_wait, self.memory.arrival());
            if arrival.await.is_err() {
                break;
            }
        }
        Ok(Read::Idle(Duration::ZERO))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        let position = cursor.decode::<Position>(KIND, 1)?;
        if position.instance == self.memory.instance {
            self.memory.delivered(position.number);
        }
        Ok(())
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}
