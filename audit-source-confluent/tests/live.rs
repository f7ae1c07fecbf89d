//! A real Kafka: `AUDIT_TEST_KAFKA` and its siblings, with TLS and a login.

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Read, Secret, Source as _};
use audit_source_confluent::{ConfluentSource, Mechanism, SaslConfig, TlsConfig};
use common::{Live, drain, id, limit, must, produce, record};

/// Five days ago would be gone: the topic keeps three.
fn now() -> i64 {
    audit_core::Clock::system().now().timestamp_millis()
}

fn fill(live: &Live, partitions: i32, numbers: std::ops::Range<usize>) {
    let records: Vec<_> =
        numbers.map(|n| (n as i32 % partitions, record(n), now() - 3_600_000)).collect();
    produce(&live.client(), &live.topic, &records);
}

fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(id).collect()
}

#[tokio::test]
async fn a_run_ends_at_what_was_there_and_the_next_goes_on() {
    let Some(live) = Live::with_topic("run", 3) else { return };
    fill(&live, 3, 0..100);
    let mut source = ConfluentSource::new(live.config()).unwrap();
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    // What comes after the start is not waited for, however fast it comes.
    fill(&live, 3, 100..110);
    let first = drain(&mut source).await.unwrap();
    assert!(first.events.len() >= 100, "{}", first.events.len());
    fill(&live, 3, 110..120);
    drop(source);

    let mut source = ConfluentSource::new(live.config()).unwrap();
    source.open(first.cursor.as_ref()).await.unwrap();
    let rest = drain(&mut source).await.unwrap();
    let mut all = [first.ids(), rest.ids()].concat();
    all.sort_unstable();
    assert_eq!(all, ids(0..120));
    // Followed, it goes on with what is new.
    fill(&live, 3, 120..130);
    let mut new = Vec::new();
    while new.len() < 10 {
        if let Read::Batch(batch) = source.read(limit()).await.unwrap() {
            new.extend(batch.events);
        }
    }
    assert_eq!(new.len(), 10);
}

#[tokio::test]
async fn l02_what_was_removed_before_it_was_read_is_an_error_with_its_range() {
    let Some(live) = Live::with_topic("gap", 2) else { return };
    fill(&live, 2, 0..20);
    let mut source = ConfluentSource::new(live.config()).unwrap();
    source.open(None).await.unwrap();
    let cursor = drain(&mut source).await.unwrap().cursor.unwrap();
    fill(&live, 2, 20..40);
    live.remove_before(1, 15);

    let error = source.open(Some(&cursor)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidData, false));
    let text = error.to_string();
    for part in ["partition: 1", "lost from offset: 10", "up to offset: 14", &live.topic] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.hint().unwrap().contains("allow_gaps"));

    let mut config = live.config();
    config.allow_gaps = true;
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(Some(&cursor)).await.unwrap();
    let rest = drain(&mut source).await.unwrap();
    assert_eq!(rest.events.len(), 10 + 5);
    let gaps = source.report().counts().gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].partition, gaps[0].from, gaps[0].to), (1, 10, 15));
}

