use audit_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension};

use crate::config::SqlConfig;
use crate::error::{near, sqlite};

/// How many keys a list statement takes.
pub(super) const LIST: usize = 256;

/// The table as found, and every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) id_is_unique: bool,
    /// Whether a scan returns the id column, as its fourth; else the id is the key.
    pub(super) id_in_scan: bool,
    pub(super) uses_index: bool,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) prints_run: String,
    pub(super) prints_list: String,
    pub(super) mark_run: String,
    pub(super) mark_list: String,
    /// About how many rows there are.
    pub(super) size: String,
    /// The index that would help, if one can.
    pub(super) index: Option<String>,
}

struct Column {
    name: String,
    kind: String,
    primary: i64,
}

impl Table {
    /// Finds table and columns, under the names they really have.
    pub(super) fn find(conn: &Connection, config: &SqlConfig) -> Result<Self> {
        let (schema, name, without_rowid) = find_table(conn, config.table())?;
        let columns = columns(conn, &schema, &name)?;
        let find = |wanted: &str| columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted));
        let need = |option: &'static str, wanted: &str| {
            find(wanted).map(|column| column.name.as_str()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "the table has no such column")
                    .with("table", config.table())
                    .with("column", wanted)
                    .with_hint(format!(
                        "set `{option}` to one of its columns: {}",
                        near(wanted, columns.iter().map(|c| c.name.as_str()))
                    ))
            })
        };
        let id = need("id_column", &config.id_column)?;
        let sent = need("sent_column", &config.sent_column)?;
        let message = need("message_column", &config.message_column)?;
        let created_at = match &config.created_at_column {
            Some(wanted) => Some(need("created_at_column", wanted)?),
            None => find("created_at").map(|column| column.name.as_str()),
        };
        let key = find_key(conn, config, &schema, &name, &columns, without_rowid)?;
        let id_is_key = key.column.is_some_and(|column| column == id);
        let id_is_unique = id_is_key || is_unique(conn, &schema, &name, id)?;

        let table = format!("{}.{}", quote(&schema), quote(&name));
        let (key, key_column) = (key.expression, key.column);
        let unsent = format!("{} IS NOT TRUE", quote(sent));
        let message = quote(message);
        let created_at = created_at.map_or_else(|| "NULL".to_owned(), quote);
        let id_part = if id_is_key { String::new() } else { format!(", {}", quote(id)) };
        let marks = vec!["?"; LIST].join(", ");
        let scan = |hint: &str, more: &str| {
            format!(
                "SELECT {key}, {message}, {created_at}{id_part} FROM {table}{hint} \
                 WHERE {unsent}{more} ORDER BY {key}"
            )
        };
        let behind = format!(" AND {key} > ?1");
        // An index that would have to be sorted for each batch is worse than none.
        let plan = plan(conn, &scan("", &behind))?;
        let hint = if plan.contains("TEMP B-TREE") { " NOT INDEXED" } else { "" };
        let prints = format!("SELECT {key}, {message}, {created_at} FROM {table} WHERE {key}");
        // OR FAIL spares SQLite a journal of each statement: a failed one ends the transaction anyway.
        let mark =
            format!("UPDATE OR FAIL {table} SET {} = 1 WHERE {unsent} AND {key}", quote(sent));
        Ok(Self {
            id_is_unique,
            id_in_scan: !id_is_key,
            uses_index: hint.is_empty() && plan.contains("INDEX"),
            scan_first: scan(hint, ""),
            scan_next: scan(hint, &behind),
            prints_run: format!("{prints} BETWEEN ?1 AND ?2"),
            prints_list: format!("{prints} IN ({marks})"),
            mark_run: format!("{mark} BETWEEN ?1 AND ?2"),
            mark_list: format!("{mark} IN ({marks})"),
            size: match without_rowid {
                true => format!("SELECT count(*) FROM {table}"),
                false => format!("SELECT coalesce(max({key}), 0) FROM {table}"),
            },
            // Only an index in the order of the keys helps, and the rowid cannot be indexed.
            index: key_column.map(|column| {
                let index = quote(&format!("{name}_unsent"));
                format!(
                    "CREATE INDEX {index} ON {} ({}) WHERE {unsent}",
                    quote(&name),
                    quote(column)
                )
            }),
            name,
        })
    }

    /// Returns every statement that will be run.
    pub(super) fn statements(&self) -> [&str; 6] {
        [
            &self.scan_first,
            &self.scan_next,
            &self.prints_run,
            &self.prints_list,
            &self.mark_run,
            &self.mark_list,
        ]
    }
}

