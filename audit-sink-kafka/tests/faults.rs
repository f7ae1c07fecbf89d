//! What a cluster may do to a producer, on one that is not there.
#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::time::{Duration, Instant};

use audit_core::{AuditEvent, ErrorKind, Sink, Written};
use audit_sink_kafka::{KafkaSink, TransactionConfig, TransactionalSink};
use common::{Isolation, Mock, Stored, events, failed, failures, put, read};
use rdkafka::ClientConfig;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp};

fn stored(mock: &Mock) -> Vec<Stored> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &mock.brokers);
    read(&client, "audit", Isolation::Uncommitted)
}

fn ids(stored: &[Stored]) -> Vec<&str> {
    stored.iter().map(|s| s.header("id")).collect()
}

fn errors(mock: &Mock, api: Api, errors: &'static [Resp]) {
    mock.order(move |cluster| cluster.request_errors(api, errors));
}

#[tokio::test]
async fn s11_what_passes_is_tried_again_by_the_library_in_order_and_once() {
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.delivery_timeout = Duration::from_secs(10);
    config.properties.insert("batch.num.messages".to_owned(), "3".into());
    // This cluster, unlike a real one, takes a later batch when an earlier one failed.
    config.max_in_flight = 1;
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..5)).await;
    errors(
        &mock,
        Api::Produce,
        &[
            Resp::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR,
            Resp::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Resp::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            Resp::RD_KAFKA_RESP_ERR__TRANSPORT,
            Resp::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        ],
    );
    let all = events(0..40);
    put(&sink, &all[5..]).await;
    let stored = stored(&mock);
    let expected: Vec<_> = all.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids(&stored), expected);
}

#[tokio::test]
async fn s11_a_broker_that_is_away_for_a_while_costs_nothing() {
    let mock = Mock::with_topic(4);
    let mut config = mock.config();
    config.delivery_timeout = Duration::from_secs(20);
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..10)).await;
    mock.order(|cluster| cluster.broker_down(-1).unwrap());
    let all = events(10..200);
    let write = sink.write(&all);
    let back = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        mock.order(|cluster| cluster.broker_up(-1).unwrap());
    };
    let (written, ()) = tokio::join!(write, back);
    assert_eq!(failures(&written.unwrap()), vec![]);
    assert_eq!(stored(&mock).len(), 200);
}

#[tokio::test]
async fn s11_a_policy_refuses_one_record_of_many() {
    let mock = Mock::with_topic(1);
    let sink = KafkaSink::new(mock.config()).unwrap();
    put(&sink, &events(0..1)).await;
    // The whole batch, then each of its records alone: the second one again.
    let policy = Resp::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
    let fine = Resp::RD_KAFKA_RESP_ERR_NO_ERROR;
    let all = events(1..7);
    mock.order(move |cluster| cluster.request_errors(Api::Produce, &[policy, fine, policy]));
    let written = sink.write(&all).await.unwrap();
    assert_eq!(failures(&written), [(1, ErrorKind::Rejected)]);
    let stored = stored(&mock);
    assert_eq!(stored.len(), 6);
    assert!(!ids(&stored).contains(&all[1].id.as_str()));
}

#[tokio::test]
async fn s11_some_held_back_are_named_and_never_given_up() {
    // Three records to a request, one request at a time; the rights end after the first.
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.max_in_flight = 1;
    config.properties.insert("batch.num.messages".to_owned(), "3".into());
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..1)).await;
    let denied = Resp::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let fine = Resp::RD_KAFKA_RESP_ERR_NO_ERROR;
    mock.order(move |cluster| {
        let mut all = vec![fine];
        all.extend([denied; 100]);
        cluster.request_errors(Api::Produce, &all);
    });
    let all = events(1..13);
    let written: Written = sink.write(&all).await.unwrap();
    assert_eq!(written.failures.len(), 9, "{written:?}");
    assert!(written.failures.iter().all(|f| f.error.is_retryable()));
    let left: Vec<AuditEvent> = written.failures.iter().map(|f| all[f.index].clone()).collect();
    // They alone: the sink as a whole fails, and waits, as the rights were there before.
    failed(sink.write(&left).await, ErrorKind::Auth, true);
    mock.order(|cluster| cluster.clear_request_errors(Api::Produce));
    put(&sink, &left).await;
    assert_eq!(stored(&mock).len(), 13);
}

#[tokio::test]
async fn s11_a_dead_producer_is_replaced() {
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.properties.insert("enable.gapless.guarantee".to_owned(), "true".into());
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..3)).await;
    // With that guarantee, the library gives its producer up over a gap.
    errors(&mock, Api::Produce, &[Resp::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS]);
    sink.write(&events(3..6)).await.unwrap_err();
    put(&sink, &events(3..6)).await;
    assert_eq!(stored(&mock).len(), 6);
}

#[tokio::test]
async fn a_write_that_is_dropped_does_not_answer_for_the_next() {
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.delivery_timeout = Duration::from_secs(10);
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..1)).await;
    mock.order(|c| c.broker_round_trip_time(-1, Duration::from_millis(300)).unwrap());
    for n in 0..3 {
        let given_up = events(10 + n..20 + n);
        let write = tokio::time::timeout(Duration::from_millis(50), sink.write(&given_up));
        assert!(write.await.is_err());
    }
    let began = Instant::now();
    put(&sink, &events(100..105)).await;
    assert!(began.elapsed() > Duration::from_millis(200), "it waited for its own reports");
    let stored = stored(&mock);
    let own = |n: usize| stored.iter().any(|s| s.header("id") == format!("sample-{n}"));
    assert!((100..105).all(own));
}

#[tokio::test]
async fn a_backlog_is_bounded_by_what_may_wait() {
    let mock = Mock::with_topic(1);
    let mut config = mock.config();
    config.delivery_timeout = Duration::from_secs(20);
    config.max_buffer_bytes = 8 << 10;
    let sink = KafkaSink::new(config).unwrap();
    put(&sink, &events(0..500)).await;
    assert_eq!(stored(&mock).len(), 500);
}

#[test]
fn each_way_to_write_asks_for_its_configuration() {
    let mock = Mock::start();
    let stream: audit_core::StreamId = "orders".parse().unwrap();
    let mut config = mock.config();
    failed(TransactionalSink::new(config.clone(), stream.clone()), ErrorKind::Config, false);
    config.transaction = Some(TransactionConfig::new("checkpoints"));
    assert!(TransactionalSink::new(config.clone(), stream).is_ok());
    let error = failed(KafkaSink::new(config), ErrorKind::Config, false);
    assert!(error.hint().unwrap().contains("TransactionalSink"));
}
