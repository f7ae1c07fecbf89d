use audit_core::{Error, ErrorKind, Result};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row, query};

use super::link::MySqlLink;
use crate::client::Facts;
use crate::config::{Layout, Mode, SqlConfig};
use crate::layout::{ADDITIONAL, Columns, Dialect, Found, Written, if_there};
use crate::row::Widths;
use crate::server::Link;
use crate::server::fault::mysql as fault;
use crate::server::table::{Column, Roles, a_view, no_flag, no_json, no_keyset, no_table, places};

/// How a column that names rows is read, and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Unsigned,
    Text,
    Blob,
}

/// The table as found, and every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    /// As it was asked for.
    pub(super) name: String,
    pub(super) facts: Facts,
    pub(super) widths: Widths,
    pub(super) key: Kind,
    id: Kind,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) prints: String,
    pub(super) prints_locked: String,
    /// What keeps the rows of a statement from others.
    pub(super) lock: &'static str,
    pub(super) set: String,
    pub(super) clear: Option<Clear>,
    pub(super) keyset: Option<Keyset>,
}

/// The statements that read rows by their keys alone.
#[derive(Debug)]
pub(super) struct Keyset {
    pub(super) scan: String,
    pub(super) keys: String,
    pub(super) edge: String,
}

/// The statements that delete old rows.
#[derive(Debug)]
pub(super) struct Clear {
    pub(super) stale_first: String,
    pub(super) stale_next: String,
    pub(super) delete: String,
}

impl Table {
    pub(super) async fn find(conn: &mut MySqlConnection, config: &SqlConfig) -> Result<Self> {
        let (schema, name) = find_table(conn, "table", config.table()).await?;
        let columns = columns(conn, &schema, &name).await?;
        let roles = Roles::find(&columns, config)?;
        let table = format!("{}.{}", quote(&schema), quote(&name));
        let written = match config.layout {
            Layout::AuditTable => audit_table(&roles, config)?,
            Layout::DjangoAuditlog => django(conn, &schema, &roles, config).await?,
        };
        let Key { kind, shown: key_shown, key } = match roles.key {
            Some(key) => Key::of(key, config)?,
            None => Key::of_content(roles.id, &written),
        };
        let (id, id_shown) = match roles.id_is_key() {
            true => (kind, String::new()),
            false => {
                let (id, shown) =
                    self::kind(roles.id).unwrap_or_else(|| (Kind::Text, char(&column(roles.id))));
                (id, format!(", {shown}"))
            }
        };
        let (content, all) = (written.content(), written.columns());
        let Written { unsent, mark, made, .. } = &written;
        let scan = |more: &str| {
            format!(
                "SELECT {key_shown}, {all}{id_shown} FROM {table} AS t WHERE {unsent}{more} \
                 ORDER BY {key} LIMIT ?"
            )
        };
        let marks = vec!["?"; MySqlLink::KEYS].join(", ");
        let prints = |only: &str| {
            format!(
                "SELECT {key_shown}, {content} FROM {table} AS t WHERE {only}{key} IN ({marks}) \
                 ORDER BY {key}"
            )
        };
        // Without a key every row is searched: those that are marked need no second look.
        let only = if roles.key.is_none() { format!("{unsent} AND ") } else { String::new() };
        let clear = made.as_ref().map(|made| {
            let old = format!("NOT ({unsent}) AND {made} < CAST(? AS DATETIME(6))");
            let stale = |more: &str| {
                format!(
                    "SELECT {key_shown} FROM {table} AS t WHERE {old}{more} ORDER BY {key} LIMIT ?"
                )
            };
            Clear {
                stale_first: stale(""),
                stale_next: stale(&format!(" AND {key} > ?")),
                delete: format!("DELETE t FROM {table} AS t WHERE {old} AND {key} IN ({marks})"),
            }
        });
        let keyset = match config.mode {
            Mode::Flag => None,
            Mode::Keyset => {
                if roles.key.is_none() || !matches!(kind, Kind::Int | Kind::Unsigned) {
                    return Err(no_keyset(
                        config,
                        "on MySQL and MariaDB it needs an AUTO_INCREMENT primary key",
                    ));
                }
                Some(Keyset {
                    scan: scan(&format!(" AND {key} > ? AND {key} <= ?")),
                    keys: format!(
                        "SELECT {key_shown} FROM {table} AS t WHERE {key} BETWEEN ? AND ? \
                         ORDER BY {key}"
                    ),
                    // `max` of what is shown would read the whole index.
                    edge: format!(
                        "SELECT {key_shown} FROM {table} AS t ORDER BY {key} DESC LIMIT 1"
                    ),
                })
            }
        };
        let lock = match (config.mode, config.claim) {
            (Mode::Keyset, _) => "",
            (_, true) => " FOR UPDATE SKIP LOCKED",
            (_, false) => " FOR UPDATE",
        };
        let flags = usize::from(config.mode == Mode::Flag);
        // Explaining finds what cannot be read or marked, without doing it.
        for statement in [
            format!("SELECT {key_shown}, {all}{id_shown} FROM {table} AS t WHERE {unsent}{lock}"),
            format!("UPDATE {table} AS t SET {mark} WHERE {unsent}"),
        ]
        .into_iter()
        .take(1 + flags)
        {
            let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
            sqlx::raw_sql(explain)
                .fetch_all(&mut *conn)
                .await
                .map_err(|e| fault(e).with("table", config.table()))?;
        }
        Ok(Self {
            name: config.table().to_owned(),
            facts: roles.facts(),
            widths: written.widths(!roles.id_is_key()),
            key: kind,
            id,
            scan_first: scan(""),
            scan_next: scan(&format!(" AND {key} > ?")),
            prints_locked: format!("{}{lock}", prints(&only)),
            prints: prints(""),
            lock,
            clear,
            keyset,
            set: format!("UPDATE {table} AS t SET {mark} WHERE {unsent} AND {key} IN ({marks})"),
        })
    }

