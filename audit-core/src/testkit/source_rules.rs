//! The rules of the source contract, each as a function. The suite calls them by
//! [`conformance!`](crate::conformance); their list is in `rules.rs`.
//!
//! They hold for sources whose history can be read again (an API's time windows, a log's offsets)
//! and for those that mark what was committed and then no longer find it (a flag column). So a rule
//! uses the port only as the pipeline does: what is behind a cursor is judged after `open` with that
//! cursor and `committed`, cursors are committed in order, and once something was committed nothing
//! is read from the very beginning again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::drain::{Commit, drain, drain_from, open, read_once, reopen, through_json};
use super::polls::poll_times;
use super::violation::{OrViolation, ensure, exactly, whole};
use super::{SourceHarness, Verdict, Violation};
use crate::{Cursor, Error, ErrorKind, EventId, Limit, Read, Source};

type Harness<'a> = &'a mut dyn SourceHarness;

pub async fn s01_reads_every_record_exactly_once(h: Harness<'_>) -> Verdict {
    let ids = h.seed(10).await;
    let distinct: BTreeSet<_> = ids.iter().collect();
    ensure(distinct.len() == 10, || "the harness seeded ids that are not distinct".into())?;
    let mut source = h.source().await;
    source.check().await.or_violation("check")?;
    source.open(None).await.or_violation("open")?;
    let limit = h.limit().events(3);
    let first = drain(h, &mut *source, limit, Commit::Each, 10).await?;
    exactly(&ids, &first.ids())?;
    ensure(first.rejected().next().is_none(), || "a good record was rejected".into())?;
    if first.ended {
        return Ok(());
    }
    let ids = h.seed(5).await;
    let more = drain(h, &mut *source, limit, Commit::Each, 5).await?;
    exactly(&ids, &more.ids()).map_err(|v| v.during("new records after it was idle"))
}

pub async fn s02_gives_the_same_record_the_same_id_and_bytes(h: Harness<'_>) -> Verdict {
    let mut ids = h.seed(4).await;
    ids.extend(h.seed_tied(4).await);
    let mut first: BTreeMap<EventId, (String, String)> = BTreeMap::new();
    for max_events in [100, 3, 1] {
        let limit = h.limit().events(max_events);
        let all = drain_from(h, None, limit, Commit::Never, 8).await?;
        exactly(&ids, &all.ids()).map_err(|v| v.during(format!("max_events {max_events}")))?;
        for event in all.events() {
            let now = (event.time.to_rfc3339(), event.raw.get().to_owned());
            let before = first.entry(event.id.clone()).or_insert_with(|| now.clone());
            ensure(*before == now, || {
                format!("{} was read as {before:?}, then as {now:?}", event.id)
            })?;
        }
    }
    for (id, (_, raw)) in &first {
        let upstream = h.payload(id).await;
        ensure(upstream.as_ref().is_none_or(|text| text == raw), || {
            format!("{id} is {upstream:?} upstream and was read as {raw:?}")
        })?;
    }
    let payloads: BTreeSet<_> = first.values().map(|(_, raw)| raw).collect();
    ensure(payloads.len() == 8, || "different records came with the same payload".into())
}

pub async fn s03_goes_on_from_every_cursor_it_returned(h: Harness<'_>) -> Verdict {
    let ids = h.seed(9).await;
    resume_everywhere(h, &ids, 0, 2).await
}

