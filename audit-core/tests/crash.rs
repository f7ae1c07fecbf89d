//! The real pipeline, killed at every call it makes and driven through random faults.

use audit_core::testkit::{
    MemoryDestination, MemoryProgress, MemoryUpstream, Verdict, When, World, crash_at_every_call,
    survive_random_faults,
};
use audit_core::{ErrorKind, EventId};

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
    for start in [
        MemoryUpstream::history,
        MemoryUpstream::flags,
        || MemoryUpstream::partitions(2),
        || MemoryUpstream::history().ending(),
    ] {
        crash_at_every_call(async || World::of_source(start())).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_call_loses_nothing_in_a_pipe() -> Verdict {
    crash_at_every_call(async || World::of_sink(MemoryDestination::pipe())).await
}

#[tokio::test(start_paused = true)]
async fn a_kill_while_events_are_refused_loses_nothing() -> Verdict {
    crash_at_every_call(async || {
        let sink = MemoryDestination::new();
        for (n, kind) in [(1, ErrorKind::Rejected), (2, ErrorKind::Unavailable)] {
            let id = EventId::new(format!("memory-{n}"));
            sink.fail_next_write_of(&id, kind);
            sink.fail_next_write_of(&id, kind);
        }
        sink.fail_next_call(ErrorKind::Timeout, When::After);
        World::new(MemoryUpstream::flags(), sink, MemoryProgress::new())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn random_faults_and_deaths_lose_and_double_nothing() -> Verdict {
    for start in [MemoryUpstream::history, MemoryUpstream::flags, || MemoryUpstream::partitions(2)]
    {
        survive_random_faults(async || World::of_source(start()), 0..300).await?;
    }
    Ok(())
}
