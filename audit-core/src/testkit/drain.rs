use tokio::time::timeout;

use super::violation::{OrViolation, ensure};
use super::{SourceHarness, Verdict, Violation};
use crate::{AuditEvent, Batch, Cursor, DeadLetter, EventId, Limit, Read, Source};

/// Whether the source is told of each batch, as the pipeline does, or never.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Each,
    Never,
}

/// All that was read until the source had no more.
#[derive(Default)]
pub(super) struct Drained {
    pub(super) batches: Vec<Batch>,
    /// The source said that there will never be more.
    pub(super) ended: bool,
}

impl Drained {
    pub(super) fn events(&self) -> impl Iterator<Item = &AuditEvent> {
        self.batches.iter().flat_map(|b| &b.events)
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = &DeadLetter> {
        self.batches.iter().flat_map(|b| &b.rejected)
    }

    pub(super) fn ids(&self) -> Vec<EventId> {
        self.events().map(|e| e.id.clone()).collect()
    }

    pub(super) fn rejected_ids(&self) -> Vec<EventId> {
        self.rejected().map(|r| r.id().clone()).collect()
    }

    /// Leaves out the first `batches` batches.
    pub(super) fn behind(&self, batches: usize) -> (Vec<EventId>, Vec<EventId>) {
        let rest = || self.batches.iter().skip(batches);
        let events = rest().flat_map(|b| &b.events).map(|e| e.id.clone());
        let rejected = rest().flat_map(|b| &b.rejected).map(|r| r.id().clone());
        (events.collect(), rejected.collect())
    }

    pub(super) fn records(&self) -> usize {
        self.batches.iter().map(|b| b.events.len() + b.rejected.len()).sum()
    }

    pub(super) fn last_cursor(&self) -> Verdict<Cursor> {
        let last = self.batches.last().map(|b| b.cursor.clone());
        last.ok_or_else(|| Violation::new("no batch was returned"))
    }
}

/// How long a read may take beyond `max_wait`. Generous: build machines stall.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads once, and fails if the source neither answers nor keeps to `max_wait`.
pub(super) async fn read_once(
    source: &mut dyn Source,
    limit: Limit,
) -> Verdict<crate::Result<Read>> {
    timeout(limit.max_wait + GRACE, source.read(limit)).await.map_err(|_| {
        Violation::new(format!(
            "read did not return within max_wait ({:?}) and 5 s",
            limit.max_wait
        ))
    })
}

/// Makes a source and opens it as the pipeline does: what is saved is told to it again.
pub(super) async fn open(
    harness: &mut dyn SourceHarness,
    from: Option<&Cursor>,
) -> Verdict<Box<dyn Source>> {
    let mut source = harness.source().await;
    reopen(&mut *source, from).await?;
    Ok(source)
}

/// Opens a source (again) as the pipeline does.
pub(super) async fn reopen(source: &mut dyn Source, from: Option<&Cursor>) -> Verdict {
    source.open(from).await.or_violation("open")?;
    match from {
        Some(cursor) => source.committed(cursor).await.or_violation("committed after open"),
        None => Ok(()),
    }
}

/// Reads on until the source has no more; `records` are expected, good and bad.
///
/// Nothing is read after an idle answer while batches are unsettled, as the contract promises.
pub(super) async fn drain(
    harness: &mut dyn SourceHarness,
    source: &mut dyn Source,
    limit: Limit,
    commit: Commit,
    records: usize,
) -> Verdict<Drained> {
    let mut drained = Drained::default();
    let mut idles = 0;
    // Each record alone, as many empty windows, and some.
    for _ in 0..records * 4 + 200 {
        match read_once(source, limit).await?.or_violation("read")? {
            Read::Batch(batch) => {
                if commit == Commit::Each {
                    source.committed(&batch.cursor).await.or_violation("committed")?;
                }
                drained.batches.push(batch);
                idles = 0;
                ensure(drained.records() <= records * 2 + 20, || {
                    let ids = drained.ids();
                    let last: Vec<_> = ids.iter().rev().take(5).map(EventId::as_str).collect();
                    format!(
                        "the source repeats itself: {} records are there, {} were read; the last \
                         ones: {}",
                        records,
                        drained.records(),
                        last.join(" ")
                    )
                })?;
            }
            Read::Idle(wait) => {
                harness.idle(wait).await;
                idles += 1;
                let settled = commit == Commit::Each || drained.batches.is_empty();
                if drained.records() >= records || !settled || idles > harness.patience() {
                    return Ok(drained);
                }
            }
            Read::End => {
                drained.ended = true;
                return Ok(drained);
            }
        }
    }
    Err(Violation::new(format!(
        "the source does not come to an end: {} records are there, and after {} batches with {} \
         records it is not idle",
        records,
        drained.batches.len(),
        drained.records()
    )))
}

/// Makes a source, opens it, and reads on until it has no more.
pub(super) async fn drain_from(
    harness: &mut dyn SourceHarness,
    from: Option<&Cursor>,
    limit: Limit,
    commit: Commit,
    records: usize,
) -> Verdict<Drained> {
    let mut source = open(harness, from).await?;
    drain(harness, &mut *source, limit, commit, records).await
}

/// Returns the cursor as another process reads it: through its JSON text.
pub(super) fn through_json(cursor: &Cursor) -> Verdict<Cursor> {
    let text = serde_json::to_string(cursor)
        .map_err(|e| Violation::new(format!("the cursor cannot be written as JSON: {e}")))?;
    let again: Cursor = serde_json::from_str(&text)
        .map_err(|e| Violation::new(format!("the cursor's JSON cannot be read: {e}: {text}")))?;
    ensure(again == *cursor, || format!("the cursor changes in JSON: {text}"))?;
    Ok(again)
}
