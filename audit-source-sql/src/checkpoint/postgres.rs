use async_trait::async_trait;
use audit_core::Result;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_as};

use super::statements::{Arg, Row};
use super::store::Store;
use crate::config::SqlConfig;
use crate::server::fault::postgres as fault;

pub(super) struct PgStore(PgConnection);

impl PgStore {
    pub(super) async fn open(config: &SqlConfig) -> Result<Self> {
        let mut conn = crate::postgres::options(config)?.connect().await.map_err(fault)?;
        let wait = config.busy_timeout.as_millis().clamp(1, i32::MAX as u128);
        // A save that was answered survives a power cut, also where the default is to let it wait.
        let settings = format!(
            "SET lock_timeout = {wait}; SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'"
        );
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut conn).await.map_err(fault)?;
        Ok(Self(conn))
    }
}

type Columns = (i64, i64, String, i64, String, i64, i64);

#[async_trait]
impl Store for PgStore {
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
            Err(sqlx::Error::Database(e)) if e.code().is_some_and(|c| c == "42P01") => Ok(false),
            Err(e) => Err(fault(e)),
        }
    }
}
