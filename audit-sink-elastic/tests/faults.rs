//! What a cluster may answer. Names begin with the catalogue's ids.

mod common;

use std::sync::Arc;
use std::time::Duration;

use audit_core::testkit::MemoryUpstream;
use audit_core::{
    ErrorKind, EventId, MemoryCheckpoint, MemoryDeadLetters, Pipeline, Retry, RetryPolicy, Sink,
};
use audit_sink_elastic::ElasticSink;
use common::{Fake, Fault, config, events, failed, failures, put, retry_of, sink};

#[tokio::test]
async fn s01_each_document_of_a_mixed_answer_is_handled_alone() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    put(&sink, &events(1..2), 0).await;
    fake.refuse("sample-2", (429, "es_rejected_execution_exception", "queue"));
    fake.refuse("sample-3", (400, "mapper_parsing_exception", "failed to parse field [x]"));
    fake.refuse("sample-5", (503, "unavailable_shards_exception", "no primary"));
    fake.refuse("sample-6", (500, "null_pointer_exception", ""));
    let all = events(0..8);
    let written = sink.write(&all).await.unwrap();
    assert_eq!(written.duplicates, [1]);
    assert_eq!(
        failures(&written),
        [
            (2, ErrorKind::RateLimited),
            (3, ErrorKind::Rejected),
            (5, ErrorKind::Unavailable),
            (6, ErrorKind::Unexpected)
        ]
    );
    assert_eq!(retry_of(&written, 3), Retry::Never);
    assert_eq!(retry_of(&written, 6), Retry::Backoff, "it may pass, and if not, it makes way");
    let text = written.failures[1].error.to_string();
    assert!(text.contains("mapper_parsing_exception: failed to parse field [x]"), "{text}");
    let mut ids = fake.ids();
    ids.sort();
    assert_eq!(ids, ["sample-0", "sample-1", "sample-4", "sample-7"]);
}

#[tokio::test]
async fn s02_documents_keep_their_identity_over_bodies_and_partial_retries() {
    let fake = Fake::start().await;
    let mut config = config(&fake);
    config.max_body_events = 3;
    let sink = ElasticSink::new(config).unwrap();
    let all = events(0..20);
    let refused = [1, 2, 5, 9, 13, 19];
    for n in refused {
        fake.refuse(&format!("sample-{n}"), (429, "es_rejected_execution_exception", ""));
    }
    let written = sink.write(&all).await.unwrap();
    let named: Vec<_> = written.failures.iter().map(|f| f.index).collect();
    assert_eq!(named, refused);
    let again: Vec<_> = named.iter().map(|n| all[*n].clone()).collect();
    fake.refuse("sample-9", (400, "mapper_parsing_exception", ""));
    let written = sink.write(&again).await.unwrap();
    assert_eq!(failures(&written), [(3, ErrorKind::Rejected)]);
    assert_eq!(fake.ids().len(), 19);
    for (_, id, source) in fake.documents() {
        assert!(source.contains(&format!("\"id\":\"{id}\"")), "{id}: {source}");
    }
}

