use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Retry, Sink, Written};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use tracing::warn;

use crate::answer::{Answer, shown};
use crate::body::{Bulk, Cutter, Part, Rules};
use crate::check;
use crate::client::{Client, Reply, Request};
use crate::config::{ElasticConfig, IdFrom, Settings};
use crate::conflict::{self, Found, Taken};
use crate::document;
use crate::error;
use crate::report::Report;
use crate::template::{self, IndexTemplate};
use crate::verdict::Verdict;

/// Leaves of the answer only what is looked at.
const FILTER_PATH: &str = "errors,items.*.status,items.*.failure_store,items.*.error.type,\
    items.*.error.reason,items.*.error.index,items.*.error.caused_by.reason";

/// Writes events to Elasticsearch or OpenSearch with `_bulk`, each as one document that is created
/// once under an id of its own.
///
/// See the crate's documentation for what counts as a repeat, what is rejected, and what waits.
pub struct ElasticSink {
    settings: Settings,
    rules: Rules,
    client: Client,
    /// The size of body that the hosts have let through so far, as far as one was refused.
    max_bytes: AtomicUsize,
    /// The credentials have worked before.
    proven: AtomicBool,
}

impl ElasticSink {
    /// Creates the sink; connects to nothing until [`check`](Sink::check) or the first write.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for options that cannot work, certificates that cannot be read included.
    pub fn new(config: ElasticConfig) -> Result<Self> {
        let settings = config.parse()?;
        Ok(Self {
            rules: Rules::new(&settings),
            client: Client::new(&settings)?,
            settings,
            max_bytes: AtomicUsize::new(usize::MAX),
            proven: AtomicBool::new(false),
        })
    }

    /// Creates or replaces an index template for the sink's index: with it, new indices know the
    /// fields of the format, and open-ended parts of events do not add fields without end.
    ///
    /// Indices that are there already stay as they are.
    ///
    /// # Errors
    /// [`ErrorKind::Auth`] without the cluster privilege `manage_index_templates`, and
    /// [`ErrorKind::Config`] for a template that the cluster does not take.
    pub async fn install_template(&self, template: &IndexTemplate) -> Result<()> {
        template::install(&self.client, &self.settings, template)
            .await
            .map_err(|e| e.while_doing("install the index template"))
    }

    /// Sends one body; one that is too large for the server goes in halves.
    async fn ship(&self, events: &[AuditEvent], mut bulk: Bulk) -> Result<Report> {
        let mut report = Report::default();
        report.fail_each(std::mem::take(&mut bulk.refused));
        let whole = 0..bulk.items.len();
        let mut open = vec![whole];
        while let Some(range) = open.pop() {
            if range.is_empty() {
                continue;
            }
            let part = bulk.part(range.clone());
            let reply = match self.post(&part).await {
                Ok(reply) => reply,
                Err(error) => {
                    report.hold_all(part.items.iter().map(|i| i.index), &self.passing(error)?);
                    continue;
                }
            };
            if reply.status != 413 {
                self.judge(events, &part, &reply, &mut report).await?;
            } else if range.len() == 1 {
                for item in part.items {
                    let error = Error::new(ErrorKind::Rejected, "larger than the server takes")
                        .with("bytes", part.body.len())
                        .with_hint("raise `http.max_content_length` of the cluster or the proxy");
                    report.fail(item.index, error);
                }
            } else {
                let half = part.body.len() / 2;
                if self.max_bytes.fetch_min(half, Ordering::Relaxed) > half {
                    warn!(refused = part.body.len(), "request too large, sending smaller ones");
                }
                let middle = range.start + range.len() / 2;
                open.extend([middle..range.end, range.start..middle]);
            }
        }
        Ok(report)
    }

    async fn post(&self, part: &Part<'_>) -> Result<Reply> {
        let fixed = self.rules.index.fixed();
        let path = [fixed.unwrap_or_default(), "_bulk"];
        let query = [
            ("filter_path", FILTER_PATH),
            ("pipeline", self.settings.pipeline.as_deref().unwrap_or_default()),
        ];
        let request = Request {
            method: Method::POST,
            path: if fixed.is_some() { &path } else { &path[1..] },
            query: if self.settings.pipeline.is_some() { &query } else { &query[..1] },
            body: Some(part.body.clone()),
            // Errors repeat the value that they are about, and more than once.
            max_answer: (1 << 20) + 4096 * part.items.len() + 4 * part.body.len(),
        };
        self.client.send(request).await
    }

