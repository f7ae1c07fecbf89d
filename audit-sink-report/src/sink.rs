use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{AuditEvent, Clock, Error, ErrorKind, Failure, Result, Sink, Written, durable};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::files::Files;
use crate::journal::Feed;
use crate::store::{self, Store};
use crate::{Crosstab, Hour, ReportConfig, facts};

/// Counts events into the reports of a directory.
///
/// A batch is durable when [`write`](Sink::write) returns, and counted once however often it is sent.
/// The reports follow every [`publish_every`](ReportConfig::publish_every) and at the end of a run;
/// after a crash, with the next.
#[derive(Debug)]
pub struct ReportSink {
    config: Arc<ReportConfig>,
    clock: Clock,
    slot: Arc<Mutex<Slot>>,
}

/// The open store, if it is; what a write that fails or is given up leaves is opened anew.
#[derive(Debug, Default)]
struct Slot {
    store: Option<Box<Store>>,
    lock: Option<durable::Lock>,
    published: Option<DateTime<Utc>>,
}

impl ReportSink {
    /// Creates the sink; touches no file until [`check`](Sink::check) or the first write.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: ReportConfig) -> Result<Self> {
        Ok(Self { config: Arc::new(config.parse()?), clock: Clock::system(), slot: Arc::default() })
    }

    /// Takes another clock, by which it is time to publish.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

impl Slot {
    /// Returns the open store, out of the slot: it comes back only when all went well.
    fn take(&mut self, config: &ReportConfig) -> Result<Box<Store>> {
        if let Some(store) = self.store.take() {
            return Ok(store);
        }
        if self.lock.is_none() {
            self.lock = Some(lock(config)?);
        }
        Store::open(config, Feed::Events).map(Box::new)
    }
}

/// Takes the right to write the reports of a directory.
pub(crate) fn lock(config: &ReportConfig) -> Result<durable::Lock> {
    let files = Files::new(&config.path);
    files.prepare()?;
    durable::Lock::acquire(&files.journal())
}

#[async_trait]
impl Sink for ReportSink {
    async fn check(&self) -> Result<()> {
        let slot = self.slot.clone().lock_owned().await;
        let config = self.config.clone();
        blocking("check the reports", move || match slot.store {
            Some(_) => Ok(()),
            None => store::check(&config, Feed::Events),
        })
        .await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        const OPERATION: &str = "count events into reports";
        if events.is_empty() {
            return Ok(Written::all());
        }
        let mut slot = self.slot.clone().lock_owned().await;
        let mut store = match slot.store.take() {
            Some(store) => store,
            None => {
                let config = self.config.clone();
                let opened = blocking(OPERATION, move || {
                    let store = slot.take(&config)?;
                    Ok((slot, store))
                });
                let (opened, store) = opened.await?;
                slot = opened;
                store
            }
        };
        let mut counts = Crosstab::unbounded();
        let mut ids = Vec::with_capacity(events.len());
        let mut written = Written::all();
        for (index, event) in events.iter().enumerate() {
            let Some(hour) = Hour::of(&event.time) else {
                let error =
                    Error::new(ErrorKind::Rejected, "the time is before 1970 or after 9999")
                        .while_doing(OPERATION);
                written.failures.push(Failure { index, error });
                continue;
            };
            let id = store.window.hash(event.id.as_str());
            if store.window.insert(id) {
                ids.push(id);
                facts::count(event, hour, &mut counts);
            } else {
                written.duplicates.push(index);
            }
        }
        if ids.is_empty() {
            slot.store = Some(store);
            return Ok(written);
        }
        let (now, every) = (self.clock.now(), self.config.publish_every);
        let every = TimeDelta::from_std(every).unwrap_or(TimeDelta::MAX);
        blocking(OPERATION, move || {
            store.commit(counts, ids)?;
            let last = *slot.published.get_or_insert(now);
            if now.signed_duration_since(last) >= every || store.is_long() {
                slot.published = Some(now);
                if let Err(error) = store.publish() {
                    // The batch is durable. The store is opened anew, which tries again.
                    tracing::warn!(%error, "cannot write the reports yet");
                    return Ok(());
                }
            }
            slot.store = Some(store);
            Ok(())
        })
        .await?;
        Ok(written)
    }

    async fn close(&self) -> Result<()> {
        let mut slot = self.slot.clone().lock_owned().await;
        let config = self.config.clone();
        blocking("write the reports", move || {
            let mut store = slot.take(&config)?;
            if store.is_stale() {
                store.publish()?;
            }
            slot.store = Some(store);
            Ok(())
        })
        .await
    }
}

/// Runs blocking calls where they hold up nobody. A caller that gives up waiting does not stop
/// them, and they keep the lock they were given until they end.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result.map_err(|e| e.while_doing(operation)),
        Err(e) => Err(Error::new(ErrorKind::Unexpected, "the writing thread ended early")
            .while_doing(operation)
            .because(e)),
    }
}