#[tokio::test]
async fn s03_throttling_loses_nothing_and_is_waited_out() {
    let fake = Fake::start().await;
    for n in 0..60 {
        let headers = vec![("retry-after", "0".to_owned())];
        fake.fail(Fault::Answer(429 + 74 * (n % 2), headers, String::new()));
    }
    let mut upstream = MemoryUpstream::history();
    let ids = audit_core::testkit::SourceHarness::seed(&mut upstream, 30).await;
    let source = audit_core::testkit::SourceHarness::source(&mut upstream).await;
    let policy = RetryPolicy::default().initial(Duration::from_millis(1)).max_attempts(100);
    let letters = Arc::new(MemoryDeadLetters::default());
    let stop = {
        let fake = fake.clone();
        async move {
            while fake.ids().len() < 30 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let checkpoint = Arc::new(MemoryCheckpoint::default());
    let sink = Arc::new(sink(&fake));
    let summary = Pipeline::new("a".parse().unwrap(), source, sink, checkpoint)
        .retry(policy.max(Duration::from_millis(2)))
        .dead_letters(letters)
        .run(stop)
        .await
        .unwrap();
    assert_eq!((summary.dead_lettered, fake.ids().len()), (0, ids.len()));
    assert!(summary.retries >= 60);
}

#[tokio::test]
async fn s03_retry_after_is_handed_on() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    fake.fail(Fault::Answer(429, vec![("retry-after", "7".to_owned())], String::new()));
    let error = failed(sink.write(&events(0..2)).await, ErrorKind::RateLimited, true);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
}

#[tokio::test]
async fn s04_credentials_that_worked_are_waited_for_and_others_are_not() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    fake.fail(Fault::status(401, "security_exception"));
    let error = failed(sink.write(&events(0..2)).await, ErrorKind::Auth, false);
    assert!(error.hint().unwrap().contains("api_key"));
    put(&sink, &events(0..2), 0).await;
    for status in [401, 403] {
        fake.fail(Fault::status(status, "security_exception"));
        failed(sink.write(&events(2..4)).await, ErrorKind::Auth, true);
    }
    fake.refuse("sample-3", (403, "security_exception", "action is unauthorized"));
    failed(sink.write(&events(2..4)).await, ErrorKind::Auth, true);
    put(&sink, &events(2..4), 1).await;
    assert_eq!(fake.ids().len(), 4);

    // Repeats prove them as well, compared or not.
    for verify in [true, false] {
        let mut config = config(&fake);
        config.verify_duplicates = Some(verify);
        let sink = ElasticSink::new(config).unwrap();
        put(&sink, &events(0..4), 4).await;
        fake.fail(Fault::status(401, "security_exception"));
        failed(sink.write(&events(4..5)).await, ErrorKind::Auth, true);
    }
}

#[tokio::test]
async fn s05_a_blocked_index_is_waited_for() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    for (status, reason) in [
        (403, "index [audit] blocked by: [FORBIDDEN/8/index write (api)];"),
        (429, "index [audit] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded];"),
    ] {
        let blocked = (status, "cluster_block_exception", reason);
        for id in ["sample-0", "sample-1"] {
            fake.refuse(id, blocked);
        }
        let error = failed(sink.write(&events(0..2)).await, ErrorKind::Unavailable, true);
        assert!(error.to_string().contains("blocked by"), "{error}");
        assert!(error.hint().unwrap().contains("index.blocks"));
        // Where others pass (another day's index), the blocked ones are named.
        fake.refuse("sample-9", blocked);
        let written = sink.write(&events(8..10)).await.unwrap();
        assert_eq!(failures(&written), [(1, ErrorKind::Unavailable)]);
    }
    fake.fail(Fault::status(403, "cluster_block_exception"));
    failed(sink.write(&events(0..2)).await, ErrorKind::Unavailable, true);
}

#[tokio::test]
async fn s06_the_failure_store_is_no_delivery() {
    let fake = Fake::start().await;
    fake.lock().store.misfits.insert("sample-1".to_owned());
    let written = sink(&fake).write(&events(0..3)).await.unwrap();
    assert_eq!(failures(&written), [(1, ErrorKind::Rejected)]);
    assert_eq!(fake.ids(), ["sample-0", "sample-2"]);
}

#[tokio::test]
async fn s07_a_repeat_after_midnight_goes_to_the_day_of_the_event() {
    let fake = Fake::start().await;
    let mut config = config(&fake);
    config.index = "audit-{yyyy.MM.dd}".to_owned();
    let mut all = events(0..4);
    all[2].time += chrono::TimeDelta::days(1);
    put(&ElasticSink::new(config.clone()).unwrap(), &all, 0).await;
    put(&ElasticSink::new(config).unwrap(), &all, 4).await;
    let mut names: Vec<_> = fake.documents().into_iter().map(|(index, ..)| index).collect();
    names.sort();
    assert_eq!(
        names,
        ["audit-2023.11.14", "audit-2023.11.14", "audit-2023.11.14", "audit-2023.11.15"]
    );
}

