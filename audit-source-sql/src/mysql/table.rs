use audit_core::{Error, ErrorKind, Result};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row, query};

use super::link::MySqlLink;
use crate::config::SqlConfig;
use crate::server::Link;
use crate::server::fault::mysql as fault;
use crate::server::table::{Column, Roles, a_view, no_flag, no_table, places};

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
    pub(super) id_is_unique: bool,
    pub(super) key: Kind,
    /// How a scan returns the id column, as its fourth; `None`: the id is the key.
    pub(super) id: Option<Kind>,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) prints: String,
    pub(super) prints_locked: String,
    pub(super) set: String,
}

impl Table {
    pub(super) async fn find(conn: &mut MySqlConnection, config: &SqlConfig) -> Result<Self> {
        let (schema, name) = find_table(conn, config.table()).await?;
        let columns = columns(conn, &schema, &name).await?;
        let roles = Roles::find(&columns, config)?;
        let table = format!("{}.{}", quote(&schema), quote(&name));
        let sent = quote(&roles.sent.name);
        let numbers = ["tinyint", "smallint", "mediumint", "int", "bigint", "bit", "decimal"];
        if !numbers.contains(&roles.sent.kind.as_str()) {
            return Err(no_flag(config, roles.sent));
        }
        // `IS NOT TRUE` says the same, but no index is searched for it.
        let unsent = match roles.sent.nullable {
            true => format!("({sent} = 0 OR {sent} IS NULL)"),
            false => format!("{sent} = 0"),
        };
        let Some((kind, key_shown)) = kind(roles.key) else {
            return Err(Error::new(ErrorKind::Config, "no key can be of this type")
                .with("table", config.table())
                .with("column", &roles.key.name)
                .with("type", &roles.key.full_kind)
                .with_hint("keys are whole numbers, texts, binary strings and UUIDs"));
        };
        let key = quote(&roles.key.name);
        let (id, id_shown) = match roles.id_is_key() {
            true => (None, String::new()),
            false => {
                let (id, shown) = self::kind(roles.id)
                    .unwrap_or((Kind::Text, format!("CAST({} AS CHAR)", quote(&roles.id.name))));
                (Some(id), format!(", {shown}"))
            }
        };
        let message = match roles.message.kind.as_str() {
            kind if is_text(kind) || is_blob(kind) || kind == "json" => quote(&roles.message.name),
            _ => format!("CAST({} AS CHAR)", quote(&roles.message.name)),
        };
        let created_at = roles
            .created_at
            .map_or("NULL".to_owned(), |column| format!("CAST({} AS CHAR)", quote(&column.name)));
        let content = format!("{key_shown}, {message}, {created_at}");
        let scan = |more: &str| {
            format!(
                "SELECT {content}{id_shown} FROM {table} WHERE {unsent}{more} \
                 ORDER BY {table}.{key} LIMIT ?"
            )
        };
        let marks = vec!["?"; MySqlLink::KEYS].join(", ");
        let prints = format!(
            "SELECT {content} FROM {table} WHERE {key} IN ({marks}) ORDER BY {table}.{key}"
        );
        // Explaining finds what cannot be read or marked, without doing it.
        for statement in [
            format!("SELECT {content}{id_shown} FROM {table} WHERE {unsent} FOR UPDATE"),
            format!("UPDATE {table} SET {sent} = 1 WHERE {unsent}"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN {statement}"));
            sqlx::raw_sql(explain)
                .fetch_all(&mut *conn)
                .await
                .map_err(|e| fault(e).with("table", config.table()))?;
        }
        Ok(Self {
            id_is_unique: roles.id_is_unique(),
            key: kind,
            id,
            scan_first: scan(""),
            scan_next: scan(&format!(" AND {key} > ?")),
            prints_locked: format!("{prints} FOR UPDATE"),
            prints,
            set: format!("UPDATE {table} SET {sent} = 1 WHERE {unsent} AND {key} IN ({marks})"),
        })
    }
}

/// Returns schema and name, as the database has them.
async fn find_table(conn: &mut MySqlConnection, wanted: &str) -> Result<(String, String)> {
    let sql = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
               WHERE table_schema = coalesce(?, DATABASE()) AND lower(table_name) = lower(?) \
               ORDER BY BINARY table_name = ? DESC LIMIT 1";
    for (schema, name) in places(wanted) {
        let found = query(sql).bind(schema).bind(name).bind(name);
        let Some(row) = found.fetch_optional(&mut *conn).await.map_err(fault)? else { continue };
        if text(&row, 2)?.contains("VIEW") {
            return Err(a_view(wanted));
        }
        return Ok((text(&row, 0)?, text(&row, 1)?));
    }
    let sql = "SELECT table_name FROM information_schema.tables \
               WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' LIMIT 1000";
    let rows = query(sql).fetch_all(conn).await.map_err(fault)?;
    let names: Vec<_> = rows.iter().map(|row| text(row, 0)).collect::<Result<_>>()?;
    Err(no_table(wanted, names.iter().map(String::as_str)))
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
fn kind(column: &Column) -> Option<(Kind, String)> {
    let name = quote(&column.name);
    Some(match column.kind.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            if column.full_kind.contains("unsigned") {
                (Kind::Unsigned, format!("CAST({name} AS UNSIGNED)"))
            } else {
                (Kind::Int, format!("CAST({name} AS SIGNED)"))
            }
        }
        kind if is_text(kind) => (Kind::Text, name),
        kind if is_blob(kind) => (Kind::Blob, name),
        "uuid" => (Kind::Text, format!("CAST({name} AS CHAR)")),
        _ => return None,
    })
}

fn is_text(kind: &str) -> bool {
    kind.ends_with("text") || matches!(kind, "char" | "varchar")
}

fn is_blob(kind: &str) -> bool {
    kind.ends_with("blob") || matches!(kind, "binary" | "varbinary")
}

/// Makes a name an identifier, whatever it holds.
fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
