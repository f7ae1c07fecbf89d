use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::{Batch, Clock, Cursor, Error, ErrorKind, Limit, Read, Result, Source};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, Service};
use crate::config::OciConfig;
use crate::cursor::{At, Open, Position};
use crate::error::{Failure, Scope};
use crate::fetch::{Fetched, Fetcher, Page, Unit};
use crate::intake::{Draft, Filled, Intake, Reading};
use crate::plan::{Due, Plan, beginning, due};
use crate::report::{Gap, Report};
use crate::spool::Spool;
use crate::target::discover;
use crate::window::{Window, floor, text};
use crate::worker::Worker;

/// Reads OCI Audit by windows of processing time, several at once, and hands them out in order.
///
/// The [crate's documentation](crate) says what it promises.
pub struct OciSource {
    config: Arc<OciConfig>,
    clock: Clock,
    report: Report,
    client: Option<Arc<Client>>,
    run: Option<Run>,
}

/// How many windows are begun for each that is fetched at the same time.
const AHEAD: usize = 4;

/// With more gaps than this, the next window that cannot be read ends the run: the cursor holds them.
const MAX_GAPS: usize = 1000;

/// From one `open` to the next.
struct Run {
    fetcher: Arc<Fetcher>,
    spool: Arc<Spool>,
    /// Nothing only while it is at work elsewhere.
    intake: Option<Intake>,
    position: Position,
    plan: Option<Plan>,
    last_sweep: Option<DateTime<Utc>>,
    lanes: VecDeque<Lane>,
    started: u64,
    reading: Option<Reading>,
    /// To be reported once what came before it is handed out.
    failed: Option<Error>,
    tasks: JoinSet<()>,
    worker: Worker,
}

/// A window that is being fetched.
struct Lane {
    number: u64,
    unit: Unit,
    /// Where to go on in its first page.
    at: Option<At>,
    pages: UnboundedReceiver<Result<Fetched, Failure>>,
}

impl OciSource {
    /// Creates a source. Nothing outside is touched yet: files are read and requests sent by `open`,
    /// `read` and `check`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot be meant.
    pub fn new(config: OciConfig) -> Result<Self> {
        config.validate()?;
        let (clock, report) = (Clock::system(), Report::default());
        Ok(Self { config: Arc::new(config), clock, report, client: None, run: None })
    }

    /// Takes the time from this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the figures that the batches do not show: gaps, filtered and repeated events.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    fn client(&mut self) -> Result<Arc<Client>> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let client = Client::new(Arc::clone(&self.config), self.clock.clone()).map(Arc::new)?;
        Ok(Arc::clone(self.client.insert(client)))
    }
}

impl fmt::Debug for OciSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciSource").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for OciSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.run = None;
        let client = self.client()?;
        let position = match from {
            Some(cursor) => Position::decode(cursor)?,
            None => beginning(&self.config, self.clock.now()),
        };
        self.report.count(|counts| counts.gaps.clone_from(&position.gaps));
        let config = &self.config;
        let intake = Intake::new(config, self.report.clone());
        let spool = Spool::new(config.spool_dir.clone(), config.spool_bytes);
        let report = self.report.clone();
        self.run = Some(Run {
            fetcher: Arc::new(Fetcher::new(client, Arc::clone(config), report)),
            spool,
            intake: Some(intake),
            position,
            plan: None,
            last_sweep: None,
            lanes: VecDeque::new(),
            started: 0,
            reading: None,
            failed: None,
            tasks: JoinSet::new(),
            worker: Worker::start(),
        });
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        match &mut self.run {
            Some(run) => run.read(limit).await,
            None => Err(Error::new(ErrorKind::Unexpected, "the source was not opened")),
        }
    }

    async fn check(&mut self) -> Result<()> {
        let client = self.client()?;
        let targets = discover(&client, &self.config).await?;
        // One minute of each region's first compartment shows whether the rest may be read as well.
        let to = floor(client.now());
        let from = text(to - chrono::TimeDelta::minutes(1));
        let to = text(to);
        let mut last = None;
        for target in targets.iter().filter(|target| !target.deleted) {
            if last == Some(&target.region) {
                continue;
            }
            last = Some(&target.region);
            let query = [
                ("compartmentId", target.compartment.as_str()),
                ("startTime", from.as_str()),
                ("endTime", to.as_str()),
            ];
            let path = "/20190901/auditEvents";
            let answer = client.get(Service::Audit, &target.region, path, &query).await;
            answer.map_err(|failure| {
                let error = failure.error.with("region", &target.region);
                error.with("compartment", &target.compartment).while_doing("ask for audit events")
            })?;
        }
        Ok(())
    }
}

