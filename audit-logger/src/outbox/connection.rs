use std::future::Future;

use chrono::{DateTime, Utc};
#[cfg(any(feature = "mysql", feature = "sqlite"))]
use sqlx::AssertSqlSafe;

use super::OutboxConfig;

/// A connection an [`Outbox`](crate::Outbox) can insert with: `SqliteConnection`, `PgConnection` or
/// `MySqlConnection` of `sqlx`, by feature. A transaction is one when it is dereferenced:
/// `&mut *transaction`.
pub trait OutboxConnection: Sealed {}

/// One row to insert.
#[expect(unnameable_types, reason = "sealed: the databases are those of this crate")]
#[derive(Debug)]
pub struct Row<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) message: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// What the databases do each in their own way.
#[expect(unnameable_types, reason = "sealed: the databases are those of this crate")]
pub trait Sealed: Send {
    fn insert(
        &mut self,
        config: &OutboxConfig,
        row: Row<'_>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// `INSERT INTO t (…) VALUES (…)` with the flag written out.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn statement(config: &OutboxConfig, quote: char) -> AssertSqlSafe<String> {
    let values = |column: &&str| if **column == *config.sent_column { "0" } else { "?" };
    let values: Vec<_> = config.columns().iter().map(values).collect();
    let (table, columns) = (config.quoted_table(quote), config.quoted_columns(quote));
    // Only quoted names of the configuration are in it.
    AssertSqlSafe(format!("INSERT INTO {table} ({columns}) VALUES ({})", values.join(", ")))
}

/// The same calls, on types of their own.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
macro_rules! insert {
    ($connection:expr, $config:expr, $row:expr, $quote:expr) => {{
        let mut query = sqlx::query(statement($config, $quote));
        if let Some(id) = $row.id {
            query = query.bind(id.to_owned());
        }
        query = query.bind($row.message);
        if !$config.created_at_column.is_empty() {
            query = query.bind(crate::outbox::plain($row.created_at));
        }
        query.execute($connection).await.map(|_| ())
    }};
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    impl OutboxConnection for sqlx::SqliteConnection {}

    impl Sealed for sqlx::SqliteConnection {
        async fn insert(&mut self, config: &OutboxConfig, row: Row<'_>) -> sqlx::Result<()> {
            insert!(self, config, row, '"')
        }
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use super::*;

    impl OutboxConnection for sqlx::MySqlConnection {}

    impl Sealed for sqlx::MySqlConnection {
        async fn insert(&mut self, config: &OutboxConfig, row: Row<'_>) -> sqlx::Result<()> {
            insert!(self, config, row, '`')
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::AssertSqlSafe;

    use super::*;

    impl OutboxConnection for sqlx::PgConnection {}

    impl Sealed for sqlx::PgConnection {
        /// The columns may be text or JSON, a timestamp with or without a zone, a UUID: the server
        /// itself knows, and fills a row of the table's type from JSON. A text column gets the record
        /// byte for byte.
        async fn insert(&mut self, config: &OutboxConfig, row: Row<'_>) -> sqlx::Result<()> {
            let (table, columns) = (config.quoted_table('"'), config.quoted_columns('"'));
            // Only quoted names of the configuration are in it.
            let statement = format!(
                "INSERT INTO {table} ({columns}) \
                 SELECT {columns} FROM json_populate_record(NULL::{table}, $1::text::json)"
            );
            let values = document(config, &row).map_err(|e| sqlx::Error::Encode(e.into()))?;
            sqlx::query(AssertSqlSafe(statement)).bind(values).execute(self).await.map(|_| ())
        }
    }

    fn document(config: &OutboxConfig, row: &Row<'_>) -> serde_json::Result<String> {
        let mut out = String::from("{");
        let mut member = |name: &str, value: &str| {
            let comma = if out.len() > 1 { "," } else { "" };
            out.push_str(&format!("{comma}{}:{value}", serde_json::to_string(name)?));
            Ok::<_, serde_json::Error>(())
        };
        if let Some(id) = row.id {
            member(&config.id_column, &serde_json::to_string(id)?)?;
        }
        member(&config.sent_column, "false")?;
        member(&config.message_column, &row.message)?;
        if !config.created_at_column.is_empty() {
            let time = crate::outbox::rfc3339(row.created_at);
            member(&config.created_at_column, &serde_json::to_string(&time)?)?;
        }
        out.push('}');
        Ok(out)
    }
}
