use std::sync::Arc;
use std::time::Duration;

use audit_core::Result;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::config::SqlConfig;

/// How long to wait before another attempt to listen.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(30);

/// Listens for notifications on a connection of its own. Whatever becomes of that, rows are polled
/// for all the same.
#[derive(Debug)]
pub(crate) struct Listener {
    heard: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen on a channel, in the background.
    pub(crate) fn start(config: &SqlConfig, channel: String) -> Result<Self> {
        let options = super::options(config)?;
        let heard = Arc::new(Notify::new());
        let task = tokio::spawn(listen(options, channel, Arc::clone(&heard)));
        Ok(Self { heard, task })
    }

    /// Waits for a notification; many that came since the last count as one.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(options: PgConnectOptions, channel: String, heard: Arc<Notify>) {
    loop {
        let Err(error) = hear(options.clone(), &channel, &heard).await;
        let error = crate::server::fault::postgres(error);
        tracing::warn!(%error, channel, "not listening; rows are polled for meanwhile");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(
    options: PgConnectOptions,
    channel: &str,
    heard: &Notify,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(channel).await?;
    loop {
        // Also after a new connection: what was said meanwhile is lost.
        heard.notify_one();
        listener.try_recv().await?;
    }
}