pub async fn s04_goes_on_in_another_process(h: Harness<'_>) -> Verdict {
    let ids = h.seed(9).await;
    let limit = h.limit().events(2);
    let (mut found, mut from, mut idles) = (Vec::new(), None, 0);
    for process in 0..ids.len() * 4 + 200 {
        let mut source = open(h, from.as_ref()).await?;
        match read_once(&mut *source, limit).await?.or_violation("read")? {
            Read::Batch(batch) => {
                idles = 0;
                found.extend(batch.events.into_iter().map(|e| e.id));
                // Every other process dies between the save and the word to the source.
                if process % 2 == 0 {
                    source.committed(&batch.cursor).await.or_violation("committed")?;
                }
                from = Some(through_json(&batch.cursor)?);
            }
            Read::Idle(wait) => {
                h.idle(wait).await;
                idles += 1;
                if idles > h.patience() || found.len() >= ids.len() {
                    break;
                }
            }
            Read::End => break,
        }
    }
    exactly(&ids, &found)
}

pub async fn s04_refuses_a_foreign_or_newer_cursor(h: Harness<'_>) -> Verdict {
    h.seed(3).await;
    let limit = h.limit().events(1);
    let cursor = drain_from(h, None, limit, Commit::Never, 3).await?.last_cursor()?;
    let changes: [(&str, serde_json::Value); 3] = [
        ("kind", "another-source".into()),
        ("version", (cursor.version() + 1000).into()),
        ("position", serde_json::json!({"testkit": ["not", "a", "position"]})),
    ];
    for (field, value) in changes {
        let mut json = serde_json::to_value(&cursor)
            .map_err(|e| Violation::new(format!("the cursor cannot be written as JSON: {e}")))?;
        json[field] = value;
        let strange: Cursor = serde_json::from_value(json)
            .map_err(|e| Violation::new(format!("the cursor's JSON cannot be read: {e}")))?;
        let mut source = h.source().await;
        let error = match source.open(Some(&strange)).await {
            Err(error) => Some(error),
            Ok(()) => read_once(&mut *source, limit).await?.err(),
        };
        match error {
            None => Err(Violation::new(format!("a cursor of another {field} was accepted"))),
            Some(e) if e.is_retryable() => Err(Violation::new(format!(
                "a cursor of another {field} is reported as if it could be retried: {}",
                whole(&e)
            ))),
            Some(_) => Ok(()),
        }?;
    }
    Ok(())
}

pub async fn s05_keeps_to_max_events(h: Harness<'_>) -> Verdict {
    let mut ids = h.seed(4).await;
    let bad = usize::from(h.seed_bad().await);
    ids.extend(h.seed(4).await);
    for max_events in [1, 2, 3, 7] {
        let limit = h.limit().events(max_events);
        let all = drain_from(h, None, limit, Commit::Never, 8 + bad).await?;
        for batch in &all.batches {
            let records = batch.events.len() + batch.rejected.len();
            ensure(records <= max_events, || {
                format!("a read with max_events {max_events} returned {records} records")
            })?;
        }
        exactly(&ids, &all.ids()).map_err(|v| v.during(format!("max_events {max_events}")))?;
    }
    Ok(())
}

pub async fn s05_keeps_to_max_bytes(h: Harness<'_>) -> Verdict {
    let ids = h.seed(6).await;
    let limit = h.limit().events(100);
    let all = drain_from(h, None, limit, Commit::Never, 6).await?;
    exactly(&ids, &all.ids())?;
    let largest = all.events().map(|e| e.size()).max().unwrap_or_default();
    // Every record is larger than 1 byte; two records fit; all but a little of three fit.
    for max_bytes in [1, largest * 2, largest * 3 - largest / 3] {
        let limit = limit.bytes(max_bytes);
        let all = drain_from(h, None, limit, Commit::Never, 6).await?;
        exactly(&ids, &all.ids()).map_err(|v| v.during(format!("max_bytes {max_bytes}")))?;
        for batch in all.batches.iter().filter(|b| b.events.len() > 1) {
            let sizes: Vec<_> = batch.events.iter().map(|e| e.size()).collect();
            let before_last: usize = sizes[..sizes.len() - 1].iter().sum();
            ensure(before_last < max_bytes, || {
                format!("a read with max_bytes {max_bytes} went on behind it: sizes {sizes:?}")
            })?;
            ensure(sizes.iter().all(|size| *size <= max_bytes), || {
                format!("a record larger than max_bytes {max_bytes} came in company: {sizes:?}")
            })?;
        }
    }
    Ok(())
}

