//! What networks, services and the replaced program do wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Limit, Read, Source};
use audit_source_oci::{OciConfig, OciSource};
use chrono::TimeDelta;

use common::{
    CHILD, Fault, TENANCY, all, drain, id, ids, january, reads_all, record, source, time,
};

/// The replaced program's windows ended at 23:59:59 and began a second later: those that the service
/// did not refuse left holes.
#[tokio::test]
async fn the_seconds_between_windows_are_read_as_well() {
    let (fake, mut config) = january(0);
    config.window = Duration::from_secs(14 * 24 * 3600);
    config.concurrency = 1;
    let edges = [
        "2024-01-01T00:00:00Z",
        "2024-01-14T23:59:59.999Z",
        "2024-01-15T00:00:00Z",
        "2024-01-15T00:00:00.999Z",
        "2024-01-29T00:00:01Z",
        "2024-01-31T23:59:59Z",
        "2024-01-31T23:59:59.999Z",
    ];
    for (n, edge) in edges.iter().enumerate() {
        fake.add(TENANCY, time(edge), record(&id(n), "GetInstance", time(edge)));
    }
    fake.add(TENANCY, time("2023-12-31T23:59:59.999Z"), record("before", "X", time(edges[0])));
    fake.add(TENANCY, time("2024-02-01T00:00:00Z"), record("behind", "X", time(edges[0])));
    reads_all(&fake, &config, edges.len()).await;
    let windows = fake.windows();
    assert_eq!(windows.len(), 3);
    assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "{windows:?}");
    assert!(fake.lock().seen.iter().all(|seen| seen.status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_fetched_at_once_and_delivered_in_order() {
    let (fake, mut config) = january(400);
    fake.lock().latency = Duration::from_millis(10);
    config.concurrency = 5;
    let source = reads_all(&fake, &config, 400).await;
    assert_eq!(fake.lock().most_in_flight, 5);
    let counts = source.report().counts();
    assert_eq!((counts.windows, counts.gaps.len(), counts.repeated), (20, 0, 0));
}

/// With room for next to nothing, pages wait on disk, and fetching waits for reading.
#[tokio::test(flavor = "multi_thread")]
async fn d15_a_small_spool_only_makes_it_slower() {
    let (fake, mut config) = january(300);
    config.spool_bytes = 20_000;
    reads_all(&fake, &config, 300).await;
}

#[tokio::test]
async fn a_page_that_finds_no_room_on_disk_is_an_error() {
    let (fake, mut config) = january(600);
    fake.lock().page_events = 600;
    config.window = Duration::from_secs(14 * 24 * 3600);
    config.concurrency = 1;
    config.spool_dir = Some("/nonexistent".into());
    config.max_attempts = 1;
    let (batches, end) = drain(&mut source(&fake, &config), None).await;
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "a full disk: {error}");
    assert!(batches.iter().all(|batch| batch.events.is_empty()));
}

/// The replaced program printed a message, went on, and exited 0.
#[tokio::test]
async fn a_window_that_cannot_be_read_ends_the_run_and_names_its_dates() {
    let (fake, mut config) = january(100);
    config.max_attempts = 2;
    let at = time("2024-01-09T00:00:00Z");
    fake.lock().broken.push((at, Fault::status(500), usize::MAX));
    let mut source = source(&fake, &config);
    let (batches, end) = drain(&mut source, None).await;
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("[2024-01-09T00:00:00Z, 2024-01-11T00:00:00Z)"), "{text}");
    assert!(text.contains(TENANCY) && text.contains("opc_request_id"), "{text}");
    let before = ids(&batches).len();
    assert_eq!(ids(&batches), all(before), "all that came before it");
    assert_eq!(before, 26);

    // Healed, the next run goes on there, and asks for nothing that is done.
    fake.lock().broken.clear();
    fake.lock().seen.clear();
    let (rest, end) = drain(&mut source, Some(&batches.last().unwrap().cursor)).await;
    end.unwrap();
    assert_eq!(ids(&rest), all(100)[before..]);
    assert!(fake.windows().iter().all(|(from, _)| *from >= at));
}

