//! What befalls a transaction on a real broker. See `live.rs` for when tests are skipped.
#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{Checkpoint, Cursor, ErrorKind, Revision, Sink, StreamId};
use audit_sink_kafka::{KafkaConfig, TransactionalSink};
use common::{Isolation, Live, events, failed, failures, put};
use rdkafka::admin::{NewTopic, TopicReplication};

macro_rules! live {
    ($test:literal) => {
        match Live::with_topics($test, 1) {
            Some(live) => live,
            None => return,
        }
    };
}

fn stream(live: &Live) -> StreamId {
    live.topic.parse().unwrap()
}

fn outlet(config: KafkaConfig, live: &Live) -> TransactionalSink {
    TransactionalSink::new(config, stream(live)).unwrap()
}

fn cursor(n: usize) -> Cursor {
    Cursor::encode("test", 1, &n).unwrap()
}

fn stored(live: &Live, isolation: Isolation) -> Vec<String> {
    live.read(isolation).into_iter().map(|s| s.header("id").to_owned()).collect()
}

fn samples(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("sample-{n}")).collect()
}

#[tokio::test]
async fn i06_events_are_seen_with_their_checkpoint_and_not_before() {
    let live = live!("i06_events_are_seen_with_their_checkpoint_and_not_before");
    let (name, sink) = (stream(&live), outlet(live.transactional(), &live));
    assert_eq!(sink.load(&name).await.unwrap(), None);
    put(&sink, &events(0..3)).await;
    put(&sink, &events(3..5)).await;
    assert_eq!(stored(&live, Isolation::Uncommitted), samples(0..5));
    assert!(stored(&live, Isolation::Committed).is_empty());
    assert_eq!(sink.peek().await.unwrap(), None);
    let saved = sink.save(&name, &cursor(5), None).await.unwrap();
    assert_eq!(stored(&live, Isolation::Committed), samples(0..5));
    assert_eq!(sink.peek().await.unwrap(), Some((cursor(5), saved)));
    // A cursor without events is progress as well.
    let next = sink.save(&name, &cursor(6), Some(saved)).await.unwrap();
    assert_eq!(sink.load(&name).await.unwrap(), Some((cursor(6), next)));
}

#[tokio::test]
async fn i06_what_was_not_saved_is_not_there_after_close_or_load() {
    let live = live!("i06_what_was_not_saved_is_not_there_after_close_or_load");
    let (name, sink) = (stream(&live), outlet(live.transactional(), &live));
    put(&sink, &events(0..3)).await;
    sink.close().await.unwrap();
    sink.close().await.unwrap();
    put(&sink, &events(10..13)).await;
    sink.load(&name).await.unwrap();
    put(&sink, &events(20..23)).await;
    sink.save(&name, &cursor(1), None).await.unwrap();
    assert_eq!(stored(&live, Isolation::Committed), samples(20..23));
}

#[tokio::test]
async fn i06_a_write_or_save_that_is_dropped_leaves_nothing_half() {
    let live = live!("i06_a_write_or_save_that_is_dropped_leaves_nothing_half");
    let (name, sink) = (stream(&live), outlet(live.transactional(), &live));
    let mut after = None;
    for n in 0..6 {
        put(&sink, &events(n * 10..n * 10 + 5)).await;
        let more = events(n * 10 + 5..n * 10 + 10);
        let cut = Duration::from_micros(300 * n as u64);
        if tokio::time::timeout(cut, sink.write(&more)).await.is_err() {
            // As a caller does that knows nothing of it.
            put(&sink, &more).await;
        }
        let cut = Duration::from_millis(2 * n as u64);
        let new = cursor(n);
        let save = sink.save(&name, &new, after);
        after = match tokio::time::timeout(cut, save).await {
            Ok(saved) => Some(saved.unwrap()),
            Err(_) => Some(sink.save(&name, &new, after).await.unwrap()),
        };
    }
    assert_eq!(after, Some(Revision(6)));
    assert_eq!(stored(&live, Isolation::Committed), samples(0..60));
}

