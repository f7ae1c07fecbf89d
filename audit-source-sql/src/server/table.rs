use audit_core::{Error, ErrorKind, Result};

use crate::client::Facts;
use crate::config::SqlConfig;
use crate::error::near;
use crate::layout::Found;

/// A column, as the database describes it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The name of its type, in lower case.
    pub(crate) kind: String,
    /// The type as it is written in a statement.
    pub(crate) full_kind: String,
    pub(crate) nullable: bool,
    /// 2: it is the primary key; 1: it is unique; 0: neither, for all that is known.
    pub(crate) unique: u8,
}

impl Found {
    /// `columns` are those that may be read.
    pub(crate) fn of(table: String, columns: &[Column]) -> Self {
        let key = columns.iter().find(|column| column.unique == 2);
        Self {
            table,
            key: key.map(|column| column.name.clone()),
            columns: columns.iter().map(|column| column.name.clone()).collect(),
        }
    }
}

/// The columns of a table, and what names its rows.
#[derive(Debug)]
pub(crate) struct Roles<'a> {
    config: &'a SqlConfig,
    columns: &'a [Column],
    pub(crate) id: &'a Column,
    /// What orders the rows and names them: the id, or another that is unique. Without, a row is
    /// named by what it holds.
    pub(crate) key: Option<&'a Column>,
}

impl<'a> Roles<'a> {
    pub(crate) fn find(columns: &'a [Column], config: &'a SqlConfig) -> Result<Self> {
        let id = need(columns, config, "id_column", &config.id_column)?;
        let is_key = |column: &&Column| column.unique > 0 && !column.nullable;
        let key = Some(id)
            .filter(is_key)
            .or_else(|| columns.iter().filter(is_key).max_by_key(|column| column.unique));
        Ok(Self { config, columns, id, key })
    }

    /// Returns a column that has to be there.
    pub(crate) fn need(&self, option: &'static str, wanted: &str) -> Result<&'a Column> {
        need(self.columns, self.config, option, wanted)
    }

    /// Returns the column that says when a row was made, if there is one.
    pub(crate) fn created_at(&self) -> Result<Option<&'a Column>> {
        match &self.config.created_at_column {
            Some(wanted) => self.need("created_at_column", wanted).map(Some),
            None => Ok(find(self.columns, "created_at")),
        }
    }

    pub(crate) fn names(&self) -> Vec<&'a str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    pub(crate) fn id_is_key(&self) -> bool {
        self.key.is_some_and(|key| key.name == self.id.name)
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts { id_is_unique: self.id.unique > 0, key_names_row: self.key.is_some() }
    }
}

fn find<'a>(columns: &'a [Column], wanted: &str) -> Option<&'a Column> {
    let exact = columns.iter().find(|column| column.name == wanted);
    exact.or_else(|| columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)))
}

fn need<'a>(
    columns: &'a [Column],
    config: &SqlConfig,
    option: &'static str,
    wanted: &str,
) -> Result<&'a Column> {
    find(columns, wanted).ok_or_else(|| {
        Error::new(ErrorKind::Config, "the table has no such column")
            .with("table", config.table())
            .with("column", wanted)
            .with_hint(format!(
                "set `{option}` to one of its columns: {}",
                near(wanted, columns.iter().map(|c| c.name.as_str()))
            ))
    })
}

/// Says that the flag's type holds no flag.
pub(crate) fn no_flag(config: &SqlConfig, column: &Column) -> Error {
    Error::new(ErrorKind::Config, "the flag is neither a boolean nor a whole number")
        .with("table", config.table())
        .with("column", &column.name)
        .with("type", &column.full_kind)
}

/// Says that the column of the flag's object has another type.
pub(crate) fn no_json(config: &SqlConfig, column: &Column, wanted: &str) -> Error {
    Error::new(ErrorKind::Config, "rows cannot be marked in a column of this type")
        .with("table", config.table())
        .with("column", &column.name)
        .with("type", &column.full_kind)
        .with_hint(format!(
            "make it {wanted}, as django-auditlog does; keyset mode reads without marking"
        ))
}

/// Says that there is no such table.
pub(crate) fn no_table<'a>(
    option: &'static str,
    wanted: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Error {
    let near = near(wanted, names);
    let hint = if near.is_empty() {
        "the database has no tables for this user: is it the right one?".to_owned()
    } else {
        format!("set `{option}` to one of: {near}")
    };
    Error::new(ErrorKind::Config, "there is no such table").with(option, wanted).with_hint(hint)
}

/// Says that rows of a view cannot be marked.
pub(crate) fn a_view(option: &'static str, wanted: &str) -> Error {
    Error::new(ErrorKind::Config, "it is a view: rows cannot be marked")
        .with(option, wanted)
        .with_hint(format!("set `{option}` to the table behind the view"))
}

/// Returns where to look for a name: as it stands, then as `schema.table`.
pub(crate) fn places(wanted: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let split = wanted.split_once('.').map(|(schema, name)| (Some(schema), name));
    std::iter::once((None, wanted)).chain(split)
}

/// Says that a table cannot be read without marking its rows.
pub(crate) fn no_keyset(config: &SqlConfig, hint: &str) -> Error {
    Error::new(ErrorKind::Config, "the table cannot be read in keyset mode")
        .with("table", config.table())
        .with_hint(hint.to_owned())
}
