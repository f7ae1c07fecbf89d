use audit_core::{Cursor, Error, ErrorKind, Result, Revision, StreamId};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Database;

/// The version of the form of a row.
const FORMAT: i64 = 1;

/// The statements on the table of checkpoints. Each is a transaction of its own, and all times are
/// of the database's clock, in milliseconds since 1970: the clocks of the processes do not matter.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) create: String,
    /// `stream`. Returns what [`Row`] has.
    pub(super) read: String,
    /// `stream`. A row for a stream that was never saved, if there is none.
    pub(super) insert: String,
    /// `holder, lease, stream, holder`. Takes or renews what nobody else holds.
    pub(super) claim: String,
    /// `position, checksum, holder, lease, stream, revision, holder`. As `claim`, if the revision is
    /// still the one given.
    pub(super) save: String,
    /// `lease, holder`. Renews all that is held.
    pub(super) renew: String,
    /// `holder`. Gives back all that is held.
    pub(super) release: String,
}

/// What is kept of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) format: i64,
    /// 0: never saved.
    pub(super) revision: i64,
    /// The cursor as JSON.
    pub(super) position: String,
    pub(super) checksum: i64,
    pub(super) holder: String,
    pub(super) expires_at: i64,
    pub(super) now: i64,
}

impl From<(i64, i64, String, i64, String, i64, i64)> for Row {
    fn from(row: (i64, i64, String, i64, String, i64, i64)) -> Self {
        let (format, revision, position, checksum, holder, expires_at, now) = row;
        Self { format, revision, position, checksum, holder, expires_at, now }
    }
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    Text(String),
    Int(i64),
}

impl Statements {
    pub(super) fn new(database: &Database, table: &str) -> Self {
        let (now, text, insert, ignore) = match database {
            Database::Sqlite(_) => {
                ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", ["TEXT"; 3], "INSERT OR IGNORE", "")
            }
            Database::Postgres => (
                "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
                ["text"; 3],
                "INSERT",
                " ON CONFLICT DO NOTHING",
            ),
            Database::Mysql => (
                "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
                [
                    // By default `a` and `A` would be one stream.
                    "VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin",
                    "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                    "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                ],
                "INSERT IGNORE",
                "",
            ),
        };
        let [stream, position, holder] = text;
        let free = format!("(holder = ? OR expires_at <= {now})");
        let statements = Self {
            create: format!(
                "CREATE TABLE IF NOT EXISTS {table} (stream {stream} NOT NULL PRIMARY KEY, \
                 format BIGINT NOT NULL, revision BIGINT NOT NULL, position {position} NOT NULL, \
                 checksum BIGINT NOT NULL, holder {holder} NOT NULL, expires_at BIGINT NOT NULL, \
                 saved_at BIGINT NOT NULL)"
            ),
            read: format!(
                "SELECT format, revision, position, checksum, holder, expires_at, {now} FROM {table} \
                 WHERE stream = ?"
            ),
            insert: format!(
                "{insert} INTO {table} (stream, format, revision, position, checksum, holder, \
                 expires_at, saved_at) VALUES (?, {FORMAT}, 0, '', 0, '', 0, 0){ignore}"
            ),
            claim: format!(
                "UPDATE {table} SET holder = ?, expires_at = {now} + ? WHERE stream = ? AND {free}"
            ),
            save: format!(
                "UPDATE {table} SET format = {FORMAT}, revision = revision + 1, position = ?, checksum = ?, holder = ?, \
                 expires_at = {now} + ?, saved_at = {now} WHERE stream = ? AND revision = ? AND {free}"
            ),
            renew: format!("UPDATE {table} SET expires_at = {now} + ? WHERE holder = ?"),
            release: format!("UPDATE {table} SET holder = '', expires_at = 0 WHERE holder = ?"),
        };
        if *database == Database::Postgres { statements.numbered() } else { statements }
    }

    /// Writes the values as PostgreSQL does: `$1` for the first.
    fn numbered(mut self) -> Self {
        let Self { read, insert, claim, save, renew, release, .. } = &mut self;
        for sql in [read, insert, claim, save, renew, release] {
            let mut parts = sql.split('?');
            let mut numbered = parts.next().unwrap_or_default().to_owned();
            for (n, part) in (1..).zip(parts) {
                numbered += &format!("${n}{part}");
            }
            *sql = numbered;
        }
        self
    }
}

/// Returns a cursor as it is kept, with its checksum.
pub(super) fn encode(stream: &StreamId, cursor: &Cursor, revision: i64) -> Result<(String, i64)> {
    let position = serde_json::to_string(cursor).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "cannot write the checkpoint as JSON").because(e)
    })?;
    let checksum = checksum(stream, revision, &position);
    Ok((position, checksum))
}

fn checksum(stream: &StreamId, revision: i64, position: &str) -> i64 {
    xxh3_64(format!("{stream} {revision} {position}").as_bytes()).cast_signed()
}

impl Row {
    /// Returns what was saved.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when it is damaged, or of another version of this program.
    pub(super) fn decode(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let bad = |what| {
            let hint = "set the checkpoint by hand, or delete the row to start over";
            Error::new(ErrorKind::InvalidData, what).with("stream", stream).with_hint(hint)
        };
        if self.format != FORMAT {
            return Err(bad("the row was written by another version of this program")
                .with("found", self.format)
                .with("understood", FORMAT));
        }
        if self.revision == 0 && self.position.is_empty() {
            return Ok(None);
        }
        let damaged = || bad("the row is damaged");
        if checksum(stream, self.revision, &self.position) != self.checksum {
            return Err(damaged());
        }
        let cursor = serde_json::from_str(&self.position).map_err(|e| damaged().because(e))?;
        let revision = u64::try_from(self.revision).map_err(|_| damaged())?;
        Ok(Some((cursor, Revision(revision))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_for_postgresql() {
        let statements = Statements::new(&Database::Postgres, "t");
        assert!(statements.claim.contains("holder = $1,") && statements.claim.contains("= $4 OR"));
        assert!(!statements.save.contains('?') && statements.save.contains("$7"));
    }

    #[test]
    fn a_row_of_another_stream_or_revision_is_damaged() {
        let stream: StreamId = "orders".parse().unwrap();
        let cursor = Cursor::encode("t", 1, &7).unwrap();
        let (position, checksum) = encode(&stream, &cursor, 3).unwrap();
        let row = |revision| Row {
            format: 1,
            revision,
            position: position.clone(),
            checksum,
            holder: String::new(),
            expires_at: 0,
            now: 1,
        };
        assert_eq!(row(3).decode(&stream).unwrap(), Some((cursor, Revision(3))));
        let other: StreamId = "Orders".parse().unwrap();
        for wrong in [row(3).decode(&other), row(4).decode(&stream), row(0).decode(&stream)] {
            assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidData);
        }
        let empty = Row { position: String::new(), ..row(0) };
        assert_eq!(empty.decode(&stream).unwrap(), None);
    }
}
