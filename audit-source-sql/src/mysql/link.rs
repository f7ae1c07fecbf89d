use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::mysql::{MySql, MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _, query};

use super::table::{Clear, Keyset, Kind, Table};
use crate::client::{Edge, Facts, Rows};
use crate::config::SqlConfig;
use crate::error::no_time;
use crate::intake::Intake;
use crate::keys::Key;
use crate::row::Value;
use crate::server::fault::mysql as fault;
use crate::server::{Link, Offered};

#[derive(Debug)]
pub(crate) struct MySqlLink {
    conn: MySqlConnection,
    table: Table,
}

#[async_trait]
impl Link for MySqlLink {
    const KEYS: usize = 1000;

    async fn open(config: &SqlConfig) -> Result<Self> {
        let options = super::options(config)?;
        let mut conn = options.connect().await.map_err(fault)?;
        let wait = config.busy_timeout.as_secs_f64().ceil().clamp(1.0, 1e6) as u32;
        let waits = format!(
            "SET SESSION innodb_lock_wait_timeout = {wait}, SESSION lock_wait_timeout = {wait}"
        );
        execute(&mut conn, waits).await?;
        if config.claim {
            can_skip_locked(&mut conn).await?;
            // Claims keep rows, and not the gaps between them: the application inserts there.
            let level = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
            execute(&mut conn, level.to_owned()).await?;
        }
        let table = Table::find(&mut conn, config).await?;
        if !table.facts.key_names_row {
            // Without a key a search passes every row: the others must not stay locked.
            let level = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
            execute(&mut conn, level.to_owned()).await?;
        }
        Ok(Self { conn, table })
    }

    fn facts(&self) -> Facts {
        self.table.facts
    }

    async fn offer(
        &mut self,
        rows: Rows,
        after: Option<&Key>,
        limit: usize,
        intake: &mut Intake,
    ) -> Result<Offered> {
        let Self { conn, table } = self;
        let sql = match (&table.keyset, after) {
            (Some(keyset), _) => &keyset.scan,
            (None, Some(_)) => &table.scan_next,
            (None, None) => &table.scan_first,
        };
        let lock = if rows == Rows::Claimed { table.lock } else { "" };
        let mut scan = query(AssertSqlSafe(format!("{sql}{lock}")));
        scan = match (rows, after) {
            (_, Some(key)) => bind(scan, key),
            (Rows::UpTo(_), None) => scan.bind(i64::MIN),
            (_, None) => scan,
        };
        if let Rows::UpTo(last) = rows {
            scan = scan.bind(last);
        }
        let mut found = scan.bind(limit as u64).fetch(conn);
        let mut shown = 0;
        while let Some(row) = found.try_next().await.map_err(fault)? {
            shown += 1;
            if !table.widths.offer(intake, |at| value(&row, at, table.kind(at)))? {
                // The few rows left over are read past by the next statement.
                return Ok(Offered::Full);
            }
        }
        Ok(Offered::All(shown))
    }

    async fn edge(&mut self) -> Result<Edge> {
        let edge = query(AssertSqlSafe(self.keyset()?.edge.clone()));
        let row = edge.fetch_optional(&mut self.conn).await.map_err(fault)?;
        row.map_or(Ok(None), |row| number(&row, self.table.key)).map(Edge::Key)
    }

    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>> {
        let sql = self.keyset()?.keys.clone();
        let mut found = query(AssertSqlSafe(sql)).bind(first).bind(last).fetch(&mut self.conn);
        let mut keys = Vec::new();
        while let Some(row) = found.try_next().await.map_err(fault)? {
            keys.extend(number(&row, self.table.key)?);
        }
        Ok(keys)
    }

    async fn prints(&mut self, keys: &[Key], lock: bool) -> Result<Vec<(Key, u64)>> {
        let Self { conn, table } = self;
        let sql = if lock { &table.prints_locked } else { &table.prints };
        let mut found = bind_all(query(AssertSqlSafe(sql.clone())), keys).fetch(conn);
        let mut prints = Vec::with_capacity(keys.len());
        while let Some(row) = found.try_next().await.map_err(fault)? {
            if let Some(key) = value(&row, 0, table.key)?.key()
                && prints.last().is_none_or(|(last, _)| *last != key)
            {
                let print = table.widths.print(|at| value(&row, at, Kind::Text))?;
                prints.push((key, print));
            }
        }
        Ok(prints)
    }

    async fn set(&mut self, keys: &[Key]) -> Result<()> {
        let Self { conn, table } = self;
        bind_all(query(AssertSqlSafe(table.set.clone())), keys)
            .execute(conn)
            .await
            .map(|_| ())
            .map_err(fault)
    }

