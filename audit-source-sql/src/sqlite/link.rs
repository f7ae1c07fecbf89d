use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, MAIN_DB, OpenFlags, OptionalExtension, Statement, ToSql, TransactionBehavior,
};

use super::table::{Clear, Keyset, LIST, Table};
use crate::client::{Edge, Facts, Handed, Rows, Scan};
use crate::config::{Mode, SqlConfig};
use crate::error::{no_time, sqlite};
use crate::intake::Intake;
use crate::keys::{Key, Keys, Span};
use crate::row::Value;

/// Runs up to this long go as single keys, many in one statement.
const SHORT_RUN: i64 = 8;
/// From about this many rows on a search without an index is felt.
const MANY_ROWS: i64 = 100_000;

/// An open connection, and the table found on it.
#[derive(Debug)]
pub(super) struct Link {
    conn: Connection,
    file: File,
    table: Table,
}

impl Link {
    /// Opens the file; never makes one.
    pub(super) fn open(path: &Path, config: &SqlConfig) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(Error::new(ErrorKind::Config, "the database is a folder, not a file"));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::Config, "there is no such database file")
                    .with_hint("check the path; a relative one begins at the working folder")
                    .because(e));
            }
            // Everything else SQLite knows better.
            _ => {}
        }
        let identity = File::identity(path);
        let access = match config.mode {
            Mode::Flag => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Mode::Keyset => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        conn.busy_timeout(config.busy_timeout).map_err(sqlite)?;
        if config.mode == Mode::Flag && conn.is_readonly(MAIN_DB).map_err(sqlite)? {
            return Err(Error::new(ErrorKind::Auth, "the database cannot be written")
                .with_hint("this needs the right to write the file and its folder"));
        }
        let table = Table::find(&conn, config)?;
        // Preparing finds what cannot be marked or read, without doing it.
        for statement in table.statements() {
            conn.prepare(statement).map_err(|e| sqlite(e).with("table", config.table()))?;
        }
        Ok(Self { conn, file: File { path: path.to_owned(), identity }, table })
    }

    pub(super) fn facts(&self) -> Facts {
        self.table.facts
    }

    /// Says how a big table is read faster.
    pub(super) fn advise(&self) -> Result<()> {
        let rows: i64 =
            self.conn.query_row(&self.table.size, [], |row| row.get(0)).map_err(sqlite)?;
        if rows >= MANY_ROWS && !self.table.uses_index && self.table.keyset.is_none() {
            let suggestion = self.table.index.as_deref();
            tracing::warn!(
                table = %self.table.name,
                suggestion = suggestion.unwrap_or("make the id an INTEGER PRIMARY KEY and index it"),
                "no index finds unsent rows: after each change the whole table is searched",
            );
        }
        Ok(())
    }

    pub(super) fn version(&self) -> Result<i64> {
        self.file.is_still_there()?;
        let mut statement = self.conn.prepare_cached("PRAGMA data_version").map_err(sqlite)?;
        statement.query_row([], |row| row.get(0)).map_err(sqlite)
    }

    pub(super) fn edge(&self) -> Result<Edge> {
        self.file.is_still_there()?;
        let mut statement = self.conn.prepare_cached(&self.keyset()?.edge).map_err(sqlite)?;
        statement.query_row([], |row| row.get(0)).map(Edge::Key).map_err(sqlite)
    }

    pub(super) fn keys(&self, first: i64, last: i64) -> Result<Vec<i64>> {
        let mut statement = self.conn.prepare_cached(&self.keyset()?.keys).map_err(sqlite)?;
        let keys = statement.query_map([first, last], |row| row.get(0)).map_err(sqlite)?;
        keys.collect::<rusqlite::Result<_>>().map_err(sqlite)
    }

    fn keyset(&self) -> Result<&Keyset> {
        let statements = self.table.keyset.as_ref();
        statements.ok_or_else(|| Error::new(ErrorKind::Unexpected, "not in keyset mode"))
    }

    pub(super) fn scan(
        &self,
        wanted: Rows,
        after: Option<Key>,
        mut intake: Intake,
    ) -> Result<Scan> {
        // Before the rows: who commits in between makes the version too old, which is safe.
        let version = self.version()?;
        let sql = match (wanted, &after) {
            (Rows::UpTo(_), _) => &self.keyset()?.scan,
            (_, Some(_)) => &self.table.scan_next,
            (_, None) => &self.table.scan_first,
        };
        let mut statement = self.conn.prepare_cached(sql).map_err(sqlite)?;
        let mut rows = match (wanted, &after) {
            (Rows::UpTo(last), Some(key)) => statement.query((key, last)),
            (Rows::UpTo(last), None) => statement.query((i64::MIN, last)),
            (_, Some(key)) => statement.query([key]),
            (_, None) => statement.query([]),
        }
        .map_err(sqlite)?;
        let mut ended = true;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let at = |i| row.get_ref(i).map(value).map_err(sqlite);
            if !self.table.widths.offer(&mut intake, at)? {
                ended = false;
                break;
            }
        }
        Ok(Scan { intake, version: Some(version), ended })
    }

    pub(super) fn prints(&self, keys: &Keys) -> Result<Handed> {
        let mut found = Handed { version: Some(self.version()?), ..Handed::default() };
        self.each_print(keys, |key, print| found.push(key, print))?;
        Ok(found)
    }

    pub(super) fn mark(&self, batches: &[Arc<Handed>]) -> Result<usize> {
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)
                .map_err(sqlite)?;
        let version = self.version()?;
        let mut changed = 0;
        for batch in batches {
            if batch.version == Some(version) {
                // Nobody else has committed since these rows were read.
                self.mark_keys(&batch.position.rows)?;
            } else {
                let (same, others) = self.compare(batch)?;
                changed += others;
                self.mark_keys(&same)?;
            }
        }
        transaction.commit().map_err(sqlite)?;
        Ok(changed)
    }

    pub(super) fn stale(
        &self,
        after: Option<Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>> {
        let clear = self.clear()?;
        let sql = if after.is_some() { &clear.stale_next } else { &clear.stale_first };
        let mut statement = self.conn.prepare_cached(sql).map_err(sqlite)?;
        let mut found = match &after {
            Some(key) => statement.query([key]),
            None => statement.query([]),
        }
        .map_err(sqlite)?;
        let mut keys = Vec::new();
        while keys.len() < rows
            && let Some(row) = found.next().map_err(sqlite)?
        {
            let at = |i| row.get_ref(i).map(value).map_err(sqlite);
            if at(1)?.time().is_some_and(|time| time < before) {
                keys.extend(at(0)?.key());
            }
        }
        Ok(keys)
    }

    pub(super) fn delete(&self, keys: &[Key], before: DateTime<Utc>) -> Result<u64> {
        let clear = self.clear()?;
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)
                .map_err(sqlite)?;
        let mut deleted = 0;
        {
            let mut time = self.conn.prepare_cached(&clear.time).map_err(sqlite)?;
            let mut delete = self.conn.prepare_cached(&clear.delete).map_err(sqlite)?;
            for key in keys {
                // It may have changed since it was found.
                let made =
                    time.query_row([key], |row| row.get_ref(0).map(|made| value(made).time()));
                if made.optional().map_err(sqlite)?.flatten().is_some_and(|time| time < before) {
                    deleted += delete.execute([key]).map_err(sqlite)? as u64;
                }
            }
        }
        transaction.commit().map_err(sqlite)?;
        Ok(deleted)
    }

    fn clear(&self) -> Result<&Clear> {
        self.table.clear.as_ref().ok_or_else(|| no_time(&self.table.name))
    }

    /// Returns the rows that are what was handed out, and how many are something else by now.
    fn compare(&self, batch: &Handed) -> Result<(Keys, usize)> {
        let mut handed: HashMap<Key, u64> = batch.rows().collect();
        let (mut same, mut changed) = (Keys::default(), 0);
        self.each_print(&batch.position.rows, |key, print| match handed.remove(&key) {
            Some(before) if before == print => same.push(key),
            Some(_) => changed += 1,
            None => {}
        })?;
        Ok((same, changed))
    }

    fn mark_keys(&self, keys: &Keys) -> Result<()> {
        let mut run = self.conn.prepare_cached(&self.table.mark_run).map_err(sqlite)?;
        let mut list = self.conn.prepare_cached(&self.table.mark_list).map_err(sqlite)?;
        for part in parts(keys) {
            match part {
                Part::Run(a, b) => run.execute([a, b]),
                Part::List(keys) => bind(&mut list, &keys).and_then(|()| list.raw_execute()),
            }
            .map_err(sqlite)?;
        }
        Ok(())
    }

    fn each_print(&self, keys: &Keys, mut each: impl FnMut(Key, u64)) -> Result<()> {
        let mut run = self.conn.prepare_cached(&self.table.prints_run).map_err(sqlite)?;
        let mut list = self.conn.prepare_cached(&self.table.prints_list).map_err(sqlite)?;
        for part in parts(keys) {
            let mut rows = match part {
                Part::Run(a, b) => run.query([a, b]),
                Part::List(keys) => bind(&mut list, &keys).map(|()| list.raw_query()),
            }
            .map_err(sqlite)?;
            while let Some(row) = rows.next().map_err(sqlite)? {
                let at = |i| row.get_ref(i).map(value).map_err(sqlite);
                if let Some(key) = at(0)?.key() {
                    each(key, self.table.widths.print(at)?);
                }
            }
        }
        Ok(())
    }
}

