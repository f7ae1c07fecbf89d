use std::time::Duration;

use audit_core::testkit::{
    MemoryDestination, MemoryProgress, MemoryUpstream, Parts, Verdict, World, crash_at_every_call,
    survive_random_faults,
};
use audit_core::{AuditEvent, Cursor, DeadLetter, Error, ErrorKind, EventId, Read, Revision, Sink};

use crate::{checkpoint, sink, source};

/// What a hand-made loop over the ports gets wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    BuriesAfterTheSave,
    DropsBadRecords,
    ForgetsToOpenAtTheCursor,
    IgnoresFailures,
    KeepsRetryingWithoutTheRest,
    NeverSaves,
    SavesBeforeTheWrite,
    SavesWhatWasReadAhead,
    TellsBeforeTheSave,
}

/// A pipeline without read-ahead, whole but for its bug.
async fn run(mut parts: Parts, bug: Bug) -> Result<(), Error> {
    let (mut cursor, mut revision) = parts.checkpoint.load(&parts.stream).await?.unzip();
    let from = cursor.clone().filter(|_| bug != Bug::ForgetsToOpenAtTheCursor);
    parts.source.open(from.as_ref()).await?;
    if let Some(cursor) = &cursor {
        parts.source.committed(cursor).await?;
    }
    while let Read::Batch(mut batch) = parts.source.read(parts.limit).await? {
        let mut next = batch.cursor.clone();
        let mut letters = std::mem::take(&mut batch.rejected);
        if bug == Bug::DropsBadRecords {
            letters.clear();
        }
        if bug == Bug::SavesBeforeTheWrite {
            revision = Some(save(&parts, &next, revision).await?);
        }
        let mut ahead = None;
        if bug == Bug::SavesWhatWasReadAhead
            && let Read::Batch(more) = parts.source.read(parts.limit).await?
        {
            next = more.cursor.clone();
            ahead = Some(more);
        }
        deliver(&*parts.sink, batch.events, &mut letters, bug).await?;
        if bug != Bug::BuriesAfterTheSave && !letters.is_empty() {
            parts.dead_letters.put(&letters).await?;
        }
        if bug == Bug::TellsBeforeTheSave {
            parts.source.committed(&next).await?;
        }
        if !matches!(bug, Bug::SavesBeforeTheWrite | Bug::NeverSaves) {
            revision = Some(save(&parts, &next, revision).await?);
        }
        if bug == Bug::BuriesAfterTheSave && !letters.is_empty() {
            parts.dead_letters.put(&letters).await?;
        }
        if bug != Bug::TellsBeforeTheSave {
            parts.source.committed(&next).await?;
        }
        if let Some(more) = ahead {
            deliver(&*parts.sink, more.events, &mut Vec::new(), bug).await?;
            parts.dead_letters.put(&more.rejected).await?;
        }
        cursor = Some(next);
    }
    drop(cursor);
    parts.sink.close().await
}

async fn save(parts: &Parts, cursor: &Cursor, after: Option<Revision>) -> Result<Revision, Error> {
    parts.checkpoint.save(&parts.stream, cursor, after).await
}

