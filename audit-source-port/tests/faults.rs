//! What the API, its gateway and the network do wrong, and what is said of it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Read, Retry, Secret, Source};
use audit_source_port::{PortConfig, PortSource};
use common::*;

async fn world_with(records: u64) -> World {
    let world = World::new().await;
    world.fake.add_samples(0, (0..records as i64).map(|n| T0 + n * SECOND));
    world.time.set(T0 + HOUR);
    world
}

/// Fails once with this fault, then reads everything.
async fn once(world: &World, fault: Fault) -> audit_core::Error {
    world.fake.fail(fault);
    let mut source = world.opened(None).await;
    let error = failure(&mut source).await;
    source.open(None).await.unwrap();
    let mut got = Got::default();
    if error.retry() == Retry::Backoff {
        drain(&mut source, &mut got).await.unwrap();
        got.assert_all_once(world.fake.lock().len() as u64);
    }
    error
}

#[tokio::test]
async fn d19_each_answer_that_is_none_has_an_error_of_its_own_and_closes_no_window() {
    let world = world_with(5).await;
    let cases = [
        (Fault::Instead(String::new()), ErrorKind::Unavailable, "empty"),
        (Fault::Instead("<html>Sign in</html>".to_owned()), ErrorKind::Unavailable, "not JSON"),
        (Fault::CutOff, ErrorKind::Unavailable, "cut off"),
        (Fault::Torn, ErrorKind::Unavailable, "connection broke"),
        (Fault::status(500), ErrorKind::Unavailable, "so_it_is: for no reason"),
        (Fault::status(503), ErrorKind::Unavailable, "503"),
        (Fault::status(504), ErrorKind::Timeout, "504"),
        (Fault::status(400), ErrorKind::Config, "refused"),
        (Fault::status(422), ErrorKind::Config, "refused"),
        (Fault::status(403), ErrorKind::Auth, "lack a right"),
        (Fault::status(404), ErrorKind::Config, "no such address"),
        (Fault::status_with(302, "location", "https://x"), ErrorKind::Config, "elsewhere"),
        (Fault::status(418), ErrorKind::Unexpected, "418"),
        (
            Fault::Instead(r#"{"ok":false,"error":"e","message":"m"}"#.to_owned()),
            ErrorKind::Unavailable,
            "e: m",
        ),
        (Fault::Instead(r#"{"ok":true}"#.to_owned()), ErrorKind::InvalidData, "audits"),
    ];
    for (fault, kind, text) in cases {
        let error = once(&world, fault).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{text}: {error}");
        assert!(error.to_string().starts_with("read the audit log: "), "{error}");
        if matches!(kind, ErrorKind::Auth | ErrorKind::Config) {
            assert!(error.hint().is_some(), "{error}");
        }
    }
}

#[tokio::test]
async fn n01_a_slow_or_silent_server_ends_with_the_time_limit() {
    let mut world = world_with(5).await;
    world.config.request_timeout = Duration::from_millis(400);
    for fault in [Fault::Silence, Fault::Slow(10, Duration::from_millis(30))] {
        let error = once(&world, fault).await;
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    world.config.request_timeout = Duration::from_secs(20);
    world.fake.fail(Fault::Slow(1000, Duration::from_millis(1)));
    let mut got = Got::default();
    drain(&mut world.opened(None).await, &mut got).await.unwrap();
    got.assert_all_once(5);
}

#[tokio::test]
async fn n01_nobody_there_is_worth_another_try() {
    let mut config = PortConfig::with_token(Secret::new("t"));
    config.url = "http://127.0.0.1:1".to_owned();
    let error = PortSource::new(config).unwrap().check().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert!(error.to_string().contains("host: 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_not_run_into() {
    let world = world_with(5).await;
    world.fake.fail(Fault::status_with(429, "retry-after", 7));
    let mut source = world.opened(None).await;
    for _ in 0..3 {
        let error = failure(&mut source).await;
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
        assert!(wait <= Duration::from_secs(7) && wait > Duration::from_secs(5), "{wait:?}");
        source.open(None).await.unwrap();
    }
    assert_eq!(world.requests(), 1, "nothing is asked before the time");

    let error = once(&world, Fault::status_with(503, "retry-after", 3)).await;
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(3)));
    let error = once(&world, Fault::status(429)).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Backoff));
}

/// The last request that is allowed says so; the next one is not made.
#[tokio::test]
async fn a_rate_limit_that_is_used_up_is_no_429() {
    let mut world = world_with(40).await;
    world.config.limit = 10;
    world.fake.lock().rate = Some((3, 60));
    let mut source = world.opened(None).await;
    let error = failure(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    assert_eq!(world.requests(), 3);
}

#[tokio::test]
async fn n02_a_token_is_asked_for_once_and_renewed_when_it_is_refused() {
    let world = world_with(5).await;
    let (mut source, mut got) = (world.opened(None).await, Got::default());
    source.check().await.unwrap();
    drain(&mut source, &mut got).await.unwrap();
    assert_eq!(world.fake.lock().tokens_given, 1);
    world.fake.lock().revoke();
    world.time.pass(HOUR);
    drain(&mut source, &mut got).await.unwrap();
    assert_eq!(world.fake.lock().tokens_given, 2);
    got.assert_all_once(5);
    // A token that is refused as soon as it is there is no reason to go on asking.
    world.time.pass(HOUR);
    (0..9).for_each(|_| world.fake.fail(Fault::status(401)));
    let error = failure(&mut source).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false), "{error}");
    assert_eq!(world.fake.lock().tokens_given, 3);
    assert_eq!(world.fake.lock().faults.len(), 7);
}

/// Whoever asks before its end gets the same token once more, with less time left.
#[tokio::test]
async fn n02_a_token_that_is_given_near_its_end_is_used_and_renewed() {
    let world = world_with(5).await;
    let mut first = world.source();
    first.check().await.unwrap();
    world.time.pass(10_799 * SECOND);
    let (mut source, mut got) = (world.opened(None).await, Got::default());
    drain(&mut source, &mut got).await.unwrap();
    world.time.pass(2 * MINUTE);
    drain(&mut source, &mut got).await.unwrap();
    got.assert_all_once(5);
    let seen = world.fake.lock().seen.clone();
    let tokens = |n: usize| seen[n].authorization.clone();
    assert_eq!(tokens(0), tokens(1));
    assert_ne!(tokens(1), tokens(seen.len() - 1));
}

#[tokio::test]
async fn n02_a_token_endpoint_that_is_down_is_worth_another_try_and_wrong_credentials_are_not() {
    let mut world = world_with(5).await;
    for (fault, kind) in [
        (Fault::status(503), ErrorKind::Unavailable),
        (Fault::status_with(429, "retry-after", 0), ErrorKind::RateLimited),
        (Fault::Instead("<html>".to_owned()), ErrorKind::Unavailable),
        (Fault::status(422), ErrorKind::Auth),
    ] {
        world.fake.lock().token_faults.push_back(fault);
        let mut source = world.opened(None).await;
        let error = failure(&mut source).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.is_retryable(), kind != ErrorKind::Auth);
        assert!(error.to_string().starts_with("ask for an access token"), "{error}");
        assert_eq!(error.retry() == Retry::Never, kind == ErrorKind::Auth);
    }
    world.config.client_secret = Some(Secret::new("wrong"));
    let error = failure(&mut world.opened(None).await).await;
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.hint().unwrap().contains("client_secret"), "{error:?}");
}

