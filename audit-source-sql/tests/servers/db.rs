//! A table of its own on a real server, and a connection to it as the application has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use audit_core::{AuditEvent, Batch, DeadLetter, Limit, Read, Source};
use audit_source_sql::{SqlConfig, SqlSource};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
}

impl Kind {
    /// Returns the server's URL. A server that has to be there and is not fails the test.
    #[allow(clippy::print_stderr, reason = "for the one who runs the tests")]
    pub(crate) fn url(self) -> Option<String> {
        let name = match self {
            Self::Postgres => "AUDIT_TEST_POSTGRES_URL",
            Self::MariaDb => "AUDIT_TEST_MARIADB_URL",
        };
        let url = std::env::var(name).ok();
        if url.is_none() {
            let live = std::env::var_os("AUDIT_LIVE").is_some_and(|value| value == "1");
            assert!(!live, "{name} is not set");
            eprintln!("skipped: {name} is not set; `.ci/servers up` starts a {self:?}");
        }
        url
    }
}

/// Both servers, or those that are there.
pub(crate) fn servers() -> impl Iterator<Item = Kind> {
    [Kind::Postgres, Kind::MariaDb].into_iter().filter(|kind| kind.url().is_some())
}

/// Of the users that tests make; it must not be seen anywhere.
pub(crate) const PASSWORD: &str = "canary-47f1";

pub(crate) enum App {
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

pub(crate) struct Db {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) table: String,
    pub(crate) app: App,
}

impl Db {
    /// Makes a table of these columns under a new name.
    pub(crate) async fn new(kind: Kind, columns: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let table = format!("audit_{}_{count}", std::process::id());
        let url = kind.url().unwrap();
        let mut db = Self { kind, app: connect(kind, &url).await, url, table };
        db.run(&format!("CREATE TABLE {} ({columns})", db.table)).await;
        db
    }

    /// Makes the table as it is found in the field.
    pub(crate) async fn classic(kind: Kind) -> Self {
        let columns = match kind {
            Kind::Postgres => {
                "id bigint PRIMARY KEY, is_sent boolean, message json, created_at timestamptz"
            }
            Kind::MariaDb => {
                "id BIGINT PRIMARY KEY, is_sent BOOLEAN, message LONGTEXT, created_at DATETIME(6)"
            }
        };
        Self::new(kind, columns).await
    }

    /// Runs statements; `{t}` is the table.
    pub(crate) async fn run(&mut self, sql: &str) {
        let sql = AssertSqlSafe(sql.replace("{t}", &self.table));
        match &mut self.app {
            App::Postgres(app) => _ = sqlx::raw_sql(sql).execute(app).await.unwrap(),
            App::MariaDb(app) => _ = sqlx::raw_sql(sql).execute(app).await.unwrap(),
        }
    }

    pub(crate) async fn count(&mut self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {} WHERE {condition}", self.table);
        let sql = AssertSqlSafe(sql);
        match &mut self.app {
            App::Postgres(app) => sqlx::query_scalar(sql).fetch_one(app).await.unwrap(),
            App::MariaDb(app) => sqlx::query_scalar(sql).fetch_one(app).await.unwrap(),
        }
    }

    pub(crate) async fn unsent(&mut self) -> i64 {
        self.count("is_sent IS NOT TRUE").await
    }

    /// Inserts a row; the id is SQL.
    pub(crate) async fn insert(&mut self, id: &str, message: &str) {
        let message = self.literal(message);
        self.run(&format!("INSERT INTO {{t}} (id, message) VALUES ({id}, {message})")).await;
    }

    pub(crate) async fn insert_many(&mut self, ids: impl IntoIterator<Item = i64>) {
        let rows = ids.into_iter().map(|id| format!("({id}, '{}')", message(id)));
        let rows = rows.collect::<Vec<_>>().join(", ");
        self.run(&format!("INSERT INTO {{t}} (id, message) VALUES {rows}")).await;
    }

    /// Writes a text so that the server reads the same bytes.
    pub(crate) fn literal(&self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self.kind {
            Kind::Postgres => format!("'{text}'"),
            Kind::MariaDb => format!("'{}'", text.replace('\\', "\\\\")),
        }
    }

    pub(crate) fn config(&self) -> SqlConfig {
        let mut config = SqlConfig::new(&self.url);
        config.table = Some(self.table.clone());
        config.poll_interval = Duration::from_millis(1);
        config
    }

    pub(crate) fn source(&self) -> SqlSource {
        SqlSource::new(self.config()).unwrap()
    }

    /// Goes on from a cursor.
    pub(crate) async fn opened_with(&self, cursor: &audit_core::Cursor) -> audit_core::Result<()> {
        self.source().open(Some(cursor)).await
    }