    /// Returns how a column of a scan is read.
    pub(super) fn kind(&self, at: usize) -> Kind {
        match at.checked_sub(1) {
            None => self.key,
            Some(before) if before == self.widths.content + self.widths.others => self.id,
            Some(_) => Kind::Text,
        }
    }
}

/// What names rows.
struct Key {
    kind: Kind,
    /// How it is written to be read, and to be searched for.
    shown: String,
    key: String,
}

impl Key {
    fn of(key: &Column, config: &SqlConfig) -> Result<Self> {
        let Some((kind, shown)) = kind(key) else {
            return Err(Error::new(ErrorKind::Config, "no key can be of this type")
                .with("table", config.table())
                .with("column", &key.name)
                .with("type", &key.full_kind)
                .with_hint("keys are whole numbers, texts, binary strings and UUIDs"));
        };
        Ok(Self { kind, shown, key: column(key) })
    }

    /// A table without a key: rows are named by all that they hold, about in the order of their ids.
    fn of_content(id: &Column, written: &Written) -> Self {
        let id_text = char(&column(id));
        let order = match kind(id) {
            Some((Kind::Int | Kind::Unsigned, _)) => {
                format!("LPAD(COALESCE({id_text}, ''), 20, '0'), '-', ")
            }
            _ => String::new(),
        };
        // Hashes of hashes: a long text of texts would be NULL. A dash is none of them.
        let hashes = std::iter::once(&id_text).chain(&written.content);
        let hashes = hashes.map(|part| format!("COALESCE(SHA2({part}, 256), '-')"));
        let hashes = hashes.collect::<Vec<_>>().join(", ");
        let key = format!("CONCAT({order}SHA2(CONCAT({hashes}), 256))");
        Self { kind: Kind::Text, shown: key.clone(), key }
    }
}

