//! The outbox, whole: a service over a real PostgreSQL writes its rows and their audit records,
//! `sql-to-elastic` ships the records to a real OpenSearch, and both are killed at random moments.
//! Each row that the service committed is one document, and nothing else is (a08).
//!
//! The service is this program with another role. `AUDIT_SOAK_ROUNDS` sets how often
//! (40 rounds by default), and `AUDIT_SOAK_SEED` which moments these are. Without the servers that
//! `.ci/servers up` starts it is skipped; with `AUDIT_LIVE=1` it fails then.

#![cfg(all(
    feature = "logger",
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
#[path = "outbox/service.rs"]
mod service;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use live::Live;
use random::Random;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const ROUNDS: u32 = 40;
/// After so many it begins anew, so that the tables stay small.
const ROUNDS_A_SITE: u32 = 200;
const REQUESTS_A_ROUND: usize = 12;
/// Processes die within so many microseconds of a round's begin; requests come in its first half.
const ROUND: u64 = 80_000;

/// The role of a service; without its environment it is a test that passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    service::serve().await;
}

#[tokio::test]
async fn a08_what_is_committed_is_one_document_and_what_is_rolled_back_is_none() {
    let test = "a08_what_is_committed_is_one_document_and_what_is_rolled_back_is_none";
    let (rounds, mut random) = (random::rounds(ROUNDS), Random::new());
    let (mut done, mut toll) = (0, Toll::default());
    while done < rounds {
        let Some(live) = Live::find(test) else { return };
        let Ok(url) = std::env::var("AUDIT_TEST_POSTGRES_URL") else {
            assert!(std::env::var("AUDIT_LIVE").is_err(), "AUDIT_TEST_POSTGRES_URL is not set");
            println!("{test}: skipped, AUDIT_TEST_POSTGRES_URL is not set");
            return;
        };
        let mut site = Site::new(url, live).await;
        for _ in 0..ROUNDS_A_SITE.min(rounds - done) {
            site.round(&mut random, &mut toll).await;
        }
        site.settle().await;
        site.judge(&mut toll).await;
        site.clear().await;
        done += ROUNDS_A_SITE;
    }
    let telling = toll.service_kills.min(toll.sender_kills) > rounds / 4
        && toll.committed.min(toll.rolled_back) > toll.requests / 10;
    assert!(telling || rounds < 10, "{toll:?}");
    println!("seed {}: {toll:?}", random.seed);
}

/// What becomes of a request, as far as it is in the service's hands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Commit,
    Fail,
    Panic,
    Gone,
}

impl Fate {
    fn any(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Fail,
            1 => Self::Panic,
            2 => Self::Gone,
            _ => Self::Commit,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Fail => "fail",
            Self::Panic => "panic",
            Self::Gone => "gone",
        }
    }
}

/// What was asked, and what the client heard: nothing when the service died first.
struct Request {
    number: i64,
    fate: Fate,
    status: Option<u16>,
}

/// What it came to.
#[derive(Debug, Default)]
struct Toll {
    service_kills: u32,
    sender_kills: u32,
    /// Kills that left documents whose rows were not marked.
    between_writing_and_marking: u32,
    requests: usize,
    committed: usize,
    /// Of these, how many the client was not told of.
    committed_unanswered: usize,
    rolled_back: usize,
    /// Of these, how many would have been committed but for a kill.
    rolled_back_by_kill: usize,
}

/// An application's tables, a node, and the processes between them.
struct Site {
    url: String,
    table: String,
    live: Live,
    database: PgConnection,
    dir: tempfile::TempDir,
    client: reqwest::Client,
    service: Option<(Process, String)>,
    sender: Option<Process>,
    requests: Vec<Request>,
}

