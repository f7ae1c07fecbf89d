//! The table of django-auditlog on real servers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use audit_core::testkit::{SOURCE_RULES, SourceHarness};
use audit_core::{ErrorKind, EventId, Secret, Source};
use audit_source_sql::{Layout, SqlConfig, SqlSource};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::db::{Db, Kind, connect, limit, pass, servers};

const BUSY: Duration = Duration::from_secs(1);
/// Larger ones are bad.
const LARGEST: usize = 10_000;

/// A schema of its own, as version 3.4 of django-auditlog makes it.
async fn django(kind: Kind) -> Db {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let schema = format!("dj_{}_{count}", std::process::id());
    let url = kind.url().unwrap();
    let app = connect(kind, &url).await;
    let mut db = Db { kind, url, table: format!("{schema}.auditlog_logentry"), app };
    let (id, json, time, address) = match kind {
        Kind::Postgres => ("serial PRIMARY KEY", "jsonb", "timestamptz", "inet"),
        Kind::MariaDb => ("int AUTO_INCREMENT PRIMARY KEY", "JSON", "DATETIME(6)", "char(39)"),
    };
    db.run(&format!(
        "CREATE SCHEMA {schema}; \
         CREATE TABLE {schema}.auth_user (id {id}, password varchar(128) NOT NULL, \
         first_name varchar(150), last_name varchar(150), email varchar(254)); \
         INSERT INTO {schema}.auth_user VALUES (1, 'canary', 'Åda', 'Lovelace', 'ada@example.com'); \
         CREATE TABLE {schema}.django_content_type (id {id}, app_label varchar(100), \
         model varchar(100)); \
         INSERT INTO {schema}.django_content_type VALUES (7, 'lib_app', 'tag'); \
         CREATE TABLE {{t}} (id {id}, object_pk varchar(255) NOT NULL DEFAULT 'k', \
         object_id bigint, object_repr text NOT NULL DEFAULT (''), \
         action smallint NOT NULL DEFAULT 1, \
         timestamp {time} NOT NULL DEFAULT '2024-05-06 07:08:09.5', \
         actor_id int REFERENCES {schema}.auth_user (id), \
         content_type_id int, remote_addr {address}, additional_data {json}, \
         serialized_data {json}, cid varchar(255), changes_text text NOT NULL DEFAULT (''), \
         changes {json}, remote_port int, actor_email varchar(254))"
    ))
    .await;
    db
}

async fn done(mut db: Db) {
    let (schema, _) = db.table.split_once('.').unwrap();
    let sql = match db.kind {
        Kind::Postgres => format!("DROP SCHEMA {schema} CASCADE"),
        Kind::MariaDb => format!("DROP SCHEMA {schema}"),
    };
    db.run(&sql).await;
}

fn config(db: &Db) -> SqlConfig {
    let mut config = db.config();
    config.layout = Layout::DjangoAuditlog;
    config.name = Some("library".to_owned());
    config.origin = "library".to_owned();
    config
}

async fn opened(config: SqlConfig) -> SqlSource {
    let mut source = SqlSource::new(config).unwrap();
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    source
}

#[tokio::test]
async fn rows_become_the_documents_of_the_program_that_was_replaced() {
    for kind in servers() {
        let mut db = django(kind).await;
        let changes = r#"{"title": ["None", "ä 😀 \"q\""], "price": [null, 1.10]}"#;
        let literal = db.literal(changes);
        db.run(&format!(
            "INSERT INTO {{t}} (object_pk, object_repr, action, timestamp, actor_id, \
             content_type_id, remote_addr, cid, changes, actor_email) VALUES \
             ('42', 'スコア', 0, '2026-11-21 02:50:26.521048', 1, 7, '203.0.113.7', 'c-1', \
             {literal}, 'then@example.com'), \
             ('43', 'x', 3, '2026-11-21 02:50:27', NULL, 99, NULL, NULL, NULL, NULL)"
        ))
        .await;
        let read = pass(&mut opened(config(&db)).await, limit(9), true).await;
        // PostgreSQL has a form and an order of its own for jsonb.
        let changes = match kind {
            Kind::Postgres => r#"{"price": [null, 1.10], "title": ["None", "ä 😀 \"q\""]}"#,
            Kind::MariaDb => changes,
        };
        assert_eq!(
            read.raw(),
            [
                format!(
                    r#"{{"audit_event":{{"actor":"Åda Lovelace","date_time":"2026-11-21T02:50:26.521048+00:00","operation":"create","origin":"library","target":"スコア","environment":"","message":{changes}}}}}"#
                ),
                r#"{"audit_event":{"actor":"unknown","date_time":"2026-11-21T02:50:27.000000+00:00","operation":"access","origin":"library","target":"x","environment":"","message":null}}"#.to_owned(),
            ]
        );
        let event = &read.events[0];
        let id = event.id.as_str();
        assert!(id.starts_with(&format!("library:{}:1:", db.table)), "{id}");
        assert_eq!(event.action.name.as_deref(), Some("lib_app.tag.create"));
        assert_eq!(event.origin.ip, Some("203.0.113.7".parse().unwrap()));
        assert_eq!(event.origin.correlation_id.as_deref(), Some("c-1"));
        let actor = event.actor.as_ref().unwrap();
        assert_eq!(actor.email.as_deref(), Some("then@example.com"));
        assert_eq!(read.events[1].action.name.as_deref(), Some("access"), "of no known type");
        done(db).await;
    }
}

