use std::fmt;

use async_trait::async_trait;
use audit_core::{Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};

use crate::config::OciConfig;
use crate::filter::Filter;
use crate::report::Report;

/// Reads OCI Audit by windows of processing time, several at once, in order.
pub struct OciSource {
    config: OciConfig,
    filter: Filter,
    clock: Clock,
    report: Report,
}

impl OciSource {
    /// Creates a source. Nothing outside is touched yet: files are read and requests sent by `open`,
    /// `read` and `check`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: OciConfig) -> Result<Self> {
        config.validate()?;
        let filter = Filter::new(&config.events, config.preset);
        Ok(Self { config, filter, clock: Clock::system(), report: Report::default() })
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the figures that the batches do not show: gaps, filtered and repeated events.
    pub fn report(&self) -> Report {
        self.report.clone()
    }
}

impl fmt::Debug for OciSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciSource").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for OciSource {
    async fn open(&mut self, _from: Option<&Cursor>) -> Result<()> {
        let _ = (&self.filter, &self.clock);
        Err(Error::new(ErrorKind::Unexpected, "not built yet"))
    }

    async fn read(&mut self, _limit: Limit) -> Result<Read> {
        Err(Error::new(ErrorKind::Unexpected, "the source was not opened"))
    }

    async fn check(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Unexpected, "not built yet"))
    }
}
