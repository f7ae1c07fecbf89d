//! What every program does around its work: environment, logs, runtime, the last word.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};

use crate::cli::Global;
use crate::config;
#[cfg(feature = "metrics")]
use crate::metrics::Serve;
use crate::progress::Screen;
use crate::{exit, logging, terminal};

/// How long threads have to end when the work is done.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// A program under way.
#[derive(Debug)]
#[non_exhaustive]
pub struct App {
    /// Where progress shows.
    pub screen: Screen,
    /// Whether progress and summaries are unwanted.
    pub quiet: bool,
    /// How it can be watched, if it can.
    #[cfg(feature = "metrics")]
    pub serve: Option<Serve>,
}

/// The options every program has.
pub trait Options {
    /// Returns them.
    fn global(&self) -> &Global;

    /// Returns how the process can be watched, if it runs long enough for that.
    #[cfg(feature = "metrics")]
    fn serve(&self) -> Option<&Serve> {
        None
    }
}

/// Runs a program: `parse` the command line, then do the `work` and return its exit code.
pub fn main<O: Options>(
    parse: impl FnOnce() -> O,
    work: impl FnOnce(&O, &App) -> Result<u8>,
) -> ExitCode {
    // First of all, since options may come from variables, and while there is one thread only.
    let environment = config::load_dot_env();
    let options = parse();
    let global = options.global();
    terminal::set_color(global.color);
    let result = environment.and_then(|()| {
        let app = App {
            screen: Screen::new(!global.quiet),
            quiet: global.quiet,
            #[cfg(feature = "metrics")]
            serve: options.serve().cloned(),
        };
        logging::init(global.verbosity(), global.log_format, &app.screen)?;
        work(&options, &app)
    });
    let code = result.unwrap_or_else(|error| {
        terminal::complain_unless_closed(&error);
        exit::of_error(&error)
    });
    ExitCode::from(code)
}

impl App {
    /// Runs to the end what has to wait.
    ///
    /// On one thread, since the work is one stream of batches: adapters bring threads of their own
    /// for what blocks or computes.
    ///
    /// # Errors
    /// Those of the future; [`ErrorKind::Unexpected`] when no runtime can be started.
    pub fn block_on(&self, future: impl Future<Output = Result<u8>>) -> Result<u8> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| {
                Error::new(ErrorKind::Unexpected, "cannot start the runtime").because(e)
            })?;
        let result = runtime.block_on(future);
        // What is still under way was given up after the grace time, and is safe to cut off. Clients of
        // Kafka are let go of for a moment: their threads must not outlive what OpenSSL keeps for them.
        runtime.shutdown_timeout(LAST_MOMENT);
        result
    }
}
