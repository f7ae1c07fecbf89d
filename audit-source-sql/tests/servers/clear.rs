//! Q-07: old rows that are sent are deleted, and no others, whatever their shape.

use audit_core::{ErrorKind, Secret};
use audit_source_sql::{Cleaner, Layout, SqlConfig};
use chrono::{DateTime, Utc};

use crate::db::{Db, Kind, servers};

/// Flags, and whether they say that a row is sent.
const FLAGS: [(&str, bool); 4] = [("true", true), ("1", true), ("false", false), ("NULL", false)];

/// The same for `additional_data`.
const DATA: [(&str, bool); 13] = [
    (r#"'{"is_sent": true}'"#, true),
    (r#"'{"a": [1.10], "is_sent" : true }'"#, true),
    ("NULL", false),
    ("'null'", false),
    ("'{}'", false),
    (r#"'{"other": 1}'"#, false),
    (r#"'{"is_sent": false}'"#, false),
    (r#"'{"is_sent": null}'"#, false),
    (r#"'{"is_sent": "true"}'"#, false),
    (r#"'{"is_sent": 1}'"#, false),
    (r#"'{"deep": {"is_sent": true}}'"#, false),
    (r#"'[{"is_sent": true}]'"#, false),
    ("'true'", false),
];

/// Times, and whether they are before [`before`] at this type of column.
const TIMES: [(&str, bool, bool); 6] = [
    ("'2024-05-06 07:08:08.999999'", true, false),
    ("'2024-05-06 07:08:09'", false, false),
    ("'2024-05-06 07:08:09.000001'", false, false),
    ("'2024-05-05 23:00:00'", true, true),
    ("'2034-05-06 07:08:09'", false, false),
    ("NULL", false, false),
];

fn before() -> DateTime<Utc> {
    "2024-05-06T07:08:09Z".parse().unwrap()
}

/// Fills a table with every flag at every age, clears it, and looks at what is left.
async fn only_what_is_due_goes(
    mut db: Db,
    config: SqlConfig,
    columns: &str,
    flags: &[(&str, bool)],
    by_day: bool,
) {
    let (mut id, mut stay) = (0, Vec::new());
    for (flag, sent) in flags {
        for (time, old, old_day) in TIMES {
            id += 1;
            let due = *sent && if by_day { old_day } else { old };
            if !due {
                stay.push(id.to_string());
            }
            // PostgreSQL tells numbers from booleans.
            let flag = match (db.kind, *flag) {
                (Kind::Postgres, "1") => "'1'",
                (_, flag) => flag,
            };
            db.run(&format!("INSERT INTO {{t}} ({columns}) VALUES ({id}, {flag}, {time})")).await;
        }
    }
    let due = (id - stay.len()) as u64;
    let mut cleaner = Cleaner::new(config).unwrap().with_chunk(2);
    assert_eq!(cleaner.count(before()).await.unwrap(), due, "{:?} {columns}", db.kind);
    assert_eq!(db.count("true").await, id as i64, "counting deletes nothing");
    let mut told = Vec::new();
    assert_eq!(cleaner.clear(before(), |rows| told.push(rows)).await.unwrap(), due);
    assert_eq!((told.len() as u64, told.last()), (due.div_ceil(2), Some(&due)));
    assert_eq!(db.count("true").await, stay.len() as i64);
    let left = db.count(&format!("id IN ({})", stay.join(", "))).await;
    assert_eq!(left, stay.len() as i64, "{:?} {columns}", db.kind);
    db.done().await;
}

#[tokio::test]
async fn q07_of_every_flag_and_age_only_sent_and_old_rows_go() {
    for kind in servers() {
        let types: &[(&str, bool)] = match kind {
            Kind::Postgres => &[("timestamptz", false), ("timestamp", false), ("date", true)],
            Kind::MariaDb => &[("DATETIME(6)", false), ("DATE", true)],
        };
        for (of_type, by_day) in types {
            let columns = format!(
                "id bigint PRIMARY KEY, is_sent boolean, message text, created_at {of_type}"
            );
            let db = Db::new(kind, &columns).await;
            let config = db.config();
            only_what_is_due_goes(db, config, "id, is_sent, created_at", &FLAGS, *by_day).await;
        }
    }
}

#[tokio::test]
async fn q07_an_entry_that_lacks_the_key_is_never_deleted() {
    for kind in servers() {
        let (json, time) = match kind {
            Kind::Postgres => ("jsonb", "timestamptz"),
            Kind::MariaDb => ("JSON", "DATETIME(6)"),
        };
        let columns = format!(
            "id int PRIMARY KEY, object_pk varchar(255), object_repr text, action smallint, \
             changes {json}, additional_data {json}, timestamp {time}"
        );
        let db = Db::new(kind, &columns).await;
        let mut config = db.config();
        config.layout = Layout::DjangoAuditlog;
        config.user_table = String::new();
        only_what_is_due_goes(db, config, "id, additional_data, timestamp", &DATA, false).await;
    }
}

#[tokio::test]
async fn what_cannot_be_deleted_is_said_and_how_to_go_on() {
    for kind in servers() {
        let mut db = Db::classic(kind).await;
        db.run("INSERT INTO {t} VALUES (1, true, '{}', '2024-01-01'), (2, true, '{}', '2024-01-01'), (3, true, '{}', '2024-01-01')").await;
        db.run("CREATE TABLE {t}_n (log bigint, FOREIGN KEY (log) REFERENCES {t} (id))").await;
        db.run("INSERT INTO {t}_n VALUES (3)").await;
        let mut cleaner = Cleaner::new(db.config()).unwrap().with_chunk(2);
        let error = cleaner.clear(before(), |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.to_string().contains("another table"), "{error:?}");
        assert_eq!(db.count("true").await, 1, "the chunk before is gone");
        db.run("DROP TABLE {t}_n").await;

        let (user, url) = db.user("SELECT, UPDATE").await;
        let mut config = db.config();
        config.url = Secret::new(url);
        let mut less = Cleaner::new(config).unwrap();
        assert_eq!(less.count(before()).await.unwrap(), 1);
        let error = less.clear(before(), |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
        assert!(error.hint().unwrap().contains("DELETE"), "{error:?}");
        drop(less);
        db.drop_user(&user).await;

        db.run("ALTER TABLE {t} DROP COLUMN created_at").await;
        let error = Cleaner::new(db.config()).unwrap().count(before()).await.unwrap_err();
        assert!(error.hint().unwrap().contains("created_at_column"), "{error:?}");
        db.run("ALTER TABLE {t} ADD COLUMN created_at bigint").await;
        let error = Cleaner::new(db.config()).unwrap().count(before()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        db.done().await;
    }
}
