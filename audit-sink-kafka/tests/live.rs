//! Against a real broker: see `.ci/README.md` for how to start one. Without it, tests say that they
//! were skipped; with `AUDIT_LIVE=1` they fail instead.
#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use audit_core::{Clock, ErrorKind, Format, Raw, Secret, Sink, Target};
use audit_sink_kafka::{
    Compression, CreateTopic, KafkaConfig, KafkaSink, Key, Mechanism, Timestamp, TransactionalSink,
};
use common::{Isolation, Live, events, failed, failures, put};
use rdkafka::admin::{NewTopic, TopicReplication};

macro_rules! live {
    ($test:literal, $partitions:literal) => {
        match Live::with_topics($test, $partitions) {
            Some(live) => live,
            None => return,
        }
    };
}

fn sink(config: KafkaConfig) -> KafkaSink {
    KafkaSink::new(config).unwrap()
}

#[tokio::test]
async fn a_record_has_key_headers_time_and_value_of_the_event() {
    let live = live!("a_record_has_key_headers_time_and_value_of_the_event", 3);
    let mut config = live.config();
    config.timestamp = Timestamp::Event;
    let sink = sink(config);
    sink.check().await.unwrap();
    // A broker deletes what is older than a week at any time.
    let mut events = events(0..5);
    let now = Clock::system().now();
    events.iter_mut().for_each(|event| event.time = now);
    put(&sink, &events).await;
    let mut stored = live.read(Isolation::Uncommitted);
    stored.sort_by_key(|s| s.key.clone());
    assert_eq!(stored.len(), 5);
    for (stored, event) in stored.iter().zip(&events) {
        assert_eq!(stored.key.as_deref(), Some(event.id.as_str()));
        assert_eq!(stored.value, event.raw.get());
        assert_eq!(stored.timestamp, Some(event.time.timestamp_millis()));
        let time = event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let headers = [
            ("id", event.id.as_str()),
            ("source", "testkit"),
            ("time", &time),
            ("content-type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(stored.headers, headers);
    }
}

#[tokio::test]
async fn each_key_format_and_time_can_be_chosen() {
    let live = live!("each_key_format_and_time_can_be_chosen", 1);
    let mut event = events(0..1).remove(0);
    event.target = Some(Target { id: Some("vm-1".into()), ..Target::default() });
    for (key, expected) in [
        (Key::Id, Some("sample-0")),
        (Key::Target, Some("vm-1")),
        (Key::Actor, None),
        (Key::None, None),
    ] {
        let mut config = live.config();
        (config.key, config.format) = (key, Format::Canonical);
        put(&sink(config), std::slice::from_ref(&event)).await;
        let stored = live.read(Isolation::Uncommitted).pop().unwrap();
        assert_eq!(stored.key.as_deref(), expected);
        assert!(stored.value.starts_with(r#"{"id":"sample-0","#), "{}", stored.value);
        assert!(stored.timestamp > Some(event.time.timestamp_millis() + 1_000_000));
    }
}

#[tokio::test]
async fn every_compression_arrives() {
    let live = live!("every_compression_arrives", 1);
    let all = [
        Compression::None,
        Compression::Gzip,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zstd,
    ];
    for (n, compression) in all.into_iter().enumerate() {
        let mut config = live.config();
        config.compression = compression;
        put(&sink(config), &events(n * 50..n * 50 + 50)).await;
    }
    let stored = live.read(Isolation::Uncommitted);
    assert_eq!(stored.len(), 250);
    assert!(stored.iter().zip(events(0..250)).all(|(s, e)| s.value == e.raw.get()));
}

#[tokio::test]
async fn a_topic_that_is_missing_is_named_or_made() {
    let Some(live) = Live::find("a_topic_that_is_missing_is_named_or_made") else { return };
    let error = failed(sink(live.config()).check().await, ErrorKind::Config, false);
    assert!(error.to_string().contains(&live.topic), "{error}");
    assert!(error.hint().unwrap().contains("create_topic"));
    // A look does not make it.
    failed(sink(live.config()).check().await, ErrorKind::Config, false);

    let mut config = live.transactional();
    config.create_topic = Some(CreateTopic::new(5));
    let stream = live.topic.parse().unwrap();
    let both = TransactionalSink::new(config, stream).unwrap();
    both.check().await.unwrap();
    assert_eq!(both.peek().await.unwrap(), None);
    put(&both, &events(0..20)).await;
    both.close().await.unwrap();
    sink(live.config()).check().await.unwrap();
    assert_eq!(live.partitions(&live.topic), 5);
    assert_eq!(live.partitions(&live.checkpoints), 1);
}

#[tokio::test]
async fn k04_a_record_the_broker_refuses_does_not_take_its_batch_along() {
    let Some(live) = Live::find("k04_a_record_the_broker_refuses") else { return };
    live.create(&[
        NewTopic::new(&live.topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "3000"),
        NewTopic::new(&live.checkpoints, 1, TopicReplication::Fixed(1)),
    ]);
    let mut all = events(0..40);
    for n in [3, 30] {
        all[n].raw = Raw::parse(format!("\"{}\"", "x".repeat(4_000))).unwrap();
    }
    let refused = [(3, ErrorKind::Rejected), (30, ErrorKind::Rejected)];
    let written = sink(live.config()).write(&all).await.unwrap();
    assert_eq!(failures(&written), refused);
    assert!(written.failures[0].error.hint().unwrap().contains("max.message.bytes"));
    assert_eq!(live.read(Isolation::Uncommitted).len(), 38);

    let both = TransactionalSink::new(live.transactional(), live.topic.parse().unwrap()).unwrap();
    let written = both.write(&all).await.unwrap();
    assert_eq!(failures(&written), refused);
    let cursor = audit_core::Cursor::encode("test", 1, &1).unwrap();
    audit_core::Checkpoint::save(&both, &live.topic.parse().unwrap(), &cursor, None).await.unwrap();
    let stored = live.read(Isolation::Committed);
    assert_eq!(stored.len(), 38 + 38);
    let ids = |part: &[common::Stored]| {
        part.iter().map(|s| s.header("id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&stored[38..]), ids(&stored[..38]), "in order");
}

#[tokio::test]
async fn tls_with_a_client_certificate_works_and_without_is_explained() {
    let live = live!("tls_with_a_client_certificate_works_and_without_is_explained", 1);
    let good = sink(live.tls());
    good.check().await.unwrap();
    put(&good, &events(0..3)).await;

    let mut bare = live.tls();
    let tls = bare.tls.as_mut().unwrap();
    (tls.client_cert_file, tls.client_key_file) = (None, None);
    let error = failed(sink(bare.clone()).check().await, ErrorKind::Auth, false);
    assert!(error.hint().unwrap().contains("tls.client_cert_file"), "{error:?}");
    failed(sink(bare).write(&events(0..1)).await, ErrorKind::Auth, false);

    let mut foreign = live.tls();
    let dir = tempfile::tempdir().unwrap();
    let ca = self_signed(dir.path(), "other");
    foreign.tls.as_mut().unwrap().ca_file = Some(ca.0);
    let error = failed(sink(foreign).check().await, ErrorKind::Config, false);
    assert!(error.hint().unwrap().contains("tls.ca_file"), "{error:?}");
}

#[tokio::test]
async fn a_listener_of_another_kind_is_explained() {
    let live = live!("a_listener_of_another_kind_is_explained", 1);
    let mut plain_to_tls = live.tls();
    plain_to_tls.tls = None;
    let error = sink(plain_to_tls).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint().is_some_and(|hint| hint.contains("`tls`")), "{error:?}");

    let mut tls_to_plain = live.tls();
    tls_to_plain.brokers = vec![live.brokers.clone()];
    let error = failed(sink(tls_to_plain).check().await, ErrorKind::Config, false);
    assert!(error.hint().unwrap().contains("without TLS"), "{error:?}");
}

#[tokio::test]
async fn sasl_works_and_a_wrong_password_is_an_error_of_its_own_kind() {
    let live = live!("sasl_works_and_a_wrong_password_is_an_error_of_its_own_kind", 1);
    for (mechanism, tls) in
        [(Mechanism::Plain, true), (Mechanism::ScramSha512, true), (Mechanism::ScramSha512, false)]
    {
        let good = live.sasl(mechanism, tls);
        let sink_ = sink(good.clone());
        sink_.check().await.unwrap();
        put(&sink_, &events(0..2)).await;

        let mut wrong = good;
        wrong.sasl.as_mut().unwrap().password = Secret::new("canary-wrong");
        let error = failed(sink(wrong.clone()).check().await, ErrorKind::Auth, false);
        assert!(error.hint().unwrap().contains("sasl.password"), "{error:?}");
        let error = failed(sink(wrong).write(&events(0..1)).await, ErrorKind::Auth, false);
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
    let unknown = live.sasl(Mechanism::ScramSha256, true);
    let error = sink(unknown).check().await.unwrap_err();
    assert!(error.hint().unwrap().contains("sasl.mechanism"), "{error:?}");
}

#[tokio::test]
async fn n03_certificates_that_change_on_disk_are_taken_up_without_loss() {
    let live = live!("n03_certificates_that_change_on_disk_are_taken_up_without_loss", 1);
    let mut config = live.tls();
    let dir = tempfile::tempdir().unwrap();
    let tls = config.tls.as_mut().unwrap();
    for file in [&mut tls.ca_file, &mut tls.client_cert_file, &mut tls.client_key_file] {
        let path = file.as_mut().unwrap();
        let copy = dir.path().join(path.file_name().unwrap());
        fs::copy(&*path, &copy).unwrap();
        *path = copy;
    }
    let (cert, key) = (tls.client_cert_file.clone().unwrap(), tls.client_key_file.clone().unwrap());
    let sink = sink(config);
    put(&sink, &events(0..10)).await;

    // Half written: the connection that is there goes on.
    let good = fs::read(&cert).unwrap();
    fs::write(&cert, &good[..good.len() / 3]).unwrap();
    put(&sink, &events(10..20)).await;

    // One that the broker does not trust is taken up, and refused; the good one again, and accepted.
    let old_key = fs::read(&key).unwrap();
    let (other, other_key) = self_signed(dir.path(), "client-other");
    fs::copy(other, &cert).unwrap();
    fs::copy(other_key, &key).unwrap();
    let error = failed(sink.write(&events(20..30)).await, ErrorKind::Auth, true);
    assert!(error.hint().is_some(), "waits for a better one: {error:?}");
    fs::write(&cert, &good).unwrap();
    fs::write(&key, old_key).unwrap();
    put(&sink, &events(20..30)).await;
    let stored = live.read(Isolation::Uncommitted);
    assert_eq!(stored.len(), 30);
}

/// Makes a certificate that nobody trusts, and its key.
fn self_signed(dir: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"])
        .arg(format!("/CN={name}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success());
    (cert, key)
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    let mut config = KafkaConfig::new("127.0.0.1:1", "audit");
    config.delivery_timeout = Duration::from_secs(1);
    let error = failed(sink(config).write(&events(0..1)).await, ErrorKind::Unavailable, true);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert!(error.hint().unwrap().contains("nothing listens there"), "{error:?}");
}
