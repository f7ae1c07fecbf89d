use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;
use tracing::info;

use super::{Board, Vitals};

/// How a process can be watched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct Serve {
    /// Serve /metrics for Prometheus, /healthz and /readyz at this address, for example 127.0.0.1:9464
    #[arg(long, global = true, env = "AUDIT_METRICS_ADDR", value_name = "ADDRESS")]
    pub metrics_addr: Option<SocketAddr>,
    /// How long a pipeline may neither get on nor be idle before /readyz says no
    #[arg(
        long,
        global = true,
        env = "AUDIT_STALE_AFTER",
        value_name = "TIME",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub stale_after: Duration,
}

/// What answers whoever watches.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    shared: Shared,
}

#[derive(Debug)]
struct Shared {
    board: Board,
    vitals: Vec<Arc<Vitals>>,
    stale_after: Duration,
}

impl Server {
    /// Takes the address.
    pub(crate) async fn bind(
        address: SocketAddr,
        stale_after: Duration,
        board: Board,
        vitals: Vec<Arc<Vitals>>,
    ) -> Result<Self> {
        let failed = |e| {
            Error::new(ErrorKind::Config, "cannot listen for who asks for metrics")
                .with("address", address)
                .because(e)
                .with_hint("choose a free address with --metrics-addr (AUDIT_METRICS_ADDR)")
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!(%address, "serving /metrics, /healthz and /readyz");
        Ok(Self { listener, shared: Shared { board, vitals, stale_after } })
    }

    /// Answers for ever.
    pub(crate) async fn run(self) {
        let app = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(Arc::new(self.shared));
        // It ends only with an error of the listener, which axum itself waits out.
        if axum::serve(self.listener, app).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shared.board.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let troubles: Vec<_> =
        shared.vitals.iter().filter_map(|v| v.trouble(shared.stale_after)).collect();
    match troubles.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n").into_response(),
    }
}