#[tokio::test]
async fn fault_12_a_bad_token_is_explained() {
    let world = world_with(5).await;
    world.fake.lock().fixed_token = Some("good".to_owned());
    for (token, good) in [("good", true), ("Bearer good", true), ("expired", false)] {
        let mut config = PortConfig::with_token(Secret::new(token));
        config.url = world.fake.url();
        config.from = Some(at(T0));
        let mut source = PortSource::new(config).unwrap().with_clock(world.time.clock());
        let checked = source.check().await;
        if good {
            checked.unwrap();
            continue;
        }
        let error = checked.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false));
        assert!(error.to_string().contains("the token is not valid"), "{error}");
        assert!(error.hint().unwrap().contains("expired"), "{error:?}");
    }
    assert_eq!(world.fake.lock().tokens_given, 0);
}

/// Servers that repeat what they were sent, in answers and in errors.
#[tokio::test]
async fn n04_no_secret_shows_in_errors_or_debug() {
    let mut world = world_with(5).await;
    let canaries = ["s3cret-canary", "token-canary"];
    let clean = |text: String| {
        assert!(!canaries.iter().any(|canary| text.contains(canary)), "{text}");
    };
    clean(format!("{:?} {:?}", world.config, world.source()));
    let body = r#"{"ok":false,"error":"no","message":"bad token-canary-1 s3cret-canary"}"#;
    for status in [400, 401, 403, 404, 500] {
        (0..2).for_each(|_| world.fake.fail(Fault::Status(status, vec![], body.to_owned())));
        world.fake.lock().tokens_given = 0;
        world.fake.lock().revoke();
        let error = failure(&mut world.opened(None).await).await;
        clean(format!("{error} {error:?} {:?}", error.hint()).replace("token-canary-2", ""));
        world.fake.lock().faults.clear();
    }
    world.fake.lock().token_faults.push_back(Fault::Status(401, vec![], body.to_owned()));
    let error = failure(&mut world.opened(None).await).await;
    clean(format!("{error} {error:?}").replace("token-canary-1", ""));
    for proxy in ["nonsense://u:s3cret-canary@p", "http://u:s3cret-canary@127.0.0.1:1"] {
        world.config.proxy = Some(Secret::new(proxy));
        match PortSource::new(world.config.clone()) {
            Err(error) => clean(format!("{error} {error:?}")),
            Ok(mut source) => {
                let error = source.check().await.unwrap_err();
                clean(format!("{error} {error:?} {source:?}"));
            }
        }
    }
    world.config.proxy = None;
    world.config.client_secret = Some(Secret::new("other-s3cret-canary"));
    let error = failure(&mut world.opened(None).await).await;
    clean(format!("{error} {error:?} {:?}", error.hint()));
}

