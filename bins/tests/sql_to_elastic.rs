//! `sql-to-elastic` in the place of the program it replaces: the same variables and documents, and
//! for each fault of that program what happens now.

#![cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "sink-elastic"
))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/elastic.rs"]
mod elastic;
#[path = "common/sql_to_elastic.rs"]
mod site;

use common::{Lab, message, wait_for};
use elastic::{Cluster, Fault};
use rusqlite::types::Value as Sql;
use serde_json::json;
use site::Site;

#[test]
fn sends_what_is_unsent_and_marks_it() {
    let site = Site::new(3);
    site.send().expect(0).says("delivered");
    let documents = site.cluster.json();
    assert_eq!(documents.len(), 3);
    // The record as it is, and the time as the record writes it.
    let mut expected: serde_json::Value = serde_json::from_str(&message(1)).unwrap();
    expected["@timestamp"] = json!("2026-01-05T08:00:00.000Z");
    assert_eq!(documents[0], expected);
    let (index, _, source) = site.cluster.documents().remove(0);
    assert_eq!(index, "app_audit_log");
    let record = message(1);
    let record = record.strip_suffix('}').unwrap();
    assert_eq!(source, format!(r#"{record},"@timestamp":"2026-01-05T08:00:00.000Z"}}"#));
    assert_eq!(site.lab.unsent(), 0);
    site.run(&[], &["send"]).expect(0).says("nothing new");
    assert_eq!(site.cluster.ids().len(), 3);
}

#[test]
fn the_variables_of_the_replaced_program_mean_the_same() {
    let site = Site::new(0);
    site.lab.db().execute_batch("ALTER TABLE audit_logs RENAME TO other_logs").unwrap();
    let message = r#"{"different":{"when":"2022-10-13T12:34:56.000+0300"}}"#;
    let insert = "INSERT INTO other_logs (id, message, created_at) VALUES (?1, ?2, '2026-01-05')";
    for id in 1..=5 {
        site.lab.db().execute(insert, (id, message)).unwrap();
    }
    let url = site.cluster.url();
    let address = url.strip_prefix("http://").unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let variables = [
        ("ELASTICSEARCH_HOST", host),
        ("ELASTICSEARCH_PORT", port),
        ("ELASTICSEARCH_SCHEME", "http"),
        ("ELASTICSEARCH_USERNAME", "ann"),
        ("ELASTICSEARCH_PASSWORD", "s3cret"),
        ("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", "theirs"),
        ("AUDIT_TABLE_NAME", "other_logs"),
        ("DATE_TIME_PARENT_FIELD", "different"),
        ("DATE_TIME_FIELD", "when"),
        ("CHUNK_SIZE", "2"),
        ("BATCH_LIMIT", "4"),
        ("DEBUG", "True"),
        ("ALLOWED_HOSTS", "*"),
    ];
    site.run(&variables, &[]).expect(0);
    let documents = site.cluster.documents();
    assert_eq!(documents.len(), 4, "BATCH_LIMIT");
    assert!(documents.iter().all(|(index, ..)| index == "theirs"));
    assert!(documents[0].2.ends_with(r#","@timestamp":"2022-10-13T12:34:56.000+0300"}"#));
    assert_eq!(site.cluster.count("/_bulk"), 2, "CHUNK_SIZE");
    let seen = site.cluster.lock().seen.clone();
    assert!(seen.iter().all(|r| r.header("authorization") == Some("Basic YW5uOnMzY3JldA==")));
    // The documentation of the replaced program calls it so.
    let mut other = variables.to_vec();
    other.retain(|(name, _)| *name != "BATCH_LIMIT");
    site.lab.db().execute("UPDATE other_logs SET is_sent = 0 WHERE id < 4", []).unwrap();
    std::fs::remove_dir_all(site.lab.path("state")).unwrap();
    other.push(("BATCH_SIZE", "1"));
    site.run(&other, &["--summary-json"]).expect(0);
    let left = "SELECT count(*) FROM other_logs WHERE is_sent IS NOT TRUE";
    let left: u32 = site.lab.db().query_row(left, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 3, "BATCH_SIZE");
}

#[test]
fn the_time_may_be_in_the_record_itself() {
    let site = Site::new(0);
    site.rows_of_other_shape(r#"{"date_time":"2022-10-13T12:34:56Z"}"#);
    site.run(&[("DATE_TIME_PARENT_FIELD", "")], &[]).expect(0);
    assert_eq!(site.cluster.json()[0]["@timestamp"], "2022-10-13T12:34:56Z");
}

#[test]
fn an_env_file_is_read_and_the_environment_goes_first() {
    let site = Site::new(3);
    std::fs::write(
        site.lab.path(".env"),
        "ELASTICSEARCH_APP_AUDIT_LOG_INDEX=from-file\nBATCH_LIMIT=1\n",
    )
    .unwrap();
    site.run(&[("BATCH_LIMIT", "2")], &[]).expect(0);
    let documents = site.cluster.documents();
    assert_eq!((documents.len(), &*documents[0].0), (2, "from-file"));
    site.run(&[("BATCH_LIMIT", "2")], &["--batch-limit", "0", "--index", "from-flag"]).expect(0);
    assert_eq!(site.cluster.documents()[2].0, "from-flag");
}

#[test]
fn switched_off_it_says_so_and_sends_nothing() {
    let site = Site::new(3);
    site.run(&[("ENABLE_SEND_AUDIT_LOG", "False")], &[]).expect(0).says("ENABLE_SEND_AUDIT_LOG");
    assert_eq!((site.cluster.ids().len(), site.lab.unsent()), (0, 3));
}

/// Fault 2: an id that is taken by another document counted as sent.
#[test]
fn fault_02_two_applications_in_one_index_do_not_hide_each_other() {
    let one = Site::new(3);
    let other = Lab::new(0);
    for id in 1..=3 {
        other.add_value(id, Sql::Text(message(id + 100)));
    }
    one.send().expect(0);
    let url = format!("sqlite:///{}", other.path("app.db").display());
    let variables = [("DATABASE_URL", url.as_str()), ("AUDIT_STATE_DIR", "state-of-the-other")];
    one.run(&variables, &[]).expect(0);
    assert_eq!(one.cluster.ids().len(), 6);

    // With the ids of old they collide, which is found and kept.
    let again = Site { lab: other, cluster: Cluster::start() };
    let rows = |site: &Site, variables: &[(&str, &str)]| {
        site.run(variables, &["--id-from", "row", "--summary-json"])
    };
    again.lab.db().execute("UPDATE audit_logs SET is_sent = 0", []).unwrap();
    rows(&again, &[]).expect(0);
    assert_eq!(again.cluster.ids(), ["1", "2", "3"]);
    let url = format!("sqlite:///{}", one.lab.path("app.db").display());
    one.lab.db().execute("UPDATE audit_logs SET is_sent = 0", []).unwrap();
    let variables = [("DATABASE_URL", url.as_str()), ("AUDIT_STATE_DIR", "state-of-the-other")];
    let ran = rows(&again, &variables).expect(9);
    assert!(ran.out.contains("\"dead_lettered\":3"), "{}", ran.out);
}

/// Fault 3: as many bad rows as a run may send, at the head of the table, stopped it for ever.
#[test]
fn fault_03_bad_rows_use_up_nothing() {
    let site = Site::new(0);
    for id in 1..=3 {
        site.lab.add_value(id, Sql::Text("{\"audit_event\":".to_owned()));
    }
    for id in 4..=6 {
        site.lab.add_value(id, Sql::Text(message(id)));
    }
    site.cluster.refuse("audit_logs:4", (400, "", ""));
    site.run(&[("BATCH_LIMIT", "3")], &[]).expect(9);
    assert_eq!((site.cluster.ids().len(), site.lab.unsent()), (3, 0));
    let ran = site.run(&[], &["dead-letters", "list"]).expect(0);
    assert_eq!(ran.out.lines().filter(|line| line.contains("audit_logs:")).count(), 3);
}

/// Fault 6: with the cluster down, each row was tried four times.
#[test]
fn fault_06_a_cluster_that_refuses_is_asked_once_not_for_each_row() {
    let site = Site::new(50);
    site.cluster.lock().authorization = Some("Basic other".to_owned());
    site.send().expect(4);
    assert_eq!(site.cluster.count("/_bulk"), 1);
    assert_eq!(site.lab.unsent(), 50);
}

/// Fault 7: a row sent again after the index had changed was there twice.
#[test]
fn fault_07_the_index_of_a_day_is_that_of_the_event() {
    let site = Site::new(3);
    let daily = [("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", "audit-{yyyy.MM.dd}")];
    site.run(&daily, &[]).expect(0);
    site.lab.db().execute("UPDATE audit_logs SET is_sent = 0", []).unwrap();
    std::fs::remove_dir_all(site.lab.path("state")).unwrap();
    site.run(&daily, &[]).expect(0);
    let documents = site.cluster.documents();
    assert!(documents.iter().all(|(index, ..)| index == "audit-2026.01.05"));
    assert_eq!(documents.len(), 3);
}

/// Fault 9: it ended with success whatever had happened.
#[test]
fn fault_09_the_exit_code_says_what_happened() {
    let site = Site::new(1);
    let code = |variables: &[(&str, &str)]| site.run(variables, &[]).code;
    assert_eq!(code(&[("DATABASE_URL", "")]), 3);
    assert_eq!(code(&[("ELASTICSEARCH_HOST", "")]), 3);
    assert_eq!(code(&[("ELASTICSEARCH_PORT", "1")]), 3, "two ports");
    assert_eq!(code(&[("DATABASE_URL", "sqlite:///no/such.db")]), 3);
    assert_eq!(code(&[("BATCH_LIMIT", "many")]), 3);
    assert_eq!(code(&[("AUDIT_LOGGER_TYPE", "OTHER")]), 2);
    assert_eq!(site.run(&[], &["--no-such-option"]).code, 2);
    for (variable, value) in [
        ("DATABASE_URL", ""),
        ("ELASTICSEARCH_HOST", ""),
        ("ELASTICSEARCH_PORT", "x"),
        ("ELASTICSEARCH_SCHEME", "ftp"),
        ("BATCH_LIMIT", "many"),
        ("CHUNK_SIZE", "-1"),
    ] {
        site.run(&[(variable, value)], &[]).expect(3).says(variable);
    }
    assert_eq!(site.cluster.ids().len(), 0);
}

/// Fault 10: one request for each row.
#[test]
fn fault_10_rows_go_together() {
    let site = Site::new(2000);
    site.send().expect(0);
    assert_eq!(site.cluster.ids().len(), 2000);
    assert!(site.cluster.count("/_bulk") <= 4, "{}", site.cluster.count("/_bulk"));
}

/// Fault 11: a date that is none went out and was refused later.
#[test]
fn fault_11_a_date_that_is_none_does_not_keep_a_record_back() {
    let site = Site::new(0);
    for (id, date) in [(1, r#""soon""#), (2, "1665664496789"), (3, "null"), (4, "{}")] {
        let message = format!(r#"{{"audit_event":{{"date_time":{date}}}}}"#);
        site.lab.add_value(id, Sql::Text(message));
    }
    site.send().expect(0);
    let documents = site.cluster.json();
    // The time of the record in another form where there is one, else that of the row.
    assert_eq!(documents[1]["@timestamp"], "2022-10-13T12:34:56.789Z");
    for n in [0, 2, 3] {
        assert_eq!(documents[n]["@timestamp"], "2026-01-05T00:00:00Z", "{}", documents[n]);
    }
}

/// Fault 12: settings of the database were printed at every start.
#[test]
fn fault_12_no_credential_shows_anywhere() {
    let site = Site::new(1);
    site.rows_of_other_shape("not JSON");
    let variables = [
        ("DATABASE_PASSWORD", "canary1"),
        ("ELASTICSEARCH_USERNAME", "ann"),
        ("ELASTICSEARCH_PASSWORD", "canary2"),
    ];
    let mut shown = String::new();
    for args in [&["-vvv"][..], &["check"], &["dead-letters", "list"], &["--help"]] {
        let ran = site.run(&variables, args);
        shown += &(ran.out + &ran.err);
    }
    let url = "postgres://u:canary3@127.0.0.1:1/db";
    let more = [variables.as_slice(), &[("DATABASE_URL", url)]].concat();
    for args in [&["-vvv", "check"][..], &["--help"]] {
        let ran = site.run(&more, args);
        shown += &(ran.out + &ran.err);
    }
    for (path, content) in common::snapshot(&site.lab.path("state")) {
        assert!(!String::from_utf8_lossy(&content).contains("canary"), "{}", path.display());
    }
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_credential_may_come_from_a_file() {
    let site = Site::new(1);
    site.cluster.lock().authorization = Some("ApiKey aTpr".to_owned());
    std::fs::write(site.lab.path("key"), "i:k\n").unwrap();
    site.run(&[], &["--elasticsearch-api-key-file", "key"]).expect(0);
    assert_eq!(site.cluster.ids().len(), 1);
}

#[test]
fn following_it_sends_what_comes_and_stops_cleanly() {
    let site = Site::new(3);
    let mut child = site.start(&["--follow"]);
    wait_for(|| site.cluster.ids().len() == 3);
    site.lab.add(4, 2);
    wait_for(|| site.cluster.ids().len() == 5);
    common::signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(site.lab.unsent(), 0);
}

#[test]
fn passing_faults_of_the_cluster_cost_time_only() {
    let site = Site::new(500);
    for fault in [
        Fault::status(503, "unavailable"),
        Fault::Reset { after: true },
        Fault::RefuseAll(429, "es_rejected_execution_exception"),
        Fault::Torn,
    ] {
        site.cluster.fail(fault);
    }
    site.send().expect(0);
    let mut ids = site.cluster.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), site.cluster.ids().len(), site.lab.unsent()), (500, 500, 0));
}

#[test]
fn other_formats_wrap_the_record() {
    for (format, field) in [("canonical", "raw"), ("ecs", "audit")] {
        let site = Site::new(1);
        site.run(&[], &["--format", format]).expect(0);
        let document = site.cluster.json().remove(0);
        assert!(document.get(field).is_some(), "{document}");
        assert_eq!(document["@timestamp"], "2026-01-05T08:00:00Z");
    }
}

#[test]
fn a_dry_run_and_a_check_change_nothing() {
    let site = Site::new(3);
    let before = common::snapshot(&site.lab.path(""));
    site.run(&[], &["check"]).expect(0);
    site.run(&[], &["--dry-run"]).expect(0).says("would be delivered");
    assert_eq!((site.cluster.ids().len(), site.lab.unsent()), (0, 3));
    let after = common::snapshot(&site.lab.path(""));
    let names = |files: &[(std::path::PathBuf, Vec<u8>)]| {
        files
            .iter()
            .map(|(path, _)| path.clone())
            .filter(|p| !p.to_string_lossy().contains("app.db-"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&after));
}

/// Fault 1: clearing deleted rows that were never sent.
#[test]
fn fault_01_clearing_deletes_only_what_was_sent_long_ago() {
    let site = Site::new(0);
    let insert =
        "INSERT INTO audit_logs (id, is_sent, message, created_at) VALUES (?1, ?2, '{}', ?3)";
    let old = "2020-01-01 00:00:00";
    for (id, sent, made) in
        [(1, 1, old), (2, 0, old), (3, 1, "2999-01-01 00:00:00"), (4, 0, "2999-01-01 00:00:00")]
    {
        site.lab.db().execute(insert, (id, sent, made)).unwrap();
    }
    let left = || -> Vec<u32> {
        let db = site.lab.db();
        let mut rows = db.prepare("SELECT id FROM audit_logs ORDER BY id").unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    // Clearing needs no cluster, and can be switched off.
    let alone = [("ELASTICSEARCH_HOST", "")];
    site.run(&[("CLEAR_AUDIT_LOG_ENTRIES", "false")], &["clear"]).expect(0);
    site.run(&alone, &["clear", "--dry-run"]).expect(0).says("1 row would be deleted");
    assert_eq!(left(), [1, 2, 3, 4]);
    let ran = site.run(&alone, &["clear", "--summary-json"]).expect(0).says("1 row deleted");
    assert!(ran.out.contains("\"deleted\":1"), "{}", ran.out);
    assert_eq!(left(), [2, 3, 4]);
    site.run(&alone, &["clear", "--older-than", "50000d"]).expect(0).says("0 rows");
    site.run(&alone, &["clear", "--older-than", "soon"]).expect(2);
}

/// Fault 4: one entry whose `additional_data` is no object kept every run from ending well.
#[test]
fn fault_04_an_entry_of_any_shape_is_sent_and_marked() {
    let site = Site::new(0);
    site.lab
        .db()
        .execute_batch(
            "CREATE TABLE auth_user (id INTEGER PRIMARY KEY, password TEXT, first_name TEXT,
                 last_name TEXT, email TEXT);
             INSERT INTO auth_user VALUES (1, 'canary', 'Ann', 'Lee', 'ann@example.org');
             CREATE TABLE auditlog_logentry (id INTEGER PRIMARY KEY, content_type_id INTEGER,
                 object_pk TEXT, object_repr TEXT, action INTEGER, changes TEXT, actor_id INTEGER,
                 timestamp TEXT, additional_data TEXT);
             INSERT INTO auditlog_logentry VALUES
                 (1, 7, '42', 'A tag', 1, '{\"name\":[\"a\",\"b\"]}', 1, '2026-01-05 08:00:00.000001', '[1]'),
                 (2, 7, '42', 'A tag', 3, 'null', NULL, '2026-01-05 08:00:01', '{\"is_sent\":null}');",
        )
        .unwrap();
    let django = [
        ("AUDIT_LOGGER_TYPE", "DJANGO_AUDITLOG"),
        ("AUDIT_LOG_ORIGIN", "library"),
        ("AUDIT_LOG_ENVIRONMENT", "prod"),
        ("AUDIT_TABLE_NAME", "audit_logs"),
    ];
    site.run(&django, &[]).expect(0);
    let documents = site.cluster.json();
    assert_eq!(
        documents[0],
        json!({
            "audit_event": {
                "actor": "Ann Lee",
                "date_time": "2026-01-05T08:00:00.000001+00:00",
                "operation": "update",
                "origin": "library",
                "target": "A tag",
                "environment": "prod",
                "message": {"name": ["a", "b"]},
            },
            "@timestamp": "2026-01-05T08:00:00.000001+00:00",
        })
    );
    assert_eq!(documents[1]["audit_event"]["actor"], "unknown");
    site.run(&django, &[]).expect(0).says("nothing new");

    // As before, where somebody relies on it.
    site.lab.db().execute("UPDATE auditlog_logentry SET additional_data = NULL", []).unwrap();
    let mut old = django.to_vec();
    old.extend([
        ("AUDIT_LOG_OPERATION", "codes"),
        ("AUDIT_LOG_MESSAGE", "text"),
        ("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", "old"),
        ("AUDIT_STATE_DIR", "old"),
    ]);
    site.run(&old, &["--id-from", "row"]).expect(0);
    let document: serde_json::Value = serde_json::from_str(&site.cluster.documents()[2].2).unwrap();
    assert_eq!(site.cluster.ids()[2], "1");
    assert_eq!(document["audit_event"]["operation"], "1");
    assert_eq!(document["audit_event"]["message"], "{\"name\":[\"a\",\"b\"]}");
}

/// Fault 13: everything that was unsent was read at once.
#[test]
fn fault_13_memory_is_that_of_two_batches_however_much_is_unsent() {
    const ROWS: u32 = 3000;
    let site = Site::new(0);
    let message = format!(r#"{{"audit_event":{{"pad":"{}"}}}}"#, "x".repeat(50_000));
    {
        let mut db = site.lab.db();
        let transaction = db.transaction().unwrap();
        for id in 1..=ROWS {
            let sql =
                "INSERT INTO audit_logs (id, message, created_at) VALUES (?1, ?2, '2026-01-05')";
            transaction.execute(sql, (id, &message)).unwrap();
        }
        transaction.commit().unwrap();
    }
    let mut child = site.start(&["--follow"]);
    wait_for(|| site.cluster.ids().len() == ROWS as usize);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u32 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    common::signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(peak < 100_000, "{peak} KiB for 150 MB that were unsent");
}

/// Fault 14: rows of the same time came in any order.
#[test]
fn fault_14_rows_of_the_same_time_are_in_the_order_of_their_ids() {
    let site = Site::new(0);
    for id in [7, 3, 5, 1] {
        site.lab.add_value(id, Sql::Text(message(id)));
    }
    site.run(&[], &["--id-from", "row", "--elasticsearch-concurrency", "1"]).expect(0);
    assert_eq!(site.cluster.ids(), ["1", "3", "5", "7"]);
}

#[test]
fn an_index_template_can_be_installed() {
    let site = Site::new(0);
    site.run(&[], &["install-template", "--index", "audit-{yyyy.MM}"])
        .expect(0)
        .says("audit is installed");
    let seen = site.cluster.lock().seen.clone();
    let template = seen.iter().find(|r| r.method == "PUT").unwrap();
    assert_eq!(template.path, "/_index_template/audit");
}