fn audit_table(roles: &Roles<'_>, config: &SqlConfig) -> Result<Written> {
    let (unsent, mark) = match config.mode {
        Mode::Flag => flag(roles, config)?,
        Mode::Keyset => Written::unmarked(),
    };
    let message = roles.need("message_column", &config.message_column)?;
    let message = match message.kind.as_str() {
        kind if is_text(kind) || is_blob(kind) || kind == "json" => column(message),
        _ => char(&column(message)),
    };
    let made = roles.created_at()?;
    let created_at = made.map_or("NULL".to_owned(), |made| char(&column(made)));
    Ok(Written {
        content: vec![message, created_at],
        others: Vec::new(),
        unsent,
        mark,
        made: made.and_then(instant),
    })
}

fn flag(roles: &Roles<'_>, config: &SqlConfig) -> Result<(String, String)> {
    let flag = roles.need("sent_column", &config.sent_column)?;
    let sent = column(flag);
    let numbers = ["tinyint", "smallint", "mediumint", "int", "bigint", "bit", "decimal"];
    if !numbers.contains(&flag.kind.as_str()) {
        return Err(no_flag(config, flag));
    }
    // `IS NOT TRUE` says the same, but no index is searched for it.
    let unsent = match flag.nullable {
        true => format!("({sent} = 0 OR {sent} IS NULL)"),
        false => format!("{sent} = 0"),
    };
    Ok((unsent, format!("{sent} = 1")))
}

/// The flag is a key of an object; what is no object is kept in a new one.
async fn django(
    conn: &mut MySqlConnection,
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
    let dialect = Dialect { quote, text: char };
    let entry = roles.names();
    let columns = Columns::of_django(dialect, config, &entry, user, content_type)?;
    if config.mode == Mode::Keyset {
        return Ok(columns.unmarked());
    }
    let additional = roles.need("layout", ADDITIONAL)?;
    if !is_text(&additional.kind) && additional.kind != "json" {
        return Err(no_json(config, additional, "JSON"));
    }
    let old = column(additional);
    // MariaDB keeps JSON as text, and its boolean literals are numbers elsewhere.
    let sent = format!("CASE WHEN JSON_VALID({old}) THEN JSON_EXTRACT({old}, '$.is_sent') END");
    let yes = "JSON_EXTRACT('true', '$')";
    let mark = format!(
        "{old} = CASE \
         WHEN {old} IS NULL THEN JSON_OBJECT('is_sent', {yes}) \
         WHEN NOT JSON_VALID({old}) THEN JSON_OBJECT('is_sent', {yes}, '{ADDITIONAL}', {old}) \
         WHEN JSON_TYPE({old}) = 'OBJECT' THEN JSON_SET({old}, '$.is_sent', {yes}) \
         WHEN JSON_TYPE({old}) = 'NULL' THEN JSON_OBJECT('is_sent', {yes}) \
         ELSE JSON_OBJECT('is_sent', {yes}, '{ADDITIONAL}', JSON_EXTRACT({old}, '$')) END"
    );
    let unsent = format!("NOT ({} <=> 'true')", char(&sent));
    let made = instant(roles.need("layout", "timestamp")?);
    Ok(Written { content: columns.content, others: columns.others, unsent, mark, made })
}

/// Finds a table of the same application.
async fn find_beside(
    conn: &mut MySqlConnection,
    schema: &str,
    option: &'static str,
    wanted: &str,
) -> Result<Found> {
    let here = find_table(conn, option, &format!("{schema}.{wanted}")).await;
    let (schema, name) = match if_there(here)? {
        Some(found) => found,
        None => find_table(conn, option, wanted).await?,
    };
    let columns = columns(conn, &schema, &name).await?;
    Ok(Found::of(format!("{}.{}", quote(&schema), quote(&name)), &columns))
}

