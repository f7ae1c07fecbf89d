//! What columns hold, and what names rows.

use audit_core::{ErrorKind, Source};
use audit_source_sql::SqlSource;

use crate::db::{Db, Kind, limit, message, pass, servers};

const AWKWARD: [&str; 6] = [
    r#" {"b": 1.10, "a":123456789012345678901234567890 , "a":1,"s":"\u0041\/'\\"} "#,
    "{\"ä\":\"😀\",\n\t\"x\" : [ ]}",
    "7",
    "null",
    "\"\"",
    r#"{"e":1E400,"z":-0.0}"#,
];

#[tokio::test]
async fn payloads_arrive_byte_for_byte() {
    for kind in servers() {
        let types: &[&str] = match kind {
            Kind::Postgres => &["json", "text", "varchar", "bytea"],
            Kind::MariaDb => &["JSON", "LONGTEXT", "TEXT", "VARCHAR(500)", "BLOB", "LONGBLOB"],
        };
        for kind_of_column in types {
            let columns = format!("id int PRIMARY KEY, is_sent boolean, message {kind_of_column}");
            let mut db = Db::new(kind, &columns).await;
            for (id, text) in AWKWARD.iter().enumerate() {
                let text = match *kind_of_column {
                    "bytea" => text.replace('\\', "\\\\"),
                    _ => (*text).to_owned(),
                };
                db.insert(&id.to_string(), &text).await;
            }
            let all = pass(&mut db.opened().await, limit(4), true).await;
            assert_eq!(all.raw(), AWKWARD, "{kind:?} {kind_of_column}: {:?}", all.rejected);
            assert_eq!(db.unsent().await, 0);
            db.done().await;
        }
    }
}