#[tokio::test]
async fn s08_what_the_mapping_refuses_is_rejected_with_its_reason() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    let refusals = [
        ("mapper_parsing_exception", "failed to parse field [a] of type [long]"),
        ("document_parsing_exception", "[1:5] failed to parse field [a]"),
        ("strict_dynamic_mapping_exception", "mapping set to strict"),
        ("illegal_argument_exception", "Limit of total fields [1000] has been exceeded"),
        ("illegal_argument_exception", "mapper [a] cannot be changed from type [long] to [text]"),
    ];
    for (n, (kind, reason)) in refusals.into_iter().enumerate() {
        fake.refuse(&format!("sample-{}", 3 * n + 1), (400, kind, reason));
        let written = sink.write(&events(3 * n..3 * n + 3)).await.unwrap();
        assert_eq!(failures(&written), [(1, ErrorKind::Rejected)], "{kind}");
        assert!(written.failures[0].error.to_string().contains(reason), "{kind}");
    }
    assert_eq!(fake.ids().len(), 2 * refusals.len());
}

#[tokio::test]
async fn s08_a_reason_as_long_as_the_record_is_read_to_its_end() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    let mut all = events(0..2);
    let value = "x".repeat(2 << 20);
    all[1].raw = audit_core::Raw::parse(format!(r#"{{"a":"{value}"}}"#)).unwrap();
    // As both products do.
    let reason = format!("failed to parse field [a], preview of its value: '{value}'");
    fake.refuse("sample-1", (400, "mapper_parsing_exception", reason.leak()));
    let written = sink.write(&all).await.unwrap();
    assert_eq!(failures(&written), [(1, ErrorKind::Rejected)]);
    assert_eq!(fake.ids(), ["sample-0"]);
}

#[tokio::test]
async fn s08_a_cluster_that_is_set_up_wrongly_does_not_reject_everything() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    for (refusal, kind, retryable) in [
        ((404, "index_not_found_exception", "no such index"), ErrorKind::Config, false),
        (
            (400, "illegal_argument_exception", "pipeline with id [p] does not exist"),
            ErrorKind::Config,
            false,
        ),
        (
            (400, "validation_exception", "[1000]/[1000] maximum normal shards open"),
            ErrorKind::Unavailable,
            true,
        ),
    ] {
        fake.refuse("sample-0", refusal);
        fake.refuse("sample-1", refusal);
        failed(sink.write(&events(0..2)).await, kind, retryable);
    }
    put(&sink, &events(0..2), 0).await;
}

#[tokio::test]
async fn i05_ten_redeliveries_have_the_effect_of_one() {
    let fake = Fake::start().await;
    let all = events(0..50);
    put(&sink(&fake), &all, 0).await;
    let before = fake.documents();
    for n in 0..10 {
        // Each time as another process, cut elsewhere, with a new event behind.
        let mut config = config(&fake);
        config.max_body_events = 1 + 7 * n;
        put(&ElasticSink::new(config).unwrap(), &all, 50).await;
    }
    assert_eq!(fake.documents(), before);
    let mut twice = events(60..61);
    twice.extend(events(60..61));
    put(&sink(&fake), &twice, 1).await;
}

