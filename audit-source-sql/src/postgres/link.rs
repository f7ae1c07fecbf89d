use async_trait::async_trait;
use audit_core::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::TryStreamExt;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnection, PgHasArrayType, PgRow, PgTypeInfo, Postgres,
};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Encode, Row as _, Type, ValueRef, query, query_as, query_scalar,
};

use super::table::{Clear, Table};
use crate::client::{Edge, Facts, RowVersion, Rows};
use crate::config::SqlConfig;
use crate::error::no_time;
use crate::intake::Intake;
use crate::keys::Key;
use crate::row::Value;
use crate::server::fault::postgres as fault;
use crate::server::{Link, Offered};

#[derive(Debug)]
pub(crate) struct PgLink {
    conn: PgConnection,
    table: Table,
}

#[async_trait]
impl Link for PgLink {
    const KEYS: usize = 5000;

    async fn open(config: &SqlConfig) -> Result<Self> {
        let options = super::options(config)?;
        let mut conn = options.connect().await.map_err(fault)?;
        let wait = config.busy_timeout.as_millis().clamp(1, i32::MAX as u128);
        execute(&mut conn, format!("SET lock_timeout = {wait}")).await?;
        let encoding: String =
            query_scalar("SHOW server_encoding").fetch_one(&mut conn).await.map_err(fault)?;
        if encoding == "SQL_ASCII" {
            // Such a database does not know what it holds. One text that is no UTF-8 would end
            // each scan, if the server were to check.
            execute(&mut conn, "SET client_encoding = 'SQL_ASCII'".to_owned()).await?;
        }
        let table = Table::find(&mut conn, config).await?;
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
        let (first, next) = match &table.born {
            Some(born) => (&born.first, &born.next),
            None => (&table.scan_first, &table.scan_next),
        };
        let sql = if after.is_some() { next } else { first };
        let lock = if rows == Rows::Claimed { table.lock } else { "" };
        let mut scan = query(AssertSqlSafe(format!("{sql}{lock}")));
        if let Some(key) = after {
            scan = match table.key_is_int {
                true => scan.bind(int(key)),
                false => scan.bind(Text::of(key)),
            };
        }
        if let Rows::Born { from, to } = rows {
            // From the first row on: from before what can be told apart.
            scan = scan.bind(from.unwrap_or(i64::MIN / 2)).bind(to);
        }
        let mut found = scan.bind(limit as i64).fetch(conn);
        let mut shown = 0;
        while let Some(row) = found.try_next().await.map_err(fault)? {
            shown += 1;
            let before = intake.taken().0;
            let goes_on = table.widths.offer(intake, |at| value(&row, at))?;
            if table.set_as_read.is_some() && intake.taken().0 > before {
                intake.handed.versions.push(version(&row)?);
            }
            if !goes_on {
                // The few rows left over are read past by the next statement.
                return Ok(Offered::Full);
            }
        }
        Ok(Offered::All(shown))
    }

    async fn edge(&mut self) -> Result<Edge> {
        let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                   txid_snapshot_xmin(s), txid_snapshot_xmax(s), pg_is_in_recovery() \
                   FROM txid_current_snapshot() AS s";
        let (system, oldest, next, follows) =
            query_as(sql).fetch_one(&mut self.conn).await.map_err(fault)?;
        Ok(Edge::Transactions { system, oldest, next, follows })
    }

    async fn prints(&mut self, keys: &[Key], lock: bool) -> Result<Vec<(Key, u64)>> {
        let Self { conn, table } = self;
        let sql = if lock { &table.prints_locked } else { &table.prints };
        let mut found = bind(query(AssertSqlSafe(sql.clone())), table, keys).fetch(conn);
        let mut prints = Vec::with_capacity(keys.len());
        while let Some(row) = found.try_next().await.map_err(fault)? {
            if let Some(key) = value(&row, 0)?.key()
                && prints.last().is_none_or(|(last, _)| *last != key)
            {
                prints.push((key, table.widths.print(|at| value(&row, at))?));
            }
        }
        Ok(prints)
    }

    async fn set_as_read(&mut self, keys: &[Key], versions: &[RowVersion]) -> Result<bool> {
        let Self { conn, table } = self;
        let Some(sql) = &table.set_as_read else { return Ok(false) };
        let places: Vec<_> =
            versions.iter().map(|version| Fixed::<6, TID>(version.place)).collect();
        let transactions: Vec<_> =
            versions.iter().map(|version| Fixed::<4, XID>(version.transaction)).collect();
        let done = bind(query(AssertSqlSafe(sql.clone())), table, keys)
            .bind(places)
            .bind(transactions)
            .execute(conn)
            .await;
        done.map(|done| done.rows_affected() == keys.len() as u64).map_err(fault)
    }

