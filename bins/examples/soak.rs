//! Runs three pipelines in one `audit run` for a long time under a steady load, and watches what the
//! process takes: `soak MINUTES [EVENTS_A_SECOND]`, with the servers of `.ci/servers up`.
//!
//! SQLite into OpenSearch, PostgreSQL into Kafka by transactions, a Kafka topic into a compressed
//! file. It ends with one line of figures a quarter of the time, and fails if a book does not balance.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "an example")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const PARTS: usize = 4;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What the process takes at one time.
#[derive(Clone, Copy)]
struct Sample {
    rss_kib: u64,
    files: usize,
    threads: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().ok_or("usage: soak MINUTES [EVENTS_A_SECOND]")?.parse()?;
    let rate: u64 = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let (postgres, kafka) = (variable("AUDIT_TEST_POSTGRES_URL")?, variable("AUDIT_TEST_KAFKA")?);
    let opensearch = variable("AUDIT_TEST_OPENSEARCH_URL")?;
    let name = format!("soak_{}", std::process::id());
    let dir = tempfile::tempdir()?;

    let sqlite = rusqlite::Connection::open(dir.path().join("app.db"))?;
    sqlite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN NOT NULL DEFAULT 0,
             message TEXT, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
         CREATE INDEX unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE;",
    )?;
    let mut db = PgConnection::connect(&postgres).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE TABLE {name} (id bigint PRIMARY KEY, is_sent boolean NOT NULL DEFAULT false,
             message jsonb, created_at timestamptz NOT NULL DEFAULT now());
         CREATE INDEX ON {name} (id) WHERE is_sent IS NOT TRUE;"
    )))
    .execute(&mut db)
    .await?;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &kafka);
    let producer: ThreadedProducer<DefaultProducerContext> = client.create()?;

    let config = format!(
        r#"
[pipelines.elastic]
follow = true
source = {{ type = "sql", url = "sqlite://app.db", poll_interval = "200ms" }}
sink = {{ type = "elastic", hosts = ["{opensearch}"], index = "{name}" }}
[pipelines.kafka-{name}]
follow = true
source = {{ type = "sql", url = "{postgres}", table = "{name}", poll_interval = "200ms" }}
[pipelines.kafka-{name}.sink]
type = "kafka"
brokers = ["{kafka}"]
topic = "{name}-out"
create_topic = {{ partitions = 1, replication = 1 }}
transaction = {{ checkpoint_topic = "{name}-progress" }}
[pipelines.file]
follow = true
source = {{ type = "confluent", brokers = "{kafka}", topic = "{name}-in" }}
sink = {{ type = "file", path = "out.ndjson.zst" }}
"#
    );
    fs::write(dir.path().join("audit.toml"), config)?;
    produce(&producer, &name, 0)?;
    producer.flush(Duration::from_secs(20))?;
    let mut child = start(dir.path())?;

    let began = Instant::now();
    let length = Duration::from_secs_f64(minutes * 60.0);
    let (mut id, mut samples, mut next_sample) = (0, Vec::new(), SAMPLE_EVERY);
    while began.elapsed() < length {
        for _ in 0..rate / 10 {
            id += 1;
            sqlite
                .execute("INSERT INTO audit_logs (id, message) VALUES (?1, ?2)", (id, text(id)))?;
            produce(&producer, &name, id)?;
        }
        let (first, last) = (id + 1 - rate as i64 / 10, id);
        sqlx::raw_sql(AssertSqlSafe(format!(
            "INSERT INTO {name} (id, message) SELECT n, jsonb_build_object('audit_event',
                 jsonb_build_object('date_time', now(), 'operation', 'UPDATE', 'n', n))
             FROM generate_series({first}, {last}) AS n"
        )))
        .execute(&mut db)
        .await?;
        if began.elapsed() >= next_sample {
            next_sample += SAMPLE_EVERY;
            samples.push(sample(child.id())?);
        }
        if let Some(status) = child.try_wait()? {
            return Err(format!("audit run has ended: {status}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    let output = child.wait_with_output()?;
    report(&samples);
    println!("{id} events into each pipeline in {minutes} minutes; {}", output.status);
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {name}"))).execute(&mut db).await?;
    Ok(())
}

fn start(dir: &Path) -> Result<Child> {
    let program = std::env::current_exe()?;
    let program: PathBuf = program.parent().and_then(Path::parent).ok_or("no place")?.join("audit");
    let args =
        ["run", "-c", "audit.toml", "--quiet", "--summary-json", "--metrics-addr", "127.0.0.1:0"];
    let child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn text(id: i64) -> String {
    format!(
        r#"{{"audit_event": {{"origin": "soak", "status": "SUCCESS", "date_time": "2026-01-05T08:00:00.000Z", "actor": {{"user_id": "user-{}"}}, "operation": "UPDATE", "target": {{"id": "{id}", "type": "Loan"}}}}}}"#,
        id % 997
    )
}

fn produce(producer: &ThreadedProducer<DefaultProducerContext>, name: &str, id: i64) -> Result<()> {
    let record = format!(
        r#"{{"id":"soak-{id}","source":"crn://confluent.cloud/kafka=lkc-1","specversion":"1.0","type":"io.confluent.kafka.server/authorization","time":"2026-03-04T05:06:07.123Z","data":{{"methodName":"mds.Authorize","authenticationInfo":{{"principal":"User:u-{}"}}}}}}"#,
        id % 997
    );
    let topic = format!("{name}-in");
    producer.send(BaseRecord::<(), String>::to(&topic).payload(&record)).map_err(|(e, _)| e)?;
    Ok(())
}

fn sample(process: u32) -> Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let number = |key: &str| -> Option<u64> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Ok(Sample {
        rss_kib: number("VmRSS:").unwrap_or(0),
        threads: number("Threads:").unwrap_or(0) as usize,
        files: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
    })
}

fn report(samples: &[Sample]) {
    for (n, part) in samples.chunks(samples.len().div_ceil(PARTS).max(1)).enumerate() {
        let most = |of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
        let mean = part.iter().map(|s| s.rss_kib).sum::<u64>() as f64 / part.len() as f64 / 1024.0;
        println!(
            "quarter {}: RSS {mean:.1} MiB on average, {:.1} at most; {} files, {} threads at most",
            n + 1,
            most(|s| s.rss_kib) as f64 / 1024.0,
            most(|s| s.files as u64),
            most(|s| s.threads as u64),
        );
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: start `.ci/servers up`").into())
}
