//! `sql-to-elastic` between a real PostgreSQL and a real OpenSearch is killed at random moments
//! while rows come in; a clean run then ends it. Each row is one document, and every row is marked.
//!
//! `AUDIT_SOAK_ROUNDS` sets how often it is killed (25 times by default), and `AUDIT_SOAK_SEED`
//! which moments these are. Without the servers that `.ci/servers up` starts it is skipped; with
//! `AUDIT_LIVE=1` it fails then.

#![cfg(all(
    feature = "source-sql-sqlite",
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "sink-elastic"
))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "tests of the sink use the rest")]
#[path = "../../audit-sink-elastic/tests/common/live.rs"]
mod live;
#[path = "common/random.rs"]
mod random;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use live::Live;
use random::{Random, rounds};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;

const KILLS: u32 = 25;
/// After this many kills it begins anew, so that the table stays small.
const KILLS_A_SITE: u32 = 50;
const ROWS_A_ROUND: i64 = 80;

/// An application's table, a node, and the state of the program between them.
struct Site {
    url: String,
    table: String,
    live: Live,
    runtime: Runtime,
    app: PgConnection,
    dir: tempfile::TempDir,
    rows: i64,
}

impl Site {
    fn new(url: &str, live: Live) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let app = runtime.block_on(PgConnection::connect(url)).unwrap();
        let table = live.index.replace('-', "_");
        let dir = tempfile::tempdir().unwrap();
        let mut site = Self { url: url.to_owned(), table, live, runtime, app, dir, rows: 0 };
        site.run(
            "CREATE TABLE {t} (id bigint PRIMARY KEY, is_sent boolean NOT NULL DEFAULT false,
                 message jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now())",
        );
        site.run("CREATE INDEX ON {t} (id) WHERE is_sent IS NOT TRUE");
        site
    }

    fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.replace("{t}", &self.table));
        self.runtime.block_on(sqlx::raw_sql(sql).execute(&mut self.app)).unwrap();
    }

    fn add(&mut self, rows: i64) {
        let (first, last) = (self.rows + 1, self.rows + rows);
        self.run(&format!(
            r#"INSERT INTO {{t}} (id, message)
               SELECT n, jsonb_build_object('audit_event', jsonb_build_object(
                   'date_time', '2026-01-05T08:00:00.000Z', 'operation', 'UPDATE',
                   'actor', jsonb_build_object('user_id', 'user-' || n % 17),
                   'target', jsonb_build_object('id', n, 'type', 'Loan')))
               FROM generate_series({first}, {last}) AS n"#
        ));
        self.rows = last;
    }

    fn unsent(&mut self) -> i64 {
        let sql = format!("SELECT count(*) FROM {} WHERE is_sent IS NOT TRUE", self.table);
        let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.app);
        self.runtime.block_on(count).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sql-to-elastic"));
        command
            .arg("--quiet")
            .current_dir(self.dir.path())
            .env_clear()
            .env("DATABASE_URL", &self.url)
            .env("AUDIT_TABLE_NAME", &self.table)
            .env("ELASTICSEARCH_HOST", std::env::var("AUDIT_TEST_OPENSEARCH_URL").unwrap())
            .env("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", &self.live.index)
            .env("BATCH_LIMIT", "0")
            .env("CHUNK_SIZE", "10")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Asserts that each row is one document, is marked, and that nothing else is there.
    fn holds_each_row_once(&mut self) {
        let documents = self.runtime.block_on(self.live.documents());
        let number = |source: &str| {
            let document: Value = serde_json::from_str(source).unwrap();
            document["audit_event"]["target"]["id"].as_i64().unwrap()
        };
        let mut found: Vec<_> = documents.iter().map(|(_, source)| number(source)).collect();
        found.sort_unstable();
        let doubled: Vec<_> = found.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        assert_eq!(doubled, [0; 0], "rows that are there twice");
        let lost: Vec<_> = (1..=self.rows).filter(|n| found.binary_search(n).is_err()).collect();
        assert_eq!(lost, [0; 0], "rows that are lost");
        assert_eq!(found.len() as i64, self.rows, "documents that nobody wrote");
        assert_eq!(self.unsent(), 0);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.run("DROP TABLE {t}");
        self.runtime.block_on(self.live.ask("DELETE", &self.live.index, None));
    }
}

/// What kills came to.
#[derive(Default)]
struct Toll {
    runs: u32,
    rows: i64,
    /// Kills that left documents whose rows were not marked.
    between: u32,
}

fn kill_some(site: &mut Site, kills: u32, random: &mut Random, toll: &mut Toll) {
    // One shard, as tests of the sink do; and the program finds the index there.
    let settings = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}});
    site.runtime.block_on(site.live.json("PUT", &site.live.index, Some(settings)));
    // How long a run takes, in microseconds, as far as is known: so that the moments are spread over
    // its whole life, on a fast machine as on a slow one.
    site.add(ROWS_A_ROUND);
    let began = Instant::now();
    assert!(site.command().status().unwrap().success());
    let mut life = began.elapsed().as_micros() as u64;
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        assert!(runs < 20 * kills, "only {killed} of {runs} runs were killed before their end");
        runs += 1;
        site.add(ROWS_A_ROUND / 2);
        let mut child = site.command().spawn().unwrap();
        let moment = Instant::now() + Duration::from_micros(random.below(life));
        // The application goes on meanwhile.
        site.add(ROWS_A_ROUND / 2);
        std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => {
                killed += 1;
                life += life / 20;
                let documents = site.runtime.block_on(site.live.count()) as i64;
                toll.between += u32::from(documents > site.rows - site.unsent());
            }
            Some(code) => {
                assert_eq!(code, 0);
                life -= life / 5;
            }
        }
    }
    toll.runs += runs;
    toll.rows += site.rows;
    assert!(site.command().status().unwrap().success());
    site.holds_each_row_once();
}

#[test]
fn killed_at_any_moment_each_row_is_one_document() {
    let Some(live) = Live::find("killed_at_any_moment_each_row_is_one_document") else { return };
    let Ok(url) = std::env::var("AUDIT_TEST_POSTGRES_URL") else {
        assert!(std::env::var("AUDIT_LIVE").is_err(), "AUDIT_TEST_POSTGRES_URL is not set");
        println!("skipped: AUDIT_TEST_POSTGRES_URL is not set");
        return;
    };
    let (kills, mut random) = (rounds(KILLS), Random::new());
    let (mut done, mut toll, mut live) = (0, Toll::default(), Some(live));
    while done < kills {
        let this = KILLS_A_SITE.min(kills - done);
        let Some(live) = live.take().or_else(|| Live::find("the next site")) else { return };
        kill_some(&mut Site::new(&url, live), this, &mut random, &mut toll);
        done += this;
    }
    let Toll { runs, rows, between } = toll;
    println!(
        "killed {kills} times in {runs} runs over {rows} rows, {between} times between writing and \
         marking, seed {}",
        random.seed
    );
}
