//! What a layout asks of a database: which columns are read, what is unsent, how a row is marked.

use audit_core::{Error, ErrorKind, Result};

use crate::config::{Mode, SqlConfig};
use crate::django::{CONTENT_TYPE, ENTRY, KEY, NEEDED, USER};
use crate::row::Widths;

/// The column of django-auditlog that holds the flag, and the key of an object that is put around
/// what is not one.
pub(crate) const ADDITIONAL: &str = "additional_data";

/// A layout in the SQL of one database; the table is called `t` in it.
#[derive(Debug)]
pub(crate) struct Written {
    /// The row's own columns that the record is made of.
    pub(crate) content: Vec<String>,
    /// What other tables say.
    pub(crate) others: Vec<String>,
    /// What holds for a row that is not sent.
    pub(crate) unsent: String,
    /// What marks a row: `column = value`.
    pub(crate) mark: String,
    /// When the row was made, if that can be compared with a point in time.
    pub(crate) made: Option<String>,
}

impl Written {
    /// What is read of a table that bears no mark: every row.
    pub(crate) fn unmarked() -> (String, String) {
        ("TRUE".to_owned(), String::new())
    }

    pub(crate) fn widths(&self, id: bool) -> Widths {
        Widths { content: self.content.len(), others: self.others.len(), id }
    }

    /// Returns the list of columns that prints are made of.
    pub(crate) fn content(&self) -> String {
        self.content.join(", ")
    }

    /// Returns the list of all columns but key and id.
    pub(crate) fn columns(&self) -> String {
        [&self.content[..], &self.others].concat().join(", ")
    }
}

/// A table as a database shows it.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its name as it is written in a statement.
    pub(crate) table: String,
    /// The column that is the primary key.
    pub(crate) key: Option<String>,
    /// The columns that may be read.
    pub(crate) columns: Vec<String>,
}

/// How one database writes names, and makes text of any column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) quote: fn(&str) -> String,
    pub(crate) text: fn(&str) -> String,
}

/// The columns that the record of django-auditlog is made of.
pub(crate) struct Columns {
    pub(crate) content: Vec<String>,
    pub(crate) others: Vec<String>,
}

impl Columns {
    /// Looks for what every version has, and takes what there is of the rest.
    pub(crate) fn of_django(
        dialect: Dialect,
        config: &SqlConfig,
        entry: &[&str],
        user: Option<Found>,
        content_type: Option<Found>,
    ) -> Result<Self> {
        let has = |name: &str| entry.iter().any(|column| column.eq_ignore_ascii_case(name));
        if let Some(missing) = NEEDED.into_iter().find(|name| !has(name)) {
            return Err(Error::new(ErrorKind::Config, "the table is not one of django-auditlog")
                .with("table", config.table())
                .with("missing column", missing)
                .with_hint("leave `layout` out for a table that has the record in one column"));
        }
        if !has(ADDITIONAL) && config.mode == Mode::Flag {
            return Err(Error::new(ErrorKind::Config, "the table has no place for a mark")
                .with("table", config.table())
                .with("missing column", ADDITIONAL)
                .with_hint(
                    "django-auditlog has it from version 2 on; to read older tables without \
                     marking rows, use `mode = \"keyset\"`",
                ));
        }
        if user.as_ref().is_some_and(|user| user.key.is_none()) {
            return Err(Error::new(ErrorKind::Config, "the table of the users cannot be read")
                .with("user_table", &config.user_table)
                .with_hint(
                    "it needs a primary key of one column, and the right to SELECT that (and \
                     first_name, last_name, email); an empty `user_table` goes without names",
                ));
        }
        let column = |name: &str| match has(name) {
            true => (dialect.text)(&format!("t.{}", (dialect.quote)(name))),
            false => "NULL".to_owned(),
        };
        let mut all = Self { content: ENTRY.map(column).into(), others: Vec::new() };
        all.look_up(dialect, user.filter(|_| has("actor_id")).as_ref(), "actor_id", &USER);
        let content_type = content_type.filter(|_| has("content_type_id"));
        all.look_up(dialect, content_type.as_ref(), "content_type_id", &CONTENT_TYPE);
        Ok(all)
    }

    /// Reads every row.
    pub(crate) fn unmarked(self) -> Written {
        let (unsent, mark) = Written::unmarked();
        Written { content: self.content, others: self.others, unsent, mark, made: None }
    }

    /// Adds columns of another table, NULL for those that it has not.
    ///
    /// They are looked up and not joined: MySQL would lock joined rows too, and ask for the right to.
    fn look_up(&mut self, dialect: Dialect, other: Option<&Found>, on: &str, wanted: &[&str]) {
        let Dialect { quote, text } = dialect;
        let other = other.and_then(|other| Some((other, other.key.as_deref()?)));
        self.others.extend(wanted.iter().map(|name| {
            let Some((other, key)) = other else { return "NULL".to_owned() };
            let column = match *name {
                KEY => Some(key),
                name => other.columns.iter().map(|c| &**c).find(|c| c.eq_ignore_ascii_case(name)),
            };
            let Some(column) = column else { return "NULL".to_owned() };
            let (column, key, on) = (format!("o.{}", quote(column)), quote(key), quote(on));
            format!("(SELECT {} FROM {} AS o WHERE o.{key} = t.{on})", text(&column), other.table)
        }));
    }
}

/// Makes nothing of a table that is not there.
pub(crate) fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::Config => Ok(None),
        Err(e) => Err(e),
    }
}
