//! Several senders on one table: the rows of a batch are locked from the scan to the mark, in one
//! transaction, and others pass them over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};

use super::{CALL, CONNECT, Link, Offered, Pieces, ServerClient, within};
use crate::client::{Client, Edge, Facts, Handed, Rows, Scan};
use crate::intake::Intake;
use crate::keys::{Key, Keys};

/// The most batches that are claimed at a time. A pipeline has two: one that it writes, and one that
/// was read ahead. Who reads on without a commit gives up the oldest.
const CLAIMS: usize = 3;
/// How long a server may take to release rows before the connection is closed instead.
const RELEASE: Duration = Duration::from_secs(5);
/// How long a server usually takes at most to notice that a connection was closed.
const NOTICE: Duration = Duration::from_millis(50);

/// Claims the rows of each batch on a connection of its own. What ends a connection ends its claim:
/// the rows are free again at once, and are handed out again under the same ids.
#[derive(Debug)]
pub(crate) struct ClaimClient<L> {
    /// For everything that claims nothing; its connection is the first to claim on.
    plain: ServerClient<L>,
    /// Connections on which nothing was begun.
    free: Vec<L>,
    /// The oldest first.
    claims: VecDeque<Claim<L>>,
    /// Whether a call was dropped or failed, and its connection closed with it.
    broken: bool,
    next: u64,
}

#[derive(Debug)]
struct Claim<L> {
    number: u64,
    link: L,
}

/// What became of an attempt to claim a batch.
enum Attempt {
    /// Whether there are no more rows behind it.
    Claimed { ended: bool },
    /// More rows were locked than fit.
    TooMany,
}

impl<L: Link> ClaimClient<L> {
    pub(crate) fn new(plain: ServerClient<L>) -> Self {
        Self { plain, free: Vec::new(), claims: VecDeque::new(), broken: false, next: 0 }
    }

    /// Makes rows free for others, and waits until they are: else the next scan might still pass
    /// them over.
    async fn release(&mut self, mut link: L) {
        if let Ok(Ok(())) = tokio::time::timeout(RELEASE, link.rollback()).await {
            self.free.push(link);
        }
    }

    /// Finds or opens a connection to claim on.
    async fn open(&mut self) -> Result<L> {
        while self.claims.len() >= CLAIMS {
            let Some(oldest) = self.claims.pop_front() else { break };
            self.release(oldest.link).await;
        }
        match self.free.pop().or_else(|| self.plain.link.take()) {
            Some(link) => Ok(link),
            None => {
                let (place, config) = (&self.plain.place, &self.plain.config);
                within(CONNECT, place, "open the table", L::open(config)).await
            }
        }
    }

    /// Marks the rows of a claim, which nobody else could change, and ends it.
    async fn settle(&mut self, mut claim: Claim<L>, batch: &Handed) -> Result<()> {
        let call = async {
            for keys in Pieces::new(batch.position.rows.iter(), L::KEYS) {
                claim.link.set(&keys).await?;
            }
            claim.link.commit().await
        };
        within(CALL, &self.plain.place, "mark the rows", call).await?;
        self.free.push(claim.link);
        Ok(())
    }
}

#[async_trait]
impl<L: Link> Client for ClaimClient<L> {
    async fn connect(&mut self) -> Result<Facts> {
        if std::mem::take(&mut self.broken) {
            // What it had locked the next scan would pass over until the next pass.
            tokio::time::sleep(NOTICE).await;
        }
        while let Some(claim) = self.claims.pop_front() {
            self.release(claim.link).await;
        }
        // They may have been cut off like the one that failed.
        self.free.clear();
        let facts = self.plain.connect().await?;
        if facts.key_names_row {
            return Ok(facts);
        }
        Err(Error::new(ErrorKind::Config, "rows of a table without a key cannot be claimed")
            .with("table", self.plain.config.table())
            .with_hint("leave out `claim`, or add a primary key of one column"))
    }

    async fn scan(&mut self, _: Rows, after: Option<Key>, mut intake: Intake) -> Result<Scan> {
        let mut most = usize::MAX;
        loop {
            let mut link = self.open().await?;
            self.broken = true;
            let call = claim(&mut link, after.as_ref(), &mut intake, most, self.plain.row_bytes);
            let attempt = within(CALL, &self.plain.place, "claim rows", call).await?;
            self.broken = false;
            let ended = match attempt {
                Attempt::Claimed { ended } => ended,
                Attempt::TooMany => {
                    most = intake.taken().0;
                    intake.clear();
                    self.release(link).await;
                    continue;
                }
            };
            self.plain.learn(&intake);
            if intake.is_empty() {
                link.rollback().await?;
                self.free.push(link);
            } else {
                self.next += 1;
                intake.handed.claim = Some(self.next);
                self.claims.push_back(Claim { number: self.next, link });
            }
            return Ok(Scan { intake, version: None, ended });
        }
    }

    async fn edge(&mut self) -> Result<Edge> {
        self.plain.edge().await
    }

    async fn keys(&mut self, first: i64, last: i64) -> Result<Vec<i64>> {
        self.plain.keys(first, last).await
    }

    async fn prints(&mut self, keys: Keys) -> Result<Handed> {
        self.plain.prints(keys).await
    }

    async fn mark(&mut self, batches: Vec<Arc<Handed>>) -> Result<usize> {
        let mut changed = 0;
        for batch in batches {
            let found = self.claims.iter().position(|claim| Some(claim.number) == batch.claim);
            match found.and_then(|at| self.claims.remove(at)) {
                Some(claim) => self.settle(claim, &batch).await?,
                // Of an earlier life, or given up. What others have claimed by now they will mark.
                None => changed += self.plain.mark(vec![batch]).await?,
            }
        }
        Ok(changed)
    }

    async fn version(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    async fn stale(
        &mut self,
        after: Option<Key>,
        before: DateTime<Utc>,
        rows: usize,
    ) -> Result<Vec<Key>> {
        self.plain.stale(after, before, rows).await
    }

    async fn delete(&mut self, keys: Vec<Key>, before: DateTime<Utc>) -> Result<u64> {
        self.plain.delete(keys, before).await
    }

    async fn check(&mut self) -> Result<()> {
        self.plain.check().await
    }
}

/// Claims about as many rows as there is room for, at most `most`.
async fn claim<L: Link>(
    link: &mut L,
    after: Option<&Key>,
    intake: &mut Intake,
    most: usize,
    row_bytes: usize,
) -> Result<Attempt> {
    link.begin().await?;
    let mut after = after.cloned();
    loop {
        let (rows, bytes) = intake.room();
        // Rather too few: rows that are locked and do not fit have to be given back.
        let piece = (bytes / row_bytes / 8 * 7).min(rows).min(most).max(1);
        let ended = match link.offer(Rows::Claimed, after.as_ref(), piece, intake).await? {
            Offered::Full if intake.taken().0 < piece => return Ok(Attempt::TooMany),
            Offered::Full => false,
            Offered::All(shown) if shown < piece => true,
            Offered::All(_) if !intake.is_empty() => false,
            // All of them are in flight.
            Offered::All(_) => {
                after.clone_from(&intake.last);
                continue;
            }
        };
        return Ok(Attempt::Claimed { ended });
    }
}