#[tokio::test]
async fn fault_08_every_value_arrives_as_it_was_meant() {
    let mut world = world_with(5).await;
    let odd = "a b&limit=1+é%20#?/=";
    world.config.filter.entity = Some(odd.to_owned());
    world.config.filter.resources = vec!["entity".to_owned(), "run".to_owned()];
    world.config.from = Some("2026-01-01T02:00:00+02:00".parse().unwrap());
    drain(&mut world.opened(None).await, &mut Got::default()).await.unwrap();
    let seen = world.fake.lock().seen.clone();
    let find = |name: &str| {
        let found = seen[0].parameters.iter().filter(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(find("entity"), [odd]);
    assert_eq!(find("resources"), ["entity", "run"]);
    assert_eq!(find("limit"), ["1000"]);
    assert_eq!(find("from"), ["2025-12-31T23:59:59.999Z"]);
    assert!(!seen[0].query.contains(['+', ' ', ':']), "{}", seen[0].query);
}

#[tokio::test]
async fn filters_narrow_what_is_read() {
    let mut world = world_with(60).await;
    let all = [("action", "DELETE", 20), ("status", "FAILURE", 4), ("blueprint", "team", 15)];
    for (name, value, count) in all {
        let filter = format!(r#"{{"{name}":"{value}"}}"#);
        world.config.filter = serde_json::from_str(&filter).unwrap();
        let mut got = Got::default();
        drain(&mut world.opened(None).await, &mut got).await.unwrap();
        assert_eq!(got.events.len(), count, "{filter}");
    }
    let json = r#"{"identifier":"evt_000000000007","includes":["status"]}"#;
    world.config.filter = serde_json::from_str(json).unwrap();
    let mut got = Got::default();
    // Every other window answers that there is no such record, which is no error.
    world.config.max_window = Duration::from_secs(60);
    drain(&mut world.opened(None).await, &mut got).await.unwrap();
    assert_eq!(got.ids(), ["evt_000000000007"]);
    assert!(got.events[0].raw.get().len() < 400, "{}", got.events[0].raw.get());
    world.source().check().await.unwrap();

    let json = r#"{"include_deleted_entities":true,"entity":"e","blueprint":"b",
        "status":"SUCCESS"}"#;
    world.config.filter = serde_json::from_str(json).unwrap();
    world.config.max_window = Duration::from_secs(30 * 86_400);
    world.time.pass(3 * DAY);
    drain(&mut world.opened(None).await, &mut got).await.unwrap();
}

#[tokio::test]
async fn check_finds_what_is_wrong_and_changes_nothing() {
    let mut world = world_with(5).await;
    world.source().check().await.unwrap();
    world.fake.fail(Fault::status(403));
    let error = world.source().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    world.config.url = world.fake.url() + "/nowhere";
    let error = world.source().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "the token is asked for first: {error}");
    assert!(error.hint().unwrap().contains("region"), "{error:?}");
    world.config.ca_file = Some("/nonexistent/ca.pem".into());
    let error = world.source().check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let Err(error) = world.source().read(limit(1)).await.map(|_: Read| ()) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::Unexpected, "not opened");
}