impl Site {
    async fn new(url: String, live: Live) -> Self {
        let table = live.index.replace('-', "_");
        let database = PgConnection::connect(&url).await.unwrap();
        // A connection of its own each, so that the end of one service does not touch the next.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let mut site = Self {
            url,
            table,
            live,
            database,
            dir: tempfile::tempdir().unwrap(),
            client: client.build().unwrap(),
            service: None,
            sender: None,
            requests: Vec::new(),
        };
        site.run(
            "CREATE TABLE {t} (id bigserial PRIMARY KEY, is_sent boolean NOT NULL,
                 message jsonb NOT NULL, created_at timestamptz NOT NULL);
             CREATE INDEX ON {t} (id) WHERE is_sent IS NOT TRUE;
             CREATE TABLE {o} (number bigint PRIMARY KEY)",
        )
        .await;
        let settings = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}});
        site.live.json("PUT", &site.live.index, Some(settings)).await;
        site
    }

    fn sql(&self, sql: &str) -> AssertSqlSafe<String> {
        let orders = service::orders(&self.table);
        AssertSqlSafe(sql.replace("{t}", &self.table).replace("{o}", &orders))
    }

    async fn run(&mut self, sql: &str) {
        let sql = self.sql(sql);
        sqlx::raw_sql(sql).execute(&mut self.database).await.unwrap();
    }

    async fn numbers(&mut self, sql: &str) -> Vec<i64> {
        let sql = self.sql(sql);
        sqlx::query_scalar(sql).fetch_all(&mut self.database).await.unwrap()
    }

    async fn count(&mut self, sql: &str) -> i64 {
        self.numbers(sql).await[0]
    }

    /// Requests come in, and at some moment the service, the sender, or both are killed.
    async fn round(&mut self, random: &mut Random, toll: &mut Toll) {
        let base = match &self.service {
            Some((_, base)) => base.clone(),
            None => self.start_service(),
        };
        if self.sender.is_none() {
            self.sender = Some(Process::start(self.sender_command().arg("--follow")));
        }
        let requests: Vec<_> = (0..REQUESTS_A_ROUND)
            .map(|n| {
                let number = (self.requests.len() + n) as i64;
                let (fate, begins) = (Fate::any(random), moment(random) / 2);
                let url = format!("{base}/{number}/{}", fate.name());
                tokio::spawn(ask(self.client.clone(), url, number, fate, begins))
            })
            .collect();
        tokio::time::sleep(moment(random)).await;
        let victims = random.below(5);
        if victims >= 2 {
            toll.service_kills += 1;
            self.service = None;
        }
        // It has to begin again, and to find out what it had done: more seldom.
        if victims <= 2 {
            toll.sender_kills += 1;
            self.sender = None;
            let documents = self.live.count().await as i64;
            let marked = self.count("SELECT count(*) FROM {t} WHERE is_sent").await;
            toll.between_writing_and_marking += u32::from(documents > marked);
        }
        for request in requests {
            self.requests.push(request.await.unwrap());
        }
    }

    fn start_service(&mut self) -> String {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["role", "--exact", "--nocapture"])
            .envs(service::environment(&self.url, &self.table))
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        // Not taken from it: a service whose output is closed would end by itself.
        let lines = BufReader::new(process.0.stdout.as_mut().unwrap()).lines();
        let base = lines
            .map_while(Result::ok)
            .find_map(|line| Some(format!("http://{}", line.split_once(service::LISTENS)?.1)));
        self.service = Some((process, base.clone().unwrap()));
        base.unwrap()
    }

    fn sender_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sql-to-elastic"));
        command
            .arg("--quiet")
            .current_dir(self.dir.path())
            .env_clear()
            .env("DATABASE_URL", &self.url)
            .env("AUDIT_TABLE_NAME", &self.table)
            .env("ELASTICSEARCH_HOST", std::env::var("AUDIT_TEST_OPENSEARCH_URL").unwrap())
            .env("ELASTICSEARCH_APP_AUDIT_LOG_INDEX", &self.live.index)
            .env("POLL_INTERVAL", "5ms")
            .env("CHUNK_SIZE", "10");
        command
    }

    /// Ends what still runs, and sends the rest in one clean run.
    async fn settle(&mut self) {
        (self.service, self.sender) = (None, None);
        // A server process may still be about to commit for a service that is gone.
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{t}'";
        while self.count(left).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut rest = self.sender_command();
        assert!(rest.env("BATCH_LIMIT", "0").status().unwrap().success());
    }

    async fn judge(&mut self, toll: &mut Toll) {
        let committed: BTreeSet<_> =
            self.numbers("SELECT number FROM {o}").await.into_iter().collect();
        for Request { number, fate, status } in &self.requests {
            let there = committed.contains(number);
            let lived_up_to = match (fate, status) {
                (Fate::Commit, Some(200)) => there,
                // The service died, before the commit or after.
                (Fate::Commit, None) => true,
                (Fate::Fail, Some(409) | None) | (Fate::Panic | Fate::Gone, None) => !there,
                _ => false,
            };
            assert!(lived_up_to, "{number}: {fate:?}, answer {status:?}, committed: {there}");
            toll.committed_unanswered += usize::from(there && status.is_none());
            toll.rolled_back_by_kill += usize::from(!there && *fate == Fate::Commit);
        }
        toll.requests += self.requests.len();
        toll.committed += committed.len();
        toll.rolled_back += self.requests.len() - committed.len();

        let documents = self.live.documents().await;
        let of = |source: &str| {
            let document: Value = serde_json::from_str(source).unwrap();
            document["audit_event"]["target"]["id"].as_str().unwrap().parse::<i64>().unwrap()
        };
        let found: BTreeSet<_> = documents.iter().map(|(_, source)| of(source)).collect();
        assert_eq!(found.len(), documents.len(), "records that are there twice");
        let lost: Vec<_> = committed.difference(&found).collect();
        assert!(lost.is_empty(), "committed, but no document: {lost:?}");
        let ghosts: Vec<_> = found.difference(&committed).collect();
        assert!(ghosts.is_empty(), "a document, but not committed: {ghosts:?}");
        assert_eq!(self.count("SELECT count(*) FROM {t} WHERE is_sent IS NOT TRUE").await, 0);
    }

    async fn clear(mut self) {
        self.run("DROP TABLE {t}, {o}").await;
        self.live.ask("DELETE", &self.live.index, None).await;
    }
}

async fn ask(
    client: reqwest::Client,
    url: String,
    number: i64,
    fate: Fate,
    begins: Duration,
) -> Request {
    tokio::time::sleep(begins).await;
    // One that is to go away does so when its handler has most likely done its inserts.
    let patience = Duration::from_millis(if fate == Fate::Gone { 30 } else { 30_000 });
    let answer = tokio::time::timeout(patience, client.post(url).send()).await;
    let status = answer.ok().and_then(Result::ok).map(|answer| answer.status().as_u16());
    Request { number, fate, status }
}

/// A child that is killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        let status = self.0.wait().unwrap();
        let ended_alone = status.code().is_some() && !std::thread::panicking();
        assert!(!ended_alone, "it had ended by itself, with {status}");
    }
}

/// Returns a moment of a round.
fn moment(random: &mut Random) -> Duration {
    Duration::from_micros(random.below(ROUND))
}
