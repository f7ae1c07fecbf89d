//! What a topic and its cluster may do, on a cluster that is not there.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::testkit::{MemoryDestination, SinkHarness as _};
use audit_core::{
    Cursor, ErrorKind, MemoryCheckpoint, MemoryDeadLetters, Pipeline, Read, Source as _,
};
use audit_source_confluent::ConfluentSource;
use common::{Mock, drain, id, limit, produce, record};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp};

fn texts(mock: &Mock, texts: &[String]) {
    let records: Vec<_> = texts.iter().map(|t| (0, t.clone(), 1_770_000_000_000)).collect();
    produce(&mock.client(), "audit", &records);
}

#[tokio::test]
async fn a_record_that_comes_twice_is_one_event_and_one_that_differs_is_not_lost() {
    let mock = Mock::with_topic(1);
    let other = record(1).replace("mds.Authorize", "mds.Other");
    texts(&mock, &[record(1), record(2), record(1), other, "{}".into(), "{}".into()]);
    let mut source = ConfluentSource::new(mock.config()).unwrap();
    source.open(None).await.unwrap();
    let all = drain(&mut source).await.unwrap();
    let expected = [&id(1), &id(1), &id(2), "audit/0/4", "audit/0/5"];
    assert_eq!(all.ids(), expected);
    let counts = source.report().counts();
    assert_eq!((counts.repeats, counts.without_time), (1, 2));
    // Read again from the beginning, nothing of the first time is a repeat.
    source.open(None).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().ids(), expected);
}

#[tokio::test]
async fn n05_a_record_that_is_too_large_is_rejected_with_its_bytes() {
    let mock = Mock::with_topic(1);
    let large = format!("\"{}\"", "x".repeat(600_000));
    texts(&mock, &[record(1), large.clone(), record(2)]);
    let mut config = mock.config();
    config.max_record_bytes = 100_000;
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let all = drain(&mut source).await.unwrap();
    assert_eq!(all.ids(), [id(1), id(2)]);
    assert_eq!(all.rejected[0].body(), large.as_bytes());
    assert!(all.rejected[0].reason.contains("larger than allowed"));
}

#[tokio::test]
async fn a_pipeline_that_does_not_follow_ends_with_what_was_there_and_its_books_balance() {
    let mock = Mock::with_topic(1);
    let mut all: Vec<_> = (0..500).map(record).collect();
    all.push("Headers: []".to_owned());
    texts(&mock, &all);
    let sink = MemoryDestination::new().sink().await;
    let letters = Arc::new(MemoryDeadLetters::new());
    let source = ConfluentSource::new(mock.config()).unwrap();
    let checkpoint = Arc::new(MemoryCheckpoint::new());
    let run = Pipeline::new("confluent".parse().unwrap(), Box::new(source), sink, checkpoint)
        .dead_letters(letters)
        .run(std::future::pending());
    let summary = tokio::time::timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
    assert_eq!((summary.delivered, summary.dead_lettered), (500, 1));
}

#[tokio::test]
async fn an_empty_topic_is_the_end_of_a_run_at_once() {
    let mock = Mock::with_topic(2);
    let mut source = ConfluentSource::new(mock.config()).unwrap();
    source.open(None).await.unwrap();
    assert!(matches!(source.read(limit()).await.unwrap(), Read::Idle(_)));
}

#[tokio::test]
async fn brokers_that_are_away_while_reading_are_unavailable_and_nothing_is_lost() {
    let mock = Mock::with_topic(1);
    texts(&mock, &[record(1)]);
    let mut source = ConfluentSource::new(mock.config()).unwrap();
    source.open(None).await.unwrap();
    let cursor: Cursor = drain(&mut source).await.unwrap().cursor.unwrap();
    mock.orders().give(|cluster| cluster.broker_down(1).unwrap());
    let error = loop {
        match source.read(limit()).await {
            Err(error) => break error,
            Ok(read) => assert!(matches!(read, Read::Idle(_)), "{read:?}"),
        }
    };
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    mock.orders().give(|cluster| cluster.broker_up(1).unwrap());
    texts(&mock, &[record(2)]);
    source.open(Some(&cursor)).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().ids(), [id(2)]);
}

#[tokio::test]
async fn a_missing_right_on_the_group_is_named() {
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.group = Some("shippers".to_owned());
    let refused = [Resp::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1000];
    mock.orders().give(move |cluster| cluster.request_errors(Api::OffsetFetch, &refused));
    let mut source = ConfluentSource::new(config).unwrap();
    let error = source.check().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false), "{error:?}");
    assert!(error.hint().unwrap().contains("consumer group"), "{error:?}");

    // It may be seen, but not joined.
    mock.orders().give(move |cluster| {
        cluster.clear_request_errors(Api::OffsetFetch);
        cluster.request_errors(Api::JoinGroup, &refused);
    });
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    let error = drain(&mut source).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false), "{error:?}");
    assert!(error.hint().unwrap().contains("consumer group"), "{error:?}");
}

#[tokio::test]
async fn a_member_stays_one_while_brokers_are_away_and_nothing_is_lost_or_read_again() {
    let mock = Mock::with_topic(1);
    texts(&mock, &[record(1)]);
    let mut config = mock.config();
    config.group = Some("shippers".to_owned());
    config.timeout = Duration::from_secs(1);
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let first = drain(&mut source).await.unwrap();
    assert_eq!(first.ids(), [id(1)]);
    let cursor = first.cursor.unwrap();
    source.committed(&cursor).await.unwrap();
    mock.orders().give(|cluster| cluster.broker_down(1).unwrap());
    let error = loop {
        match source.read(limit()).await {
            Err(error) => break error,
            Ok(read) => assert!(matches!(read, Read::Idle(_)), "{read:?}"),
        }
    };
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    assert!(source.open(Some(&cursor)).await.unwrap_err().is_retryable());
    mock.orders().give(|cluster| cluster.broker_up(1).unwrap());
    texts(&mock, &[record(2)]);
    source.open(Some(&cursor)).await.unwrap();
    source.committed(&cursor).await.unwrap();
    let began = Instant::now();
    let rest = loop {
        if let Read::Batch(batch) = source.read(limit()).await.unwrap() {
            break batch.events;
        }
    };
    assert_eq!((rest.len(), rest[0].id.as_str()), (1, &*id(2)));
    // To join again would have taken this cluster three seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // To leave is not waited for for ever either.
    mock.orders().give(|cluster| cluster.broker_down(1).unwrap());
}
