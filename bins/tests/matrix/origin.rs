//! Where the events of a cell come from.

use std::any::Any;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit_core::Clock;
use chrono::{TimeDelta, Utc};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::runtime::Runtime;

use crate::EVENTS;
use crate::common::message;
use crate::oci::fake::{Fake, REGION, TENANCY, USER};
use crate::oci::records::record;
use crate::oci::verify::key;
use crate::port::fake::FakePort;

/// A source with its records.
pub(crate) struct Origin {
    pub name: &'static str,
    pub config: String,
    /// How many records are bad.
    pub bad: usize,
    /// What has to live as long.
    _keep: Box<dyn Any>,
}

impl Origin {
    fn new(name: &'static str, config: String, bad: usize, keep: impl Any) -> Self {
        Self { name, config, bad, _keep: Box::new(keep) }
    }
}

/// Returns a variable of the servers, or whether to do without.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    let promised = std::env::var_os("AUDIT_LIVE").is_some_and(|v| v == "1");
    assert!(value.is_some() || !promised, "AUDIT_LIVE is 1 and {name} is not set");
    if value.is_none() {
        println!("skipped, {name} is not set");
    }
    value
}

pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{next}", std::process::id())
}

fn rows(table: &str) -> String {
    let mut sql = format!("INSERT INTO {table} (id, message) VALUES (0, 'not JSON')");
    for id in 1..=EVENTS as u32 {
        sql += &format!(", ({id}, '{}')", message(id));
    }
    sql
}

pub(crate) fn sqlite(dir: &Path) -> Origin {
    let db = rusqlite::Connection::open(dir.join("app.db")).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN NOT NULL DEFAULT 0,
             message TEXT, created_at TEXT NOT NULL DEFAULT '2026-01-05 08:00:00');
         {};",
        rows("audit_logs")
    ))
    .unwrap();
    Origin::new("SQLite", "type = \"sql\"\nurl = \"sqlite://app.db\"".to_owned(), 1, ())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn postgres() -> Option<Origin> {
    let columns = "message text, created_at timestamptz NOT NULL DEFAULT now()";
    server::<sqlx::PgConnection>("PostgreSQL", "AUDIT_TEST_POSTGRES_URL", columns)
}

pub(crate) fn mariadb() -> Option<Origin> {
    let columns = "message longtext, created_at timestamp NOT NULL DEFAULT now()";
    server::<sqlx::MySqlConnection>("MariaDB", "AUDIT_TEST_MARIADB_URL", columns)
}

/// A table of a database server. It is removed with the origin.
fn server<C>(name: &'static str, variable: &str, columns: &str) -> Option<Origin>
where
    C: Connection + 'static,
    for<'c> &'c mut C: Executor<'c>,
{
    let url = self::variable(variable)?;
    let (runtime, table) = (runtime(), unique("matrix"));
    let mut db = runtime.block_on(C::connect(&url)).unwrap();
    let mut run = move |sql: String| {
        runtime.block_on((&mut db).execute(AssertSqlSafe(sql))).unwrap();
    };
    run(format!(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, is_sent boolean NOT NULL DEFAULT false,
             {columns})"
    ));
    run(rows(&table));
    let config = format!("type = \"sql\"\nurl = \"{url}\"\ntable = \"{table}\"");
    let drop = Dropped(Some(Box::new(move || run(format!("DROP TABLE {table}")))));
    Some(Origin::new(name, config, 1, drop))
}

/// Cleans up when the cell is done.
struct Dropped(Option<Box<dyn FnOnce()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(drop) = self.0.take() {
            drop();
        }
    }
}

pub(crate) fn port() -> Origin {
    let runtime = runtime();
    let api = runtime.block_on(FakePort::start(Clock::system()));
    let first = (Clock::system().now() - TimeDelta::hours(5)).timestamp_millis();
    api.add_samples(0, (0..EVENTS as i64).map(|n| first + n * 1000));
    let config = format!(
        "type = \"port\"\nurl = \"{}\"\nallow_http = true\nclient_id = \"client\"\n\
         client_secret = \"s3cret-canary\"\nlimit = 20",
        api.url()
    );
    Origin::new("Port", config, 0, (api, runtime))
}

pub(crate) fn oracle_cloud(dir: &Path) -> Origin {
    let fake = Fake::start();
    fake.lock().real_time = true;
    fake.lock().page_events = 10;
    let first: chrono::DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    for n in 0..EVENTS as i64 {
        let time = first + TimeDelta::hours(n);
        fake.add(TENANCY, time, record(&format!("e{n}"), "GetInstance", time));
    }
    fs::write(dir.join("key.pem"), key().pem()).unwrap();
    let profile = format!(
        "[DEFAULT]\ntenancy={TENANCY}\nregion={REGION}\nuser={USER}\nfingerprint={}\nkey_file={}\n",
        key().fingerprint(),
        dir.join("key.pem").display()
    );
    fs::write(dir.join("profile"), profile).unwrap();
    let config = format!(
        "type = \"oci\"\nconfig_file = \"{}\"\ncompartments = [\"{TENANCY}\"]\n\
         endpoint = \"http://{address}/{{region}}\"\nidentity_endpoint = \"http://{address}/{{region}}\"\n\
         start = \"2026-01-01\"\nend = \"2026-02-01\"\nwindow = \"2days\"",
        dir.join("profile").display(),
        address = fake.address,
    );
    Origin::new("Oracle Cloud", config, 0, fake)
}

/// A record of the second generation.
fn authorization(n: usize) -> String {
    format!(
        r#"{{"id":"00000000-0000-4000-8000-{n:012}", "source":"crn://confluent.cloud/kafka=lkc-1","specversion":"1.0","type":"io.confluent.kafka.server/authorization","time":"2026-03-04T05:{:02}:{:02}.123Z","data":{{"methodName":"mds.Authorize","authenticationInfo":{{"principal":"User:u-{n}"}}}}}}"#,
        n / 60 % 60,
        n % 60
    )
}

pub(crate) fn confluent() -> Option<Origin> {
    let brokers = variable("AUDIT_TEST_KAFKA")?;
    let topic = unique("matrix-source");
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &brokers).set("linger.ms", "0");
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    let bad = ["not JSON".to_owned()];
    for payload in bad.into_iter().chain((0..EVENTS).map(authorization)) {
        let record = BaseRecord::<(), String>::to(&topic).payload(&payload);
        producer.send(record).map_err(|e| e.0).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let config = format!("type = \"confluent\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"");
    Some(Origin::new("Confluent", config, 1, ()))
}

pub(crate) fn confluent_files(dir: &Path) -> Origin {
    let lines: Vec<_> = (0..EVENTS).map(authorization).collect();
    let (one, other) = lines.split_at(EVENTS / 3);
    fs::write(dir.join("one.ndjson"), format!("{}\nnot JSON\n", one.join("\n"))).unwrap();
    fs::write(dir.join("other.ndjson"), format!("{}\n", other.join("\n"))).unwrap();
    let config = "type = \"confluent-files\"\nfiles = [\"one.ndjson\", \"other.ndjson\"]";
    Origin::new("files of Confluent", config.to_owned(), 1, ())
}
