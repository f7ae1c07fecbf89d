use audit_core::logger::Shape;
use audit_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// The table of an [`Outbox`](crate::Outbox); every default is that of the widespread `audit_logs`
/// table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OutboxConfig {
    /// The table, optionally `schema.table`. Default `audit_logs`.
    pub table: String,
    /// The flag, which is inserted as 0, or false. Default `is_sent`.
    pub sent_column: String,
    /// The record, as JSON: a text or JSON column. Default `message`.
    pub message_column: String,
    /// The record's time, in UTC. Default `created_at`; empty: the table has none, or fills it itself.
    pub created_at_column: String,
    /// The key. Default `id`.
    pub id_column: String,
    /// Whether the record's id, a UUID, is the key. Default no: the database makes one.
    pub record_id: bool,
    /// The form of the record. Default: the `audit_event` of the City of Helsinki.
    pub shape: Shape,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            table: "audit_logs".to_owned(),
            sent_column: "is_sent".to_owned(),
            message_column: "message".to_owned(),
            created_at_column: "created_at".to_owned(),
            id_column: "id".to_owned(),
            record_id: false,
            shape: Shape::AuditEvent,
        }
    }
}

impl OutboxConfig {
    /// Creates the configuration of the `audit_logs` table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`table`](Self::table).
    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// Sets [`shape`](Self::shape).
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets [`record_id`](Self::record_id).
    #[must_use]
    pub fn record_id(mut self, record_id: bool) -> Self {
        self.record_id = record_id;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let columns = [&self.sent_column, &self.message_column, &self.id_column];
        let names = self.table.split('.').chain(columns.into_iter().map(String::as_str));
        for name in names {
            if name.is_empty() || name.len() > 128 || name.contains('\0') {
                return Err(Error::new(
                    ErrorKind::Config,
                    "not a usable name of a table or column",
                )
                .with("name", name.escape_debug()));
            }
        }
        Ok(())
    }

    /// Returns the columns to insert, in the order key, flag, record, time.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let id = self.record_id.then_some(&*self.id_column);
        let time = Some(&*self.created_at_column).filter(|name| !name.is_empty());
        let always = [&*self.sent_column, &*self.message_column];
        id.into_iter().chain(always).chain(time).collect()
    }

    /// Returns the table's name, quoted.
    pub(crate) fn quoted_table(&self, quote: char) -> String {
        let parts: Vec<_> = self.table.split('.').map(|part| quoted(part, quote)).collect();
        parts.join(".")
    }

    /// Returns the columns' names, quoted, with commas between them.
    pub(crate) fn quoted_columns(&self, quote: char) -> String {
        let columns: Vec<_> = self.columns().iter().map(|name| quoted(name, quote)).collect();
        columns.join(", ")
    }
}

fn quoted(name: &str, quote: char) -> String {
    let doubled = name.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_cannot_break_out() {
        let mut config = OutboxConfig::new().table("audit.my\"logs").record_id(true);
        config.message_column = "me`ssage".to_owned();
        assert_eq!(config.quoted_table('"'), r#""audit"."my""logs""#);
        assert_eq!(config.quoted_columns('`'), "`id`, `is_sent`, `me``ssage`, `created_at`");
        config.created_at_column.clear();
        assert_eq!(config.columns(), ["id", "is_sent", "me`ssage"]);
        assert!(config.check().is_ok());
        assert!(OutboxConfig::new().table("a..b").check().is_err());
    }
}
