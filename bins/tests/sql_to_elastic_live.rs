//! `sql-to-elastic` on real servers: several at once on one table, no locks while it waits, both
//! layouts on each database, and TLS to all of them. The servers are those of `.ci/servers up`.

#![cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "sink-elastic"
))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/elastic.rs"]
mod elastic;
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "tests of the sink use the rest")]
#[path = "../../audit-sink-elastic/tests/common/live.rs"]
mod live;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Ran, wait_for};
use elastic::{Cluster, Fault};
use live::Live;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Postgres,
    MariaDb,
}

enum App {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

/// A database of its own, and a connection to it as the application has.
struct Database {
    url: String,
    app: App,
    runtime: Runtime,
    name: String,
    dir: TempDir,
}

impl Database {
    /// None: there is no server, and none was promised.
    fn new(kind: Kind, test: &str) -> Option<Self> {
        let variable = match kind {
            Kind::Postgres => "AUDIT_TEST_POSTGRES_URL",
            Kind::MariaDb => "AUDIT_TEST_MARIADB_URL",
        };
        let Ok(server) = std::env::var(variable) else {
            assert!(std::env::var_os("AUDIT_LIVE").is_none(), "{variable} is not set");
            println!("{test}: skipped, {variable} is not set");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let name = format!("audit_{test}_{}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        let app = runtime.block_on(async {
            match kind {
                Kind::Postgres => {
                    let mut admin = PgConnection::connect(&server).await.unwrap();
                    sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
                    App::Postgres(PgConnection::connect(&url).await.unwrap())
                }
                Kind::MariaDb => {
                    let mut admin = MySqlConnection::connect(&server).await.unwrap();
                    sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
                    App::MariaDb(MySqlConnection::connect(&url).await.unwrap())
                }
            }
        });
        Some(Self { url, app, runtime, name, dir: tempfile::tempdir().unwrap() })
    }

    fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(async {
            match &mut self.app {
                App::Postgres(app) => _ = sqlx::raw_sql(sql).execute(app).await.unwrap(),
                App::MariaDb(app) => _ = sqlx::raw_sql(sql).execute(app).await.unwrap(),
            }
        });
    }

    fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(async {
            match &mut self.app {
                App::Postgres(app) => sqlx::query_scalar(sql).fetch_one(app).await.unwrap(),
                App::MariaDb(app) => sqlx::query_scalar(sql).fetch_one(app).await.unwrap(),
            }
        })
    }

    fn unsent(&mut self) -> i64 {
        self.number("SELECT count(*) FROM audit_logs WHERE is_sent IS NOT TRUE")
    }

    fn command(&self, variables: &[(&str, &str)], args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sql-to-elastic"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("DATABASE_URL", &self.url)
            .env("BATCH_LIMIT", "0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }

    fn send(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        Ran::of(self.command(variables, args).output().unwrap())
    }

    fn start(&self, variables: &[(&str, &str)], args: &[&str]) -> Child {
        let mut command = self.command(variables, args);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = match self.app {
            App::Postgres(_) => format!("DROP DATABASE {} WITH (FORCE)", self.name),
            App::MariaDb(_) => format!("DROP DATABASE {}", self.name),
        };
        if let App::Postgres(_) = self.app {
            // Nobody drops the database that he is connected to.
            let (base, _) = self.url.rsplit_once('/').unwrap();
            let base = format!("{base}/postgres");
            let admin = self.runtime.block_on(PgConnection::connect(&base)).unwrap();
            self.app = App::Postgres(admin);
        }
        self.run(&drop);
    }
}

fn cluster(live: &Live) -> [(&'static str, String); 2] {
    let url = std::env::var("AUDIT_TEST_OPENSEARCH_URL").unwrap();
    [("ELASTICSEARCH_HOST", url), ("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", live.index.clone())]
}

/// Fault 8: senders at once had no way to share a table.
#[test]
fn fault_08_four_senders_share_40_000_rows_and_each_is_one_document() {
    let Some(live) = Live::find("parallel") else { return };
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let Some(mut database) = Database::new(kind, "parallel") else { return };
        let (key, rows) = match kind {
            Kind::Postgres => ("bigint", "generate_series(1, 40000) AS s(n)"),
            Kind::MariaDb => ("BIGINT", "(SELECT seq AS n FROM seq_1_to_40000) AS s"),
        };
        database.run(&format!(
            "CREATE TABLE audit_logs (id {key} PRIMARY KEY, is_sent boolean, message text, created_at timestamp)"
        ));
        database.run(&format!(
            r#"INSERT INTO audit_logs (id, message)
               SELECT n, concat('{{"audit_event":{{"date_time":"2026-01-05T08:00:00Z","n":', n, '}}}}') FROM {rows}"#
        ));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = cluster(&live);
        let cluster = cluster.each_ref().map(|(name, value)| (*name, value.as_str()));
        let senders: Vec<_> = (0..4)
            .map(|n| {
                let name = format!("sender-{n}");
                let args = ["--claim", "--stream", &name, "--summary-json", "--chunk-size", "500"];
                let mut command = database.command(&cluster, &args);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let (mut delivered, mut busy) = (0, 0);
        for sender in senders {
            let ran = Ran::of(sender.wait_with_output().unwrap()).expect(0);
            let summary: Value = serde_json::from_str(&ran.out).unwrap();
            let summary = &summary["pipelines"][0];
            assert_eq!(summary["duplicates"], 0, "{summary}");
            delivered += summary["delivered"].as_u64().unwrap();
            busy += u32::from(summary["delivered"] != 0);
        }
        assert_eq!((delivered, database.unsent()), (40_000, 0), "{kind:?}");
        assert!(busy > 1, "only one of the senders had something to do");
        assert_eq!(runtime.block_on(live.count()), 40_000, "{kind:?}");
        println!("{kind:?}: {busy} of 4 senders shared 40,000 rows");
        runtime.block_on(live.ask("DELETE", &live.index, None));
    }
}

/// Fault 5: every unsent row was locked for as long as the run took.
#[test]
fn fault_05_no_row_is_locked_while_the_cluster_is_waited_for() {
    let Some(mut database) = Database::new(Kind::Postgres, "locks") else { return };
    database.run("CREATE TABLE audit_logs (id bigint PRIMARY KEY, is_sent boolean, message jsonb, created_at timestamptz)");
    database.run(
        "INSERT INTO audit_logs (id, message) SELECT n, '{}' FROM generate_series(1, 100) AS n",
    );
    let cluster = Cluster::start();
    cluster.fail(Fault::Slow(Duration::from_secs(3)));
    let url = cluster.url();
    let mut child = database.start(&[("ELASTICSEARCH_HOST", &url)], &[]);
    wait_for(|| !cluster.ids().is_empty());
    database.run("SET lock_timeout = '1s'");
    database.run("UPDATE audit_logs SET created_at = now() WHERE id = 1");
    assert_eq!(database.unsent(), 100, "the answer has come already");
    let transactions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()";
    assert_eq!(database.number(transactions), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The row that was changed meanwhile is not marked, and comes again as another event.
    assert_eq!((database.unsent(), cluster.ids().len()), (1, 100));
    database.send(&[("ELASTICSEARCH_HOST", &url)], &[]).expect(0);
    assert_eq!((database.unsent(), cluster.ids().len()), (0, 101));
}

#[test]
fn both_layouts_work_on_every_database() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let Some(mut database) = Database::new(kind, "layouts") else { return };
        let json = if kind == Kind::Postgres { "jsonb" } else { "JSON" };
        // Exactly the table that the documentation of the replaced program makes: without a key.
        database.run(&format!(
            "CREATE TABLE audit_logs (id int, is_sent BOOLEAN, message {json}, created_at TIMESTAMP NULL)"
        ));
        database.run(
            r#"INSERT INTO audit_logs (id, is_sent, message, created_at)
               VALUES (1, false, '{"audit_event": {"date_time": "2022-10-13T12:34:56.000Z"}}', now())"#,
        );
        database.run(&format!(
            "CREATE TABLE auditlog_logentry (id int PRIMARY KEY, content_type_id int, object_pk varchar(255),
                 object_repr text, action smallint, changes {json}, actor_id int, timestamp timestamp NULL,
                 additional_data {json})"
        ));
        database.run(
            r#"INSERT INTO auditlog_logentry VALUES
                 (1, 7, '42', 'A tag', 0, '{"name": ["None", "x"]}', NULL, '2026-01-05 08:00:00', NULL)"#,
        );
        database.run("CREATE TABLE auth_user (id int PRIMARY KEY, password text, email text)");
        let cluster = Cluster::start();
        let url = cluster.url();
        let host = ("ELASTICSEARCH_HOST", url.as_str());
        database.send(&[host], &[]).expect(0);
        database.send(&[host], &[]).expect(0).says("nothing new");
        database.send(&[host, ("AUDIT_LOGGER_TYPE", "DJANGO_AUDITLOG")], &[]).expect(0);
        database
            .send(&[host, ("AUDIT_LOGGER_TYPE", "DJANGO_AUDITLOG")], &[])
            .expect(0)
            .says("nothing new");
        let documents = cluster.json();
        assert_eq!(documents.len(), 2, "{kind:?}");
        assert_eq!(documents[0]["@timestamp"], "2022-10-13T12:34:56.000Z");
        assert_eq!(documents[1]["audit_event"]["operation"], "create", "{}", documents[1]);
        // What was sent goes, and nothing else.
        database.run("UPDATE audit_logs SET created_at = '2020-01-01 00:00:00'");
        database.run("INSERT INTO audit_logs (id, message, created_at) VALUES (2, '{}', '2020-01-01 00:00:00')");
        database.send(&[], &["clear"]).expect(0).says("1 row deleted");
        assert_eq!(database.unsent(), 1);
        database
            .send(&[("AUDIT_LOGGER_TYPE", "DJANGO_AUDITLOG")], &["clear", "--older-than", "1s"])
            .expect(0);
        assert_eq!(database.number("SELECT count(*) FROM auditlog_logentry"), 0);
    }
}

#[test]
fn a_table_without_a_mark_is_read_by_its_key() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let Some(mut database) = Database::new(kind, "keyset") else { return };
        database.run("CREATE TABLE audit_logs (id bigint PRIMARY KEY, message text, created_at timestamp NULL)");
        let cluster = Cluster::start();
        let url = cluster.url();
        let host = [("ELASTICSEARCH_HOST", url.as_str())];
        for id in 1..=3 {
            database.run(&format!("INSERT INTO audit_logs (id, message) VALUES ({id}, '{{}}')"));
        }
        database.send(&host, &["--mode", "keyset"]).expect(0);
        database.run("INSERT INTO audit_logs (id, message) VALUES (4, '{}')");
        database.send(&host, &["--mode", "keyset"]).expect(0);
        assert_eq!(cluster.ids().len(), 4, "{kind:?}");
    }
}

