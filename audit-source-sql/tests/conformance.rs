//! The contract of a source, on the classic table, on one with text keys and no rowid, and on that of
//! django-auditlog.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::SourceHarness;
use audit_core::{ErrorKind, EventId, Source};
use audit_source_sql::Mode;
use rusqlite::Connection;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use common::Db;

const BUSY: Duration = Duration::from_millis(200);

struct Table {
    db: Db,
    text_keys: bool,
    mode: Mode,
    next: i64,
    late: i64,
}

impl Table {
    fn new(ddl: &str, text_keys: bool) -> Self {
        let db = Db::new(ddl);
        // Without WAL a writer keeps readers out.
        db.app.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
        Self { db, text_keys, mode: Mode::Flag, next: 1000, late: 0 }
    }

    fn insert(&self, id: i64, time: i64, message: Option<&str>) -> EventId {
        let created_at = format!("2024-05-06 07:{:02}:{:02}", time / 60 % 60, time % 60);
        let sql = "INSERT INTO audit_logs (id, message, created_at) VALUES (?, ?, ?)";
        let key = format!("key-{id:08}");
        let shown = if self.text_keys {
            self.db.execute(sql, (&key, message, &created_at));
            key
        } else {
            self.db.execute(sql, (id, message, &created_at));
            id.to_string()
        };
        let seed = xxh3_64_with_seed(created_at.as_bytes(), 0);
        let print = xxh3_64_with_seed(message.unwrap_or_default().as_bytes(), seed);
        EventId::new(format!("audit_logs:{shown}:{print:016x}"))
    }

    fn add(&mut self, time: i64) -> EventId {
        self.next += 10;
        let message = format!(r#"{{"n": {} , "audit_event":{{"actor":"a"}}}}"#, self.next);
        self.insert(self.next, time, Some(&message))
    }
}

#[async_trait]
impl SourceHarness for Table {
    async fn source(&mut self) -> Box<dyn Source> {
        let mut config = self.db.config();
        config.busy_timeout = BUSY;
        config.mode = self.mode;
        Box::new(audit_source_sql::SqlSource::new(config).unwrap())
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        (0..records).map(|_| self.add(self.next)).collect()
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        (0..records).map(|_| self.add(3599)).collect()
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 10;
        self.insert(self.next, 0, Some("{\"cut\":"));
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        self.late += 1;
        let between = self.next - 15 + self.late;
        Some(self.insert(between, 0, Some(r#"{"late":true}"#)))
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        if kind != ErrorKind::Unavailable {
            return false;
        }
        block(&self.db);
        true
    }

    async fn idle(&mut self, wait: Duration) {
        // Rows are there at once; longer than the source asks for is never needed.
        tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
    }
}

/// Holds the database for longer than the source waits, and shorter than it waits twice.
fn block(db: &Db) {
    let blocker = Connection::open(db.path()).unwrap();
    blocker.execute_batch("BEGIN EXCLUSIVE").unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(BUSY + BUSY / 2);
        drop(blocker);
    });
}

mod classic {
    use super::*;

    async fn start() -> Table {
        Table::new(common::CLASSIC, false)
    }
    audit_core::conformance!(source: start);
}

mod text_keys_without_rowid {
    use super::*;

    async fn start() -> Table {
        let ddl = "CREATE TABLE audit_logs (id TEXT PRIMARY KEY, is_sent BOOLEAN, message BLOB, \
                   created_at TEXT) WITHOUT ROWID";
        Table::new(ddl, true)
    }
    audit_core::conformance!(source: start);
}

mod django_auditlog {
    use audit_source_sql::{Layout, SqlSource};

    use super::*;

    /// Larger ones are bad.
    const LARGEST: usize = 10_000;

    pub(super) struct Entries {
        db: Db,
        next: i64,
        late: i64,
    }

