//! A configuration that changes while pipelines run: new credentials, certificates, limits.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use audit_core::{Result, Source, StreamId};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, Settings};
use crate::signals::Hangup;
use crate::wire::{self, WiredSink};

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks after the files of a configuration, and passes each new state of them on.
#[derive(Debug)]
pub(crate) struct Reload {
    path: PathBuf,
    current: watch::Sender<Arc<Config>>,
}

/// Learns of new states of the configuration, for one pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Changes(watch::Receiver<Arc<Config>>);

/// What a pipeline is made of.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) source: Box<dyn Source>,
    pub(crate) sink: WiredSink,
}

impl Reload {
    pub(crate) fn new(config: Config) -> Self {
        Self { path: config.path.clone(), current: watch::Sender::new(Arc::new(config)) }
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.current.subscribe())
    }

    /// Reads the configuration again whenever one of its files has changed, or SIGHUP asks for it.
    /// Never returns.
    pub(crate) async fn watch(&self, mut hangup: Hangup) {
        let mut known = self.look();
        loop {
            let asked = tokio::select! {
                () = hangup.next() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let found = self.look();
            if found == known && !asked {
                continue;
            }
            known = found;
            match Config::load(&self.path) {
                Ok(config) => {
                    info!(config = %self.path.display(), "the configuration was read again");
                    self.current.send_replace(Arc::new(config));
                    // It may name other files.
                    known = self.look();
                }
                Err(error) => {
                    error!(%error, "the configuration has changed and is wrong: going on with the old one")
                }
            }
        }
    }

    fn look(&self) -> Vec<(PathBuf, Option<Look>)> {
        let files = self.current.borrow().files();
        files.into_iter().map(|file| (file.clone(), look(file))).collect()
    }
}

/// What tells a file from the one that was at its place before.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    modified: Option<SystemTime>,
    length: u64,
    /// Mounted secrets are changed by turning a link.
    real: Option<PathBuf>,
}

fn look(file: PathBuf) -> Option<Look> {
    let metadata = fs::metadata(&file).ok()?;
    let real = fs::canonicalize(&file).ok();
    Some(Look { modified: metadata.modified().ok(), length: metadata.len(), real })
}

impl Changes {
    /// Waits for a state of the configuration from which this pipeline can be made, and which would
    /// work. One that would not is reported, and the next one waited for.
    pub(crate) async fn next(&mut self, stream: &StreamId) -> Parts {
        loop {
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
            let config = Arc::clone(&self.0.borrow_and_update());
            match make(&config, stream).await {
                Ok(Some(parts)) => return parts,
                Ok(None) => {
                    warn!(%stream, "the pipeline is no longer in the configuration; it goes on until this process ends");
                }
                Err(error) => {
                    error!(%stream, %error, "the configuration has changed and does not work: going on with the old one");
                }
            }
        }
    }
}

async fn make(config: &Config, stream: &StreamId) -> Result<Option<Parts>> {
    let Some(found) = config.pipelines.get(stream) else { return Ok(None) };
    let settings = found.settings.clone();
    let mut source = wire::source(&found.source)?;
    let sink = wire::sink_of(found, stream)?;
    source.check().await?;
    sink.sink.check().await?;
    Ok(Some(Parts { settings, source, sink }))
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}
