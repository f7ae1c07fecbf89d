//! The real pipeline, killed at every call it makes and driven through random faults.

use std::sync::Arc;

use async_trait::async_trait;
use audit_core::testkit::{
    CheckpointHarness, MemoryDestination, MemoryProgress, MemoryUpstream, Verdict, When, World,
    crash_at_every_call, stop_at_every_call, survive_random_faults,
};
use audit_core::{Checkpoint, ErrorKind, EventId, FileCheckpoint, FileDeadLetters};
use tempfile::TempDir;

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

#[tokio::test(start_paused = true)]
#[ignore = "a soak of minutes, for the nightly run"]
async fn thousands_of_random_lives_lose_and_double_nothing() -> Verdict {
    for start in [MemoryUpstream::history, MemoryUpstream::flags, || MemoryUpstream::partitions(2)]
    {
        survive_random_faults(async || World::of_source(start()), 1_000..10_000).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_call_leaves_nothing_half_done() -> Verdict {
    for start in
        [MemoryUpstream::history, MemoryUpstream::flags, || MemoryUpstream::history().ending()]
    {
        stop_at_every_call(async || World::of_source(start())).await?;
    }
    Ok(())
}

struct InFiles(Arc<TempDir>);

#[async_trait]
impl CheckpointHarness for InFiles {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        Arc::new(FileCheckpoint::open(self.0.path()))
    }
}

#[tokio::test(start_paused = true)]
async fn progress_and_dead_letters_in_files_survive_a_kill_at_any_call() -> Verdict {
    let start = async || {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let letters = dir.path().join("dead.ndjson");
        World::of_checkpoint(InFiles(dir))
            .dead_letters(move || Arc::new(FileDeadLetters::open(&letters)))
    };
    crash_at_every_call(start).await?;
    survive_random_faults(start, 0..20).await
}
