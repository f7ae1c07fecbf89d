//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the program at once.

use std::io;

use audit_core::{Error, ErrorKind, Result};
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

/// Listens to the signals of a process that ask it to end.
#[derive(Debug)]
pub struct Signals {
    interrupt: system::Signal,
    terminate: system::Signal,
}

impl Signals {
    /// Takes the signals over. From now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] when the operating system refuses.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: system::interrupt().map_err(refused)?,
            terminate: system::terminate().map_err(refused)?,
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

/// Listens to SIGHUP, which asks a process to read its configuration again. Never comes elsewhere
/// than on Unix.
#[derive(Debug)]
pub(crate) struct Hangup(Option<system::Signal>);

impl Hangup {
    pub(crate) fn listen() -> Result<Self> {
        system::hangup().map(Self).map_err(refused)
    }

    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

fn refused(error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "cannot listen to signals").because(error)
}

#[cfg(unix)]
mod system {
    use std::io::Result;

    pub(super) use tokio::signal::unix::Signal;
    use tokio::signal::unix::{SignalKind, signal};

    pub(super) fn interrupt() -> Result<Signal> {
        signal(SignalKind::interrupt())
    }

    pub(super) fn terminate() -> Result<Signal> {
        signal(SignalKind::terminate())
    }

    pub(super) fn hangup() -> Result<Option<Signal>> {
        signal(SignalKind::hangup()).map(Some)
    }
}

#[cfg(windows)]
mod system {
    use std::io::Result;

    use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

    #[derive(Debug)]
    pub(super) enum Signal {
        Interrupt(CtrlC),
        Terminate(CtrlBreak),
    }

    impl Signal {
        pub(super) async fn recv(&mut self) -> Option<()> {
            match self {
                Self::Interrupt(signal) => signal.recv().await,
                Self::Terminate(signal) => signal.recv().await,
            }
        }
    }

    pub(super) fn interrupt() -> Result<Signal> {
        ctrl_c().map(Signal::Interrupt)
    }

    pub(super) fn terminate() -> Result<Signal> {
        ctrl_break().map(Signal::Terminate)
    }

    pub(super) fn hangup() -> Result<Option<Signal>> {
        Ok(None)
    }
}