    /// Judges each document of an answer.
    async fn judge(
        &self,
        events: &[AuditEvent],
        part: &Part<'_>,
        reply: &Reply,
        report: &mut Report,
    ) -> Result<()> {
        let indices = || part.items.iter().map(|item| item.index);
        if !reply.is_success() {
            report.hold_all(indices(), &self.passing(error::of_reply(reply))?);
            return Ok(());
        }
        let answer: Answer<'_> = match serde_json::from_slice(&reply.body) {
            Ok(answer) => answer,
            Err(error) => {
                report.hold_all(indices(), &self.passing(error::of_nonsense(reply, &error))?);
                return Ok(());
            }
        };
        if answer.items.len() != part.items.len() {
            return Err(Error::new(ErrorKind::Unexpected, "the answer does not fit the request")
                .with("documents", part.items.len())
                .with("answers", answer.items.len())
                .with("host", &reply.host)
                .with_retry(Retry::Backoff));
        }
        let mut taken = Vec::new();
        for (n, (outcome, item)) in answer.items.iter().zip(part.items).enumerate() {
            let verdict = match (outcome.status, outcome.error) {
                (200..=299, None) if outcome.in_failure_store => {
                    let error = Error::new(ErrorKind::Rejected, "stored in the failure store only")
                        .with_hint("the data stream refused the document; see its failure store");
                    report.fail(item.index, error);
                    continue;
                }
                (200..=299, None) => Verdict::Stored,
                (200..=299, Some(_)) => Verdict::Failed,
                (status, _) => Verdict::of_item(status, &outcome.cause()),
            };
            if matches!(verdict, Verdict::Stored | Verdict::Exists) {
                self.proven.store(true, Ordering::Relaxed);
            }
            let error = || verdict.error(outcome.status, &outcome.cause(), None);
            match verdict {
                Verdict::Stored => {}
                Verdict::Exists if !self.settings.verify => report.duplicates.push(item.index),
                Verdict::Exists => {
                    let Some(event) = events.get(item.index) else {
                        report.fail(item.index, error());
                        continue;
                    };
                    let index = outcome.cause().index;
                    taken.push(Taken {
                        n,
                        index: index.unwrap_or_else(|| self.rules.index.at(event.time)),
                        id: document::id(event, self.rules.id_from)?.into_owned(),
                        document: part.document(n),
                        is_stamped: document::is_stamped(event, self.rules.format),
                    });
                }
                Verdict::Throttled | Verdict::Unavailable => report.hold(item.index, error()),
                Verdict::Rejected | Verdict::Failed => report.fail(item.index, error()),
                Verdict::Auth | Verdict::Config => {
                    report.hold(item.index, self.passing(error())?);
                }
            }
        }
        if !taken.is_empty() {
            self.compare(part, &taken, report).await;
        }
        Ok(())
    }

    /// Finds out whether the documents whose ids are taken are repeats.
    async fn compare(&self, part: &Part<'_>, taken: &[Taken<'_>], report: &mut Report) {
        let mut found = conflict::look(&self.client, taken).await.into_iter();
        for taken in taken {
            // There is an answer for each.
            let found = found.next().unwrap_or(Found::Gone);
            let Some(item) = part.items.get(taken.n) else { continue };
            let collision = |message| {
                Error::new(ErrorKind::Rejected, message)
                    .with("id", shown(&taken.id))
                    .with("index", shown(&taken.index))
            };
            match (found, self.rules.id_from) {
                (Found::Same, _) | (Found::Unreadable, IdFrom::Event) => {
                    report.duplicates.push(item.index);
                }
                (Found::Other, _) => {
                    let hint =
                        "two sources write the same ids: give each an index or a name of its own";
                    report.fail(
                        item.index,
                        collision("another document has this id").with_hint(hint),
                    );
                }
                (Found::Unreadable, IdFrom::Row) => {
                    let hint = "grant the right to read the index, or set `verify_duplicates` to \
                                false if no other table or program writes to it";
                    report.fail(
                        item.index,
                        collision("a document that may not be read has this id").with_hint(hint),
                    );
                }
                (Found::Gone, _) => {
                    let error =
                        Error::new(ErrorKind::Unavailable, "the document with this id is gone");
                    report.fail(item.index, error);
                }
                (Found::Unknown(error), _) => report.hold(item.index, error),
            }
        }
    }

    /// Lets an error pass that the events can wait out, or returns it as one of the whole write.
    fn passing(&self, error: Error) -> Result<Error> {
        match error.kind() {
            ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable => Ok(error),
            // Credentials that worked and do not any more are being changed: wait for it. Those
            // that never worked are wrong.
            ErrorKind::Auth if self.proven.load(Ordering::Relaxed) => {
                Err(error.with_retry(Retry::Backoff))
            }
            _ => Err(error),
        }
    }

    async fn write_all(&self, events: &[AuditEvent]) -> Result<Written> {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        let mut bulks = Cutter::new(events, &self.rules, max_bytes);
        let mut flying = FuturesUnordered::new();
        let mut report = Report::default();
        loop {
            while flying.len() < self.settings.concurrency
                && let Some(bulk) = bulks.next()
            {
                flying.push(self.ship(events, bulk));
            }
            match flying.next().await {
                Some(shipped) => report.merge(shipped?),
                None => return report.finish(events.len()),
            }
        }
    }
}

#[async_trait]
impl Sink for ElasticSink {
    async fn check(&self) -> Result<()> {
        check::check(&self.client, &self.settings).await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        if events.is_empty() {
            return Ok(Written::all());
        }
        self.write_all(events).await.map_err(|e| e.while_doing("write to the index"))
    }
}

impl fmt::Debug for ElasticSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.settings.hosts.iter().map(|(host, _)| host.to_string()).collect();
        f.debug_struct("ElasticSink")
            .field("hosts", &hosts)
            .field("index", &self.settings.index.wildcard())
            .finish_non_exhaustive()
    }
}
