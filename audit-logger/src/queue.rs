mod drain;
mod memory;
mod memory_source;
mod spool;
mod spool_source;

use std::fmt;
use std::sync::Arc;

use audit_core::logger::{AuditLogger, AuditRecord, Emitter};
use audit_core::{
    AuditEvent, Checkpoint, DeadLetters, FileCheckpoint, FileDeadLetters, MemoryCheckpoint, Result,
    Sink, Source,
};
use serde::Serialize;

use self::drain::Parts;
pub use self::drain::QueueGuard;
use self::memory::{Memory, Refusals};
use self::memory_source::MemorySource;
use self::spool::Spool;
use self::spool_source::SpoolSource;
use crate::{Policy, QueueConfig};

/// An emitter whose records a pipeline delivers to any [`Sink`] of the workspace.
///
/// [`Queue::start`] delivers on a thread of its own, with a runtime of its own, so that neither a
/// full runtime nor the end of one holds records up. What [`emit`](Emitter::emit) promises, and what
/// happens while the sink cannot take records, is the [`Policy`]. Clones share the queue.
#[derive(Clone)]
pub struct Queue {
    config: Arc<QueueConfig>,
    name: Arc<str>,
    store: Store,
}

#[derive(Clone)]
enum Store {
    Memory(Arc<Memory>),
    Spool(Arc<Spool>),
}

impl Queue {
    /// Opens the queue; a spool goes on with what is in its directory.
    ///
    /// # Errors
    /// Those of the spool's directory: [`ErrorKind::Conflict`](audit_core::ErrorKind::Conflict) when
    /// another process uses it, otherwise as
    /// [`durable::io_error`](audit_core::durable::io_error).
    pub fn open(config: QueueConfig) -> Result<Self> {
        let store = match &config.policy {
            Policy::Spool(spool) => Store::Spool(Arc::new(Spool::open(spool)?)),
            policy => Store::Memory(Arc::new(Memory::new(policy, &config))),
        };
        Ok(Self { name: config.name.as_str().into(), config: Arc::new(config), store })
    }

    /// Begins to deliver. Keep the guard: when it is dropped, the queue takes no more, and what is in
    /// it is delivered within the [grace](QueueConfig::grace).
    ///
    /// Records that the sink refuses for good fail the call under [`Policy::FailClosed`], count as
    /// lost under [`Policy::BestEffort`], and go to the file `dead-letters.ndjson` of a spool; with
    /// `dead_letters` they are also kept, or kept there.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        &self,
        sink: Arc<dyn Sink>,
        dead_letters: Option<Arc<dyn DeadLetters>>,
    ) -> Result<QueueGuard> {
        let (checkpoint, dead_letters): (Arc<dyn Checkpoint>, _) = match &self.store {
            Store::Memory(memory) => {
                let refusals = Refusals::new(memory.clone(), dead_letters);
                (Arc::new(MemoryCheckpoint::new()), Arc::new(refusals) as Arc<dyn DeadLetters>)
            }
            Store::Spool(spool) => {
                let own = || Arc::new(FileDeadLetters::open(spool.dir().join(spool::LETTERS))) as _;
                let checkpoint = Arc::new(FileCheckpoint::open(spool.dir()));
                (checkpoint, dead_letters.unwrap_or_else(own))
            }
        };
        let queue = self.clone();
        drain::start(Parts { queue, sink, checkpoint, dead_letters })
    }

    /// Returns a source over the queue, for a pipeline of one's own instead of
    /// [`start`](Self::start): with its own checkpoint, dead letters, observer. One at a time.
    pub fn source(&self) -> Box<dyn Source> {
        match &self.store {
            Store::Memory(memory) => Box::new(MemorySource::new(memory.clone())),
            Store::Spool(spool) => Box::new(SpoolSource::new(spool.clone())),
        }
    }

    /// Returns how many records were lost under [`Policy::BestEffort`].
    pub fn lost(&self) -> u64 {
        match &self.store {
            Store::Memory(memory) => memory.lost(),
            Store::Spool(_) => 0,
        }
    }

    /// Takes no more records; the source ends once those taken are delivered.
    pub fn close(&self) {
        match &self.store {
            Store::Memory(memory) => memory.close(),
            Store::Spool(spool) => spool.close(),
        }
    }
}

impl Emitter for Queue {
    fn emit(&self, record: &AuditRecord) -> Result<()> {
        let event = || record.to_event(self.name.clone(), self.config.shape);
        match (&self.store, &self.config.policy) {
            (Store::Spool(spool), _) => spool.append(&event()?),
            (Store::Memory(memory), Policy::FailClosed { timeout }) => {
                memory.deliver(event()?, *timeout)
            }
            (Store::Memory(memory), _) => memory.offer(event()?),
        }
    }

    fn flush(&self) -> Result<()> {
        match &self.store {
            Store::Memory(_) => Ok(()),
            Store::Spool(spool) => spool.sync(),
        }
    }

    fn waits(&self) -> bool {
        matches!(self.config.policy, Policy::FailClosed { .. })
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The record that says that records were lost.
pub(crate) fn loss_record(lost: u64) -> Result<AuditRecord> {
    #[derive(Serialize)]
    struct Loss {
        lost_records: u64,
    }
    AuditLogger::new()
        .set_results(Loss { lost_records: lost })
        .critical("audit records were lost")
        .record()
}

fn loss_event(lost: u64, config: &QueueConfig) -> Result<AuditEvent> {
    loss_record(lost)?.to_event(config.name.as_str(), config.shape)
}