#[tokio::test]
async fn i06_a_transaction_that_outlives_its_time_is_done_again() {
    let live = live!("i06_a_transaction_that_outlives_its_time_is_done_again");
    let mut config = live.transactional();
    config.transaction.as_mut().unwrap().timeout = Duration::from_secs(1);
    let (name, sink) = (stream(&live), outlet(config, &live));
    put(&sink, &events(0..4)).await;
    // The cluster looks for such transactions every ten seconds.
    let deadline = Instant::now() + Duration::from_secs(25);
    let live_end = Arc::new(live);
    while live_end.read_committed_end() < 5 {
        assert!(Instant::now() < deadline, "the cluster keeps it open");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut saved = sink.save(&name, &cursor(4), None).await;
    if let Err(error) = &saved {
        assert!(error.is_retryable(), "{error:?}");
        saved = sink.save(&name, &cursor(4), None).await;
    }
    assert_eq!(saved.unwrap(), Revision(1));
    assert_eq!(stored(&live_end, Isolation::Committed), samples(0..4));
}

#[tokio::test]
async fn i06_the_newer_runner_goes_on_and_the_older_one_ends() {
    let live = live!("i06_the_newer_runner_goes_on_and_the_older_one_ends");
    let name = stream(&live);
    let [older, newer] = [(); 2].map(|()| outlet(live.transactional(), &live));
    older.load(&name).await.unwrap();
    let first = older.save(&name, &cursor(1), None).await.unwrap();
    put(&older, &events(0..3)).await;
    assert_eq!(newer.load(&name).await.unwrap(), Some((cursor(1), first)));
    failed(older.save(&name, &cursor(2), Some(first)).await, ErrorKind::Conflict, false);
    failed(older.write(&events(0..3)).await, ErrorKind::Conflict, false);
    put(&newer, &events(0..3)).await;
    let second = newer.save(&name, &cursor(2), Some(first)).await.unwrap();
    // To look does not take over.
    assert_eq!(older.load(&name).await.unwrap(), Some((cursor(2), second)));
    older.close().await.unwrap();
    put(&newer, &events(3..4)).await;
    newer.save(&name, &cursor(3), Some(second)).await.unwrap();
    assert_eq!(stored(&live, Isolation::Committed), samples(0..4));
}

#[tokio::test]
async fn c02_another_streams_open_transaction_hides_no_checkpoint() {
    let live = live!("c02_another_streams_open_transaction_hides_no_checkpoint");
    let open: StreamId = format!("{}.open", live.topic).parse().unwrap();
    let name = stream(&live);
    let mut config = live.transactional();
    config.transaction.as_mut().unwrap().timeout = Duration::from_secs(5);
    // A transaction that has a record in the topic of the checkpoints, and stays open for a while.
    let producer = live.transaction(&format!("{}/{open}", live.checkpoints), &live.checkpoints);
    let sink = outlet(config.clone(), &live);
    let taking = tokio::spawn(async move {
        let saved = sink.load(&name).await.unwrap();
        assert_eq!(saved, None);
        let mut after = None;
        for n in 0..3 {
            after = Some(sink.save(&name, &cursor(n), after).await.unwrap());
        }
        after
    });
    // It cannot load before the other one has ended: what is behind it may be its own.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!taking.is_finished());
    drop(producer);
    assert_eq!(taking.await.unwrap(), Some(Revision(3)));
}

#[tokio::test]
async fn c02_a_partition_that_others_write_to_hides_no_checkpoint() {
    let test = "c02_a_partition_that_others_write_to_hides_no_checkpoint";
    let Some(live) = Live::find(test) else { return };
    // Made by hand, with more partitions than it needs.
    let topic = |name, partitions| NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    live.create(&[topic(live.topic.as_str(), 1), topic(live.checkpoints.as_str(), 4)]);
    let (name, sink) = (stream(&live), outlet(live.transactional(), &live));
    assert_eq!(sink.load(&name).await.unwrap(), None);
    let first = sink.save(&name, &cursor(1), None).await.unwrap();
    let own = live.ends(&live.checkpoints).iter().position(|end| *end > 0).unwrap();
    // So much is before the last one that the others are read to their end again and again.
    live.fill(&live.checkpoints, &[own], 30, &"x".repeat(900_000), Duration::ZERO);
    let second = sink.save(&name, &cursor(2), Some(first)).await.unwrap();
    let others: Vec<_> = (0..4).filter(|n| *n != own).collect();
    live.fill(&live.checkpoints, &others, 1, "x", Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| live.fill(&live.checkpoints, &others, 40, "x", Duration::from_millis(10)));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let newer = outlet(live.transactional(), &live);
        let found = scope.spawn(move || runtime.block_on(newer.peek())).join().unwrap();
        assert_eq!(found.unwrap(), Some((cursor(2), second)));
    });
}

#[tokio::test]
async fn k04_one_too_large_leaves_its_transaction_whole() {
    let live = live!("k04_one_too_large_leaves_its_transaction_whole");
    let (name, mut config) = (stream(&live), live.transactional());
    config.max_record_bytes = 1_000;
    let sink = outlet(config, &live);
    let mut all = events(0..5);
    let text = format!("\"{}\"", "x".repeat(2_000));
    all[2].raw = audit_core::Raw::parse(text).unwrap();
    let written = sink.write(&all).await.unwrap();
    assert_eq!(failures(&written), [(2, ErrorKind::Rejected)]);
    sink.save(&name, &cursor(1), None).await.unwrap();
    let ids = ["sample-0", "sample-1", "sample-3", "sample-4"];
    assert_eq!(stored(&live, Isolation::Committed), ids);
}

#[tokio::test]
async fn a_sink_keeps_the_progress_of_its_own_stream_only() {
    let live = live!("a_sink_keeps_the_progress_of_its_own_stream_only");
    let sink = outlet(live.transactional(), &live);
    let other: StreamId = "other".parse().unwrap();
    failed(sink.load(&other).await, ErrorKind::Config, false);
    failed(sink.save(&other, &cursor(1), None).await, ErrorKind::Config, false);
}
