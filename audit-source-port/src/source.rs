use async_trait::async_trait;
use audit_core::{Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};

use crate::config::PortConfig;

/// Reads the audit log of a Port organisation.
#[derive(Debug)]
pub struct PortSource {
    config: PortConfig,
    clock: Clock,
}

impl PortSource {
    /// Creates a source. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: PortConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, clock: Clock::system() })
    }

    /// Takes the time from this clock until the server has told its own.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait]
impl Source for PortSource {
    async fn open(&mut self, _from: Option<&Cursor>) -> Result<()> {
        let _ = (&self.config.windows(), self.clock.now());
        Err(Error::new(ErrorKind::Unexpected, "not there yet"))
    }

    async fn read(&mut self, _limit: Limit) -> Result<Read> {
        Err(Error::new(ErrorKind::Unexpected, "not there yet"))
    }

    async fn check(&mut self) -> Result<()> {
        Err(Error::new(ErrorKind::Unexpected, "not there yet"))
    }
}
