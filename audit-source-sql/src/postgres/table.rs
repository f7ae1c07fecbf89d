use audit_core::Result;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, query, query_as, query_scalar};

use crate::config::SqlConfig;
use crate::server::fault::postgres as fault;
use crate::server::table::{Column, Roles, a_view, no_flag, no_table, places};

/// The table as found, and every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id_is_unique: bool,
    /// Whether a scan returns the id column, as its fourth; else the id is the key.
    pub(super) id_in_scan: bool,
    pub(super) key_is_int: bool,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) prints: String,
    pub(super) prints_locked: String,
    pub(super) set: String,
}

impl Table {
    pub(super) async fn find(conn: &mut PgConnection, config: &SqlConfig) -> Result<Self> {
        let (oid, table) = find_table(conn, config.table()).await?;
        let columns = columns(conn, oid).await?;
        let roles = Roles::find(&columns, config)?;
        let sent = format!("t.{}", quote(&roles.sent.name));
        let (unsent, mark) = match roles.sent.kind.as_str() {
            "bool" => (format!("{sent} IS NOT TRUE"), "TRUE"),
            "int2" | "int4" | "int8" | "numeric" => (format!("({sent} <> 0) IS NOT TRUE"), "1"),
            _ => return Err(no_flag(config, roles.sent)),
        };
        let key = format!("t.{}", quote(&roles.key.name));
        let key_is_int = is_int(roles.key);
        let kind = if key_is_int { "int8" } else { &roles.key.full_kind };
        let (one, many) = match key_is_int {
            true => ("$1".to_owned(), "$1".to_owned()),
            false => (format!("CAST($1::text AS {kind})"), format!("CAST($1::text[] AS {kind}[])")),
        };
        let created_at = roles.created_at.map_or("NULL::text".to_owned(), text);
        let content = format!("{}, {}, {created_at}", shown(roles.key), text(roles.message));
        let id = match roles.id_is_key() {
            true => String::new(),
            false => format!(", {}", shown(roles.id)),
        };
        let scan = |more: &str, limit: u8| {
            format!(
                "SELECT {content}{id} FROM {table} AS t WHERE {unsent}{more} \
                 ORDER BY {key} LIMIT ${limit}"
            )
        };
        let prints =
            format!("SELECT {content} FROM {table} AS t WHERE {key} = ANY({many}) ORDER BY {key}");
        let found = Self {
            id_is_unique: roles.id_is_unique(),
            id_in_scan: !roles.id_is_key(),
            key_is_int,
            scan_first: scan("", 1),
            scan_next: scan(&format!(" AND {key} > {one}"), 2),
            prints_locked: format!("{prints} FOR UPDATE OF t"),
            prints,
            set: format!(
                "UPDATE {table} AS t SET {} = {mark} WHERE {unsent} AND {key} = ANY({many})",
                quote(&roles.sent.name)
            ),
        };
        // Explaining finds what cannot be read or marked, without doing it.
        for statement in [
            format!("SELECT {content}{id} FROM {table} AS t WHERE {unsent} FOR UPDATE OF t"),
            format!("UPDATE {table} AS t SET {} = {mark}", quote(&roles.sent.name)),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
            query(explain)
                .fetch_all(&mut *conn)
                .await
                .map_err(|e| fault(e).with("table", config.table()))?;
        }
        Ok(found)
    }
}

/// Returns the table's number, and its name as it is written in a statement.
async fn find_table(conn: &mut PgConnection, wanted: &str) -> Result<(i64, String)> {
    let sql = "SELECT c.oid::int8, c.relkind::text, n.nspname::text, c.relname::text \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE lower(c.relname) = lower($1) AND c.relkind IN ('r', 'p', 'f', 'v', 'm') \
               AND CASE WHEN $2::text IS NULL THEN pg_table_is_visible(c.oid) \
               ELSE lower(n.nspname) = lower($2) END \
               ORDER BY c.relname = $1 DESC, n.nspname = coalesce($2, n.nspname) DESC LIMIT 1";
    for (schema, name) in places(wanted) {
        let found: Option<(i64, String, String, String)> = query_as(sql)
            .bind(name)
            .bind(schema)
            .fetch_optional(&mut *conn)
            .await
            .map_err(fault)?;
        match found {
            Some((_, kind, ..)) if kind == "v" || kind == "m" => return Err(a_view(wanted)),
            Some((oid, _, schema, name)) => {
                return Ok((oid, format!("{}.{}", quote(&schema), quote(&name))));
            }
            None => {}
        }
    }
    let sql = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.' END \
               || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' \
               AND n.nspname NOT LIKE 'pg\\_%' LIMIT 1000";
    let names: Vec<String> = query_scalar(sql).fetch_all(conn).await.map_err(fault)?;
    Err(no_table(wanted, names.iter().map(String::as_str)))
}

async fn columns(conn: &mut PgConnection, oid: i64) -> Result<Vec<Column>> {
    let sql = "SELECT a.attname::text, coalesce(b.typname, t.typname)::text, \
               format_type(coalesce(b.oid, t.oid), -1), a.attnotnull, \
               coalesce((SELECT max(CASE WHEN i.indisprimary THEN 2 ELSE 1 END) FROM pg_index i \
               WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid \
               AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum), 0) \
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
               LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype \
               WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped \
               ORDER BY a.attnum";
    let rows: Vec<(String, String, String, bool, i32)> =
        query_as(sql).bind(oid).fetch_all(conn).await.map_err(fault)?;
    let column = |(name, kind, full_kind, not_null, unique): (_, _, _, bool, i32)| Column {
        name,
        kind,
        full_kind,
        nullable: !not_null,
        unique: unique as u8,
    };
    Ok(rows.into_iter().map(column).collect())
}

fn is_int(column: &Column) -> bool {
    matches!(column.kind.as_str(), "int2" | "int4" | "int8")
}

/// Writes a column that names rows: as a number, or as text.
fn shown(column: &Column) -> String {
    let kind = if is_int(column) { "int8" } else { "text" };
    format!("t.{}::{kind}", quote(&column.name))
}

/// Writes a column as the bytes it stands for: those of its text, also of JSON, or its own.
fn text(column: &Column) -> String {
    let name = quote(&column.name);
    if column.kind == "bytea" { format!("t.{name}") } else { format!("t.{name}::text") }
}

/// Makes a name an identifier, whatever it holds.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