pub async fn s05_keeps_to_max_wait(h: Harness<'_>) -> Verdict {
    let limit = h.limit().wait(Duration::from_millis(50));
    let mut source = open(h, None).await?;
    for _ in 0..2 {
        match read_once(&mut *source, limit).await?.or_violation("read of an empty upstream")? {
            Read::Batch(batch) => {
                ensure(batch.events.is_empty() && batch.rejected.is_empty(), || {
                    "an empty upstream returned records".into()
                })?
            }
            Read::Idle(wait) => h.idle(wait).await,
            Read::End => return Ok(()),
        }
    }
    Ok(())
}

pub async fn s06_loses_no_equal_timestamps_between_batches(h: Harness<'_>) -> Verdict {
    let mut ids = h.seed(1).await;
    ids.extend(h.seed_tied(7).await);
    ids.extend(h.seed(1).await);
    for max_events in 1..=8 {
        let limit = h.limit().events(max_events);
        let all = drain_from(h, None, limit, Commit::Never, 9).await?;
        exactly(&ids, &all.ids()).map_err(|v| v.during(format!("max_events {max_events}")))?;
    }
    resume_everywhere(h, &ids, 0, 2).await
}

pub async fn s07_finds_a_late_record_once(h: Harness<'_>) -> Verdict {
    let undeclared = || Violation::undeclared("seed a late record");
    let ids = h.seed(6).await;
    let limit = h.limit().events(2);
    let mut source = open(h, None).await?;
    let first = drain(h, &mut *source, limit, Commit::Each, 6).await?;
    exactly(&ids, &first.ids())?;
    ensure(!first.ended, || "the source ended, so nothing can appear late: declare it".into())?;

    let late = h.seed_late().await.ok_or_else(undeclared)?;
    let found = drain(h, &mut *source, limit, Commit::Each, 1).await?;
    exactly([&late], &found.ids()).map_err(|v| v.during("in the source that went on"))?;
    let again = drain(h, &mut *source, limit, Commit::Each, 0).await?;
    exactly([], &again.ids()).map_err(|v| v.during("a second look"))?;
    let cursor = again.last_cursor().or_else(|_| found.last_cursor())?;
    drop(source);

    let late = h.seed_late().await.ok_or_else(undeclared)?;
    let found = drain_from(h, Some(&cursor), limit, Commit::Each, 1).await?;
    exactly([&late], &found.ids()).map_err(|v| v.during("in a new source"))?;
    let cursor = found.last_cursor()?;
    let again = drain_from(h, Some(&cursor), limit, Commit::Each, 0).await?;
    exactly([], &again.ids()).map_err(|v| v.during("a third source"))
}

pub async fn s08_loses_nothing_when_a_read_is_dropped(h: Harness<'_>) -> Verdict {
    let ids = h.seed(7).await;
    let limit = h.limit().events(2);
    let whole = drain_from(h, None, limit, Commit::Never, 7).await?;
    for pendings in 0..100 {
        let mut source = open(h, None).await?;
        let complete = poll_times(source.read(limit), pendings).await.is_some();
        reopen(&mut *source, None).await?;
        let all = drain(h, &mut *source, limit, Commit::Never, 7).await?;
        exactly(&ids, &all.ids())
            .map_err(|v| v.during(format!("the first read dropped at its await {pendings}")))?;
        if complete {
            break;
        }
    }
    let Some(first) = whole.batches.iter().find(|b| !b.events.is_empty()) else {
        return Err(Violation::new("no batch was returned"));
    };
    let read: BTreeSet<_> = first.events.iter().map(|e| &e.id).collect();
    let rest: Vec<_> = ids.iter().filter(|id| !read.contains(id)).collect();
    for pendings in 0..100 {
        let mut source = open(h, Some(&first.cursor)).await?;
        // A batch that was read ahead and never settled, then a read that is dropped.
        let ahead = read_once(&mut *source, limit).await?.or_violation("read")?;
        drop(ahead);
        let complete = poll_times(source.read(limit), pendings).await.is_some();
        reopen(&mut *source, Some(&first.cursor)).await?;
        let all = drain(h, &mut *source, limit, Commit::Never, rest.len()).await?;
        exactly(rest.iter().copied(), &all.ids())
            .map_err(|v| v.during(format!("a later read dropped at its await {pendings}")))?;
        if complete {
            break;
        }
    }
    Ok(())
}