async fn deliver(
    sink: &dyn Sink,
    mut events: Vec<AuditEvent>,
    letters: &mut Vec<DeadLetter>,
    bug: Bug,
) -> Result<(), Error> {
    while !events.is_empty() {
        let written = sink.write(&events).await?;
        if bug == Bug::IgnoresFailures {
            break;
        }
        let mut again = Vec::new();
        for failure in written.failures {
            let event = events[failure.index].clone();
            if failure.error.is_retryable() {
                again.push(event);
            } else {
                letters.push(DeadLetter::event(event, &failure.error, 1));
            }
        }
        if bug == Bug::KeepsRetryingWithoutTheRest {
            again.truncate(1);
        }
        events = again;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn world(bug: Bug) -> World {
    let sink = MemoryDestination::new();
    // Both events of the second batch fail at first, one for good in the third.
    for (n, kind) in
        [(2, ErrorKind::Unavailable), (4, ErrorKind::Unavailable), (5, ErrorKind::Rejected)]
    {
        sink.fail_next_write_of(&EventId::new(format!("memory-{n}")), kind);
    }
    let progress = MemoryProgress::new();
    World::new(MemoryUpstream::flags(), sink, progress).runner(move |parts| run(parts, bug))
}

#[tokio::test(start_paused = true)]
async fn each_wrong_order_is_caught_by_the_fuse() {
    crash_at_every_call(async || world(Bug::None)).await.unwrap();
    survive_random_faults(async || world(Bug::None), 0..50).await.unwrap();
    let unsafe_save = "neither written nor a dead letter";
    for (bug, found) in [
        (Bug::BuriesAfterTheSave, unsafe_save),
        (Bug::DropsBadRecords, unsafe_save),
        (Bug::ForgetsToOpenAtTheCursor, "opened at another position"),
        (Bug::IgnoresFailures, unsafe_save),
        (Bug::NeverSaves, "told of a cursor that is not saved"),
        (Bug::SavesBeforeTheWrite, unsafe_save),
        (Bug::SavesWhatWasReadAhead, unsafe_save),
        (Bug::TellsBeforeTheSave, "told of a cursor that is not saved"),
    ] {
        let verdict = crash_at_every_call(async || world(bug)).await;
        assert_violates(&format!("{bug:?}"), found, verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn retrying_only_some_is_caught_by_the_fuse() {
    let start = async || {
        let sink = MemoryDestination::new();
        for n in 0..2 {
            let id = EventId::new(format!("memory-{n}"));
            sink.fail_next_write_of(&id, ErrorKind::Unavailable);
        }
        World::new(MemoryUpstream::history(), sink, MemoryProgress::new())
            .runner(|parts| run(parts, Bug::KeepsRetryingWithoutTheRest))
    };
    assert_violates("retries only one", "neither written", crash_at_every_call(start).await);
}

/// Under the real pipeline, which trusts its parts, the judge finds what they lost.
#[tokio::test(start_paused = true)]
async fn a_lying_sink_is_caught_by_the_judge() {
    use sink::{Bug, Harness};
    for (bug, found) in [
        (Bug::AcknowledgesBeforeDurable, "missing: memory-6 memory-7"),
        (Bug::ClaimsToDeduplicate, "more than once: memory-0 memory-1"),
        (Bug::PayloadIsRewritten, "is stored as"),
    ] {
        let start = async || World::of_sink(Harness::new(bug));
        assert_violates(&format!("{bug:?}"), found, crash_at_every_call(start).await);
    }
    crash_at_every_call(async || World::of_sink(Harness::new(Bug::None))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lying_source_is_caught_by_the_judge() {
    use source::{Bug, Harness, Naive};
    for (bug, found) in [
        (Bug::BadRecordsAreDropped, "1 bad records are there, 0 are in the dead letters"),
        (Bug::IdsCount, "foreign: memory-0/1"),
        (Bug::MarksBeforeCommitted, "missing: memory-0 memory-1"),
    ] {
        let start = async || World::of_source(Harness::with(MemoryUpstream::flags(), bug));
        assert_violates(&format!("{bug:?}"), found, crash_at_every_call(start).await);
    }
    let start = async || World::of_source(Harness::naive(Naive::BehindTheTime));
    assert_violates("BehindTheTime", "missing: memory-", crash_at_every_call(start).await);
}

#[tokio::test(start_paused = true)]
async fn a_lying_checkpoint_is_caught() {
    use checkpoint::{Bug, Harness};
    for (bug, found) in [
        (Bug::ForgetsWithTheProcess, "loads as something else"),
        (Bug::PretendsToSave, "another runner was here"),
    ] {
        let start = async || World::of_checkpoint(Harness::new(bug));
        assert_violates(&format!("{bug:?}"), found, crash_at_every_call(start).await);
    }
    crash_at_every_call(async || World::of_checkpoint(Harness::new(Bug::None))).await.unwrap();
}

fn assert_violates(mutant: &str, found: &str, verdict: Verdict) {
    let Err(violation) = verdict else { panic!("{mutant} is not caught") };
    let text = violation.to_string();
    assert!(text.contains(found), "{mutant}: {text}");
}