    async fn set(&mut self, keys: &[Key]) -> Result<()> {
        let Self { conn, table } = self;
        bind(query(AssertSqlSafe(table.set.clone())), table, keys)
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
        let mut stale = query(AssertSqlSafe(sql.clone())).bind(text_of(before)).bind(rows as i64);
        if let Some(key) = after {
            stale = match self.table.key_is_int {
                true => stale.bind(int(key)),
                false => stale.bind(Text::of(key)),
            };
        }
        let rows = stale.fetch_all(&mut self.conn).await.map_err(fault)?;
        rows.iter().filter_map(|row| value(row, 0).map(Value::key).transpose()).collect()
    }

    async fn delete(&mut self, keys: &[Key], before: DateTime<Utc>) -> Result<u64> {
        let delete = query(AssertSqlSafe(self.clear()?.delete.clone())).bind(text_of(before));
        let done = bind(delete, &self.table, keys).execute(&mut self.conn).await;
        done.map(|done| done.rows_affected()).map_err(fault)
    }

    async fn begin(&mut self) -> Result<()> {
        // What is locked is what is looked at: each statement has to see the last commits.
        execute(&mut self.conn, "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned()).await
    }

    async fn commit(&mut self) -> Result<()> {
        execute(&mut self.conn, "COMMIT".to_owned()).await
    }

    async fn rollback(&mut self) -> Result<()> {
        execute(&mut self.conn, "ROLLBACK".to_owned()).await
    }
}

impl PgLink {
    fn clear(&self) -> Result<&Clear> {
        self.table.clear.as_ref().ok_or_else(|| no_time(&self.table.name))
    }
}

async fn execute(conn: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()).map_err(fault)
}

type Statement<'a> = Query<'a, Postgres, PgArguments>;

fn bind<'a>(query: Statement<'a>, table: &Table, keys: &'a [Key]) -> Statement<'a> {
    match table.key_is_int {
        true => query.bind(keys.iter().map(int).collect::<Vec<_>>()),
        false => query.bind(keys.iter().map(Text::of).collect::<Vec<_>>()),
    }
}

/// Returns a key of a column of integers. One of another type is from a cursor of other times, and
/// no row has it.
fn int(key: &Key) -> Option<i64> {
    match key {
        Key::Int(n) => Some(*n),
        _ => None,
    }
}

fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Text as it came, whatever its encoding.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn of(key: &'a Key) -> Option<Self> {
        match key {
            Key::Text(bytes) => Some(Self(bytes)),
            _ => None,
        }
    }
}

impl Type<Postgres> for Text<'_> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Text<'_> {
    fn array_type_info() -> PgTypeInfo {
        <&str as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Text<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0);
        Ok(IsNull::No)
    }
}

/// The types of a row's place and of a transaction, whose arrays' numbers follow in the catalogue.
const TID: u32 = 27;
const XID: u32 = 28;

/// A value of a type that is not interpreted here.
struct Fixed<const N: usize, const TYPE: u32>([u8; N]);

impl<const N: usize, const TYPE: u32> Type<Postgres> for Fixed<N, TYPE> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(TYPE))
    }
}

impl<const N: usize, const TYPE: u32> PgHasArrayType for Fixed<N, TYPE> {
    fn array_type_info() -> PgTypeInfo {
        // 1010 is `tid[]`, and 1011 is `xid[]`.
        PgTypeInfo::with_oid(Oid(TYPE + 983))
    }
}

impl<const N: usize, const TYPE: u32> Encode<'_, Postgres> for Fixed<N, TYPE> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

/// Reads the last two columns: the place of the row's version, and the transaction that wrote it.
fn version(row: &PgRow) -> Result<RowVersion> {
    let at = row.len().saturating_sub(2);
    Ok(RowVersion { place: fixed(row, at)?, transaction: fixed(row, at + 1)? })
}

fn fixed<const N: usize>(row: &PgRow, at: usize) -> Result<[u8; N]> {
    let value = row.try_get_raw(at).map_err(fault)?;
    let bytes = value.as_bytes().map_err(|e| fault(sqlx::Error::Decode(e)))?;
    bytes.try_into().map_err(|e| fault(sqlx::Error::Decode(Box::new(e))))
}

/// Reads a number or text, told apart by the type of the answer.
fn value(row: &PgRow, at: usize) -> Result<Value<'_>> {
    let value = row.try_get_raw(at).map_err(fault)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    if *value.type_info() == <i64 as Type<Postgres>>::type_info() {
        return row.try_get(at).map(Value::Int).map_err(fault);
    }
    value.as_bytes().map(Value::Text).map_err(|e| fault(sqlx::Error::Decode(e)))
}