/// Returns schema and name, as the database has them.
async fn find_table(
    conn: &mut MySqlConnection,
    option: &'static str,
    wanted: &str,
) -> Result<(String, String)> {
    let sql = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
               WHERE table_schema = coalesce(?, DATABASE()) AND lower(table_name) = lower(?) \
               ORDER BY BINARY table_name = ? DESC LIMIT 1";
    for (schema, name) in places(wanted) {
        let found = query(sql).bind(schema).bind(name).bind(name);
        let Some(row) = found.fetch_optional(&mut *conn).await.map_err(fault)? else { continue };
        if text(&row, 2)?.contains("VIEW") {
            return Err(a_view(option, wanted));
        }
        return Ok((text(&row, 0)?, text(&row, 1)?));
    }
    let sql = "SELECT table_name FROM information_schema.tables \
               WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' LIMIT 1000";
    let rows = query(sql).fetch_all(conn).await.map_err(fault)?;
    let names: Vec<_> = rows.iter().map(|row| text(row, 0)).collect::<Result<_>>()?;
    Err(no_table(option, wanted, names.iter().map(String::as_str)))
}

async fn columns(conn: &mut MySqlConnection, schema: &str, table: &str) -> Result<Vec<Column>> {
    let sql = "SELECT index_name, max(column_name) FROM information_schema.statistics \
               WHERE table_schema = ? AND table_name = ? AND non_unique = 0 \
               GROUP BY index_name HAVING count(*) = 1";
    let rows = query(sql).bind(schema).bind(table).fetch_all(&mut *conn).await.map_err(fault)?;
    let unique: Vec<_> =
        rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect::<Result<_>>()?;
    let sql = "SELECT column_name, lower(data_type), lower(column_type), is_nullable \
               FROM information_schema.columns WHERE table_schema = ? AND table_name = ? \
               ORDER BY ordinal_position";
    let rows = query(sql).bind(schema).bind(table).fetch_all(conn).await.map_err(fault)?;
    let column = |row: &MySqlRow| {
        let name = text(row, 0)?;
        let of_it = unique.iter().filter(|(_, column)| *column == name);
        let unique = of_it.map(|(index, _)| if index == "PRIMARY" { 2 } else { 1 }).max();
        Ok(Column {
            name,
            kind: text(row, 1)?,
            full_kind: text(row, 2)?,
            nullable: text(row, 3)? != "NO",
            unique: unique.unwrap_or_default(),
        })
    };
    rows.iter().map(column).collect()
}

/// Reads text of the catalogue, which some versions call binary.
fn text(row: &MySqlRow, at: usize) -> Result<String> {
    let bytes: Option<&[u8]> = row.try_get_unchecked(at).map_err(fault)?;
    Ok(String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned())
}

/// Returns how a column names rows, and how it is written to be read.
fn kind(of: &Column) -> Option<(Kind, String)> {
    let name = column(of);
    Some(match of.kind.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            if of.full_kind.contains("unsigned") {
                (Kind::Unsigned, format!("CAST({name} AS UNSIGNED)"))
            } else {
                (Kind::Int, format!("CAST({name} AS SIGNED)"))
            }
        }
        kind if is_text(kind) => (Kind::Text, name),
        kind if is_blob(kind) => (Kind::Blob, name),
        "uuid" => (Kind::Text, char(&name)),
        _ => return None,
    })
}

fn is_text(kind: &str) -> bool {
    kind.ends_with("text") || matches!(kind, "char" | "varchar")
}

fn is_blob(kind: &str) -> bool {
    kind.ends_with("blob") || matches!(kind, "binary" | "varbinary")
}

/// Writes a column of a time as a point in time. A day has passed when it is over.
fn instant(of: &Column) -> Option<String> {
    match of.kind.as_str() {
        "datetime" | "timestamp" => Some(column(of)),
        "date" => Some(format!("({} + INTERVAL 1 DAY)", column(of))),
        _ => None,
    }
}

/// Writes a column.
fn column(column: &Column) -> String {
    format!("t.{}", quote(&column.name))
}

/// Writes a value as text.
fn char(value: &str) -> String {
    format!("CAST({value} AS CHAR)")
}

/// Makes a name an identifier, whatever it holds.
fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
