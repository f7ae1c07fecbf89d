//! Tables that are only ever added to and bear no mark: what was handed out, the cursor alone knows.

mod gaps;
mod horizon;
mod marks;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use audit_core::{Batch, Cursor, Error, ErrorKind, Limit, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::gaps::{Gaps, Run};
use self::horizon::Horizon;
use crate::client::{Client, Edge, Rows, Scan};
use crate::config::SqlConfig;
use crate::intake::{Intake, Shape};
use crate::keys::Key;

const KIND: &str = "sql.keyset";
const VERSION: u32 = 1;
/// After so many transactions without a row the position is worth saving: numbers come round again.
const FAR: i64 = 1 << 24;
/// How long a read may take that waits for missing keys to be given up.
const WAIT: Duration = Duration::from_secs(1);
/// How long one transaction may hold everything back before it is said.
const HELD: Duration = Duration::from_secs(60);

/// Reads a table in passes: each hands out the rows that have come up since the one before, also
/// between others, and ends where the table did when it began.
#[derive(Debug)]
pub(crate) struct Keyset {
    config: Arc<SqlConfig>,
    shape: Arc<Shape>,
    place: Option<Place>,
    pass: Pass,
    /// How many rows the last batch had.
    expected: usize,
    /// The horizon of the last cursor.
    saved: Option<i64>,
    /// The oldest transaction, since when, and whether it was complained about.
    held: Option<(i64, DateTime<Utc>, bool)>,
    /// Whether there are rows behind more missing keys than are remembered, and that was said.
    waits: bool,
    told: bool,
}

/// Where a table was read up to, as its database can tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Gaps(Gaps),
    Horizon(Horizon),
}

#[derive(Debug)]
enum Pass {
    Due,
    /// Ranges of keys to read, first and last.
    Keys(VecDeque<Run>),
    /// Goes on behind the position.
    Transactions,
    /// The last rows were handed out; the next read says that there are no more.
    Ended,
}

impl Keyset {
    pub(crate) async fn open(
        config: Arc<SqlConfig>,
        client: &mut dyn Client,
        from: Option<&Cursor>,
    ) -> Result<Self> {
        let place = from.map(Self::decode).transpose()?;
        let facts = client.connect().await?;
        Ok(Self {
            shape: Arc::new(Shape::new(&config, facts)),
            config,
            place,
            pass: Pass::Due,
            expected: 0,
            saved: None,
            held: None,
            waits: false,
            told: false,
        })
    }

    pub(crate) fn decode(cursor: &Cursor) -> Result<Place> {
        cursor.decode(KIND, VERSION)
    }

    /// Returns the next rows, or `None` when there are no more.
    pub(crate) async fn read(
        &mut self,
        client: &mut dyn Client,
        limit: Limit,
        now: DateTime<Utc>,
    ) -> Result<Option<Batch>> {
        match self.pass {
            Pass::Due => {
                self.begin(client, now).await?;
                if let Some(batch) = self.far()? {
                    return Ok(Some(batch));
                }
            }
            Pass::Ended => self.pass = Pass::Due,
            Pass::Keys(_) | Pass::Transactions => {}
        }
        if matches!(self.pass, Pass::Due) {
            return self.wait(limit).await;
        }
        let intake = Intake::new(
            Arc::clone(&self.shape),
            limit,
            now,
            Arc::new(HashMap::new()),
            self.expected,
        );
        let intake = match self.pass {
            Pass::Keys(_) => self.read_keys(client, intake).await?,
            _ => self.read_transactions(client, intake).await?,
        };
        if intake.is_empty() {
            self.pass = Pass::Due;
            return Ok(None);
        }
        self.expected = intake.taken().0;
        let Intake { events, rejected, .. } = intake;
        let mut batch = Batch::new(events, self.cursor()?);
        batch.rejected = rejected;
        Ok(Some(batch))
    }

