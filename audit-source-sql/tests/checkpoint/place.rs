//! A table of its own in a database.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use audit_source_sql::{SqlCheckpoint, SqlCheckpointConfig};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    MariaDb,
}

impl Kind {
    const ALL: &[Self] = &[
        Self::Sqlite,
        #[cfg(feature = "postgres")]
        Self::Postgres,
        #[cfg(feature = "mysql")]
        Self::MariaDb,
    ];
}

pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) table: String,
    _folder: TempDir,
}

impl Place {
    /// Returns a place, unless its server is not there. One that has to be there fails the test.
    pub(crate) fn new(kind: Kind) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let table = format!("progress_{}_{count}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => folder.path().join("state.db").display().to_string(),
            #[cfg(feature = "postgres")]
            Kind::Postgres => server("AUDIT_TEST_POSTGRES_URL", "?sslmode=disable")?,
            #[cfg(feature = "mysql")]
            Kind::MariaDb => server("AUDIT_TEST_MARIADB_URL", "?ssl-mode=DISABLED")?,
        };
        Some(Self { kind, url, table, _folder: folder })
    }

    /// Returns a place in each database that is there.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Kind::ALL.iter().filter_map(|kind| Self::new(*kind))
    }

    pub(crate) fn config(&self) -> SqlCheckpointConfig {
        let mut config = SqlCheckpointConfig::new(&self.url);
        config.table.clone_from(&self.table);
        config.lease = Duration::from_secs(1);
        config
    }

    pub(crate) fn checkpoint(&self) -> SqlCheckpoint {
        SqlCheckpoint::new(self.config()).unwrap()
    }

    /// Runs a statement as an administrator would; `{t}` is the table. Returns how many rows it found.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        let sql = sql.replace("{t}", &self.table);
        match self.kind {
            Kind::Sqlite => {
                let conn = rusqlite::Connection::open(&self.url).unwrap();
                conn.busy_timeout(Duration::from_secs(5)).unwrap();
                conn.execute(&sql, []).unwrap() as u64
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                use sqlx::{ConnectOptions, Connection};
                let options: sqlx::postgres::PgConnectOptions = self.url.parse().unwrap();
                let mut conn = options.connect().await.unwrap();
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await;
                conn.close().await.unwrap();
                done.unwrap().rows_affected()
            }
            #[cfg(feature = "mysql")]
            Kind::MariaDb => {
                use sqlx::{ConnectOptions, Connection};
                let options: sqlx::mysql::MySqlConnectOptions = self.url.parse().unwrap();
                let mut conn = options.connect().await.unwrap();
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await;
                conn.close().await.unwrap();
                done.unwrap().rows_affected()
            }
        }
    }

    pub(crate) async fn done(self) {
        self.run("DROP TABLE IF EXISTS {t}").await;
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
#[allow(clippy::print_stderr, reason = "for the one who runs the tests")]
fn server(name: &str, parameters: &str) -> Option<String> {
    let Ok(url) = std::env::var(name) else {
        let live = std::env::var_os("AUDIT_LIVE").is_some_and(|value| value == "1");
        assert!(!live, "{name} is not set");
        eprintln!("skipped: {name} is not set; `.ci/servers up` starts the server");
        return None;
    };
    // A login with TLS takes long on a busy machine.
    Some(format!("{}{parameters}", url.split('?').next().unwrap_or_default()))
}
