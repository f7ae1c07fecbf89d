use audit_core::{Error, ErrorKind, Result};

use crate::config::SqlConfig;
use crate::error::near;

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

/// The columns that are read, by their roles.
#[derive(Debug)]
pub(crate) struct Roles<'a> {
    pub(crate) id: &'a Column,
    pub(crate) sent: &'a Column,
    pub(crate) message: &'a Column,
    pub(crate) created_at: Option<&'a Column>,
    /// What orders the rows and names them: the id, or another that is unique.
    pub(crate) key: &'a Column,
}

impl<'a> Roles<'a> {
    pub(crate) fn find(columns: &'a [Column], config: &SqlConfig) -> Result<Self> {
        let find = |wanted: &str| {
            let exact = columns.iter().find(|column| column.name == wanted);
            exact.or_else(|| columns.iter().find(|c| c.name.eq_ignore_ascii_case(wanted)))
        };
        let need = |option: &'static str, wanted: &str| {
            find(wanted).ok_or_else(|| {
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
        let is_key = |column: &&Column| column.unique > 0 && !column.nullable;
        let key = Some(id)
            .filter(is_key)
            .or_else(|| columns.iter().filter(is_key).max_by_key(|column| column.unique))
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, "no column of the table names each row")
                    .with("table", config.table())
                    .with_hint(
                        "a primary key of one column is needed, or a column that is UNIQUE and \
                         NOT NULL: make the id the primary key or, if ids repeat, add a column \
                         that counts by itself; it need not be the id",
                    )
            })?;
        Ok(Self {
            id,
            sent: need("sent_column", &config.sent_column)?,
            message: need("message_column", &config.message_column)?,
            created_at: match &config.created_at_column {
                Some(wanted) => Some(need("created_at_column", wanted)?),
                None => find("created_at"),
            },
            key,
        })
    }

    pub(crate) fn id_is_key(&self) -> bool {
        self.id.name == self.key.name
    }

    pub(crate) fn id_is_unique(&self) -> bool {
        self.id.unique > 0
    }
}

/// Says that the flag's type holds no flag.
pub(crate) fn no_flag(config: &SqlConfig, column: &Column) -> Error {
    Error::new(ErrorKind::Config, "the flag is neither a boolean nor a whole number")
        .with("table", config.table())
        .with("column", &column.name)
        .with("type", &column.full_kind)
}

/// Says that there is no such table.
pub(crate) fn no_table<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Error {
    let near = near(wanted, names);
    let hint = if near.is_empty() {
        "the database has no tables for this user: is it the right one?".to_owned()
    } else {
        format!("set `table` to one of: {near}")
    };
    Error::new(ErrorKind::Config, "there is no such table").with("table", wanted).with_hint(hint)
}

/// Says that rows of a view cannot be marked.
pub(crate) fn a_view(wanted: &str) -> Error {
    Error::new(ErrorKind::Config, "it is a view: rows cannot be marked")
        .with("table", wanted)
        .with_hint("set `table` to the table behind the view")
}

/// Returns where to look for a name: as it stands, then as `schema.table`.
pub(crate) fn places(wanted: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let split = wanted.split_once('.').map(|(schema, name)| (Some(schema), name));
    std::iter::once((None, wanted)).chain(split)
}