    pub(crate) async fn opened(&self) -> SqlSource {
        let mut source = self.source();
        source.open(None).await.unwrap();
        source
    }

    /// Makes a user who may do this with the table and nothing else; returns name and URL.
    pub(crate) async fn user(&mut self, rights: &str) -> (String, String) {
        let user = format!("u_{}", self.table);
        let sql = match self.kind {
            Kind::Postgres => format!(
                "CREATE USER {user} PASSWORD '{PASSWORD}'; GRANT {rights} ON {{t}} TO {user}"
            ),
            Kind::MariaDb => format!(
                "CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT {rights} ON {{t}} TO {user}@'%'"
            ),
        };
        self.run(&sql).await;
        let (_, rest) = self.url.split_once('@').unwrap();
        let (scheme, _) = self.url.split_once(':').unwrap();
        let url = format!("{scheme}://{user}:{PASSWORD}@{rest}");
        (user, url)
    }

    pub(crate) async fn drop_user(&mut self, user: &str) {
        match self.kind {
            Kind::Postgres => self.run(&format!("DROP OWNED BY {user}; DROP USER {user}")).await,
            Kind::MariaDb => self.run(&format!("DROP USER {user}@'%'")).await,
        }
    }

    /// Connects without TLS from now on: it takes most of the time of a short connection.
    pub(crate) fn without_tls(mut self) -> Self {
        self.url.push_str(match self.kind {
            Kind::Postgres => "?sslmode=disable",
            Kind::MariaDb => "?ssl-mode=DISABLED",
        });
        self
    }

    /// Keeps everybody from the table for so long, on a connection of its own.
    pub(crate) async fn block(&self, time: Duration) {
        let app = connect(self.kind, &self.url).await;
        let mut blocker =
            Self { kind: self.kind, url: self.url.clone(), table: self.table.clone(), app };
        blocker
            .run(match self.kind {
                Kind::Postgres => "BEGIN; LOCK TABLE {t}",
                Kind::MariaDb => "LOCK TABLES {t} WRITE",
            })
            .await;
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            drop(blocker);
        });
    }

    /// Waits until no transaction is open that began before this one: other tests have some.
    pub(crate) async fn settled(&mut self) {
        let App::Postgres(app) = &mut self.app else { return };
        let now: i64 =
            sqlx::query_scalar("SELECT txid_current()").fetch_one(&mut *app).await.unwrap();
        let oldest = "SELECT txid_snapshot_xmin(txid_current_snapshot())";
        while sqlx::query_scalar::<_, i64>(oldest).fetch_one(&mut *app).await.unwrap() <= now {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn done(mut self) {
        self.run("DROP TABLE {t}").await;
    }
}

pub(crate) async fn connect(kind: Kind, url: &str) -> App {
    match kind {
        Kind::Postgres => App::Postgres(PgConnection::connect(url).await.unwrap()),
        Kind::MariaDb => {
            let options: sqlx::mysql::MySqlConnectOptions = url.parse().unwrap();
            App::MariaDb(options.connect().await.unwrap())
        }
    }
}

pub(crate) fn message(id: i64) -> String {
    format!(
        r#"{{"audit_event": {{"date_time":"2024-05-06T07:08:09.{:03}Z","operation":"READ","n":{id}}} }}"#,
        id.rem_euclid(1000)
    )
}

/// Everything up to the next rest.
#[derive(Default, Debug)]
pub(crate) struct Pass {
    pub(crate) events: Vec<AuditEvent>,
    pub(crate) rejected: Vec<DeadLetter>,
    pub(crate) batches: usize,
}

impl Pass {
    pub(crate) fn raw(&self) -> Vec<&str> {
        self.events.iter().map(|e| e.raw.get()).collect()
    }
}

pub(crate) async fn pass(source: &mut SqlSource, limit: Limit, commit: bool) -> Pass {
    let mut all = Pass::default();
    while let Some(batch) = batch(source, limit).await {
        if commit {
            source.committed(&batch.cursor).await.unwrap();
        }
        all.events.extend(batch.events);
        all.rejected.extend(batch.rejected);
        all.batches += 1;
    }
    all
}

pub(crate) async fn batch(source: &mut SqlSource, limit: Limit) -> Option<Batch> {
    match source.read(limit).await.unwrap() {
        Read::Batch(batch) => Some(batch),
        Read::Idle(_) => None,
        Read::End => panic!("a table has no end"),
    }
}

pub(crate) fn limit(events: usize) -> Limit {
    Limit::default().events(events)
}

/// Ends every connection of a user.
pub(crate) async fn cut(db: &mut Db, user: &str) {
    let sql = match db.kind {
        Kind::Postgres => format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"
        ),
        Kind::MariaDb => format!("KILL USER {user}"),
    };
    db.run(&sql).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}
