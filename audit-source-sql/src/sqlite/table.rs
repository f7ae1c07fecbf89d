use audit_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension};

use crate::client::Facts;
use crate::config::{Layout, Mode, SqlConfig};
use crate::error::{near, sqlite};
use crate::layout::{ADDITIONAL, Columns, Dialect, Found, Written, if_there};
use crate::row::Widths;

/// How many keys a list statement takes.
pub(super) const LIST: usize = 256;

/// The table as found, and every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) facts: Facts,
    pub(super) widths: Widths,
    pub(super) uses_index: bool,
    pub(super) scan_first: String,
    pub(super) scan_next: String,
    pub(super) keyset: Option<Keyset>,
    pub(super) prints_run: String,
    pub(super) prints_list: String,
    pub(super) mark_run: String,
    pub(super) mark_list: String,
    pub(super) clear: Option<Clear>,
    /// About how many rows there are.
    pub(super) size: String,
    /// The index that would help, if one can.
    pub(super) index: Option<String>,
}

/// The statements that delete old rows. Times have no type here: what they say is for us to read.
#[derive(Debug)]
pub(super) struct Clear {
    pub(super) stale_first: String,
    pub(super) stale_next: String,
    pub(super) time: String,
    pub(super) delete: String,
}

/// The statements that read rows by their keys alone.
#[derive(Debug)]
pub(super) struct Keyset {
    pub(super) scan: String,
    pub(super) keys: String,
    pub(super) edge: String,
}

struct Column {
    name: String,
    kind: String,
    primary: i64,
}

impl Table {
    /// Finds table and columns, under the names they really have.
    pub(super) fn find(conn: &Connection, config: &SqlConfig) -> Result<Self> {
        let Place { schema, name, without_rowid } = find_table(conn, "table", config.table())?;
        let columns = columns(conn, &schema, &name)?;
        let roles = Roles { config, columns: &columns };
        let id = roles.need("id_column", &config.id_column)?;
        let written = match config.layout {
            Layout::AuditTable => audit_table(&roles)?,
            Layout::DjangoAuditlog => django(conn, &schema, &roles)?,
        };
        let key = find_key(conn, config, &schema, &name, &columns, without_rowid)?;
        let id_is_key = key.column.is_some_and(|column| column == id);
        let id_is_unique = id_is_key || is_unique(conn, &schema, &name, id)?;

        let table = format!("{}.{}", quote(&schema), quote(&name));
        let (key, key_column) = (format!("t.{}", key.expression), key.column);
        let (content, all) = (written.content(), written.columns());
        let Written { unsent, mark, made, .. } = &written;
        let id_part = if id_is_key { String::new() } else { format!(", t.{}", quote(id)) };
        let marks = vec!["?"; LIST].join(", ");
        let scan = |hint: &str, more: &str| {
            format!(
                "SELECT {key}, {all}{id_part} FROM {table} AS t{hint} \
                 WHERE {unsent}{more} ORDER BY {key}"
            )
        };
        let behind = format!(" AND {key} > ?1");
        // An index that would have to be sorted for each batch is worse than none.
        let plan = plan(conn, &scan("", &behind))?;
        let hint = if plan.contains("TEMP B-TREE") { " NOT INDEXED" } else { "" };
        let prints = format!("SELECT {key}, {content} FROM {table} AS t WHERE {key}");
        let keyset = match config.mode {
            Mode::Flag => None,
            // Rowids that are no column may change.
            Mode::Keyset if key_column.is_none() => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "the table cannot be read in keyset mode",
                )
                .with("table", config.table())
                .with_hint("on SQLite it needs an INTEGER PRIMARY KEY"));
            }
            Mode::Keyset => Some(Keyset {
                scan: scan("", &format!(" AND {key} > ?1 AND {key} <= ?2")),
                keys: format!(
                    "SELECT {key} FROM {table} AS t WHERE {key} BETWEEN ?1 AND ?2 ORDER BY {key}"
                ),
                edge: format!("SELECT max({key}) FROM {table} AS t"),
            }),
        };
        let clear = made.as_ref().map(|made| {
            let sent = format!("FROM {table} AS t WHERE NOT ({unsent})");
            Clear {
                stale_first: format!("SELECT {key}, {made} {sent} ORDER BY {key}"),
                stale_next: format!("SELECT {key}, {made} {sent}{behind} ORDER BY {key}"),
                time: format!("SELECT {made} {sent} AND {key} = ?1"),
                delete: format!("DELETE FROM {table} AS t WHERE {key} = ?1"),
            }
        });
        // OR FAIL spares SQLite a journal of each statement: a failed one ends the transaction anyway.
        let mark = format!("UPDATE OR FAIL {table} AS t SET {mark} WHERE {unsent} AND {key}");
        Ok(Self {
            facts: Facts { id_is_unique, key_names_row: true },
            widths: written.widths(!id_is_key),
            uses_index: hint.is_empty() && plan.contains("INDEX"),
            scan_first: scan(hint, ""),
            scan_next: scan(hint, &behind),
            keyset,
            prints_run: format!("{prints} BETWEEN ?1 AND ?2"),
            prints_list: format!("{prints} IN ({marks})"),
            mark_run: format!("{mark} BETWEEN ?1 AND ?2"),
            clear,
            mark_list: format!("{mark} IN ({marks})"),
            size: match without_rowid {
                true => format!("SELECT count(*) FROM {table}"),
                false => format!("SELECT coalesce(max({key}), 0) FROM {table} AS t"),
            },
            // Only an index in the order of the keys helps, and the rowid cannot be indexed.
            index: key_column.map(|column| {
                let index = quote(&format!("{name}_unsent"));
                format!(
                    "CREATE INDEX {index} ON {} ({}) WHERE {}",
                    quote(&name),
                    quote(column),
                    unsent.replace("t.\"", "\"")
                )
            }),
            name,
        })
    }

    /// Returns every statement that will be run.
    pub(super) fn statements(&self) -> Vec<&str> {
        if let Some(Keyset { scan, keys, edge }) = &self.keyset {
            return vec![scan, keys, edge];
        }
        vec![
            &self.scan_first,
            &self.scan_next,
            &self.prints_run,
            &self.prints_list,
            &self.mark_run,
            &self.mark_list,
        ]
    }
}

