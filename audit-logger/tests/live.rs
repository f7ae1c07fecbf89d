//! The outbox in PostgreSQL and MariaDB, on real servers: `AUDIT_TEST_POSTGRES_URL`,
//! `AUDIT_TEST_MARIADB_URL`.
#![cfg(any(feature = "mysql", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

use audit_core::ErrorKind;
use audit_logger::{AuditLogger, AuditRecord, Outbox, OutboxConfig, Shape};
use sqlx::{AssertSqlSafe, Connection, Row};

/// With `AUDIT_LIVE` set, a server that is not there fails the test.
fn url(name: &str) -> Option<String> {
    let url = std::env::var(name).ok();
    assert!(url.is_some() || std::env::var_os("AUDIT_LIVE").is_none(), "{name} is not set");
    url
}

fn table(kind: &str) -> String {
    format!("outbox_{kind}_{}_{}", std::process::id(), line!())
}

fn record() -> AuditRecord {
    let time = chrono::DateTime::from_timestamp_micros(1_665_664_496_789_012).unwrap();
    AuditLogger::new().time(time).info("Renamed user 42, \"é\" 😀").record().unwrap()
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a08_postgres_columns_of_every_usual_type() {
    let Some(url) = url("AUDIT_TEST_POSTGRES_URL") else { return };
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    for (n, (id, message, created_at)) in [
        ("BIGSERIAL", "text", "timestamptz NOT NULL"),
        ("SERIAL", "json", "timestamp"),
        ("UUID", "jsonb", "timestamptz"),
        ("TEXT", "varchar(2000)", "text"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("{}_{n}", table("pg"));
        let ddl = format!(
            "CREATE TABLE {table} (id {id} PRIMARY KEY, is_sent boolean NOT NULL, \
             message {message} NOT NULL, created_at {created_at})"
        );
        sqlx::query(AssertSqlSafe(ddl)).execute(&mut connection).await.unwrap();
        let own_id = matches!(id, "UUID" | "TEXT");
        let config = OutboxConfig::new().table(format!("public.{table}")).record_id(own_id);
        let outbox = Outbox::new(config).unwrap();
        let record = record();

        let mut transaction = connection.begin().await.unwrap();
        outbox.insert(&mut *transaction, &record).await.unwrap();
        transaction.rollback().await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        outbox.insert(&mut *transaction, &record).await.unwrap();
        transaction.commit().await.unwrap();

        let sql = format!(
            "SELECT id::text, is_sent, message::text, extract(epoch from created_at::timestamptz)::text \
             FROM {table}"
        );
        sqlx::query("SET TIME ZONE 'UTC'").execute(&mut connection).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        assert_eq!(rows.len(), 1, "{message}");
        let row = &rows[0];
        if own_id {
            assert_eq!(row.get::<String, _>(0), record.id().as_str());
        }
        assert!(!row.get::<bool, _>(1));
        let line = record.to_line(Shape::AuditEvent).unwrap();
        let stored = row.get::<String, _>(2);
        if message == "jsonb" {
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(value(&stored), value(&line));
        } else {
            assert_eq!(stored, line, "{message}");
        }
        assert_eq!(row.get::<String, _>(3), "1665664496.789012", "{created_at}");
        let drop = AssertSqlSafe(format!("DROP TABLE {table}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
        let error = outbox.insert(&mut connection, &record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn a08_mariadb_columns_of_every_usual_type() {
    let Some(url) = url("AUDIT_TEST_MARIADB_URL") else { return };
    let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
    for (n, (id, message, created_at)) in [
        ("BIGINT AUTO_INCREMENT", "LONGTEXT", "DATETIME(6) NOT NULL"),
        ("VARCHAR(36)", "JSON", "TIMESTAMP(6) NULL"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("{}_{n}", table("my"));
        let ddl = format!(
            "CREATE TABLE {table} (id {id} PRIMARY KEY, is_sent BOOLEAN NOT NULL, \
             message {message} NOT NULL, created_at {created_at}) CHARACTER SET utf8mb4"
        );
        sqlx::query(AssertSqlSafe(ddl)).execute(&mut connection).await.unwrap();
        let own_id = id.starts_with("VARCHAR");
        let outbox = Outbox::new(OutboxConfig::new().table(&table).record_id(own_id)).unwrap();
        let record = record();

        let mut transaction = connection.begin().await.unwrap();
        outbox.insert(&mut *transaction, &record).await.unwrap();
        transaction.rollback().await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        outbox.insert(&mut *transaction, &record).await.unwrap();
        transaction.commit().await.unwrap();

        let sql = format!(
            "SELECT CAST(id AS CHAR), is_sent, CAST(message AS CHAR), CAST(created_at AS CHAR) \
             FROM {table}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        assert_eq!(rows.len(), 1, "{message}");
        let row = &rows[0];
        if own_id {
            assert_eq!(row.get::<String, _>(0), record.id().as_str());
        }
        assert!(!row.get::<bool, _>(1));
        assert_eq!(row.get::<String, _>(2), record.to_line(Shape::AuditEvent).unwrap());
        assert_eq!(row.get::<String, _>(3), "2022-10-13 12:34:56.789012");
        let drop = AssertSqlSafe(format!("DROP TABLE {table}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
        let error = outbox.insert(&mut connection, &record).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
}
