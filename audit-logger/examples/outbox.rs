//! A change and its audit record, in one transaction: `cargo run -p audit-logger --example outbox
//! --features sqlite -- app.db`. Then `audit run` delivers the table, or
//! `cargo run -p audit-source-sql --example show -- app.db` shows it.
#![expect(clippy::print_stdout, reason = "a program for people")]

use audit_core::{ActionKind, Actor, Outcome, Target};
use audit_logger::{AuditLogger, Outbox, OutboxConfig};
use sqlx::{Connection, SqliteConnection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| ":memory:".to_owned());
    let mut database = SqliteConnection::connect(&format!("sqlite:{path}?mode=rwc")).await?;
    for table in [
        "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, phone TEXT)",
        "CREATE TABLE IF NOT EXISTS audit_logs (id INTEGER PRIMARY KEY, \
         is_sent BOOLEAN NOT NULL DEFAULT 0, message TEXT NOT NULL, created_at TEXT)",
    ] {
        sqlx::query(table).execute(&mut database).await?;
    }
    let outbox = Outbox::new(OutboxConfig::new())?;
    for (phone, commit) in [("555-0100", true), ("555-0199", false)] {
        let mut transaction = database.begin().await?;
        sqlx::query("INSERT OR REPLACE INTO users VALUES (42, ?)")
            .bind(phone)
            .execute(&mut *transaction)
            .await?;
        let user = |id: &str| Target {
            id: Some(id.into()),
            kind: Some("User".into()),
            ..Target::default()
        };
        let record = AuditLogger::new()
            .draft()
            .actor(Actor { id: Some("7".into()), kind: Some("ADMIN".into()), ..Actor::default() })
            .action(ActionKind::Update)
            .outcome(Outcome::Success)
            .target(user("42"))
            .with(|logger| logger.application("phone-book").info("phone number changed"))
            .record()?;
        outbox.insert(&mut *transaction, &record).await?;
        if commit {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
    }
    let messages: Vec<String> =
        sqlx::query_scalar("SELECT message FROM audit_logs").fetch_all(&mut database).await?;
    for message in messages {
        println!("{message}");
    }
    Ok(())
}