pub async fn s09_reports_a_failure_with_its_kind(h: Harness<'_>) -> Verdict {
    let ids = h.seed(3).await;
    let mut tried = 0;
    for kind in FAULTS {
        for opened in [false, true] {
            let mut source = h.source().await;
            if opened {
                source.open(None).await.or_violation("open")?;
            }
            if !h.fail_next(kind).await {
                break;
            }
            tried += 1;
            let step = |v: Violation| v.during(format!("a fault of kind '{kind}'"));
            let open_failed = if opened { None } else { source.open(None).await.err() };
            let in_open = open_failed.is_some();
            match open_failed {
                Some(error) => of_kind(&error, kind).map_err(step)?,
                None => read_fault(&mut *source, h.limit(), kind).await.map_err(step)?,
            }
            reopen(&mut *source, None).await.map_err(step)?;
            let limit = h.limit();
            let all = drain(h, &mut *source, limit, Commit::Never, 3).await.map_err(step)?;
            exactly(&ids, &all.ids()).map_err(|v| step(v.during("after it had passed")))?;
            // What fails in `open` is tried again in `read`; what passed `open` was in `read`.
            if !in_open {
                break;
            }
        }
    }
    ensure(tried > 0, || Violation::undeclared("make the upstream fail").message().to_owned())
}

pub async fn s09_hands_on_bad_records_without_holding_up_others(h: Harness<'_>) -> Verdict {
    let mut ids = h.seed(2).await;
    for _ in 0..3 {
        if !h.seed_bad().await {
            return Err(Violation::undeclared("seed a bad record"));
        }
    }
    ids.extend(h.seed(2).await);
    let mut first: Option<BTreeMap<EventId, Vec<u8>>> = None;
    for max_events in [1, 2, 100] {
        let limit = h.limit().events(max_events);
        let all = drain_from(h, None, limit, Commit::Never, 7).await?;
        let step = |v: Violation| v.during(format!("max_events {max_events}"));
        exactly(&ids, &all.ids()).map_err(step)?;
        let now: BTreeMap<_, _> =
            all.rejected().map(|r| (r.id().clone(), r.body().to_vec())).collect();
        ensure(now.len() == 3 && all.rejected().count() == 3, || {
            format!(
                "3 bad records are there, {} were rejected, with {} different ids (max_events \
                 {max_events})",
                all.rejected().count(),
                now.len()
            )
        })?;
        ensure(!ids.iter().any(|id| now.contains_key(id)), || {
            "a bad record has the id of a good one".into()
        })?;
        ensure(first.get_or_insert_with(|| now.clone()) == &now, || {
            "a bad record changes its id or its body from read to read".into()
        })?;
    }
    resume_everywhere(h, &ids, 3, 1).await
}

