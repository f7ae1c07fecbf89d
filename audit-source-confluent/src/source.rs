use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};
use chrono::{DateTime, TimeDelta, Utc};

use crate::client;
use crate::config::ConfluentConfig;
use crate::reader::Reader;
use crate::report::Report;
use crate::settings::Settings;

/// What Confluent Cloud keeps its audit log for.
const USUAL_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads an audit log topic, every partition of it, from offsets that are in the checkpoint; with a
/// [`group`](ConfluentConfig::group), those partitions that the group gives it.
///
/// It is idle once, as soon as it has read what was there when it was opened: a run that does not
/// follow ends then. After that it goes on with what is new.
pub struct ConfluentSource {
    settings: Arc<Settings>,
    clock: Clock,
    report: Report,
    retention: Option<Duration>,
    reader: Option<Arc<Mutex<Reader>>>,
}

impl ConfluentSource {
    /// Creates the source of a topic. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the option.
    pub fn new(config: ConfluentConfig) -> Result<Self> {
        let settings = Arc::new(Settings::parse(config)?);
        let retention = settings.config.retention;
        let report = Report::default();
        Ok(Self { settings, clock: Clock::system(), report, retention, reader: None })
    }

    /// Takes the time from this clock when it tells how long until unread records are removed.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the figures that the batches do not show: gaps, repeats, how far reading is behind.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Does something with the reader where it may block. When the future is dropped, the call ends
    /// soon; the next one waits for it.
    async fn block<T: Send + 'static>(
        &mut self,
        operation: &'static str,
        call: impl FnOnce(&mut Reader, &std::sync::Weak<()>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let asker = Arc::new(());
        let asked = Arc::downgrade(&asker);
        let reader = match &self.reader {
            Some(reader) => Arc::clone(reader),
            None => {
                let settings = Arc::clone(&self.settings);
                let (clock, report) = (self.clock.clone(), self.report.clone());
                let retention = self.retention;
                let new = move || Reader::new(settings, clock, report, retention);
                let reader = Arc::new(Mutex::new(joined(new).await?));
                Arc::clone(self.reader.insert(reader))
            }
        };
        let topic = self.settings.config.topic.clone();
        let answer = joined(move || {
            call(&mut reader.lock().unwrap_or_else(PoisonError::into_inner), &asked)
        });
        let answer = answer.await;
        drop(asker);
        answer.map_err(|e| e.while_doing(operation).with("topic", topic))
    }
}

async fn joined<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|e| {
        Err(Error::new(ErrorKind::Unexpected, "reading was broken off").because(e))
    })
}

impl fmt::Debug for ConfluentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfluentSource")
            .field("config", &self.settings.config)
            .finish_non_exhaustive()
    }
}

impl Drop for ConfluentSource {
    fn drop(&mut self) {
        client::retire(self.reader.take());
    }
}

#[async_trait]
impl Source for ConfluentSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        let from = from.cloned();
        self.block("open the topic", move |reader, _| reader.open(from.as_ref())).await?;
        if self.retention.is_none() {
            let found = client::retention(&self.settings).await.unwrap_or(USUAL_RETENTION);
            self.retention = Some(found);
            self.block("open the topic", move |reader, _| {
                reader.keeps(found);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        if self.reader.is_none() {
            return Err(Error::new(ErrorKind::Unexpected, "the source was not opened"));
        }
        self.block("read the topic", move |reader, asked| reader.read(limit, asked)).await
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        if self.settings.config.group.is_none() {
            return Ok(());
        }
        let cursor = cursor.clone();
        self.block("commit to the group", move |reader, _| reader.committed(&cursor)).await
    }

    fn kept_until(&self) -> Option<DateTime<Utc>> {
        let retention = self.retention.filter(|kept| *kept != Duration::MAX)?;
        self.report.lock().backlog.oldest?.checked_add_signed(TimeDelta::from_std(retention).ok()?)
    }

    async fn check(&mut self) -> Result<()> {
        self.block("check the topic", |reader, _| reader.check()).await
    }
}
