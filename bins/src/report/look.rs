use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Cursor, Error, ErrorKind, Failure, Limit, MemoryCheckpoint, Read, Result, Sink,
    Source, Written,
};
use audit_sink_report::Crosstab;

use super::ReportOptions;
use crate::app::App;
use crate::config::Settings;
use crate::run::{self, Job, Options};
use crate::summary;
use crate::wire::WiredSink;

/// What was counted in one look at everything there is.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Look {
    /// The counts.
    pub counts: Crosstab,
    /// Events that came twice and were counted once.
    pub repeats: u64,
    /// Records that could not be read, or have a time that no report has.
    pub rejected: u64,
    /// The exit code of reading.
    pub code: u8,
    /// Whether a signal stopped it.
    pub interrupted: bool,
}

impl Look {
    /// Looks at everything that a source has, from its beginning, and leaves no trace there: it is
    /// told of no progress, and marks and releases nothing.
    ///
    /// What cannot be read goes to a file that is made anew, not to the dead letters of the settings.
    ///
    /// # Errors
    /// Those that keep it from starting. What ends it early is told and decides about
    /// [`code`](Self::code).
    pub async fn at(
        source: Box<dyn Source>,
        options: &ReportOptions,
        mut settings: Settings,
        app: &App,
    ) -> Result<Self> {
        options.rejects()?;
        settings.dead_letters = Some(options.rejects.clone());
        let counter = Arc::new(Counter(Mutex::new(options.crosstab())));
        let sink = WiredSink::new(Arc::clone(&counter) as Arc<dyn Sink>);
        let checkpoint = Arc::new(MemoryCheckpoint::new());
        let run = Options { follow: Some(false), ..Options::default() };
        let job = Job::with_checkpoint(&settings, Box::new(Untold(source)), sink, checkpoint, run);
        let reports = run::run(vec![job], app, None).await?;
        let counts = std::mem::take(&mut *counter.lock());
        let mut look = Self { counts, code: summary::code(&reports), ..Self::default() };
        for report in &reports {
            look.rejected += report.summary.dead_lettered;
            look.interrupted |= report.summary.interrupted;
        }
        Ok(look)
    }
}

/// The reason why a record is in no report though it can be read.
pub fn outside() -> Error {
    Error::new(ErrorKind::Rejected, "the time is before 1970 or after 9999")
}

/// A source that learns nothing of what became of its records, so that it has no effect upstream.
struct Untold(Box<dyn Source>);

#[async_trait]
impl Source for Untold {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.0.open(from).await
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        self.0.read(limit).await
    }

    async fn check(&mut self) -> Result<()> {
        self.0.check().await
    }
}

/// Counts events in memory. Nothing is sent twice to it: it takes every batch.
struct Counter(Mutex<Crosstab>);

impl Counter {
    fn lock(&self) -> std::sync::MutexGuard<'_, Crosstab> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for Counter {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let mut counts = self.lock();
        let mut written = Written::all();
        for (index, event) in events.iter().enumerate() {
            if !counts.count(event) {
                written.failures.push(Failure { index, error: outside() });
            }
        }
        Ok(written)
    }

    fn deduplicates(&self) -> bool {
        false
    }
}