    impl Entries {
        fn insert(&self, id: i64, time: i64, repr: &str) -> EventId {
            let time = format!("2024-05-06 07:{:02}:{:02}.5", time / 60 % 60, time % 60);
            let changes = format!(r#"{{"n": [ {id} ,1.10]}}"#);
            self.db.execute(
                "INSERT INTO auditlog_logentry (id, timestamp, action, object_pk, object_repr, \
                 changes, additional_data) VALUES (?, ?, 1, 'k', ?, ?, '[\"poison\"]')",
                (id, &time, repr, &changes),
            );
            // Columns that are not there count as NULL, and each NULL adds its place.
            let mut print = (0..=5).sum();
            print = xxh3_64_with_seed(changes.as_bytes(), print);
            print = xxh3_64_with_seed(repr.as_bytes(), print);
            print = xxh3_64_with_seed(b"k", print);
            print = xxh3_64_with_seed(&1_i64.to_le_bytes(), print);
            print = xxh3_64_with_seed(time.as_bytes(), print);
            EventId::new(format!("auditlog_logentry:{id}:{print:016x}"))
        }

        fn add(&mut self, time: i64) -> EventId {
            self.next += 10;
            self.insert(self.next, time, "r")
        }
    }

    #[async_trait]
    impl SourceHarness for Entries {
        async fn source(&mut self) -> Box<dyn Source> {
            let mut config = self.db.config();
            config.layout = Layout::DjangoAuditlog;
            config.user_table = String::new();
            config.busy_timeout = BUSY;
            config.max_event_bytes = LARGEST;
            Box::new(SqlSource::new(config).unwrap())
        }

        async fn seed(&mut self, records: usize) -> Vec<EventId> {
            (0..records).map(|_| self.add(self.next)).collect()
        }

        async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
            (0..records).map(|_| self.add(3599)).collect()
        }

        async fn seed_bad(&mut self) -> bool {
            self.next += 10;
            self.insert(self.next, 0, &"x".repeat(LARGEST));
            true
        }

        async fn seed_late(&mut self) -> Option<EventId> {
            self.late += 1;
            let between = self.next - 15 + self.late;
            Some(self.insert(between, 0, "late"))
        }

        async fn fail_next(&mut self, kind: ErrorKind) -> bool {
            if kind != ErrorKind::Unavailable {
                return false;
            }
            block(&self.db);
            true
        }

        async fn idle(&mut self, wait: Duration) {
            tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
        }
    }

    pub(super) async fn start() -> Entries {
        let db = Db::new(
            "CREATE TABLE auditlog_logentry (id INTEGER PRIMARY KEY, timestamp datetime, \
             action smallint, object_pk varchar(255), object_repr text, changes text, \
             additional_data text)",
        );
        db.app.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
        Entries { db, next: 1000, late: 0 }
    }
    audit_core::conformance!(source: start);
}

mod by_keyset {
    use super::*;

    async fn start() -> Table {
        let ddl = "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, message TEXT, created_at TEXT)";
        let mut table = Table::new(ddl, false);
        table.mode = Mode::Keyset;
        table
    }
    audit_core::conformance!(source: start);
}

mod crash {
    use audit_core::testkit::{Verdict, World, crash_at_every_call, survive_random_faults};

    use super::*;

    async fn world() -> World {
        World::of_source(Table::new(common::CLASSIC, false))
    }

    #[tokio::test]
    async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
        crash_at_every_call(world).await
    }

    #[tokio::test]
    async fn a_kill_at_any_call_loses_and_doubles_no_entry_of_django_auditlog() -> Verdict {
        crash_at_every_call(async || World::of_source(django_auditlog::start().await)).await
    }

    #[tokio::test]
    async fn a_kill_at_any_call_in_keyset_mode() -> Verdict {
        crash_at_every_call(async || {
            let mut table = Table::new(common::CLASSIC, false);
            table.mode = Mode::Keyset;
            World::of_source(table)
        })
        .await
    }

    #[tokio::test]
    async fn random_deaths_lose_and_double_nothing() -> Verdict {
        survive_random_faults(world, 0..10).await
    }
}