#[tokio::test]
async fn l02_what_is_removed_while_reading_is_a_gap_too() {
    let Some(live) = Live::with_topic("gap while reading", 1) else { return };
    fill(&live, 1, 0..20);
    let mut source = ConfluentSource::new(live.config()).unwrap();
    source.open(None).await.unwrap();
    // Nothing is fetched before the first read.
    live.remove_before(0, 7);
    let error = loop {
        match source.read(limit()).await {
            Err(error) => break error,
            Ok(Read::Batch(batch)) => assert!(batch.events.is_empty()),
            Ok(other) => panic!("{other:?}"),
        }
    };
    assert!(error.to_string().contains("up to offset: 6"), "{error}");
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_not_read_as_if_it_were_the_old_one() {
    let Some(old) = Live::with_topic("made anew", 1) else { return };
    fill(&old, 1, 0..20);
    let mut source = ConfluentSource::new(old.config()).unwrap();
    source.open(None).await.unwrap();
    let cursor = drain(&mut source).await.unwrap().cursor.unwrap();
    let Some(new) = Live::with_topic("made anew", 1) else { return };
    fill(&new, 1, 0..3);
    // The same position, under the new topic's name.
    let text = serde_json::to_string(&cursor).unwrap().replace(&old.topic, &new.topic);
    let cursor = serde_json::from_str(&text).unwrap();
    let mut source = ConfluentSource::new(new.config()).unwrap();
    let error = source.open(Some(&cursor)).await.unwrap_err();
    assert!(error.to_string().contains("made anew"), "{error}");
}

#[tokio::test]
async fn new_partitions_are_found_and_read_from_their_beginning() {
    let Some(live) = Live::with_topic("new partitions", 1) else { return };
    fill(&live, 1, 0..5);
    let mut config = live.config();
    config.refresh_interval = Duration::from_millis(50);
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let mut all = drain(&mut source).await.unwrap().events.len();
    live.grow_to(3);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fill(&live, 3, 5..14);
    for _ in 0..100 {
        if let Read::Batch(batch) = source.read(limit()).await.unwrap() {
            all += batch.events.len();
        }
        if all == 14 {
            return;
        }
    }
    panic!("{all} of 14 records were read");
}

#[tokio::test]
async fn l06_the_time_to_loss_is_known_from_the_topics_own_retention() {
    let Some(live) = Live::with_topic("time to loss", 1) else { return };
    fill(&live, 1, 0..10);
    let mut source = ConfluentSource::new(live.config()).unwrap();
    source.open(None).await.unwrap();
    let Read::Batch(batch) = source.read(limit().events(3)).await.unwrap() else { panic!("idle") };
    assert!(batch.events.len() <= 3);
    let backlog = source.report().counts().backlog;
    assert_eq!(backlog.unread, 10 - batch.events.len() as u64);
    // The topic keeps 3 days, and the records are an hour old.
    let hours = backlog.time_to_loss.unwrap().as_secs() / 3600;
    let until = source.kept_until().unwrap();
    let left = (until - audit_core::Clock::system().now()).num_hours();
    assert!(left.abs_diff(hours as i64) <= 1, "{left} and {hours}");
    assert!((70..72).contains(&hours), "{hours}");
}

#[tokio::test]
async fn l06_falling_behind_later_is_noticed_too() {
    let Some(live) = Live::with_topic("falling behind", 1) else { return };
    fill(&live, 1, 0..5);
    let mut config = live.config();
    config.refresh_interval = Duration::from_millis(1);
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    drain(&mut source).await.unwrap();
    assert_eq!(source.report().counts().backlog.time_to_loss, None, "nothing is unread");
    assert_eq!(source.kept_until(), None);
    fill(&live, 1, 5..25);
    for _ in 0..50 {
        drop(source.read(limit().events(1)).await.unwrap());
        let backlog = source.report().counts().backlog;
        if backlog.unread > 0 {
            assert!(backlog.time_to_loss.is_some());
            return;
        }
    }
    panic!("twenty unread records were not noticed");
}

#[tokio::test]
async fn sasl_ssl_works_and_a_wrong_secret_is_an_error_of_its_own_kind() {
    let Some(live) = Live::with_topic("sasl", 1) else { return };
    fill(&live, 1, 0..5);
    let mut config = live.config_of(&must("AUDIT_TEST_KAFKA_SASL_SSL"));
    let mut tls = TlsConfig::default();
    tls.ca_file = Some(format!("{}/ca.crt", must("AUDIT_TEST_TLS_DIR")).into());
    config.tls = Some(tls);
    let user = must("AUDIT_TEST_KAFKA_SASL_USER");
    let password = Secret::new(must("AUDIT_TEST_KAFKA_SASL_PASSWORD"));
    config.sasl = Some(SaslConfig::new(Mechanism::Plain, &user, password));
    let mut source = ConfluentSource::new(config.clone()).unwrap();
    source.open(None).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().events.len(), 5);

    let wrong = Secret::new("canary-wrong");
    config.sasl = Some(SaslConfig::new(Mechanism::Plain, &user, wrong));
    let mut source = ConfluentSource::new(config.clone()).unwrap();
    let error = source.open(None).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false), "{error:?}");
    assert!(!format!("{error} {error:?} {source:?}").contains("canary"));

    // Without the authority the broker is not trusted.
    config.tls = Some(TlsConfig::default());
    let error = ConfluentSource::new(config).unwrap().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
}

#[tokio::test]
async fn a_client_certificate_works_and_without_is_explained() {
    let Some(live) = Live::with_topic("tls", 1) else { return };
    fill(&live, 1, 0..5);
    let dir = must("AUDIT_TEST_TLS_DIR");
    let mut config = live.config_of(&must("AUDIT_TEST_KAFKA_SSL"));
    let mut tls = TlsConfig::default();
    tls.ca_file = Some(format!("{dir}/ca.crt").into());
    config.tls = Some(tls.clone());
    let error = ConfluentSource::new(config.clone()).unwrap().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    tls.client_cert_file = Some(format!("{dir}/client.crt").into());
    tls.client_key_file = Some(format!("{dir}/client.key").into());
    config.tls = Some(tls);
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().events.len(), 5);
}

#[tokio::test]
async fn a_topic_or_broker_that_is_not_there_is_named() {
    let Some(live) = Live::with_topic("missing", 1) else { return };
    let mut config = live.config();
    config.topic = "source-confluent-nowhere".to_owned();
    let error = ConfluentSource::new(config).unwrap().open(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("source-confluent-nowhere"), "{error}");
    let mut config = live.config_of("127.0.0.1:1");
    config.timeout = Duration::from_secs(1);
    let error = ConfluentSource::new(config).unwrap().open(None).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error:?}");
    assert!(error.hint().unwrap().contains("nothing listens"), "{error:?}");
}