/// Returns schema, name and whether it is a table WITHOUT ROWID. A name with a dot is first looked
/// for as it stands, then as `schema.table`.
fn find_table(conn: &Connection, wanted: &str) -> Result<(String, String, bool)> {
    let sql = "SELECT schema, name, type, wr FROM pragma_table_list \
               WHERE name = ?1 COLLATE NOCASE AND (?2 IS NULL OR schema = ?2 COLLATE NOCASE) \
               ORDER BY schema = 'main' DESC, name = ?1 DESC LIMIT 1";
    let mut places = vec![(None, wanted)];
    if let Some((schema, name)) = wanted.split_once('.') {
        places.push((Some(schema), name));
    }
    for (schema, name) in places {
        let found = conn
            .query_row(sql, (name, schema), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?))
            })
            .optional()
            .map_err(sqlite)?;
        match found {
            Some((_, _, kind, _)) if kind == "view" => {
                return Err(Error::new(ErrorKind::Config, "it is a view: rows cannot be marked")
                    .with("table", wanted)
                    .with_hint("set `table` to the table behind the view"));
            }
            Some((schema, name, _, without_rowid)) => return Ok((schema, name, without_rowid)),
            None => {}
        }
    }
    let sql = "SELECT name FROM pragma_table_list WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut statement = conn.prepare(sql).map_err(sqlite)?;
    let names = statement.query_map([], |row| row.get(0)).map_err(sqlite)?;
    let names: Vec<String> = names.collect::<rusqlite::Result<_>>().map_err(sqlite)?;
    let hint = if names.is_empty() {
        "the database has no tables: is it the right file?".to_owned()
    } else {
        format!("set `table` to one of: {}", near(wanted, names.iter().map(String::as_str)))
    };
    Err(Error::new(ErrorKind::Config, "there is no such table")
        .with("table", wanted)
        .with_hint(hint))
}

fn columns(conn: &Connection, schema: &str, table: &str) -> Result<Vec<Column>> {
    let sql = "SELECT name, type, pk FROM pragma_table_xinfo(?1, ?2)";
    let mut statement = conn.prepare(sql).map_err(sqlite)?;
    let columns = statement
        .query_map((table, schema), |row| {
            Ok(Column { name: row.get(0)?, kind: row.get(1)?, primary: row.get(2)? })
        })
        .map_err(sqlite)?;
    columns.collect::<rusqlite::Result<_>>().map_err(sqlite)
}

struct TableKey<'a> {
    expression: String,
    column: Option<&'a str>,
}

/// Finds what orders the table: the rowid, by the name of the column it may have, or the primary
/// key of a table that has no rowid.
fn find_key<'a>(
    conn: &Connection,
    config: &SqlConfig,
    schema: &str,
    table: &str,
    columns: &'a [Column],
    without_rowid: bool,
) -> Result<TableKey<'a>> {
    let mut primary = columns.iter().filter(|column| column.primary > 0);
    let single = primary.next().filter(|_| primary.next().is_none());
    let refuse = |what: &str, hint: &str| {
        Err(Error::new(ErrorKind::Config, what).with("table", config.table()).with_hint(hint))
    };
    let of_column = |column: &'a Column| {
        Ok(TableKey { expression: quote(&column.name), column: Some(column.name.as_str()) })
    };
    if without_rowid {
        return match single {
            Some(column) => of_column(column),
            None => refuse(
                "a table WITHOUT ROWID and with a primary key of several columns cannot be read",
                "make it a table with rowids",
            ),
        };
    }
    // INTEGER PRIMARY KEY is the rowid itself, unless it has an index of its own (the DESC quirk).
    let sql = "SELECT count(*) FROM pragma_index_list(?1, ?2) WHERE origin = 'pk'";
    let indexed: i64 = conn.query_row(sql, (table, schema), |row| row.get(0)).map_err(sqlite)?;
    if let Some(column) = single
        && column.kind.eq_ignore_ascii_case("INTEGER")
        && indexed == 0
    {
        return of_column(column);
    }
    let taken = |name: &&&str| columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    match ["rowid", "_rowid_", "oid"].iter().find(|name| !taken(name)) {
        Some(name) => Ok(TableKey { expression: (*name).to_owned(), column: None }),
        None => refuse(
            "columns hide the table's rowid under all of its names",
            "rename one of the columns `rowid`, `_rowid_`, `oid`",
        ),
    }
}

fn is_unique(conn: &Connection, schema: &str, table: &str, column: &str) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1, ?2) AS l \
               JOIN pragma_index_info(l.name, ?2) AS i \
               WHERE l.\"unique\" AND NOT l.partial GROUP BY l.name \
               HAVING count(*) = 1 AND max(i.name) = ?3 COLLATE NOCASE)";
    conn.query_row(sql, (table, schema, column), |row| row.get(0)).map_err(sqlite)
}

fn plan(conn: &Connection, sql: &str) -> Result<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).map_err(sqlite)?;
    let lines = statement.query_map([0], |row| row.get::<_, String>(3)).map_err(sqlite)?;
    let lines: Vec<_> = lines.collect::<rusqlite::Result<_>>().map_err(sqlite)?;
    Ok(lines.join("; "))
}

/// Makes a name an identifier, whatever it holds.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
