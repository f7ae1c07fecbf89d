//! An application: each request changes a row and tells of it through the outbox, in one transaction.

use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use audit_core::{ActionKind, Actor, Error, Outcome, Target};
use audit_logger::{AuditRecord, Outbox, OutboxConfig};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

const URL: &str = "AUDIT_OUTBOX_URL";
const TABLE: &str = "AUDIT_OUTBOX_TABLE";

/// What stands before the port in the service's output.
pub(crate) const LISTENS: &str = "listens on ";

/// Where the application keeps its own rows; the outbox is the table itself.
pub(crate) fn orders(table: &str) -> String {
    format!("{table}_orders")
}

/// The environment of a service.
pub(crate) fn environment<'a>(url: &'a str, table: &'a str) -> [(&'static str, &'a str); 2] {
    [(URL, url), (TABLE, table)]
}

#[derive(Clone)]
struct App {
    database: PgPool,
    outbox: Outbox,
    insert: String,
}

/// Serves until it is killed, if this process is to be a service.
pub(crate) async fn serve() {
    let (Ok(url), Ok(table)) = (std::env::var(URL), std::env::var(TABLE)) else { return };
    let options = PgConnectOptions::from_str(&url).unwrap().application_name(&table);
    let app = App {
        database: PgPoolOptions::new()
            .min_connections(3)
            .max_connections(3)
            .connect_with(options)
            .await
            .unwrap(),
        outbox: Outbox::new(OutboxConfig::new().table(&table)).unwrap(),
        insert: format!("INSERT INTO {} (number) VALUES ($1)", orders(&table)),
    };
    let router = Router::new().route("/{number}/{fate}", post(order)).with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{LISTENS}{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    axum::serve(listener, router).await.unwrap();
}

async fn order(
    State(app): State<App>,
    Path((number, fate)): Path<(i64, String)>,
) -> Result<(), StatusCode> {
    let mut transaction = app.database.begin().await.map_err(broken)?;
    let insert = sqlx::query(AssertSqlSafe(app.insert)).bind(number);
    insert.execute(&mut *transaction).await.map_err(broken)?;
    let record = record(number).map_err(broken)?;
    app.outbox.insert(&mut *transaction, &record).await.map_err(broken)?;
    match fate.as_str() {
        "commit" => {}
        "fail" => return Err(StatusCode::CONFLICT),
        "panic" => panic!("a defect of the handler"),
        // The client goes away before that, and the handler is dropped.
        "gone" => tokio::time::sleep(Duration::from_secs(60)).await,
        _ => return Err(StatusCode::NOT_FOUND),
    }
    transaction.commit().await.map_err(broken)
}

fn broken(_: impl std::error::Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn record(number: i64) -> Result<AuditRecord, Error> {
    AuditRecord::draft()
        .actor(Actor { id: Some("7".into()), kind: Some("USER".into()), ..Actor::default() })
        .action(ActionKind::Create)
        .outcome(Outcome::Success)
        .target(Target {
            id: Some(number.to_string().into()),
            kind: Some("Order".into()),
            ..Target::default()
        })
        .with(|logger| logger.application("shop").info("order placed"))
        .record()
}
