use std::collections::HashSet;
use std::sync::Arc;

use audit_core::{Error, ErrorKind};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::client::{Client, Service};
use crate::config::OciConfig;
use crate::error::{Failure, Scope, of_transport};
use crate::report::Report;
use crate::retry::Attempts;
use crate::spool::{Body, Lane};
use crate::target::Target;
use crate::window::{Window, text};

/// A window is begun anew at most this often because its page tokens ended.
const MAX_RESTARTS: u32 = 3;

/// One window of one compartment, to be read from its beginning or from a page.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) target: Arc<Target>,
    pub(crate) window: Window,
    pub(crate) page: Option<String>,
}

/// What fetching a window brings, in order.
#[derive(Debug)]
pub(crate) enum Fetched {
    Page(Page),
    /// A page token ended: all pages come again, from the first.
    Restart,
}

/// One page, whole.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) body: Body,
    /// The token it was asked for with.
    pub(crate) token: Option<String>,
    /// The token of the page behind it; the last has none.
    pub(crate) next: Option<String>,
}

/// What all windows share.
pub(crate) struct Fetcher {
    pub(crate) client: Arc<Client>,
    pub(crate) config: Arc<OciConfig>,
    pub(crate) report: Report,
    /// One for each window that may be fetched at the same time; given in the order of asking.
    permits: Semaphore,
}

impl Fetcher {
    pub(crate) fn new(client: Arc<Client>, config: Arc<OciConfig>, report: Report) -> Self {
        let permits = Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS));
        Self { client, config, report, permits }
    }

    /// Fetches a window page by page, until its last page or a failure was handed on.
    pub(crate) async fn run(
        self: Arc<Self>,
        unit: Unit,
        mut lane: Lane,
        out: UnboundedSender<Result<Fetched, Failure>>,
    ) {
        let mut restarts = 0;
        let mut token = unit.page.clone();
        let mut track = Track::default();
        let mut permit = None;
        loop {
            if !lane.has_room() {
                // The one whose turn it is may be waiting for a permit: only it makes room.
                permit = None;
                lane.room().await;
            }
            if permit.is_none() {
                permit = self.permits.acquire().await.ok();
            }
            let page = match self.page(&unit, token.clone(), &mut lane).await {
                Ok((page, print)) => track.check(page, print),
                Err(failure) => Err(failure),
            };
            let sent = match page {
                Ok(page) => {
                    token.clone_from(&page.next);
                    let sent = out.send(Ok(Fetched::Page(page)));
                    if token.is_none() {
                        return;
                    }
                    sent
                }
                Err(Failure { error, scope: Scope::Page }) if restarts < MAX_RESTARTS => {
                    tracing::info!(window = %unit.window, %error, "a page token ended; the window is begun anew");
                    restarts += 1;
                    token = None;
                    track = Track::default();
                    out.send(Ok(Fetched::Restart))
                }
                Err(failure) => {
                    // Nobody listens any more if this fails, and then it does not matter.
                    drop(out.send(Err(failure)));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn page(
        &self,
        unit: &Unit,
        token: Option<String>,
        lane: &mut Lane,
    ) -> Result<(Page, u64), Failure> {
        let mut attempts = Attempts::new(&self.config);
        loop {
            match self.try_page(unit, token.clone(), lane).await {
                Ok(page) => {
                    self.report.count(|counts| counts.pages += 1);
                    return Ok(page);
                }
                Err(failure) => {
                    attempts.wait(failure).await?;
                    self.report.count(|counts| counts.retries += 1);
                }
            }
        }
    }

    async fn try_page(
        &self,
        unit: &Unit,
        token: Option<String>,
        lane: &mut Lane,
    ) -> Result<(Page, u64), Failure> {
        let (from, to) = (text(unit.window.from), text(unit.window.to));
        let mut query = vec![
            ("compartmentId", unit.target.compartment.as_str()),
            ("startTime", from.as_str()),
            ("endTime", to.as_str()),
        ];
        query.extend(token.as_deref().map(|token| ("page", token)));
        let path = "/20190901/auditEvents";
        let answer = self.client.get(Service::Audit, &unit.target.region, path, &query).await?;
        let (mut response, next) = (answer.response, answer.next);
        let mut writer = lane.page();
        let mut shape = Shape::default();
        loop {
            let piece = response.chunk().await;
            let piece = piece.map_err(|e| of_transport(e, &unit.target.region))?;
            let Some(piece) = piece else { break };
            shape.take(&piece)?;
            writer.write(&piece).await?;
        }
        let print = shape.finish()?;
        let body = writer.finish().await?;
        Ok((Page { body, token, next }, print))
    }
}

/// What can be told of a page while it passes: whether it is an array with both its ends.
#[derive(Default)]
struct Shape {
    first: Option<u8>,
    last: Option<u8>,
    hash: Xxh3,
}

impl Shape {
    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.hash.update(piece);
        if self.first.is_none() {
            self.first = piece.trim_ascii_start().first().copied();
            if self.first.is_some_and(|byte| byte != b'[') {
                let error = Error::new(ErrorKind::InvalidData, "the answer is not a JSON array");
                return Err(Failure::window(
                    error.with_hint("a proxy or another program may be answering"),
                ));
            }
        }
        self.last = piece.trim_ascii_end().last().copied().or(self.last);
        Ok(())
    }

    /// Returns a print of the bytes; of an empty array always the same.
    fn finish(self) -> Result<u64, Failure> {
        if self.last != Some(b']') {
            let error = Error::new(ErrorKind::Unavailable, "the answer is cut off");
            return Err(Failure::window(error));
        }
        Ok(self.hash.digest())
    }
}

/// Notices a service that goes round in circles.
#[derive(Default)]
struct Track {
    tokens: HashSet<u64>,
    last: Option<(u64, u64)>,
}

impl Track {
    fn check(&mut self, page: Page, print: u64) -> Result<Page, Failure> {
        let loops = |what: &str| {
            let error = Error::new(ErrorKind::InvalidData, format!("the service repeats {what}"));
            Err(Failure::window(error.with_hint("its pages would never end; report it to Oracle")))
        };
        if let Some(token) = &page.token {
            self.tokens.insert(xxh3_64(token.as_bytes()));
        }
        let known = |token: &String| self.tokens.contains(&xxh3_64(token.as_bytes()));
        if page.next.as_ref().is_some_and(known) {
            return loops("a page token");
        }
        let size = page.body.len();
        // Pages without events may follow each other.
        let repeated = size > 64 && self.last == Some((print, size));
        self.last = Some((print, size));
        if repeated {
            return loops("a page under another token");
        }
        Ok(page)
    }
}
