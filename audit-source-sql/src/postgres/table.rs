use audit_core::Result;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, query, query_as, query_scalar};

use crate::client::Facts;
use crate::config::{Layout, Mode, SqlConfig};
use crate::layout::{ADDITIONAL, Columns, Dialect, Found, Written, if_there};
use crate::row::Widths;
use crate::server::fault::postgres as fault;
use crate::server::table::{Column, Roles, a_view, no_flag, no_json, no_keyset, no_table, places};

/// The table as found, and every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    /// As it was asked for.
    pub(super) name: String,
    pub(super) facts: Facts,
    pub(super) widths: Widths,
    pub(super) key_is_int: bool,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) prints: String,
    pub(super) prints_locked: String,
    /// What keeps the rows of a statement from others.
    pub(super) lock: &'static str,
    /// Marks rows whose versions are those that were read; nothing where rows have none.
    pub(super) set_as_read: Option<String>,
    pub(super) set: String,
    pub(super) clear: Option<Clear>,
    pub(super) born: Option<Born>,
}

/// The statements that read the rows of some transactions.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) first: String,
    pub(super) next: String,
}

/// The statements that delete old rows.
#[derive(Debug)]
pub(super) struct Clear {
    pub(super) stale_first: String,
    pub(super) stale_next: String,
    pub(super) delete: String,
}

impl Table {
    pub(super) async fn find(conn: &mut PgConnection, config: &SqlConfig) -> Result<Self> {
        let Place { oid, schema, table, has_versions } =
            find_table(conn, "table", config.table()).await?;
        let columns = columns(conn, oid, false).await?;
        let roles = Roles::find(&columns, config)?;
        let written = match config.layout {
            Layout::AuditTable => audit_table(&roles, config)?,
            Layout::DjangoAuditlog => django(conn, &schema, &roles, config).await?,
        };
        let Key { is_int: key_is_int, kind, shown: key_shown, key } = match roles.key {
            Some(key) => Key::of(key),
            None => Key::of_content(roles.id, &written),
        };
        let one = |n: u8| match key_is_int {
            true => format!("${n}"),
            false => format!("CAST(${n}::text AS {kind})"),
        };
        let many = |n: u8| match key_is_int {
            true => format!("${n}"),
            false => format!("CAST(${n}::text[] AS {kind}[])"),
        };
        let id = match roles.id_is_key() {
            true => String::new(),
            false => format!(", {}", shown(roles.id)),
        };
        // Rows that other senders keep are passed over, which an UPDATE cannot do.
        let has_versions =
            has_versions && roles.key.is_some() && config.mode == Mode::Flag && !config.claim;
        let version = if has_versions { ", t.ctid, t.xmin" } else { "" };
        let (content, all) = (written.content(), written.columns());
        let Written { unsent, mark, made, .. } = &written;
        let scan = |more: &str, limit: u8| {
            format!(
                "SELECT {key_shown}, {all}{id}{version} FROM {table} AS t WHERE {unsent}{more} \
                 ORDER BY {key} LIMIT ${limit}"
            )
        };
        let prints = |only: &str| {
            format!(
                "SELECT {key_shown}, {content} FROM {table} AS t WHERE {only}{key} = ANY({}) \
                 ORDER BY {key}",
                many(1)
            )
        };
        // Without a key every row is searched: those that are marked need no second look.
        let only = if roles.key.is_none() { format!("{unsent} AND ") } else { String::new() };
        let clear = made.as_ref().map(|made| {
            let old = format!("NOT ({unsent}) AND {made} < CAST($1::text AS timestamptz)");
            let stale = |more: &str| {
                format!(
                    "SELECT {key_shown} FROM {table} AS t WHERE {old}{more} ORDER BY {key} LIMIT $2"
                )
            };
            Clear {
                stale_first: stale(""),
                stale_next: stale(&format!(" AND {key} > {}", one(3))),
                delete: format!(
                    "DELETE FROM {table} AS t WHERE {old} AND {key} = ANY({})",
                    many(2)
                ),
            }
        });
        let born = match config.mode {
            Mode::Flag => None,
            Mode::Keyset => {
                can_be_told_apart(conn, config, oid, roles.key.is_some()).await?;
                Some(Born {
                    first: scan(&born(1), 3),
                    next: scan(&format!(" AND {key} > {}{}", one(1), born(2)), 4),
                })
            }
        };
        let lock = match (config.mode, config.claim) {
            (Mode::Keyset, _) => "",
            (_, true) => " FOR UPDATE OF t SKIP LOCKED",
            (_, false) => " FOR UPDATE OF t",
        };
        let marks = usize::from(config.mode == Mode::Flag);
        // Explaining finds what cannot be read or marked, without doing it.
        for statement in [
            format!("SELECT {key_shown}, {all}{id} FROM {table} AS t WHERE {unsent}{lock}"),
            format!("UPDATE {table} AS t SET {mark}"),
        ]
        .into_iter()
        .take(1 + marks)
        {
            let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
            query(explain)
                .fetch_all(&mut *conn)
                .await
                .map_err(|e| fault(e).with("table", config.table()))?;
        }
        Ok(Self {
            name: config.table().to_owned(),
            facts: roles.facts(),
            widths: written.widths(!roles.id_is_key()),
            key_is_int,
            scan_first: scan("", 1),
            scan_next: scan(&format!(" AND {key} > {}", one(1)), 2),
            prints_locked: format!("{}{lock}", prints(&only)),
            prints: prints(""),
            lock,
            set_as_read: has_versions.then(|| {
                format!(
                    "UPDATE {table} AS t SET {mark} \
                     FROM unnest({}, $2, $3) AS read(key, place, transaction) \
                     WHERE {key} = read.key AND t.ctid = read.place \
                     AND t.xmin = read.transaction AND {unsent}",
                    many(1)
                )
            }),
            set: format!(
                "UPDATE {table} AS t SET {mark} WHERE {unsent} AND {key} = ANY({})",
                many(1)
            ),
            clear,
            born,
        })
    }
}

