use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Sink, Written, durable};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use crate::check;
use crate::config::{FileConfig, Settings};
use crate::log::Log;
use crate::paths::Paths;
use crate::stream::Stream;

/// Writes events to a file or to stdout.
///
/// A file takes each batch whole or not at all, also when the process is killed or the power
/// fails, and each event once, however often it is sent. See the crate's documentation for the
/// files kept beside the output and for what happens on rotation, full disks and second writers.
pub struct FileSink {
    settings: Settings,
    out: Out,
}

#[derive(Clone)]
enum Out {
    File(Arc<Mutex<Slot>>),
    Stream(Arc<Mutex<Stream>>),
}

/// The open file, if it is; what a write that fails or is given up leaves is opened anew.
#[derive(Default)]
struct Slot {
    log: Option<Box<Log>>,
    paths: Option<Paths>,
    lock: Option<durable::Lock>,
    /// The announcement of a batch whose write failed, and that could not be taken back.
    doubted: Option<u64>,
}

impl FileSink {
    /// Creates the sink; touches no file until [`check`](Sink::check) or the first write.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a path that names no file or a compression level out of range.
    pub fn new(config: FileConfig) -> Result<Self> {
        let settings = config.parse()?;
        let out = match settings.path {
            Some(_) => Out::File(Arc::default()),
            None => Out::stream(&settings, None)?,
        };
        Ok(Self { settings, out })
    }

    /// Creates a sink that writes to `writer` what it would write to stdout; the path only decides
    /// layout and compression.
    ///
    /// # Errors
    /// As [`FileSink::new`].
    pub fn to_writer(writer: impl Write + Send + 'static, config: FileConfig) -> Result<Self> {
        let settings = config.parse()?;
        let out = Out::stream(&settings, Some(Box::new(writer)))?;
        Ok(Self { settings, out })
    }

    /// Returns the file that is written; none for a stream.
    pub fn path(&self) -> Option<&Path> {
        match self.out {
            Out::File(_) => self.settings.path.as_deref(),
            Out::Stream(_) => None,
        }
    }
}

impl Out {
    fn stream(settings: &Settings, writer: Option<Box<dyn Write + Send>>) -> Result<Self> {
        let stream = Stream::new(settings.clone(), writer).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "cannot prepare the compression").because(e)
        })?;
        Ok(Self::Stream(Arc::new(Mutex::new(stream))))
    }
}

impl Slot {
    /// Returns the open file, out of the slot: it comes back only when all went well.
    fn take(&mut self, settings: &Settings) -> Result<Box<Log>> {
        if let Some(log) = self.log.take() {
            return Ok(log);
        }
        let paths = match &self.paths {
            Some(paths) => paths,
            None => self.paths.insert(settings.paths()?),
        };
        if self.lock.is_none() {
            self.lock = Some(durable::Lock::acquire(&paths.journal)?);
        }
        let log = Log::open(settings, paths, self.doubted)?;
        self.doubted = None;
        Ok(Box::new(log))
    }

    /// Does something with the open file, which stays open only if all goes well.
    fn hold(&mut self, mut log: Box<Log>, work: impl FnOnce(&mut Log) -> Result<()>) -> Result<()> {
        let result = work(&mut log);
        match result {
            Ok(()) => self.log = Some(log),
            Err(_) => self.doubted = log.doubted(),
        }
        result
    }
}

#[async_trait]
impl Sink for FileSink {
    async fn check(&self) -> Result<()> {
        let Out::File(slot) = &self.out else { return Ok(()) };
        let slot = slot.clone().lock_owned().await;
        let settings = self.settings.clone();
        blocking("check the output file", move || {
            if slot.log.is_some() {
                // In use by ourselves: each write looks anew.
                return Ok(());
            }
            check::check(&settings, &settings.paths()?, slot.lock.is_some())
        })
        .await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        const OPERATION: &str = "write to the output file";
        if events.is_empty() {
            return Ok(Written::all());
        }
        match &self.out {
            Out::Stream(stream) => {
                let mut stream = stream.clone().lock_owned().await;
                let written = stream.stage(events);
                blocking("write to stdout", move || stream.commit()).await?;
                Ok(written)
            }
            Out::File(slot) => {
                let (mut slot, mut log) = self.open(slot.clone().lock_owned().await).await?;
                let written = log.stage(events);
                if !log.is_staged() {
                    slot.log = Some(log);
                    return Ok(written);
                }
                blocking(OPERATION, move || slot.hold(log, Log::commit)).await?;
                Ok(written)
            }
        }
    }

    async fn close(&self) -> Result<()> {
        match &self.out {
            Out::Stream(stream) => {
                let mut stream = stream.clone().lock_owned().await;
                blocking("end the output", move || stream.finish()).await
            }
            Out::File(slot) => {
                let (mut slot, log) = self.open(slot.clone().lock_owned().await).await?;
                blocking("complete the output file", move || slot.hold(log, Log::finish)).await
            }
        }
    }

    fn deduplicates(&self) -> bool {
        matches!(self.out, Out::File(_))
    }
}

impl FileSink {
    /// Takes the open file out of its slot, after opening it if need be.
    async fn open(
        &self,
        mut slot: OwnedMutexGuard<Slot>,
    ) -> Result<(OwnedMutexGuard<Slot>, Box<Log>)> {
        if let Some(log) = slot.log.take() {
            return Ok((slot, log));
        }
        let settings = self.settings.clone();
        blocking("open the output file", move || {
            let log = slot.take(&settings)?;
            Ok((slot, log))
        })
        .await
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("settings", &self.settings).finish_non_exhaustive()
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
