//! The outbox in SQLite: the record is there exactly if the change is.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

use audit_core::ErrorKind;
use audit_logger::{AuditLogger, AuditRecord, Outbox, OutboxConfig, Shape};
use sqlx::{Connection, Row, SqliteConnection};

const TABLE: &str = "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN NOT NULL, \
                     message TEXT NOT NULL, created_at TEXT NOT NULL)";

async fn database() -> SqliteConnection {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::query(TABLE).execute(&mut connection).await.unwrap();
    sqlx::query("CREATE TABLE users (name TEXT)").execute(&mut connection).await.unwrap();
    connection
}

fn record() -> AuditRecord {
    let time = chrono::DateTime::from_timestamp_micros(1_665_664_496_789_012).unwrap();
    AuditLogger::new().time(time).info("Renamed user 42, \"é\"").record().unwrap()
}

async fn rename(connection: &mut SqliteConnection, outbox: &Outbox, commit: bool) {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("INSERT INTO users VALUES ('Ada')").execute(&mut *transaction).await.unwrap();
    outbox.insert(&mut *transaction, &record()).await.unwrap();
    match commit {
        true => transaction.commit().await.unwrap(),
        false => transaction.rollback().await.unwrap(),
    }
}

async fn count(connection: &mut SqliteConnection, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a08_a_rollback_leaves_no_record_and_a_commit_exactly_one() {
    let mut connection = database().await;
    let outbox = Outbox::new(OutboxConfig::new()).unwrap();
    rename(&mut connection, &outbox, false).await;
    assert_eq!(
        (count(&mut connection, "users").await, count(&mut connection, "audit_logs").await),
        (0, 0)
    );
    rename(&mut connection, &outbox, true).await;
    assert_eq!(
        (count(&mut connection, "users").await, count(&mut connection, "audit_logs").await),
        (1, 1)
    );
    let row = sqlx::query("SELECT id, is_sent, message, created_at FROM audit_logs")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<bool, _>(1)), (1, false));
    assert_eq!(row.get::<String, _>(2), record().to_line(Shape::AuditEvent).unwrap());
    assert_eq!(row.get::<String, _>(3), "2022-10-13 12:34:56.789012");
}

#[tokio::test]
async fn a08_an_insert_that_fails_is_told_so_that_the_change_is_rolled_back() {
    let mut connection = database().await;
    let missing = Outbox::new(OutboxConfig::new().table("audit\" logs")).unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("INSERT INTO users VALUES ('Ada')").execute(&mut *transaction).await.unwrap();
    let error = missing.insert(&mut *transaction, &record()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.hint().unwrap().contains("create the table"), "{error:?}");
    assert!(!format!("{error:?}").contains("Renamed"), "the record shows: {error:?}");
    drop(transaction);
    assert_eq!(count(&mut connection, "users").await, 0);
}

#[tokio::test]
async fn the_record_s_id_can_be_the_key_and_other_columns_can_be_named() {
    let mut connection = database().await;
    let ddl = "CREATE TABLE \"log entries\" (uid TEXT PRIMARY KEY, sent INT, body TEXT)";
    sqlx::query(ddl).execute(&mut connection).await.unwrap();
    let mut config =
        OutboxConfig::new().table("main.log entries").record_id(true).shape(Shape::Canonical);
    config.id_column = "uid".into();
    config.sent_column = "sent".into();
    config.message_column = "body".into();
    config.created_at_column.clear();
    let outbox = Outbox::new(config).unwrap();
    let record = record();
    outbox.insert(&mut connection, &record).await.unwrap();
    let row = sqlx::query("SELECT uid, body FROM \"log entries\"")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), record.id().as_str());
    assert_eq!(row.get::<String, _>(1), record.to_line(Shape::Canonical).unwrap());
    let error = outbox.insert(&mut connection, &record).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "the same record twice: {error:?}");
}