/// Returns what holds for rows of transactions from `$n` up to, without it, `$n+1`.
///
/// A row has the lower 32 bits of its transaction's number, for good, also when it is frozen. From
/// the first of the transactions on, or from the last 2^32 on, they are told apart by it.
fn born(n: u8) -> String {
    let from = format!(
        "(SELECT greatest(${n}::int8, txid_snapshot_xmax(txid_current_snapshot()) - 4294967296))"
    );
    format!(" AND ((t.xmin::text::int8 - {from}) & 4294967295) < ${}::int8 - {from}", n + 1)
}

/// Refuses tables whose rows have no number of a transaction, or no key.
async fn can_be_told_apart(
    conn: &mut PgConnection,
    config: &SqlConfig,
    oid: i64,
    has_key: bool,
) -> Result<()> {
    if !has_key {
        return Err(no_keyset(config, "it needs a primary key of one column"));
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relkind = 'f' AND (oid = $1::int8::oid \
               OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::int8::oid)))";
    let foreign: bool = query_scalar(sql).bind(oid).fetch_one(conn).await.map_err(fault)?;
    if foreign {
        return Err(no_keyset(config, "it is a foreign table: read it where it is"));
    }
    Ok(())
}

/// What names rows.
struct Key {
    is_int: bool,
    /// The type as it is written in a statement.
    kind: String,
    /// How it is written to be read, and to be searched for.
    shown: String,
    key: String,
}

impl Key {
    fn of(key: &Column) -> Self {
        let is_int = is_int(key);
        let kind = if is_int { "int8".to_owned() } else { key.full_kind.clone() };
        Self { is_int, kind, shown: shown(key), key: format!("t.{}", quote(&key.name)) }
    }

    /// A table without a key: rows are named by all that they hold, about in the order of their ids.
    fn of_content(id: &Column, written: &Written) -> Self {
        let hash = |part: &str| format!("encode(sha256(textsend(({part})::text)), 'hex')");
        let id_text = text(id);
        let order = match is_int(id) {
            true => format!("lpad(coalesce({id_text}, ''), 20, '0') || '-' || "),
            false => String::new(),
        };
        // A dash is no hash.
        let hashes = std::iter::once(&id_text).chain(&written.content);
        let hashes = hashes.map(|part| format!("coalesce({}, '-')", hash(part)));
        let all = hash(&hashes.collect::<Vec<_>>().join(" || "));
        let key = format!("({order}{all}) COLLATE \"C\"");
        Self { is_int: false, kind: "text".to_owned(), shown: key.clone(), key }
    }
}

fn audit_table(roles: &Roles<'_>, config: &SqlConfig) -> Result<Written> {
    let (unsent, mark) = match config.mode {
        Mode::Flag => flag(roles, config)?,
        Mode::Keyset => Written::unmarked(),
    };
    let message = text(roles.need("message_column", &config.message_column)?);
    let made = roles.created_at()?;
    let created_at = made.map_or("NULL::text".to_owned(), text);
    Ok(Written {
        content: vec![message, created_at],
        others: Vec::new(),
        unsent,
        mark,
        made: made.and_then(instant),
    })
}

fn flag(roles: &Roles<'_>, config: &SqlConfig) -> Result<(String, String)> {
    let column = roles.need("sent_column", &config.sent_column)?;
    let name = quote(&column.name);
    let (unsent, mark) = match column.kind.as_str() {
        "bool" => (format!("t.{name} IS NOT TRUE"), "TRUE"),
        "int2" | "int4" | "int8" | "numeric" => (format!("(t.{name} <> 0) IS NOT TRUE"), "1"),
        _ => return Err(no_flag(config, column)),
    };
    Ok((unsent, format!("{name} = {mark}")))
}

