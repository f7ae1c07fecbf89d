use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Batch, Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};
use chrono::{DateTime, Utc};

use crate::client::{Client, Handed, Rows, Scan};
use crate::config::{Database, Mode, SqlConfig};
use crate::cursor::Position;
use crate::intake::{Intake, Shape};
use crate::keys::Key;
use crate::keyset::Keyset;
use crate::rest::Rest;

/// Reads the unsent rows of an audit table, and marks those that are accounted for; or, with
/// [`Mode::Keyset`], all rows, and marks none.
///
/// It reads in passes: each goes once through the table in the order of its keys, past bad rows and
/// rows in flight, and the next begins at the start again, so that rows which were committed late
/// or have low keys are found. Between two passes it rests.
pub struct SqlSource {
    config: Arc<SqlConfig>,
    client: Box<dyn Client>,
    clock: Clock,
    state: Option<State>,
    rest: Rest,
}

enum State {
    Flag(Unsent),
    Keyset(Keyset),
}

/// What is read of a table whose rows bear a flag.
struct Unsent {
    config: Arc<SqlConfig>,
    shape: Arc<Shape>,
    pass: Pass,
    /// Handed out and not marked yet, in the order of reading.
    outstanding: VecDeque<Arc<Handed>>,
    /// All of `outstanding`.
    position: Position,
}

enum Pass {
    /// The next read begins a pass.
    Due,
    /// Goes on behind a key.
    Running { version: Option<i64>, after: Option<Key>, seen: Arc<HashMap<Key, u64>> },
    /// The last rows were handed out; the next read says that there are no more.
    Ended { version: Option<i64> },
    /// At rest. There is nothing to find as long as the data has this version.
    Resting { version: Option<i64> },
}

impl SqlSource {
    /// Creates the source of a table. Nothing is opened yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a URL of another kind of database, or an empty name.
    pub fn new(config: SqlConfig) -> Result<Self> {
        let database = config.database()?;
        let config = Arc::new(config);
        let client = connect(database, &config)?;
        let rest = Rest::new(config.poll_interval);
        Ok(Self { config, client, clock: Clock::system(), state: None, rest })
    }

    /// Takes the time for records that do not say when they happened from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

fn not_opened() -> Error {
    Error::new(ErrorKind::Unexpected, "the source was not opened")
}

pub(crate) fn connect(database: Database, config: &Arc<SqlConfig>) -> Result<Box<dyn Client>> {
    match database {
        #[cfg(feature = "sqlite")]
        Database::Sqlite(path) => {
            if config.claim {
                return Err(Error::new(ErrorKind::Config, "SQLite has one writer at a time")
                    .with("option", "claim")
                    .with_hint("leave it out, and run one sender for this table"));
            }
            Ok(Box::new(crate::sqlite::SqliteClient::new(path, Arc::clone(config))))
        }
        #[cfg(feature = "postgres")]
        Database::Postgres => Ok(server(config, crate::postgres::client(Arc::clone(config))?)),
        #[cfg(feature = "mysql")]
        Database::Mysql => Ok(server(config, crate::mysql::client(Arc::clone(config))?)),
        #[allow(unreachable_patterns, reason = "a build with every database")]
        other => {
            let (name, feature) = other.names();
            Err(Error::new(ErrorKind::Config, format!("this program was built without {name}"))
                .with("table", config.table())
                .with_hint(format!("build it with the feature `{feature}`")))
        }
    }
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
fn server<L: crate::server::Link + 'static>(
    config: &SqlConfig,
    client: crate::server::ServerClient<L>,
) -> Box<dyn Client> {
    match config.claim {
        true => Box::new(crate::server::claim::ClaimClient::new(client)),
        false => Box::new(client),
    }
}

impl fmt::Debug for SqlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlSource").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for SqlSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.state = None;
        self.rest = Rest::new(self.config.poll_interval);
        let (config, client) = (Arc::clone(&self.config), &mut *self.client);
        self.state = Some(match config.mode {
            Mode::Flag => State::Flag(Unsent::open(config, client, from).await?),
            Mode::Keyset => State::Keyset(Keyset::open(config, client, from).await?),
        });
        #[cfg(feature = "postgres")]
        if let Some(channel) = &self.config.notify_channel {
            let listener = crate::postgres::listen::Listener::start(&self.config, channel.clone())?;
            self.rest.listen(listener);
        }
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let Self { client, state, clock, rest, .. } = self;
        let state = state.as_mut().ok_or_else(not_opened)?;
        if !rest.is_over(limit.max_wait).await {
            return Ok(rest.again());
        }
        let batch = match state {
            State::Flag(unsent) => unsent.read(&mut **client, limit, clock.now()).await?,
            State::Keyset(keyset) => keyset.read(&mut **client, limit, clock.now()).await?,
        };
        Ok(batch.map_or_else(|| rest.begin(), Read::Batch))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        match self.state.as_mut().ok_or_else(not_opened)? {
            State::Flag(unsent) => unsent.committed(&mut *self.client, cursor).await,
            // Nothing but the cursor knows.
            State::Keyset(_) => Keyset::decode(cursor).map(|_| ()),
        }
    }

    async fn check(&mut self) -> Result<()> {
        self.client.check().await
    }
}