#[tokio::test]
async fn l02_with_allow_gaps_the_window_is_recorded() {
    let (fake, mut config) = january(100);
    config.max_attempts = 1;
    config.allow_gaps = true;
    let at = time("2024-01-09T00:00:00Z");
    fake.lock().broken.push((at, Fault::status(500), usize::MAX));
    let mut source = source(&fake, &config);
    let (batches, end) = drain(&mut source, None).await;
    end.unwrap();
    let missing = 100 - ids(&batches).len();
    assert_eq!(missing, 7);
    let gaps = source.report().gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from, gaps[0].to), (at, time("2024-01-11T00:00:00Z")));
    assert!(gaps[0].to_string().contains("the service failed"), "{}", gaps[0]);

    // Another process that goes on behind it knows of it too, and one that begins anew does not.
    fake.lock().broken.clear();
    let mut next = OciSource::new(config.clone()).unwrap().with_clock(fake.clock());
    next.open(Some(&batches.last().unwrap().cursor)).await.unwrap();
    assert_eq!(next.report().gaps(), gaps);
    next.open(None).await.unwrap();
    assert!(next.report().gaps().is_empty());

    // Too many requests are no gap, and neither are credentials that are refused: then all would be.
    let slow = Fault::Status(429, "TooManyRequests", vec![("retry-after", "1".into())]);
    fake.lock().broken.push((at, slow, usize::MAX));
    let (_, end) = drain(&mut source, None).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(source.report().gaps().is_empty());
    fake.lock().broken.clear();
    fake.lock().keys.clear();
    let (batches, end) = drain(&mut source, None).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::Auth);
    assert!(ids(&batches).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn n01_every_fault_of_a_page_passes_when_it_is_tried_again() {
    let faults = [
        Fault::status(500),
        Fault::status(503),
        Fault::Status(429, "TooManyRequests", vec![("retry-after", "0".into())]),
        Fault::Status(409, "IncorrectState", vec![]),
        Fault::Reset(0),
        Fault::Reset(1),
        Fault::Reset(3000),
        Fault::Truncate(0),
        Fault::Truncate(1),
        Fault::Truncate(3000),
        Fault::Body("<html>gateway</html>"),
        Fault::Body("{\"code\":\"x\"}"),
    ];
    let each = faults.into_iter().map(async |fault| {
        let (fake, config) = january(60);
        fake.lock().broken.push((config.start.unwrap(), fault.clone(), 1));
        let source = reads_all(&fake, &config, 60).await;
        assert_eq!(source.report().counts().retries, 1, "{fault:?}");
    });
    futures_util::future::join_all(each).await;
}

/// An empty answer closes a window; an answer that is nothing does not.
#[tokio::test]
async fn d19_only_a_whole_answer_closes_a_window() {
    for (body, kind) in [
        ("", ErrorKind::Unavailable),
        ("[", ErrorKind::Unavailable),
        ("[{\"eventId\":\"a\"}, {\"x\":[]", ErrorKind::Unavailable),
        ("[{\"eventId\":\"a\"}, {\"x\":[]]", ErrorKind::Unavailable),
        ("<html></html>", ErrorKind::InvalidData),
        ("null", ErrorKind::InvalidData),
        ("[] []", ErrorKind::InvalidData),
    ] {
        let (fake, mut config) = january(0);
        config.max_attempts = 1;
        let first = config.start.unwrap();
        fake.lock().broken.push((first, Fault::Body(body), 1));
        let (batches, end) = drain(&mut source(&fake, &config), None).await;
        assert_eq!(end.unwrap_err().kind(), kind, "{body}");
        let cursor = batches.last().map(|batch| serde_json::to_string(&batch.cursor).unwrap());
        assert!(cursor.is_none_or(|cursor| cursor.contains("2024-01-01T00:00:00Z")), "{body}");
    }
}

#[tokio::test]
async fn n01_retry_after_is_waited_for() {
    let (fake, config) = january(10);
    let slow = Fault::Status(429, "TooManyRequests", vec![("retry-after", "1".into())]);
    fake.lock().broken.push((config.start.unwrap(), slow, 1));
    let begun = std::time::Instant::now();
    reads_all(&fake, &config, 10).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// oci-python-sdk #609 asks for the same page for ever.
#[tokio::test]
async fn d12_a_service_that_goes_round_in_circles_is_noticed() {
    for fault in [Fault::SameToken, Fault::FirstToken] {
        let (fake, mut config) = january(500);
        config.max_attempts = 1;
        let first = config.start.unwrap();
        fake.lock().broken.push((first, fault.clone(), usize::MAX));
        let (_, end) = drain(&mut source(&fake, &config), None).await;
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{fault:?}");
        assert!(error.to_string().contains("repeats"), "{error}");
        assert!(fake.lock().seen.len() < 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_tokens_that_end_within_a_window_lose_and_double_nothing() {
    let (fake, mut config) = january(300);
    config.window = Duration::from_secs(14 * 24 * 3600);
    let first = config.start.unwrap();
    for _ in 0..2 {
        fake.lock().broken.push((first, Fault::Late(Duration::ZERO), 3));
        fake.lock().broken.push((first, Fault::TokensEnd, 1));
    }
    reads_all(&fake, &config, 300).await;
    assert!(fake.lock().seen.iter().any(|seen| seen.status == 400));
}

/// A cursor within a page whose token has ended in the meantime.
#[tokio::test]
async fn d13_a_cursor_outlives_its_page_token() {
    let (fake, mut config) = january(300);
    config.window = Duration::from_secs(14 * 24 * 3600);
    let (batches, end) = drain(&mut source(&fake, &config), None).await;
    end.unwrap();
    for (n, batch) in batches.iter().enumerate().take(20) {
        fake.lock().broken.push((config.start.unwrap(), Fault::TokensEnd, 1));
        let (rest, end) = drain(&mut source(&fake, &config), Some(&batch.cursor)).await;
        end.unwrap();
        let (found, behind) = (ids(&rest), ids(&batches[n + 1..]));
        assert!(found.ends_with(&behind), "lost behind batch {n}");
    }
}

#[tokio::test]
async fn d11_an_event_that_comes_in_two_windows_is_delivered_once() {
    let (fake, config) = january(0);
    let edge = time("2024-01-03T00:00:00Z");
    let text = record(&id(0), "GetInstance", edge);
    fake.add(TENANCY, edge - TimeDelta::seconds(1), text.clone());
    fake.add(TENANCY, edge, text);
    let source = reads_all(&fake, &config, 1).await;
    assert_eq!(source.report().counts().repeated, 1);

    // The same id over other bytes is not the same event, as far as anyone can tell.
    fake.add(TENANCY, edge, record(&id(0), "Other", edge));
    let (batches, end) = drain(&mut { source }, None).await;
    end.unwrap();
    assert_eq!(ids(&batches), [id(0), id(0)]);
}

#[tokio::test]
async fn empty_pages_with_a_token_are_gone_through() {
    let (fake, config) = january(50);
    fake.lock().empty_pages = true;
    reads_all(&fake, &config, 50).await;
}

/// oci-java-sdk #46: 20,000 events in a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_twenty_thousand_events_is_read() {
    let (fake, mut config) = january(0);
    let (from, to) = (config.start.unwrap(), config.end.unwrap());
    fake.lock().records.make(from, to, 20_000, 1700);
    fake.lock().page_events = 20_000;
    fake.lock().longest = TimeDelta::days(31);
    config.window = Duration::from_secs(31 * 24 * 3600);
    config.concurrency = 1;
    let mut source = source(&fake, &config);
    source.open(None).await.unwrap();
    let mut events = 0;
    while let Read::Batch(batch) = source.read(Limit::default()).await.unwrap() {
        events += batch.events.len();
    }
    assert_eq!(events, 20_000);
    assert_eq!(source.report().counts().pages, 1);
}

#[tokio::test]
async fn all_compartments_of_all_regions_are_read() {
    let (fake, mut config) = january(0);
    {
        let mut service = fake.lock();
        service.compartments.push((CHILD.to_owned(), "ACTIVE"));
        service.compartments.push(("ocid1.compartment.oc1..gone".to_owned(), "DELETED"));
        service.regions.push(("us-ashburn-1".to_owned(), "READY"));
        service.regions.push(("us-phoenix-1".to_owned(), "IN_PROGRESS"));
        service.identity_page = 1;
        service.identity_faults.push_back(Fault::status(503));
        let at = time("2024-01-05T00:00:00Z");
        for (n, (region, compartment)) in [
            ("eu-frankfurt-1", CHILD),
            ("eu-frankfurt-1", TENANCY),
            ("us-ashburn-1", CHILD),
            ("us-ashburn-1", TENANCY),
        ]
        .into_iter()
        .enumerate()
        {
            service.records.add(region, compartment, at, record(&id(n), "X", at));
        }
    }
    config.all_regions = true;
    config.all_compartments = true;
    let source = reads_all(&fake, &config, 4).await;
    assert!(source.report().gaps().is_empty(), "a deleted compartment is no gap");
}

#[tokio::test]
async fn a_compartment_that_may_not_be_read_is_an_error_with_a_way_out() {
    let (fake, mut config) = january(1);
    config.compartments = vec!["ocid1.compartment.oc1..unknown".to_owned()];
    let mut source = source(&fake, &config);
    let error = source.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.hint().unwrap().contains("read audit-events"));
    let (_, end) = drain(&mut source, None).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::Auth);
}

/// The replaced program took its filter for a compartment, and its successor crashed on any.
#[tokio::test]
async fn events_are_filtered_by_their_names_and_counted() {
    let (fake, mut config) = january(10);
    let at = time("2024-01-20T00:00:00Z");
    fake.add(TENANCY, at, record("login", "LoginSuccess", at));
    config.preset = Some(audit_source_oci::Preset::Iam);
    let mut source = source(&fake, &config);
    let (batches, end) = drain(&mut source, None).await;
    end.unwrap();
    assert_eq!(ids(&batches), ["login"]);
    assert_eq!(source.report().counts().filtered, 10);
}

#[tokio::test]
async fn s13_secrets_are_blanked_and_every_other_byte_stays() {
    let (fake, mut config) = january(0);
    let at = time("2024-01-20T00:00:00Z");
    let clean = record("a", "X", at);
    let secret = clean.replace(r#""credentials":null"#, r#""credentials" : "ST$canary""#);
    fake.add(TENANCY, at, secret.clone());
    fake.add(TENANCY, at, format!("{}, \"cut\":}}", secret.strip_suffix('}').unwrap()));
    let read = async |config: &OciConfig| {
        let (batches, end) = drain(&mut source(&fake, config), None).await;
        end.unwrap();
        let event = batches.iter().find_map(|b| b.events.first()).unwrap().raw.get().to_owned();
        let letter = batches.iter().find_map(|b| b.rejected.first()).unwrap().clone();
        (event, letter)
    };
    let (event, letter) = read(&config).await;
    assert_eq!(event, secret.replace("\"ST$canary\"", "\"REDACTED\""));
    assert!(!format!("{letter:?}{}", String::from_utf8_lossy(letter.body())).contains("canary"));
    config.redact = false;
    let (event, letter) = read(&config).await;
    assert_eq!(event, secret);
    assert!(String::from_utf8_lossy(letter.body()).contains("canary"));
}

#[tokio::test]
async fn n05_a_record_that_is_too_large_goes_to_the_dead_letters() {
    let (fake, mut config) = january(5);
    let at = time("2024-01-20T00:00:00Z");
    let large = record("large", "X", at)
        .replace("\"payload\":{}", &format!("\"payload\":\"{}\"", "x".repeat(10_000)));
    fake.add(TENANCY, at, large);
    config.max_event_bytes = 5000;
    let (batches, end) = drain(&mut source(&fake, &config), None).await;
    end.unwrap();
    assert_eq!(ids(&batches), all(5));
    let letters: Vec<_> = batches.iter().flat_map(|b| &b.rejected).collect();
    assert_eq!((letters.len(), letters[0].body().len()), (1, 5000));
}

/// 365 days are read without a start, since that is as long as there are events.
#[tokio::test]
async fn without_a_start_all_that_is_kept_is_read() {
    let (fake, mut config) = january(3);
    (config.start, config.end) = (None, None);
    reads_all(&fake, &config, 3).await;
    let windows = fake.windows();
    assert_eq!(windows[0].0, time("2023-03-02T12:00:00Z"));
    assert_eq!(windows.last().unwrap().1, time("2024-03-01T12:00:00Z"));
}