#[test]
fn tls_is_verified_to_every_database_and_to_the_cluster() {
    let Some(live) = Live::find("tls") else { return };
    let tls = std::env::var("AUDIT_TEST_TLS_DIR").unwrap();
    let ca = format!("{tls}/ca.crt");
    let elastic = [
        ("ELASTICSEARCH_HOST", std::env::var("AUDIT_TEST_OPENSEARCH_TLS_URL").unwrap()),
        ("ELASTICSEARCH_USERNAME", std::env::var("AUDIT_TEST_OPENSEARCH_USER").unwrap()),
        ("ELASTICSEARCH_PASSWORD", std::env::var("AUDIT_TEST_OPENSEARCH_PASSWORD").unwrap()),
        ("ELASTICSEARCH_CA", ca.clone()),
        ("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", live.index.clone()),
    ];
    let elastic: Vec<_> = elastic.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for (n, kind) in [Kind::Postgres, Kind::MariaDb].into_iter().enumerate() {
        let Some(mut database) = Database::new(kind, "tls") else { return };
        database.run("CREATE TABLE audit_logs (id int PRIMARY KEY, is_sent boolean, message text)");
        database.run(&format!("INSERT INTO audit_logs VALUES (1, false, '{{\"n\":{n}}}')"));
        // The certificates are made out to this name.
        database.url = database.url.replace("127.0.0.1", "localhost");
        let refused = [&elastic[..], &[("DB_USE_SSL", "True")]].concat();
        let ran = database.send(&refused, &["check"]);
        assert!(ran.code != 0, "a certificate of nobody known was taken: {}", ran.out);
        let trusted = [&elastic[..], &[("DB_USE_SSL", "True"), ("SSL_CA", &ca)]].concat();
        database.send(&trusted, &[]).expect(0);
        assert_eq!(database.unsent(), 0, "{kind:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(live.count()), 2);
    runtime.block_on(live.ask("DELETE", &live.index, None));
}