    async fn stale(
        &mut self,
        after: Option<&Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>> {
        let clear = self.clear()?;
        let sql = if after.is_some() { &clear.stale_next } else { &clear.stale_first };
        let mut stale = query(AssertSqlSafe(sql.clone())).bind(text_of(before));
        if let Some(key) = after {
            stale = bind(stale, key);
        }
        let rows = stale.bind(rows as u64).fetch_all(&mut self.conn).await.map_err(fault)?;
        let key = self.table.key;
        rows.iter().filter_map(|row| value(row, 0, key).map(Value::key).transpose()).collect()
    }

    async fn delete(&mut self, keys: &[Key], before: DateTime<Utc>) -> Result<u64> {
        let delete = query(AssertSqlSafe(self.clear()?.delete.clone())).bind(text_of(before));
        let done = bind_all(delete, keys).execute(&mut self.conn).await;
        done.map(|done| done.rows_affected()).map_err(fault)
    }

    async fn begin(&mut self) -> Result<()> {
        execute(&mut self.conn, "START TRANSACTION".to_owned()).await
    }

    async fn commit(&mut self) -> Result<()> {
        execute(&mut self.conn, "COMMIT".to_owned()).await
    }

    async fn rollback(&mut self) -> Result<()> {
        execute(&mut self.conn, "ROLLBACK".to_owned()).await
    }
}

/// Refuses servers that do not know `SKIP LOCKED`.
async fn can_skip_locked(conn: &mut MySqlConnection) -> Result<()> {
    let row = query("SELECT VERSION()").fetch_one(conn).await.map_err(fault)?;
    let version: &[u8] = row.try_get_unchecked(0).map_err(fault)?;
    let version = String::from_utf8_lossy(version);
    if skips_locked(&version) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "this server cannot share a table among senders")
        .with("version", version.escape_debug())
        .with_hint("`claim` needs MySQL 8.0 or MariaDB 10.6; without it, run one sender"))
}

fn skips_locked(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(|n| n.ok()).unwrap_or_default();
    let version_number = (next(), next());
    version_number >= if version.contains("MariaDB") { (10, 6) } else { (8, 0) }
}

impl MySqlLink {
    fn keyset(&self) -> Result<&Keyset> {
        let statements = self.table.keyset.as_ref();
        statements.ok_or_else(|| Error::new(ErrorKind::Unexpected, "not in keyset mode"))
    }

    fn clear(&self) -> Result<&Clear> {
        self.table.clear.as_ref().ok_or_else(|| no_time(&self.table.name))
    }
}

fn text_of(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

async fn execute(conn: &mut MySqlConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()).map_err(fault)
}

type Statement<'a> = Query<'a, MySql, MySqlArguments>;

fn bind<'a>(query: Statement<'a>, key: &'a Key) -> Statement<'a> {
    match key {
        Key::Int(n) => query.bind(*n),
        Key::Real(bits) => query.bind(f64::from_bits(*bits)),
        Key::Text(bytes) => query.bind(String::from_utf8_lossy(bytes)),
        Key::Blob(bytes) => query.bind(&bytes[..]),
    }
}

/// Fills a list; a short one repeats its last key.
fn bind_all<'a>(mut query: Statement<'a>, keys: &'a [Key]) -> Statement<'a> {
    if let Some(last) = keys.last() {
        for i in 0..MySqlLink::KEYS {
            query = bind(query, keys.get(i).unwrap_or(last));
        }
    }
    query
}

/// Reads a column without asking the driver whether its type fits: what is asked for is bytes, or
/// was made a number by the statement.
fn value(row: &MySqlRow, at: usize, kind: Kind) -> Result<Value<'_>> {
    Ok(match kind {
        Kind::Int => {
            let number: Option<i64> = row.try_get_unchecked(at).map_err(fault)?;
            number.map_or(Value::Null, Value::Int)
        }
        Kind::Unsigned => {
            let number: Option<u64> = row.try_get_unchecked(at).map_err(fault)?;
            let number = number.map(i64::try_from).transpose().map_err(|_| {
                Error::new(ErrorKind::Config, "a key is larger than 9223372036854775807")
            })?;
            number.map_or(Value::Null, Value::Int)
        }
        Kind::Text | Kind::Blob => {
            let bytes: Option<&[u8]> = row.try_get_unchecked(at).map_err(fault)?;
            match (bytes, kind) {
                (None, _) => Value::Null,
                (Some(bytes), Kind::Blob) => Value::Blob(bytes),
                (Some(bytes), _) => Value::Text(bytes),
            }
        }
    })
}

/// Reads the first column, a whole number.
fn number(row: &MySqlRow, kind: Kind) -> Result<Option<i64>> {
    Ok(match value(row, 0, kind)? {
        Value::Int(n) => Some(n),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_skip_locked_rows() {
        for version in
            ["8.0.36", "8.4.0-commercial", "10.11.6-MariaDB-0+deb12u1-log", "11.4.2-MariaDB"]
        {
            assert!(skips_locked(version), "{version}");
        }
        for version in ["5.7.44-log", "10.5.23-MariaDB", "", "x"] {
            assert!(!skips_locked(version), "{version}");
        }
    }
}