/// The flag is a key of an object; what is no object is kept in a new one.
async fn django(
    conn: &mut PgConnection,
    schema: &str,
    roles: &Roles<'_>,
    config: &SqlConfig,
) -> Result<Written> {
    let user = match config.user_table.as_str() {
        "" => None,
        wanted => Some(find_beside(conn, schema, "user_table", wanted).await?),
    };
    let content_type = find_beside(conn, schema, "table", "django_content_type").await;
    let content_type = if_there(content_type)?;
    let dialect = Dialect { quote, text: |column| format!("{column}::text") };
    let entry = roles.names();
    let columns = Columns::of_django(dialect, config, &entry, user, content_type)?;
    if config.mode == Mode::Keyset {
        return Ok(columns.unmarked());
    }
    let column = roles.need("layout", ADDITIONAL)?;
    if column.kind != "jsonb" {
        // There is no comparing `json`, and it may hold what fails to become `jsonb`.
        return Err(no_json(config, column, "jsonb"));
    }
    let name = quote(&column.name);
    let (old, sent) = (format!("t.{name}"), r#"'{"is_sent": true}'::jsonb"#);
    let unsent = format!("({old} -> 'is_sent') IS DISTINCT FROM 'true'::jsonb");
    let mark = format!(
        "{name} = CASE coalesce(jsonb_typeof({old}), 'null') \
         WHEN 'object' THEN {old} || {sent} WHEN 'null' THEN {sent} \
         ELSE {sent} || jsonb_build_object('{ADDITIONAL}', {old}) END"
    );
    let made = instant(roles.need("layout", "timestamp")?);
    Ok(Written { content: columns.content, others: columns.others, unsent, mark, made })
}

/// Finds a table of the same application.
async fn find_beside(
    conn: &mut PgConnection,
    schema: &str,
    option: &'static str,
    wanted: &str,
) -> Result<Found> {
    let here = find_table(conn, option, &format!("{schema}.{wanted}")).await;
    let place = match if_there(here)? {
        Some(place) => place,
        None => find_table(conn, option, wanted).await?,
    };
    let columns = columns(conn, place.oid, true).await?;
    Ok(Found::of(place.table, &columns))
}

struct Place {
    oid: i64,
    schema: String,
    /// The name as it is written in a statement.
    table: String,
    /// Its rows are this server's own.
    has_versions: bool,
}

async fn find_table(conn: &mut PgConnection, option: &'static str, wanted: &str) -> Result<Place> {
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
            Some((_, kind, ..)) if kind == "v" || kind == "m" => {
                return Err(a_view(option, wanted));
            }
            Some((oid, kind, schema, name)) => {
                let table = format!("{}.{}", quote(&schema), quote(&name));
                let has_versions = kind != "f";
                return Ok(Place { oid, schema, table, has_versions });
            }
            None => {}
        }
    }
    let sql = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN '' ELSE n.nspname || '.' END \
               || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' \
               AND n.nspname NOT LIKE 'pg\\_%' LIMIT 1000";
    let names: Vec<String> = query_scalar(sql).fetch_all(conn).await.map_err(fault)?;
    Err(no_table(option, wanted, names.iter().map(String::as_str)))
}

/// Returns all columns, or those that may be read.
async fn columns(conn: &mut PgConnection, oid: i64, readable: bool) -> Result<Vec<Column>> {
    let sql = "SELECT a.attname::text, coalesce(b.typname, t.typname)::text, \
               format_type(coalesce(b.oid, t.oid), -1), a.attnotnull, \
               coalesce((SELECT max(CASE WHEN i.indisprimary THEN 2 ELSE 1 END) FROM pg_index i \
               WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid \
               AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum), 0) \
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
               LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype \
               WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped \
               AND (NOT $2 OR has_column_privilege(a.attrelid, a.attnum, 'SELECT')) \
               ORDER BY a.attnum";
    let rows: Vec<(String, String, String, bool, i32)> =
        query_as(sql).bind(oid).bind(readable).fetch_all(conn).await.map_err(fault)?;
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

/// Writes a column of a time as a point in time. A day has passed when it is over.
fn instant(column: &Column) -> Option<String> {
    let name = format!("t.{}", quote(&column.name));
    match column.kind.as_str() {
        "timestamptz" => Some(name),
        "timestamp" => Some(format!("({name} AT TIME ZONE 'UTC')")),
        "date" => Some(format!("(({name} + 1)::timestamp AT TIME ZONE 'UTC')")),
        _ => None,
    }
}

/// Makes a name an identifier, whatever it holds.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
