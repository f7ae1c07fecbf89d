//! An HTTP service whose requests are all audited: `cargo run -p audit-logger --example service
//! --features tower`, then `curl 'http://127.0.0.1:8000/books?q=rust'`.
#![expect(clippy::print_stderr, reason = "a program for people")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use audit_logger::{Audit, AuditLayer, Exchange, LineWriter, User};
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Json, Router};

async fn list_books(Extension(audit): Extension<Audit>) -> Json<[&'static str; 1]> {
    let found = ["The Rust Programming Language"];
    audit.with(|record| {
        let filter = BTreeMap::from([("title", "rust")]);
        record.set_filter("Book", filter).set_results(found).info("List books")
    });
    Json(found)
}

fn user(request: &Exchange<'_>) -> Option<User> {
    // A real service asks its session.
    let name = request.headers.get("x-user")?.to_str().ok()?;
    Some(User::authenticated(name).roles(["staff"]).provider("example"))
}

fn peer(request: &Exchange<'_>) -> Option<std::net::IpAddr> {
    request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let audit = AuditLayer::new(Arc::new(LineWriter::stdout()))
        .user(user)
        .peer(peer)
        .trusted_proxies(["127.0.0.0/8".parse()?])
        .exempt("^health$")?;
    let app = Router::new()
        .route("/books", get(list_books))
        .route("/health", get(async || "up"))
        .layer(audit);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await?;
    Ok(())
}