/// The columns of the table.
struct Roles<'a> {
    config: &'a SqlConfig,
    columns: &'a [Column],
}

impl<'a> Roles<'a> {
    fn find(&self, wanted: &str) -> Option<&'a str> {
        let found = self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted));
        found.map(|column| column.name.as_str())
    }

    fn need(&self, option: &'static str, wanted: &str) -> Result<&'a str> {
        self.find(wanted).ok_or_else(|| {
            Error::new(ErrorKind::Config, "the table has no such column")
                .with("table", self.config.table())
                .with("column", wanted)
                .with_hint(format!(
                    "set `{option}` to one of its columns: {}",
                    near(wanted, self.columns.iter().map(|c| c.name.as_str()))
                ))
        })
    }
}

fn audit_table(roles: &Roles<'_>) -> Result<Written> {
    let config = roles.config;
    let (unsent, mark) = match config.mode {
        Mode::Flag => {
            let sent = quote(roles.need("sent_column", &config.sent_column)?);
            (format!("t.{sent} IS NOT TRUE"), format!("{sent} = 1"))
        }
        Mode::Keyset => Written::unmarked(),
    };
    let message = quote(roles.need("message_column", &config.message_column)?);
    let created_at = match &config.created_at_column {
        Some(wanted) => Some(roles.need("created_at_column", wanted)?),
        None => roles.find("created_at"),
    };
    let made = created_at.map(|made| format!("t.{}", quote(made)));
    Ok(Written {
        content: vec![format!("t.{message}"), made.clone().unwrap_or_else(|| "NULL".to_owned())],
        others: Vec::new(),
        unsent,
        mark,
        made,
    })
}

/// The flag is a key of an object; what is no object is kept in a new one.
fn django(conn: &Connection, schema: &str, roles: &Roles<'_>) -> Result<Written> {
    let config = roles.config;
    let user = match config.user_table.as_str() {
        "" => None,
        wanted => Some(find_beside(conn, schema, "user_table", wanted)?),
    };
    let content_type = if_there(find_beside(conn, schema, "table", "django_content_type"))?;
    let dialect = Dialect { quote, text: str::to_owned };
    let entry: Vec<_> = roles.columns.iter().map(|column| column.name.as_str()).collect();
    let columns = Columns::of_django(dialect, config, &entry, user, content_type)?;
    if config.mode == Mode::Keyset {
        return Ok(columns.unmarked());
    }
    let name = quote(roles.need("layout", ADDITIONAL)?);
    let old = format!("t.{name}");
    let yes = r#"'{"is_sent":true}'"#;
    let around = |value: &str| format!("json_set({yes}, '$.{ADDITIONAL}', {value})");
    let (json, text) = (around(&format!("json({old})")), around(&old));
    let binary = around(&format!("hex({old})"));
    Ok(Written {
        content: columns.content,
        others: columns.others,
        unsent: format!(
            "CASE WHEN json_valid({old}) THEN json_type({old}, '$.is_sent') END IS NOT 'true'"
        ),
        mark: format!(
            "{name} = CASE WHEN {old} IS NULL THEN {yes} \
             WHEN json_valid({old}) THEN CASE json_type({old}) \
             WHEN 'object' THEN json_set({old}, '$.is_sent', json('true')) \
             WHEN 'null' THEN {yes} ELSE {json} END \
             WHEN typeof({old}) = 'blob' THEN {binary} ELSE {text} END"
        ),
        made: Some("t.\"timestamp\"".to_owned()),
    })
}

/// Finds a table of the same application.
fn find_beside(
    conn: &Connection,
    schema: &str,
    option: &'static str,
    wanted: &str,
) -> Result<Found> {
    let here = find_table(conn, option, &format!("{schema}.{wanted}"));
    let place = match if_there(here)? {
        Some(place) => place,
        None => find_table(conn, option, wanted)?,
    };
    let columns = columns(conn, &place.schema, &place.name)?;
    let mut primary = columns.iter().filter(|column| column.primary > 0);
    let key = primary.next().filter(|_| primary.next().is_none());
    Ok(Found {
        table: format!("{}.{}", quote(&place.schema), quote(&place.name)),
        key: key.map(|column| column.name.clone()),
        columns: columns.iter().map(|column| column.name.clone()).collect(),
    })
}

struct Place {
    schema: String,
    name: String,
    without_rowid: bool,
}

/// Finds a table. A name with a dot is first looked for as it stands, then as `schema.table`.
fn find_table(conn: &Connection, option: &'static str, wanted: &str) -> Result<Place> {
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
                    .with(option, wanted)
                    .with_hint(format!("set `{option}` to the table behind the view")));
            }
            Some((schema, name, _, without_rowid)) => {
                return Ok(Place { schema, name, without_rowid });
            }
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
        format!("set `{option}` to one of: {}", near(wanted, names.iter().map(String::as_str)))
    };
    Err(Error::new(ErrorKind::Config, "there is no such table")
        .with(option, wanted)
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