impl Unsent {
    async fn open(
        config: Arc<SqlConfig>,
        client: &mut dyn Client,
        from: Option<&Cursor>,
    ) -> Result<Self> {
        let position = from.map(Position::decode).transpose()?;
        let facts = client.connect().await?;
        let mut state = Self {
            shape: Arc::new(Shape::new(&config, facts)),
            config,
            pass: Pass::Due,
            outstanding: VecDeque::new(),
            position: Position::default(),
        };
        if let Some(position) = position {
            let mut found = client.prints(position.rows.clone()).await?;
            if found.position.sum != position.sum {
                // Changed, deleted or renumbered since: what is unsent among them comes (again).
                tracing::info!(
                    table = state.config.table(),
                    "rows last handed out have changed; those not marked are handed out again",
                );
                found = Handed::default();
            }
            found.cursor = from.cloned();
            state.position = found.position.clone();
            state.outstanding.push_back(Arc::new(found));
        }
        Ok(state)
    }

    /// Returns the next rows, or `None` at the end of a pass.
    async fn read(
        &mut self,
        client: &mut dyn Client,
        limit: Limit,
        now: DateTime<Utc>,
    ) -> Result<Option<Batch>> {
        let state = self;
        if let Pass::Ended { version } = state.pass {
            state.pass = Pass::Resting { version };
            return Ok(None);
        }
        if let Pass::Resting { version } = state.pass {
            if version.is_some() && client.version().await? == version {
                return Ok(None);
            }
            state.pass = Pass::Due;
        }
        let (first_version, after, seen) = match &state.pass {
            Pass::Running { version, after, seen } => (*version, after.clone(), Arc::clone(seen)),
            _ => (None, None, Arc::new(state.seen())),
        };
        let began = after.is_some();
        let expected = state.outstanding.back().map_or(0, |handed| handed.prints.len());
        let shape = Arc::clone(&state.shape);
        let intake = Intake::new(shape, limit, now, Arc::clone(&seen), expected);
        let Scan { intake, version, ended } = client.scan(Rows::Unsent, after, intake).await?;
        let first_version = if began { first_version } else { version };
        let Intake { events, rejected, mut handed, last, .. } = intake;
        if handed.prints.is_empty() {
            // An intake is only full with rows in it: this was the end of the pass.
            state.pass = Pass::Resting { version: first_version };
            return Ok(None);
        }
        handed.version = version;
        let mut position = state.position.clone();
        position.extend(&handed.position);
        let cursor = position.encode()?;
        handed.cursor = Some(cursor.clone());
        state.position = position;
        state.outstanding.push_back(Arc::new(handed));
        state.pass = if ended {
            Pass::Ended { version: first_version }
        } else {
            Pass::Running { version: first_version, after: last, seen }
        };
        let mut batch = Batch::new(events, cursor);
        batch.rejected = rejected;
        Ok(Some(batch))
    }

    async fn committed(&mut self, client: &mut dyn Client, cursor: &Cursor) -> Result<()> {
        Position::decode(cursor)?;
        let state = self;
        let found = state.outstanding.iter().rposition(|h| h.cursor.as_ref() == Some(cursor));
        let Some(last) = found else {
            // Marked already.
            return Ok(());
        };
        let due: Vec<_> = state.outstanding.range(..=last).cloned().collect();
        let changed = client.mark(due).await?;
        state.outstanding.drain(..=last);
        state.position = Position::default();
        for handed in &state.outstanding {
            state.position.extend(&handed.position);
        }
        if changed > 0 {
            tracing::info!(
                table = state.config.table(),
                rows = changed,
                "rows changed before they were marked; they come again"
            );
            if matches!(state.pass, Pass::Ended { .. } | Pass::Resting { .. }) {
                state.pass = Pass::Due;
            }
        }
        Ok(())
    }

    fn seen(&self) -> HashMap<Key, u64> {
        self.outstanding.iter().flat_map(|handed| handed.rows()).collect()
    }
}