#[tokio::test]
async fn jsonb_is_what_the_server_makes_of_it() {
    let Some(_) = Kind::Postgres.url() else { return };
    let mut db = Db::new(
        Kind::Postgres,
        "id int PRIMARY KEY, is_sent boolean, message jsonb, created_at timestamp",
    )
    .await;
    db.run("INSERT INTO {t} VALUES (1, false, '{\"b\":1.10,\"a\":12345678901234567890}', '2024-05-06 07:08:09.5')").await;
    let all = pass(&mut db.opened().await, limit(4), true).await;
    assert_eq!(all.raw(), [r#"{"a": 12345678901234567890, "b": 1.10}"#]);
    assert_eq!(all.events[0].time.to_rfc3339(), "2024-05-06T07:08:09.500+00:00");
    db.done().await;
}

#[tokio::test]
async fn q06_bad_rows_are_rejected_and_others_pass() {
    for kind in servers() {
        let blob = if kind == Kind::Postgres { "bytea" } else { "LONGBLOB" };
        let columns = format!("id int PRIMARY KEY, is_sent boolean, message {blob}");
        let mut db = Db::new(kind, &columns).await;
        let bytes = |hex: &str| match kind {
            Kind::Postgres => format!("'\\x{hex}'"),
            Kind::MariaDb => format!("x'{hex}'"),
        };
        // Nothing, not JSON, not UTF-8, a NUL, and one that is larger than a batch.
        let large = format!("'{{\"x\":\"{}\"}}'", "y".repeat(3 << 20));
        let bad = [
            "NULL".to_owned(),
            bytes(""),
            bytes("7b22"),
            bytes("7b22ff227d"),
            bytes("7b7d00"),
            large,
        ];
        for (n, value) in bad.iter().enumerate() {
            db.insert(&(n * 10 + 5).to_string(), &message(n as i64)).await;
            db.run(&format!("INSERT INTO {{t}} (id, message) VALUES ({}, {value})", n * 10)).await;
        }
        let mut config = db.config();
        config.max_event_bytes = 1 << 20;
        let mut source = SqlSource::new(config).unwrap();
        source.open(None).await.unwrap();
        let all = pass(&mut source, limit(4).bytes(64 << 10), true).await;
        assert_eq!(all.raw(), (0..bad.len() as i64).map(message).collect::<Vec<_>>());
        assert_eq!(all.rejected.len(), bad.len());
        for (n, letter) in all.rejected.iter().enumerate() {
            assert_eq!(letter.kind, ErrorKind::InvalidData);
            assert!(letter.reason.contains(&format!("row: {}", n * 10)), "{}", letter.reason);
        }
        assert_eq!(all.rejected[5].body().len(), (3 << 20) + 8);
        assert_eq!(db.unsent().await, 0, "accounted for: they are in the dead letters");
        db.done().await;
    }
}

#[tokio::test]
async fn keys_of_every_type() {
    for kind in servers() {
        let numbers = ["-5", "0", "1", "2", "3", "40"];
        let texts = ["''", "'1'", "'B c'", "'a'", "'ä''\"\\\\x'", "'zz'"];
        let uuids = [1, 2, 3, 4, 5, 6].map(|n| format!("'0190b5e4-7a2f-7c3d-8e9f-00000000000{n}'"));
        let uuids = uuids.each_ref().map(String::as_str);
        let blobs = ["x'00'", "x'0001'", "x'27'", "x'ff'", "x'ff00'", "x'80'"];
        let decimals = ["-1.5", "0", "1.25", "10", "99999999999999999999", "3"];
        let types: Vec<(&str, [&str; 6])> = match kind {
            Kind::Postgres => vec![
                ("smallint", numbers),
                ("bigint", numbers),
                ("text", texts),
                ("varchar(20)", texts),
                ("char(20)", texts),
                ("text COLLATE \"C\"", texts),
                ("uuid", uuids),
                ("numeric", decimals),
            ],
            Kind::MariaDb => vec![
                ("SMALLINT", numbers),
                ("BIGINT", numbers),
                ("VARCHAR(20)", texts),
                ("VARCHAR(20) CHARACTER SET latin1", texts),
                ("VARCHAR(20) COLLATE utf8mb4_bin", texts),
                ("CHAR(36)", uuids),
                ("UUID", uuids),
                ("VARBINARY(16)", blobs),
            ],
        };
        for (of_type, values) in types {
            let columns = format!("id {of_type} PRIMARY KEY, is_sent boolean, message text");
            let mut db = Db::new(kind, &columns).await;
            for value in values {
                db.insert(value, "{}").await;
            }
            let mut source = db.opened().await;
            let all = pass(&mut source, limit(2), false).await;
            assert_eq!(all.events.len(), 6, "{kind:?} {of_type}");
            assert_eq!(pass(&mut source, limit(2), true).await.events.len(), 0, "in flight");
            let all = pass(&mut db.opened().await, limit(2), true).await;
            assert_eq!(all.events.len(), 6, "{kind:?} {of_type}");
            assert_eq!(db.unsent().await, 0, "{kind:?} {of_type}");
            db.done().await;
        }
    }
}

#[tokio::test]
async fn a_key_of_its_own_names_rows_whose_ids_repeat() {
    for kind in servers() {
        let columns = "id int, is_sent boolean, message text, row_key serial PRIMARY KEY";
        let mut db = Db::new(kind, columns).await;
        for id in ["1", "1", "NULL", "2"] {
            db.insert(id, "{}").await;
        }
        let all = pass(&mut db.opened().await, limit(3), true).await;
        let mut ids: Vec<_> = all.events.iter().map(|e| e.id.as_str()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 4, "{ids:?}");
        assert!(ids[1].contains(":1@2:") && ids[2].contains(":null@3:"), "{ids:?}");
        assert_eq!(db.unsent().await, 0);
        db.done().await;
    }
}

#[tokio::test]
async fn flags_and_names_of_every_kind() {
    for kind in servers() {
        let mut db = Db::new(
            kind,
            "id int PRIMARY KEY, is_sent boolean, message text, \"a\"\"b`c\" smallint"
                .replace(
                    "\"a\"\"b`c\"",
                    if kind == Kind::Postgres { "\"a\"\"b`c\"" } else { "`a\"b``c`" },
                )
                .as_str(),
        )
        .await;
        for (id, flag) in ["NULL", "0", "1", "2"].iter().enumerate() {
            db.run(&format!("INSERT INTO {{t}} VALUES ({id}, NULL, '{{}}', {flag})")).await;
        }
        let mut config = db.config();
        config.table = Some(config.table().to_uppercase());
        config.sent_column = "a\"b`c".to_owned();
        let mut source = SqlSource::new(config.clone()).unwrap();
        source.check().await.unwrap();
        source.open(None).await.unwrap();
        assert_eq!(pass(&mut source, limit(9), true).await.events.len(), 2);
        assert_eq!(pass(&mut source, limit(9), true).await.events.len(), 0);
        assert_eq!(db.unsent().await, 4, "only the flag that was named");
        config.sent_column = "message".to_owned();
        let error = SqlSource::new(config).unwrap().check().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        db.run("CREATE VIEW {t}_v AS SELECT * FROM {t}").await;
        let mut config = db.config();
        config.table = Some(format!("{}_v", db.table));
        let error = SqlSource::new(config).unwrap().check().await.unwrap_err();
        assert!(error.to_string().contains("view"), "{error}");
        db.run("DROP VIEW {t}_v").await;
        db.done().await;
    }
}

#[tokio::test]
async fn q06_a_database_that_does_not_know_its_encoding() {
    let Some(url) = Kind::Postgres.url() else { return };
    let mut around = Db::classic(Kind::Postgres).await;
    let name = format!("ascii_{}", std::process::id());
    around
        .run(&format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
        .await;
    let (start, _) = url.rsplit_once('/').unwrap();
    let url = format!("{start}/{name}");
    let app = crate::db::connect(Kind::Postgres, &url).await;
    let mut db = Db { kind: Kind::Postgres, url, table: "logs".to_owned(), app };
    db.run("SET client_encoding = 'SQL_ASCII'").await;
    db.run("CREATE TABLE {t} (id text PRIMARY KEY, is_sent boolean, message text)").await;
    db.run("INSERT INTO {t} VALUES ('1', NULL, E'{\"\\xff\"}'), (E'2\\xe4', NULL, '{}'), ('3', NULL, '[]')")
        .await;
    let mut source = db.opened().await;
    let all = pass(&mut source, limit(1), true).await;
    assert_eq!(all.raw(), ["{}", "[]"]);
    assert_eq!(all.rejected[0].body(), b"{\"\xff\"}");
    assert_eq!(db.unsent().await, 0);
    drop((source, db));
    around.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    around.done().await;
}