#[tokio::test]
async fn nothing_but_true_counts_as_sent_and_nothing_is_in_the_way_for_ever() {
    const SENT: &str = r#"{"is_sent": true}"#;
    // What is stored, and what a mark makes of it.
    let shapes = [
        ("null", SENT),
        ("{}", SENT),
        (
            r#"{"x": 1.10, "is_sent": false, "ä": ["é"]}"#,
            r#"{"x": 1.10, "is_sent": true, "ä": ["é"]}"#,
        ),
        (r#"{"is_sent": null}"#, SENT),
        (r#"{"is_sent": "true"}"#, SENT),
        (r#"{"is_sent": "false"}"#, SENT),
        (r#"{"is_sent": 0}"#, SENT),
        (r#"{"is_sent": 1}"#, SENT),
        (r#"{"is_sent": [true]}"#, SENT),
        (r#"{"IS_SENT": true}"#, r#"{"IS_SENT": true, "is_sent": true}"#),
        (r#"{"deep": {"is_sent": true}}"#, r#"{"deep": {"is_sent": true}, "is_sent": true}"#),
        (r#"[{"is_sent": true}]"#, r#"{"is_sent": true, "additional_data": [{"is_sent": true}]}"#),
        ("true", r#"{"is_sent": true, "additional_data": true}"#),
        (r#""text""#, r#"{"is_sent": true, "additional_data": "text"}"#),
        ("12", r#"{"is_sent": true, "additional_data": 12}"#),
    ];
    for kind in servers() {
        let types: &[&str] = match kind {
            Kind::Postgres => &["jsonb"],
            Kind::MariaDb => &["JSON", "LONGTEXT"],
        };
        for of_type in types {
            let mut db = django(kind).await;
            db.run("ALTER TABLE {t} DROP COLUMN additional_data").await;
            db.run(&format!("ALTER TABLE {{t}} ADD COLUMN additional_data {of_type}")).await;
            for (value, _) in shapes {
                db.run(&format!("INSERT INTO {{t}} (additional_data) VALUES ('{value}')")).await;
            }
            db.run("INSERT INTO {t} (additional_data) VALUES (NULL)").await;
            let mut unsent = shapes.len() + 1;
            if *of_type == "LONGTEXT" {
                for broken in ["{cut", "", r#"{"is_sent": true"#] {
                    db.run(&format!("INSERT INTO {{t}} (additional_data) VALUES ('{broken}')"))
                        .await;
                    unsent += 1;
                }
            }
            for sent in [SENT, r#"{"a": 1, "is_sent" : true}"#] {
                db.run(&format!("INSERT INTO {{t}} (additional_data) VALUES ('{sent}')")).await;
            }
            let mut source = opened(config(&db)).await;
            let read = pass(&mut source, limit(4), true).await;
            assert_eq!(read.events.len(), unsent, "{kind:?} {of_type}");
            assert_eq!(pass(&mut source, limit(4), true).await.events.len(), 0);
            for (id, (value, expected)) in shapes.iter().enumerate() {
                let same = match kind {
                    Kind::Postgres => format!("additional_data::jsonb = '{expected}'::jsonb"),
                    Kind::MariaDb => format!("JSON_EQUALS(additional_data, '{expected}')"),
                };
                let found = db.count(&format!("id = {} AND {same}", id + 1)).await;
                assert_eq!(found, 1, "{kind:?} {of_type} {value}");
            }
            assert!(pass(&mut opened(config(&db)).await, limit(9), false).await.events.is_empty());
            done(db).await;
        }
    }
}

#[tokio::test]
async fn what_others_write_before_the_mark_is_kept() {
    for kind in servers() {
        let mut db = django(kind).await;
        db.run("INSERT INTO {t} (additional_data) VALUES ('{\"a\": 1.10}'), ('[\"poison\"]')")
            .await;
        let mut source = opened(config(&db)).await;
        let read = crate::db::batch(&mut source, limit(9)).await.unwrap();
        db.run("UPDATE {t} SET additional_data = '{\"b\": 2}' WHERE id = 1").await;
        source.committed(&read.cursor).await.unwrap();
        let b = match kind {
            Kind::Postgres => "additional_data = '{\"b\": 2, \"is_sent\": true}'",
            Kind::MariaDb => "JSON_EQUALS(additional_data, '{\"b\": 2, \"is_sent\": true}')",
        };
        assert_eq!(db.count(b).await, 1, "{kind:?}");
        db.run("UPDATE {t} SET additional_data = NULL").await;
        let again = pass(&mut opened(config(&db)).await, limit(9), false).await;
        let ids = |events: &[audit_core::AuditEvent]| -> Vec<EventId> {
            events.iter().map(|event| event.id.clone()).collect()
        };
        assert_eq!(ids(&again.events), ids(&read.events));
        done(db).await;
    }
}

#[tokio::test]
async fn versions_of_the_table_and_what_is_said_when_something_is_missing() {
    for kind in servers() {
        let mut db = django(kind).await;
        let (schema, _) = db.table.split_once('.').unwrap();
        let schema = schema.to_owned();
        // 2.x: the changes are text.
        db.run(
            "ALTER TABLE {t} DROP COLUMN changes, DROP COLUMN changes_text, DROP COLUMN cid, \
             DROP COLUMN remote_port, DROP COLUMN actor_email, ADD COLUMN changes text",
        )
        .await;
        db.run(&format!("DROP TABLE {schema}.django_content_type")).await;
        db.run(
            "INSERT INTO {t} (actor_id, changes) VALUES (1, '{\"a\":  [1, 2]}'), (NULL, 'null')",
        )
        .await;
        let read = pass(&mut opened(config(&db)).await, limit(9), true).await;
        assert!(read.raw()[0].ends_with(r#""message":{"a":  [1, 2]}}}"#), "{:?}", read.raw());
        assert!(read.raw()[1].ends_with(r#""message":null}}"#), "{:?}", read.raw());

        // A user model of one's own, without names.
        db.run(&format!("CREATE TABLE {schema}.people (uid int PRIMARY KEY, email varchar(99))"))
            .await;
        db.run(&format!("INSERT INTO {schema}.people VALUES (1, 'p@example.com')")).await;
        db.run("UPDATE {t} SET additional_data = NULL").await;
        let mut people = config(&db);
        people.user_table = "people".to_owned();
        let read = pass(&mut opened(people).await, limit(9), false).await;
        assert!(read.raw()[0].contains(r#""actor":"p@example.com""#), "{:?}", read.raw());

        let mut wrong = config(&db);
        wrong.user_table = "auth_usr".to_owned();
        let error = SqlSource::new(wrong).unwrap().check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("(user_table: auth_usr"), "{error:?}");
        db.run("ALTER TABLE {t} DROP COLUMN additional_data").await;
        let error = SqlSource::new(config(&db)).unwrap().check().await.unwrap_err();
        assert!(error.hint().unwrap().contains("keyset"), "{error:?}");
        db.run(match kind {
            Kind::Postgres => "ALTER TABLE {t} ADD COLUMN additional_data json",
            Kind::MariaDb => "ALTER TABLE {t} ADD COLUMN additional_data int",
        })
        .await;
        let error = SqlSource::new(config(&db)).unwrap().check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.hint().unwrap().to_lowercase().contains("make it json"), "{error:?}");
        done(db).await;
    }
}

#[tokio::test]
async fn the_password_column_is_never_read() {
    for kind in servers() {
        let mut db = django(kind).await;
        db.run("INSERT INTO {t} (actor_id) VALUES (1)").await;
        let (schema, _) = db.table.split_once('.').unwrap();
        let schema = schema.to_owned();
        let user = format!("u_{schema}");
        let columns = "SELECT (id, first_name, last_name, email)";
        let sql = match kind {
            Kind::Postgres => format!(
                "CREATE USER {user} PASSWORD 'canary'; GRANT USAGE ON SCHEMA {schema} TO {user}; \
                 GRANT SELECT, UPDATE (additional_data) ON {{t}} TO {user}; \
                 GRANT {columns} ON {schema}.auth_user TO {user}"
            ),
            Kind::MariaDb => format!(
                "CREATE USER {user}@'%' IDENTIFIED BY 'canary'; \
                 GRANT SELECT, UPDATE (additional_data) ON {{t}} TO {user}@'%'; \
                 GRANT {columns} ON {schema}.auth_user TO {user}@'%'"
            ),
        };
        db.run(&sql).await;
        let (_, rest) = db.url.split_once('@').unwrap();
        let (scheme, _) = db.url.split_once(':').unwrap();
        let rest = match kind {
            Kind::Postgres => rest.to_owned(),
            Kind::MariaDb => rest.replace("/audit", &format!("/{schema}")),
        };
        let mut less = config(&db);
        less.url = Secret::new(format!("{scheme}://{user}:canary@{rest}"));
        let read = pass(&mut opened(less.clone()).await, limit(9), true).await;
        let raw = read.raw();
        assert!(raw[0].contains(r#""actor":"Åda Lovelace""#) && !raw[0].contains("canary"));
        assert_eq!(read.events[0].action.name.as_deref(), Some("update"), "no right to the types");
        assert!(pass(&mut opened(less.clone()).await, limit(9), true).await.events.is_empty());

        let grantee = match kind {
            Kind::Postgres => user.clone(),
            Kind::MariaDb => format!("{user}@'%'"),
        };
        db.run(&format!("REVOKE {columns} ON {schema}.auth_user FROM {grantee}")).await;
        let error = SqlSource::new(less).unwrap().check().await.unwrap_err();
        assert!(error.to_string().contains("user"), "{error:?}");
        db.run(&match kind {
            Kind::Postgres => format!("DROP OWNED BY {user}; DROP USER {user}"),
            Kind::MariaDb => format!("DROP USER {grantee}"),
        })
        .await;
        done(db).await;
    }
}

struct Entries {
    db: Db,
    next: i64,
    late: i64,
}

impl Entries {
    async fn insert(&mut self, id: i64, time: i64, repr: &str) -> EventId {
        let time = format!("2024-05-06 07:{:02}:{:02}.5", time / 60 % 60, time % 60);
        let changes = format!(r#"{{"n": [{id}, 1.10]}}"#);
        self.db
            .run(&format!(
                "INSERT INTO {{t}} (id, timestamp, object_repr, changes) \
                 VALUES ({id}, '{time}', '{repr}', '{changes}')"
            ))
            .await;
        let time = match self.db.kind {
            Kind::Postgres => format!("{time}+00"),
            Kind::MariaDb => format!("{time}00000"),
        };
        // Of actor_email, cid, remote_addr, content_type_id and actor_id; each NULL adds its place.
        let nulls = (0..=4).sum();
        let columns = ["", &changes, repr, "k", "1", &time];
        let print =
            columns.iter().fold(nulls, |print, column| xxh3_64_with_seed(column.as_bytes(), print));
        EventId::new(format!("library:{}:{id}:{print:016x}", self.db.table))
    }

    async fn add(&mut self, time: i64) -> EventId {
        self.next += 10;
        self.insert(self.next, time, "r").await
    }
}

#[async_trait]
impl SourceHarness for Entries {
    async fn source(&mut self) -> Box<dyn Source> {
        let mut config = config(&self.db);
        config.busy_timeout = BUSY;
        config.max_event_bytes = LARGEST;
        Box::new(SqlSource::new(config).unwrap())
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        for _ in 0..records {
            ids.push(self.add(self.next).await);
        }
        ids
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let mut ids = Vec::new();
        for _ in 0..records {
            ids.push(self.add(3599).await);
        }
        ids
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 10;
        self.insert(self.next, 0, &"x".repeat(LARGEST)).await;
        true
    }

    async fn seed_late(&mut self) -> Option<EventId> {
        self.late += 1;
        let between = self.next - 15 + self.late;
        Some(self.insert(between, 0, "late").await)
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        if kind != ErrorKind::Unavailable {
            return false;
        }
        self.db.block(BUSY * 9 / 5).await;
        true
    }

    async fn idle(&mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

async fn keeps_the_contract(kind: Kind) {
    if kind.url().is_none() {
        return;
    }
    for rule in SOURCE_RULES {
        let mut entries = Entries { db: django(kind).await.without_tls(), next: 1000, late: 0 };
        rule.judge(&mut entries).await.unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        done(entries.db).await;
    }
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    keeps_the_contract(Kind::Postgres).await;
}

#[tokio::test]
async fn mariadb_keeps_the_contract() {
    keeps_the_contract(Kind::MariaDb).await;
}