impl Run {
    async fn read(&mut self, limit: Limit) -> Result<Read> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let deadline = Instant::now() + limit.max_wait;
        let before = self.position.clone();
        let mut draft = Draft::new(limit);
        loop {
            if let Some(reading) = self.reading.take() {
                let filled;
                (draft, filled) = self.fill(reading, draft).await?;
                if filled == Filled::Batch || Instant::now() >= deadline {
                    return self.batch(draft);
                }
                continue;
            }
            self.start_lanes();
            let Some(lane) = self.lanes.front_mut() else {
                // What is there is handed out before anything is asked anew.
                if !draft.is_empty() || self.position != before {
                    return self.batch(draft);
                }
                match self.begin_sweep().await? {
                    Due::Until(_) => continue,
                    Due::Later(wait) => return Ok(Read::Idle(wait)),
                    Due::Never => return Ok(Read::End),
                }
            };
            let fetched = if draft.is_empty() {
                match timeout_at(deadline, lane.pages.recv()).await {
                    Ok(fetched) => fetched,
                    // Under way: not idle, but nothing to show yet.
                    Err(_) => return self.batch(draft),
                }
            } else {
                match lane.pages.try_recv() {
                    Ok(fetched) => Some(fetched),
                    Err(_) => return self.batch(draft),
                }
            };
            match fetched {
                Some(Ok(Fetched::Page(page))) => self.begin_page(page).await?,
                Some(Ok(Fetched::Restart)) => lane.at = None,
                Some(Err(failure)) => {
                    if let Err(error) = self.unreadable(failure) {
                        if draft.is_empty() && self.position == before {
                            return Err(error);
                        }
                        self.failed = Some(error);
                        return self.batch(draft);
                    }
                }
                None => {
                    return Err(Error::new(
                        ErrorKind::Unexpected,
                        "fetching a window was interrupted",
                    ));
                }
            }
        }
    }

    /// Begins windows: more than are fetched at once, so that those that are done, and wait for their
    /// turn, do not keep others from being fetched.
    fn start_lanes(&mut self) {
        while self.lanes.len() < AHEAD * self.fetcher.config.concurrency
            && let Some((unit, at)) = self.plan.as_mut().and_then(Plan::next)
        {
            let lane = self.start(unit, at, self.started);
            self.lanes.push_back(lane);
            self.started += 1;
        }
    }

    fn start(&mut self, unit: Unit, at: Option<At>, number: u64) -> Lane {
        // Those that have ended are forgotten.
        while self.tasks.try_join_next().is_some() {}
        let (out, pages) = unbounded_channel();
        let fetcher = Arc::clone(&self.fetcher);
        self.tasks.spawn(fetcher.run(unit.clone(), self.spool.lane(number), out));
        Lane { number, unit, at, pages }
    }

    /// Plans what has settled since the last time.
    async fn begin_sweep(&mut self) -> Result<Due> {
        let Fetcher { client, config, .. } = &*self.fetcher;
        let due = due(config, &self.position, self.last_sweep, client.now());
        if let Due::Until(until) = due {
            let targets = discover(client, config).await?;
            self.last_sweep = Some(client.now());
            self.plan = Some(Plan::new(config, targets, &mut self.position, until));
        }
        Ok(due)
    }

    async fn begin_page(&mut self, page: Page) -> Result<()> {
        let Some(lane) = self.lanes.front_mut() else { return Ok(()) };
        let (at, from) = (lane.at.take(), lane.unit.window.from);
        let mut intake = self.take_intake()?;
        let begin = move || {
            let begun = intake.begin(page, at.as_ref(), from);
            (intake, begun)
        };
        let (intake, begun) = self.worker.run(begin).await?;
        self.intake = Some(intake);
        self.reading = match begun {
            Ok(begun) => begun,
            Err(error) => return self.unreadable(Failure::window(error)),
        };
        if self.reading.is_none()
            && let Some(lane) = self.lanes.pop_front()
        {
            tracing::info!(window = %lane.unit.window, "a page has changed; its window is read anew");
            let unit = Unit { page: None, ..lane.unit };
            let lane = self.start(unit, None, lane.number);
            self.lanes.push_front(lane);
        }
        Ok(())
    }

    /// Fills a batch from the page at hand, and moves the position behind what it took.
    async fn fill(&mut self, reading: Reading, draft: Draft) -> Result<(Draft, Filled)> {
        let mut intake = self.take_intake()?;
        let fill = move || {
            let (mut reading, mut draft) = (reading, draft);
            let filled = intake.fill(&mut reading, &mut draft);
            (intake, reading, draft, filled)
        };
        let (intake, reading, draft, filled) = self.worker.run(fill).await?;
        self.intake = Some(intake);
        let Some(lane) = self.lanes.front() else { return Ok((draft, Filled::Batch)) };
        let filled = match filled {
            Ok(filled) => filled,
            Err(error) => {
                self.failed = self.unreadable(Failure::window(error)).err();
                return Ok((draft, Filled::Batch));
            }
        };
        let Window { to, .. } = lane.unit.window;
        let ended = filled == Filled::Page;
        if ended && reading.next.is_none() {
            self.end_lane();
            return Ok((draft, filled));
        }
        let target = lane.unit.target.name();
        let at = if ended {
            At { target, page: reading.next.clone(), records: 0, last: 0 }
        } else {
            At { target, page: reading.token.clone(), records: reading.records, last: reading.last }
        };
        let open = self.position.window.get_or_insert(Open { to, done: 0, print: 0, at: None });
        open.at = Some(at);
        self.reading = (!ended).then_some(reading);
        Ok((draft, filled))
    }

    /// Closes the window at the front.
    fn end_lane(&mut self) {
        self.pop_lane();
        self.fetcher.report.count(|counts| counts.windows += 1);
    }

    fn pop_lane(&mut self) {
        if let (Some(lane), Some(plan)) = (self.lanes.pop_front(), &self.plan) {
            plan.advance(&mut self.position, lane.unit.window);
            self.spool.turn(lane.number + 1);
        }
    }

    /// Decides what becomes of a window that cannot be read.
    fn unreadable(&mut self, failure: Failure) -> Result<()> {
        let Some(lane) = self.lanes.front() else { return Err(failure.error) };
        let unit = lane.unit.clone();
        let error = about(failure.error, &unit);
        let gone = unit.target.deleted && error.kind() == ErrorKind::Auth;
        let allowed = self.fetcher.config.allow_gaps && self.position.gaps.len() < MAX_GAPS;
        if failure.scope == Scope::All || !(gone || allowed) {
            return Err(error);
        }
        if gone {
            tracing::debug!(%error, "a deleted compartment has no events any more");
        } else {
            tracing::warn!(%error, "a window cannot be read; its events are missing");
            let gap = Gap {
                region: unit.target.region.clone(),
                compartment: unit.target.compartment.clone(),
                from: unit.window.from,
                to: unit.window.to,
                reason: error.to_string(),
            };
            gap.join(&mut self.position.gaps);
            let gaps = &self.position.gaps;
            self.fetcher.report.count(|counts| counts.gaps.clone_from(gaps));
        }
        self.pop_lane();
        Ok(())
    }

    fn take_intake(&mut self) -> Result<Intake> {
        self.intake.take().ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "an earlier read was dropped; open the source again")
        })
    }

    fn batch(&self, draft: Draft) -> Result<Read> {
        let mut batch = Batch::new(draft.events, self.position.encode()?);
        batch.rejected = draft.rejected;
        Ok(Read::Batch(batch))
    }
}

/// Says which part of the log an error is about.
fn about(error: Error, unit: &Unit) -> Error {
    let error = error.while_doing("read audit events").with("window", unit.window);
    error.with("region", &unit.target.region).with("compartment", &unit.target.compartment)
}