pub async fn s10_reads_the_same_however_often_committed_is_called(h: Harness<'_>) -> Verdict {
    let ids = h.seed(12).await;
    let limit = h.limit().events(2);
    let mut source = open(h, None).await?;
    let (mut found, mut cursors, mut ended, mut idles) = (vec![], Vec::<Cursor>::new(), false, 0);
    // The word comes when the next batch is read already: twice of the first batch, never of the
    // second, once of the third, and then never again.
    for _ in 0..200 {
        match read_once(&mut *source, limit).await?.or_violation("read")? {
            Read::Batch(batch) => {
                found.extend(batch.events.into_iter().map(|e| e.id));
                let times = [0, 2, 0, 1].get(cursors.len()).copied().unwrap_or(0);
                if let Some(last) = cursors.last() {
                    for _ in 0..times {
                        source.committed(last).await.or_violation("committed")?;
                    }
                }
                source.check().await.or_violation("check")?;
                cursors.push(batch.cursor);
            }
            Read::Idle(wait) => {
                h.idle(wait).await;
                idles += 1;
                if !cursors.is_empty() || idles > h.patience() {
                    break;
                }
            }
            Read::End => {
                ended = true;
                break;
            }
        }
    }
    exactly(&ids, &found)?;
    let cursor = cursors.pop().ok_or_else(|| Violation::new("no batch was returned"))?;
    for _ in 0..2 {
        source.committed(&cursor).await.or_violation("committed")?;
    }
    drop(source);
    let all = drain_from(h, Some(&cursor), limit, Commit::Never, 0).await?;
    exactly([], &all.ids()).map_err(|v| v.during("behind the last cursor"))?;
    if ended {
        return Ok(());
    }
    let ids = h.seed(4).await;
    for round in ["first", "second"] {
        let all = drain_from(h, Some(&cursor), limit, Commit::Never, 4).await?;
        exactly(&ids, &all.ids())
            .map_err(|v| v.during(format!("new records, never committed, {round} look")))?;
    }
    Ok(())
}

/// Reads everything, then goes on from each cursor returned on the way, in order.
async fn resume_everywhere(
    h: Harness<'_>,
    ids: &[EventId],
    bad: usize,
    max_events: usize,
) -> Verdict {
    let limit = h.limit().events(max_events);
    let all = drain_from(h, None, limit, Commit::Never, ids.len() + bad).await?;
    exactly(ids, &all.ids())?;
    for (n, batch) in all.batches.iter().enumerate() {
        let step = |v: Violation| {
            v.during(format!("from the cursor of batch {} of {}", n + 1, all.batches.len()))
        };
        let (events, rejected) = all.behind(n + 1);
        let left = events.len() + rejected.len();
        let rest =
            drain_from(h, Some(&batch.cursor), limit, Commit::Never, left).await.map_err(step)?;
        exactly(&events, &rest.ids()).map_err(step)?;
        exactly(&rejected, &rest.rejected_ids()).map_err(|v| step(v.during("bad records")))?;
    }
    Ok(())
}

/// What a harness is asked to inject.
const FAULTS: [ErrorKind; 7] = [
    ErrorKind::Auth,
    ErrorKind::Config,
    ErrorKind::InvalidData,
    ErrorKind::RateLimited,
    ErrorKind::Rejected,
    ErrorKind::Timeout,
    ErrorKind::Unavailable,
];

async fn read_fault(source: &mut dyn Source, limit: Limit, kind: ErrorKind) -> Verdict {
    let answer = match read_once(source, limit).await? {
        Err(error) => return of_kind(&error, kind),
        Ok(Read::Batch(batch)) => format!("a batch of {}", batch.events.len()),
        Ok(Read::Idle(_)) => "idle".into(),
        Ok(Read::End) => "the end".into(),
    };
    Err(Violation::new(format!("the failed call shows as {answer}")))
}

/// Checks the kind of an error, and that what may pass is retryable and what will not is not.
pub(super) fn of_kind(error: &Error, kind: ErrorKind) -> Verdict {
    ensure(error.kind() == kind, || format!("it is reported as another kind: {}", whole(error)))?;
    let passes =
        matches!(kind, ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable);
    ensure(error.is_retryable() == passes, || {
        let word = if passes { "final" } else { "retryable" };
        format!("it is reported as {word}: {}", whole(error))
    })
}
