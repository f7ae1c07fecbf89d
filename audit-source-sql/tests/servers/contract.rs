use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SOURCE_RULES, SourceHarness};
use audit_core::{ErrorKind, EventId, Source};
use audit_source_sql::{Mode, SqlSource};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::db::{Db, Kind};

/// Long beside a connection to a busy server.
const BUSY: Duration = Duration::from_secs(1);

struct Table {
    db: Db,
    /// How the id of a number is written, and shown.
    id: fn(i64) -> String,
    next: i64,
    late: i64,
    how: How,
}

/// How rows are read.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Flag,
    Claims,
    Keyset,
}

/// The rules that judge how rows are read at all. All of them together log in so often, with a
/// connection for each batch, that they take a minute.
fn short(rule: &str) -> bool {
    ["s01", "s05", "s07", "s09", "s10"].iter().any(|number| rule.starts_with(number))
}

impl Table {
    async fn insert(&mut self, id: i64, time: i64, message: &str) -> EventId {
        let mut created_at = format!("2024-05-06 07:{:02}:{:02}", time / 60 % 60, time % 60);
        let shown = (self.id)(id);
        let literal = self.db.literal(message);
        self.db
            .run(&format!(
                "INSERT INTO {{t}} (id, message, created_at) \
                 VALUES ('{shown}', {literal}, '{created_at}')"
            ))
            .await;
        created_at.push_str(if self.db.kind == Kind::Postgres { "+00" } else { ".000000" });
        let seed = xxh3_64_with_seed(created_at.as_bytes(), 0);
        let print = xxh3_64_with_seed(message.as_bytes(), seed);
        EventId::new(format!("{}:{shown}:{print:016x}", self.db.table))
    }

    /// Other tests have transactions open on the same server.
    async fn settled(&mut self) {
        if self.how == How::Keyset {
            self.db.settled().await;
        }
    }

    async fn add(&mut self, time: i64) -> EventId {
        self.next += 10;
        let message = format!(r#"{{"n": {} , "audit_event":{{"actor":"\u00e4 é"}}}}"#, self.next);
        self.insert(self.next, time, &message).await
    }
}

#[async_trait]
impl SourceHarness for Table {
    async fn source(&mut self) -> Box<dyn Source> {
        let mut config = self.db.config();
        config.busy_timeout = BUSY;
        match self.how {
            How::Flag => {}
            How::Claims => {
                config.claim = true;
                // Until the server has noticed that the last source is gone.
                self.db.run("SELECT id FROM {t} FOR UPDATE").await;
            }
            How::Keyset => {
                config.mode = Mode::Keyset;
                self.db.settled().await;
            }
        }
        Box::new(SqlSource::new(config).unwrap())
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        for _ in 0..records {
            ids.push(self.add(self.next).await);
        }
        self.settled().await;
        ids
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        for _ in 0..records {
            ids.push(self.add(3599).await);
        }
        self.settled().await;
        ids
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 10;
        self.insert(self.next, 0, "{\"cut\":").await;
        self.settled().await;
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        self.late += 1;
        let between = self.next - 15 + self.late;
        let id = self.insert(between, 0, r#"{"late":true}"#).await;
        self.settled().await;
        Some(id)
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        if kind != ErrorKind::Unavailable {
            return false;
        }
        // Longer than the source waits, shorter than it waits twice.
        self.db.block(BUSY * 9 / 5).await;
        true
    }

    async fn idle(&mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

async fn keeps_the_contract(kind: Kind, columns: &str, id: fn(i64) -> String) {
    judge(kind, columns, id, How::Flag, |_| true).await;
}

async fn judge(
    kind: Kind,
    columns: &str,
    id: fn(i64) -> String,
    how: How,
    rules: fn(&str) -> bool,
) {
    if kind.url().is_none() {
        return;
    }
    for rule in SOURCE_RULES {
        if !rules(rule.name()) {
            continue;
        }
        let db = Db::new(kind, columns).await.without_tls();
        let mut table = Table { db, id, next: 1000, late: 0, how };
        rule.judge(&mut table).await.unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        table.db.done().await;
    }
}

#[tokio::test]
async fn postgres_with_numbers() {
    let columns = "id integer PRIMARY KEY, is_sent boolean, message text, created_at timestamptz";
    keeps_the_contract(Kind::Postgres, columns, |n| n.to_string()).await;
}

#[tokio::test]
async fn postgres_with_uuids() {
    let columns = "id uuid NOT NULL UNIQUE, is_sent boolean NOT NULL DEFAULT false, message text, \
                   created_at timestamptz";
    keeps_the_contract(Kind::Postgres, columns, uuid).await;
}

#[tokio::test]
async fn mariadb_with_numbers() {
    let columns = "id INT UNSIGNED PRIMARY KEY, is_sent BOOLEAN, message LONGTEXT, \
                   created_at DATETIME(6)";
    keeps_the_contract(Kind::MariaDb, columns, |n| n.to_string()).await;
}

#[tokio::test]
async fn mariadb_with_texts() {
    let columns = "id VARCHAR(64) NOT NULL UNIQUE, is_sent BOOLEAN NOT NULL DEFAULT 0, \
                   message TEXT, created_at DATETIME(6)";
    keeps_the_contract(Kind::MariaDb, columns, uuid).await;
}

#[tokio::test]
async fn postgres_without_a_key() {
    let columns = "id int, is_sent boolean, message text, created_at timestamptz";
    keeps_the_contract(Kind::Postgres, columns, |n| n.to_string()).await;
}

#[tokio::test]
async fn mariadb_without_a_key() {
    let columns = "id int, is_sent boolean, message text, created_at datetime(6)";
    keeps_the_contract(Kind::MariaDb, columns, |n| n.to_string()).await;
}

#[tokio::test]
async fn postgres_with_claims() {
    judge(Kind::Postgres, CLAIMED_POSTGRES, uuid, How::Claims, short).await;
}

#[tokio::test]
async fn mariadb_with_claims() {
    judge(Kind::MariaDb, CLAIMED_MARIADB, |n| n.to_string(), How::Claims, short).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn every_rule_with_claims() {
    judge(Kind::Postgres, CLAIMED_POSTGRES, uuid, How::Claims, |_| true).await;
    judge(Kind::MariaDb, CLAIMED_MARIADB, |n| n.to_string(), How::Claims, |_| true).await;
}

#[tokio::test]
async fn postgres_by_keyset_with_numbers() {
    let columns = "id bigint PRIMARY KEY, message text, created_at timestamptz";
    judge(Kind::Postgres, columns, |n| n.to_string(), How::Keyset, |_| true).await;
}

#[tokio::test]
async fn postgres_by_keyset_with_uuids() {
    let columns = "id uuid PRIMARY KEY, message text, created_at timestamptz";
    judge(Kind::Postgres, columns, uuid, How::Keyset, |_| true).await;
}

#[tokio::test]
async fn mariadb_by_keyset() {
    let columns = "id INT UNSIGNED PRIMARY KEY, message TEXT, created_at DATETIME(6)";
    judge(Kind::MariaDb, columns, |n| n.to_string(), How::Keyset, |_| true).await;
}

const CLAIMED_POSTGRES: &str =
    "id uuid PRIMARY KEY, is_sent boolean, message text, created_at timestamptz";
const CLAIMED_MARIADB: &str = "id BIGINT PRIMARY KEY, is_sent BOOLEAN NOT NULL DEFAULT 0, \
                               message TEXT, created_at DATETIME(6), INDEX (is_sent, id)";

fn uuid(n: i64) -> String {
    format!("0190b5e4-7a2f-7c3d-8e9f-{n:012}")
}