    /// Lets time pass for rows that cannot be handed out yet: they are there, so this is no rest, in
    /// which a run that does not follow would end.
    async fn wait(&mut self, limit: Limit) -> Result<Option<Batch>> {
        if !self.waits {
            self.told = false;
            return Ok(None);
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                table = self.config.table(),
                "many keys are missing; rows behind them wait for `gap_timeout`",
            );
        }
        let time = limit.max_wait.min(self.config.gap_timeout).min(WAIT);
        tokio::time::sleep(time.max(Duration::from_millis(1))).await;
        Ok(Some(Batch::new(Vec::new(), self.cursor()?)))
    }

    fn cursor(&mut self) -> Result<Cursor> {
        if let Some(Place::Horizon(place)) = &self.place {
            self.saved = place.from;
        }
        Cursor::encode(KIND, VERSION, &self.place)
    }

    /// Begins a pass, unless there is nothing to find; one that was under way in an earlier life
    /// goes on.
    async fn begin(&mut self, client: &mut dyn Client, now: DateTime<Utc>) -> Result<()> {
        match client.edge().await? {
            Edge::Key(highest) => {
                let place = self.place.get_or_insert_with(|| Place::Gaps(Gaps::default()));
                let Place::Gaps(gaps) = place else { return Err(of_another_database()) };
                let now = now.timestamp_millis();
                gaps.saw(now, highest);
                let mut ranges = missed(client, gaps).await?;
                let timeout = i64::try_from(self.config.gap_timeout.as_millis());
                gaps.settle(now.saturating_sub(timeout.unwrap_or(i64::MAX)), &ranges);
                let first = gaps.high.map_or(Some(i64::MIN), |high| high.checked_add(1));
                let new = first.filter(|first| highest.is_some_and(|highest| highest >= *first));
                self.waits = new.is_some() && gaps.is_full();
                ranges.extend(new.filter(|_| !self.waits).map(|first| (first, i64::MAX)));
                if !ranges.is_empty() {
                    self.pass = Pass::Keys(ranges.into());
                }
            }
            Edge::Transactions { system, oldest, next, follows } => {
                let new = || Place::Horizon(Horizon::of(system.clone()));
                let Place::Horizon(place) = self.place.get_or_insert_with(new) else {
                    return Err(of_another_database());
                };
                let back = place.from.is_some_and(|from| oldest < from) && !follows;
                if place.system != system || back {
                    return Err(of_another_server(self.config.table()));
                }
                self.saved = self.saved.or(place.from);
                if place.begin(oldest, next) {
                    self.pass = Pass::Transactions;
                }
                self.complain(oldest, next, now);
            }
        }
        Ok(())
    }

    /// Says that a transaction keeps rows from being read.
    fn complain(&mut self, oldest: i64, next: i64, now: DateTime<Utc>) {
        match &mut self.held {
            Some((held, since, said)) if *held == oldest && oldest < next => {
                let time = (now - *since).to_std().unwrap_or_default();
                if time >= HELD && !*said {
                    *said = true;
                    tracing::warn!(
                        table = self.config.table(),
                        ?time,
                        "a transaction is open for long; rows written since it began wait for its end",
                    );
                }
            }
            held => *held = Some((oldest, now, false)),
        }
    }

    /// Returns a batch without rows if the position has moved far since it was last saved.
    fn far(&mut self) -> Result<Option<Batch>> {
        let Some(Place::Horizon(place)) = &self.place else { return Ok(None) };
        match (self.saved, place.from) {
            (Some(saved), Some(from)) if from - saved >= FAR => {
                Ok(Some(Batch::new(Vec::new(), self.cursor()?)))
            }
            _ => Ok(None),
        }
    }

    async fn read_keys(&mut self, client: &mut dyn Client, mut intake: Intake) -> Result<Intake> {
        let (Some(Place::Gaps(gaps)), Pass::Keys(ranges)) = (&self.place, &mut self.pass) else {
            return Ok(intake);
        };
        let (mut gaps, mut left) = (gaps.clone(), ranges.clone());
        while let Some((first, last)) = left.pop_front() {
            let before = intake.taken().0;
            let after = first.checked_sub(1).map(Key::Int);
            let scan = client.scan(Rows::UpTo(last), after, intake).await?;
            let ended = scan.ended;
            intake = scan.intake;
            let mut reached = None;
            for key in intake.handed.position.rows.iter().skip(before) {
                if let Key::Int(key) = key {
                    gaps.take(key);
                    reached = Some(key);
                }
            }
            if !ended {
                // Nothing but the last range can add to what is missing.
                let next = reached.map_or(Some(first), |key| key.checked_add(1));
                let next = next.filter(|next| *next <= last);
                self.waits = next.is_some() && gaps.is_full();
                if let Some(next) = next.filter(|_| !self.waits) {
                    left.push_front((next, last));
                }
                break;
            }
        }
        self.place = Some(Place::Gaps(gaps));
        self.pass = if left.is_empty() { Pass::Ended } else { Pass::Keys(left) };
        Ok(intake)
    }

    async fn read_transactions(
        &mut self,
        client: &mut dyn Client,
        intake: Intake,
    ) -> Result<Intake> {
        let Some(Place::Horizon(place)) = &mut self.place else { return Ok(intake) };
        let look_back = i64::try_from(self.config.look_back).unwrap_or(i64::MAX);
        let rows = Rows::Born { from: place.from, to: place.to.unwrap_or_default() };
        let Scan { intake, ended, .. } = client.scan(rows, place.after(look_back), intake).await?;
        if let Some(last) = intake.last.clone() {
            place.take(last);
        }
        if ended {
            place.end();
            self.pass = Pass::Ended;
        }
        Ok(intake)
    }
}

/// Finds which of the missing keys are there by now, as ranges to read.
async fn missed(client: &mut dyn Client, gaps: &Gaps) -> Result<Vec<Run>> {
    let mut found: Vec<Run> = Vec::new();
    let mut late = 0_u64;
    for (first, last) in gaps.watched() {
        for key in client.keys(first, last).await? {
            if !gaps.is_missing(key) {
                continue;
            }
            late += u64::from(gaps.is_old(key));
            match found.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(key) => *end = key,
                _ => found.push((key, key)),
            }
        }
    }
    if late > 0 {
        tracing::warn!(
            rows = late,
            "rows were committed later than `gap_timeout` after their keys were given out: raise it",
        );
    }
    Ok(found)
}

fn of_another_database() -> Error {
    Error::new(ErrorKind::Config, "the checkpoint is of another kind of database")
        .with_hint("give this pipeline a name of its own, or set its checkpoint anew")
}

fn of_another_server(table: &str) -> Error {
    Error::new(ErrorKind::Config, "the checkpoint is of another PostgreSQL server")
        .with("table", table)
        .with_hint(
            "its transactions have other numbers (after a dump and restore, an upgrade, a return to \
             a backup); remove the checkpoint to read the table again, under the same ids",
        )
}