/// The file as it was opened. SQLite does not notice when another takes its place (a restored
/// backup), and would read the old one for ever.
#[derive(Debug)]
struct File {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl File {
    fn is_still_there(&self) -> Result<()> {
        if self.identity == Self::identity(&self.path) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "the database file was replaced or removed"))
    }

    #[cfg(unix)]
    fn identity(path: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
    }

    /// Elsewhere an open file cannot be replaced.
    #[cfg(not(unix))]
    fn identity(_: &Path) -> Option<(u64, u64)> {
        None
    }
}

/// Keys for one statement.
enum Part {
    Run(i64, i64),
    List(Vec<Key>),
}

/// Divides keys into long runs, and lists of everything else.
fn parts(keys: &Keys) -> Vec<Part> {
    let (mut parts, mut list) = (Vec::new(), Vec::new());
    for span in keys.spans() {
        match span {
            Span::Run(a, b) if b.saturating_sub(*a) >= SHORT_RUN => parts.push(Part::Run(*a, *b)),
            Span::Run(a, b) => list.extend((*a..=*b).map(Key::Int)),
            Span::One(key) => list.push(key.clone()),
        }
        if list.len() + SHORT_RUN as usize > LIST {
            parts.push(Part::List(std::mem::take(&mut list)));
        }
    }
    if !list.is_empty() {
        parts.push(Part::List(list));
    }
    parts
}

/// Fills a list statement; a short list repeats its last key.
fn bind(statement: &mut Statement<'_>, keys: &[Key]) -> rusqlite::Result<()> {
    let Some(last) = keys.last() else { return Ok(()) };
    for i in 0..LIST {
        statement.raw_bind_parameter(i + 1, keys.get(i).unwrap_or(last))?;
    }
    Ok(())
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(n) => ValueRef::Integer(*n),
            Self::Real(bits) => ValueRef::Real(f64::from_bits(*bits)),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Value<'_> {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Real(n) => Value::Real(n),
        ValueRef::Text(bytes) => Value::Text(bytes),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
    }
}
