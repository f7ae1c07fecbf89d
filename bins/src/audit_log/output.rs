//! Where records go.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use audit_core::{Error, ErrorKind, Result, RetryPolicy, durable};
use audit_logger::{Emitter, LineWriter, Policy, Queue, QueueConfig, QueueGuard, Shape};

use super::cli::Cli;
use crate::config::Config;
use crate::wire;

/// An emitter, and what delivers behind it.
pub(super) struct Output {
    emitter: Arc<dyn Emitter>,
    guard: Option<QueueGuard>,
}

impl Output {
    pub(super) fn open(cli: &Cli) -> Result<Self> {
        let shape = Shape::from(cli.shape);
        let is_config = cli.to.extension().is_some_and(|ending| ending == "toml");
        if !is_config && cli.pipeline.is_some() {
            return Err(Error::new(ErrorKind::Config, "a pipeline without a configuration file")
                .with("option", "--pipeline")
                .with_hint("name the file with --to audit.toml"));
        }
        let emitter: Arc<dyn Emitter> = match cli.to.to_str() {
            Some("stdout" | "-") => Arc::new(LineWriter::stdout().shape(shape)),
            Some("stderr") => Arc::new(LineWriter::stderr().shape(shape)),
            _ if is_config => return Self::sink(cli, shape),
            _ => {
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(&cli.to);
                let file = file.map_err(|e| durable::io_error(&e, &cli.to))?;
                Arc::new(LineWriter::new(file).shape(shape))
            }
        };
        Ok(Self { emitter, guard: None })
    }

    /// Opens the sink of a pipeline. A record counts as sent when it is there.
    fn sink(cli: &Cli, shape: Shape) -> Result<Self> {
        let pipeline = Config::load(&cli.to)?.single(cli.pipeline.as_ref())?;
        let sink = wire::sink(&pipeline.sink, &pipeline.settings.stream)?;
        if sink.checkpoint.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "the sink keeps the progress of its pipeline",
            )
            .with("pipeline", &pipeline.settings.stream)
            .with_hint("name a pipeline whose sink has no `transaction`"));
        }
        let timeout = *cli.timeout;
        let mut config = QueueConfig::new(Policy::FailClosed { timeout })
            .name(cli.record.application().unwrap_or("audit-log"))
            .shape(shape);
        config.retry = RetryPolicy::default().max_elapsed(timeout);
        let queue = Queue::open(config)?;
        let guard = queue.start(sink.sink, None)?;
        Ok(Self { emitter: Arc::new(queue), guard: Some(guard) })
    }

    pub(super) fn emitter(&self) -> Arc<dyn Emitter> {
        Arc::clone(&self.emitter)
    }

    /// Ends what delivers, after everything is delivered.
    pub(super) fn close(self) -> Result<()> {
        self.emitter.flush()?;
        drop(self.guard);
        Ok(())
    }
}
