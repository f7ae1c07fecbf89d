//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the program at once.

use audit_core::{Error, ErrorKind, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::{exit, terminal};

/// Tells every pipeline of the process to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Creates it, not requested.
    #[expect(clippy::new_without_default, reason = "two of them by accident would be a defect")]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Asks for a clean stop.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Returns once a stop is requested.
    pub async fn requested(&self) {
        if self.0.subscribe().wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await; // cannot be: `self` holds the sender
        }
    }
}

/// Listens to the signals of a process.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. From now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] when the operating system refuses.
    pub fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|e| {
                Error::new(ErrorKind::Unexpected, "cannot listen to signals").because(e)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Passes the first signal on as a request to stop; ends the process at the second.
    pub async fn watch(mut self, stop: &Stop) {
        self.next().await;
        stop.request();
        terminal::say("stopping: finishing the batch in flight (a second signal ends it at once)");
        let code = self.next().await;
        // A person wants it gone now, and every moment is safe.
        std::process::exit(code.into());
    }

    /// Waits for a signal and returns the exit code that stands for it.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::SIGINT,
            _ = self.terminate.recv() => exit::SIGTERM,
        }
    }
}
