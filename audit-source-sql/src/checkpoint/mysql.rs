use async_trait::async_trait;
use audit_core::Result;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_as};

use super::statements::{Arg, Row};
use super::store::Store;
use crate::config::SqlConfig;
use crate::server::fault::mysql as fault;

pub(super) struct MySqlStore(MySqlConnection);

impl MySqlStore {
    pub(super) async fn open(config: &SqlConfig) -> Result<Self> {
        let mut conn = crate::mysql::options(config)?.connect().await.map_err(fault)?;
        let wait = config.busy_timeout.as_secs_f64().ceil().clamp(1.0, 1e6) as u32;
        let settings = format!(
            "SET SESSION innodb_lock_wait_timeout = {wait}, SESSION lock_wait_timeout = {wait}"
        );
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut conn).await.map_err(fault)?;
        Ok(Self(conn))
    }
}

type Columns = (i64, i64, String, i64, String, i64, i64);

#[async_trait]
impl Store for MySqlStore {
    async fn execute(&mut self, sql: &str, args: &[Arg]) -> Result<u64> {
        let mut statement = query(AssertSqlSafe(sql.to_owned()));
        for arg in args {
            statement = match arg {
                Arg::Text(text) => statement.bind(text),
                Arg::Int(n) => statement.bind(n),
            };
        }
        let done = statement.execute(&mut self.0).await.map_err(fault)?;
        Ok(done.rows_affected())
    }

    async fn row(&mut self, sql: &str, stream: &str) -> Result<Option<Row>> {
        let read = query_as::<_, Columns>(AssertSqlSafe(sql.to_owned())).bind(stream);
        Ok(read.fetch_optional(&mut self.0).await.map_err(fault)?.map(Row::from))
    }

    async fn has_table(&mut self, read: &str) -> Result<bool> {
        let read = query_as::<_, Columns>(AssertSqlSafe(read.to_owned())).bind("");
        match read.fetch_optional(&mut self.0).await {
            Ok(_) => Ok(true),
            // SQLSTATE of a table that does not exist.
            Err(sqlx::Error::Database(e)) if e.code().is_some_and(|c| c == "42S02") => Ok(false),
            Err(e) => Err(fault(e)),
        }
    }
}