#[tokio::test]
async fn i05_an_event_sent_again_with_its_bytes_respelled_is_a_repeat() {
    let fake = Fake::start().await;
    put(&sink(&fake), &events(0..3), 0).await;
    {
        // As a cluster does that keeps no source as it came, or whose pipeline adds to it.
        let stored = &mut fake.lock().store.documents;
        stored[1].2 = stored[1].2.replace("1.10", "1.1");
        stored[2].2 = stored[2].2.replacen('{', r#"{"added":{"by":"pipeline"},"#, 1);
    }
    put(&sink(&fake), &events(0..3), 3).await;
}

#[tokio::test]
async fn i03_another_document_under_the_same_id_is_no_repeat() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    put(&sink, &events(0..3), 0).await;
    let mut others = events(0..3);
    others[1].raw = audit_core::Raw::parse(r#"{"id":"of another system"}"#).unwrap();
    let written = sink.write(&others).await.unwrap();
    assert_eq!((written.duplicates.len(), failures(&written)), (2, vec![(1, ErrorKind::Rejected)]));
    let text = written.failures[0].error.to_string();
    assert!(text.contains("another document has this id (id: sample-1, index: audit)"), "{text}");
    assert!(!text.contains("of another system"));
    assert_eq!(fake.ids().len(), 3);
}

#[tokio::test]
async fn i03_ids_of_rows_collide_between_tables_and_that_is_seen() {
    let fake = Fake::start().await;
    let mut config = config(&fake);
    config.id_from = audit_sink_elastic::IdFrom::Row;
    let sink = ElasticSink::new(config.clone()).unwrap();
    let table = |name: &str| {
        let mut all = events(0..3);
        for (n, event) in all.iter_mut().enumerate() {
            event.id = EventId::new(format!("{name}:{n}:0123456789abcdef"));
            event.raw = audit_core::Raw::parse(format!(r#"{{"table":"{name}","n":{n}}}"#)).unwrap();
        }
        all
    };
    put(&sink, &table("first"), 0).await;
    assert_eq!(fake.ids(), ["0", "1", "2"]);
    put(&sink, &table("first"), 3).await;
    let written = sink.write(&table("second")).await.unwrap();
    assert_eq!(written.failures.len(), 3, "none is taken for sent");
    // Without the right to read nothing is known of rows; the ids of events are enough.
    fake.lock().store.readable = false;
    let written = sink.write(&table("first")).await.unwrap();
    assert_eq!(failures(&written)[0], (0, ErrorKind::Rejected));
    assert!(written.failures[0].error.hint().unwrap().contains("verify_duplicates"));
    config.verify_duplicates = Some(false);
    put(&ElasticSink::new(config).unwrap(), &table("first"), 3).await;
    let by_event = common::sink(&fake);
    put(&by_event, &events(5..8), 0).await;
    put(&by_event, &events(5..8), 3).await;
}

#[tokio::test]
async fn s10_a_data_stream_takes_each_event_once_in_its_backing_index() {
    let fake = Fake::start().await;
    fake.lock().store.streams.insert("audit".to_owned(), 1);
    put(&sink(&fake), &events(0..5), 0).await;
    put(&sink(&fake), &events(0..5), 5).await;
    assert_eq!(fake.documents()[0].0, ".ds-audit-000001");
    // Known and documented: a rollover forgets the ids.
    fake.lock().store.streams.insert("audit".to_owned(), 2);
    put(&sink(&fake), &events(0..1), 0).await;
}

#[tokio::test]
async fn x02_what_the_replaced_program_stored_counts_as_stored() {
    let fake = Fake::start().await;
    // It stored the row's message under the row's key, and took the time as the message has it.
    let stored = r#"{"audit_event":{"date_time":"2023-11-14T22:13:20.000Z","n":1.1},"@timestamp":"2023-11-14T22:13:20.000Z"}"#;
    let document = ("audit".to_owned(), "42".to_owned(), stored.to_owned());
    fake.lock().store.documents.push(document);
    let mut config = config(&fake);
    config.id_from = audit_sink_elastic::IdFrom::Row;
    let sink = ElasticSink::new(config).unwrap();
    let row = |record: &str| {
        let mut all = events(0..1);
        all[0].id = EventId::new("audit_logs:42:0123456789abcdef");
        all[0].raw = audit_core::Raw::parse(record).unwrap();
        all
    };
    let same = r#"{"audit_event": {"n": 1.10, "date_time": "2023-11-14T22:13:20.000Z"}}"#;
    put(&sink, &row(same), 1).await;
    let other = sink.write(&row(&same.replace("1.10", "1.2"))).await.unwrap();
    assert_eq!(failures(&other), [(0, ErrorKind::Rejected)]);
}
