//! What a network, a proxy and several hosts may do. Names begin with the catalogue's ids.

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Raw, Secret, Sink};
use audit_sink_elastic::{ElasticConfig, ElasticSink, IndexTemplate};
use common::{Fake, Fault, config, events, failed, failures, put, sink};
use serde_json::json;

#[tokio::test]
async fn n01_a_connection_that_fails_is_tried_again_without_loss() {
    let fake = Fake::start().await;
    let mut config = config(&fake);
    config.request_timeout = Duration::from_millis(300);
    let sink = ElasticSink::new(config).unwrap();
    let mut next = 0;
    for (fault, kind, stored) in [
        (Fault::Reset { after: false }, ErrorKind::Unavailable, 0),
        (Fault::Reset { after: true }, ErrorKind::Unavailable, 3),
        (Fault::Silence { after: false }, ErrorKind::Timeout, 0),
        (Fault::Slow(Duration::from_secs(1)), ErrorKind::Timeout, 3),
        (Fault::Torn, ErrorKind::Unavailable, 3),
        (Fault::status(502, ""), ErrorKind::Unavailable, 0),
        (Fault::Answer(504, vec![], "<html>".to_owned()), ErrorKind::Unavailable, 0),
        (Fault::Answer(408, vec![], String::new()), ErrorKind::Unavailable, 0),
    ] {
        let all = events(next..next + 3);
        next += 3;
        fake.fail(fault.clone());
        let error = failed(sink.write(&all).await, kind, true);
        assert!(error.to_string().starts_with("write to the index: "), "{error}");
        put(&sink, &all, stored).await;
    }
    assert_eq!(fake.ids().len(), next);
}

#[tokio::test]
async fn n01_nobody_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let sink = ElasticSink::new(ElasticConfig::new(&url, "audit").unwrap()).unwrap();
    let error = failed(sink.write(&events(0..1)).await, ErrorKind::Unavailable, true);
    assert!(error.to_string().contains(&url), "{error}");
    assert_eq!(sink.check().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn d19_answers_that_make_no_sense_repeat_the_whole_write() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    let deep = format!(r#"{{"items":[{{"create":{{"status":400,"error":{}"#, "[".repeat(100_000));
    let odd = [
        (Fault::WrongCount, ErrorKind::Unexpected),
        (Fault::Instead("<html><title>Login</title></html>".into()), ErrorKind::Unexpected),
        (Fault::Instead(String::new()), ErrorKind::Unavailable),
        (Fault::Instead(r#"{"errors":false,"items":[{"crea"#.into()), ErrorKind::Unavailable),
        (Fault::Instead(r#"{"errors":false}"#.into()), ErrorKind::Unexpected),
        (Fault::Instead(r#"{"items":[{},{},{}]}"#.into()), ErrorKind::Unexpected),
        (
            Fault::Instead(r#"{"items":[{"create":{"status":"x"}},1,2]}"#.into()),
            ErrorKind::Unexpected,
        ),
        (Fault::Instead(deep), ErrorKind::Unavailable),
        (Fault::Instead("[]".repeat(10 << 20)), ErrorKind::Unexpected),
    ];
    for (n, (fault, kind)) in odd.into_iter().enumerate() {
        let all = events(3 * n..3 * n + 3);
        fake.fail(fault);
        failed(sink.write(&all).await, kind, true);
        put(&sink, &all, 3).await;
    }
}

#[tokio::test]
async fn n05_a_request_too_large_goes_in_halves() {
    let fake = Fake::start().await;
    fake.lock().max_body = Some(1500);
    let sink = sink(&fake);
    put(&sink, &events(0..64), 0).await;
    assert_eq!(fake.ids().len(), 64);
    // The size is remembered.
    let refused = || fake.lock().seen.iter().filter(|r| r.body.len() > 1500).count();
    let before = refused();
    put(&sink, &events(64..128), 0).await;
    assert_eq!((fake.ids().len(), refused()), (128, before));
    // One that is too large alone will never pass, and holds up none.
    let mut all = events(200..205);
    all[3].raw = Raw::parse(format!(r#"{{"big":"{}"}}"#, "x".repeat(2000))).unwrap();
    let written = sink.write(&all).await.unwrap();
    assert_eq!(failures(&written), [(3, ErrorKind::Rejected)]);
    assert_eq!(fake.ids().len(), 132);
}

#[tokio::test]
async fn n01_hosts_take_turns_and_a_failing_one_is_avoided() {
    let (a, b) = (Fake::start().await, Fake::start().await);
    let mut config = config(&a);
    config.hosts.push(b.url().parse().unwrap());
    let sink = ElasticSink::new(config).unwrap();
    for n in 0..4 {
        put(&sink, &events(n..n + 1), 0).await;
    }
    assert_eq!((a.ids().len(), b.ids().len()), (2, 2));
    // The write passes to the other host at once; then the first is left alone.
    a.fail(Fault::status(503, "no_master"));
    a.fail(Fault::status(503, "no_master"));
    for n in 10..20 {
        put(&sink, &events(n..n + 1), 0).await;
    }
    assert_eq!((a.ids().len(), b.ids().len()), (2, 12));
    assert_eq!(a.lock().faults.len(), 1, "it was asked once");
    // Both fail: the write does.
    b.fail(Fault::Reset { after: false });
    failed(sink.write(&events(30..31)).await, ErrorKind::Unavailable, true);
}

/// As behind a firewall that drops packets.
#[tokio::test]
async fn n01_a_host_that_takes_no_connection_is_passed_over() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    // Nobody takes them off the queue, and the next one finds no room.
    let _queued = std::net::TcpStream::connect(address).unwrap();
    let fake = Fake::start().await;
    let mut config = ElasticConfig::new(&format!("http://{address}"), "audit").unwrap();
    config.hosts.push(fake.url().parse().unwrap());
    config.request_timeout = Duration::from_millis(800);
    put(&ElasticSink::new(config).unwrap(), &events(0..3), 0).await;
    assert_eq!(fake.ids().len(), 3);
}

#[tokio::test]
async fn requests_are_in_flight_side_by_side_and_memory_is_bounded() {
    let fake = Fake::start().await;
    fake.lock().delay = Duration::from_millis(30);
    let mut config = config(&fake);
    config.concurrency = 3;
    config.max_body_events = 5;
    put(&ElasticSink::new(config).unwrap(), &events(0..100), 0).await;
    assert_eq!((fake.count("/_bulk"), fake.lock().most_at_once), (20, 3));
}

#[tokio::test]
async fn bodies_are_compressed_when_asked() {
    let fake = Fake::start().await;
    for gzip in [Some(true), None] {
        let mut config = config(&fake);
        config.gzip = gzip;
        put(&ElasticSink::new(config).unwrap(), &events(0..500), fake.ids().len()).await;
    }
    let seen = &fake.lock().seen;
    let wires: Vec<_> = seen.iter().filter(|r| r.path.ends_with("_bulk")).collect();
    assert_eq!(wires[0].header("content-encoding"), Some("gzip"));
    assert!(wires[0].wire * 4 < wires[0].body.len());
    assert_eq!(wires.last().unwrap().header("content-encoding"), None, "not on one machine");
}

#[tokio::test]
async fn every_kind_of_credentials_arrives() {
    let fake = Fake::start().await;
    fake.lock().authorization = Some("ApiKey aWQ6a2V5".to_owned());
    let mut with_key = config(&fake);
    with_key.api_key = Some(Secret::new("id:key"));
    put(&ElasticSink::new(with_key).unwrap(), &events(0..1), 0).await;
    fake.lock().authorization = Some("Bearer t0ken".to_owned());
    let mut with_token = config(&fake);
    with_token.bearer = Some(Secret::new("t0ken"));
    put(&ElasticSink::new(with_token).unwrap(), &events(1..2), 0).await;
    fake.lock().authorization = Some("Basic YTpi".to_owned());
    let url = fake.url().replace("http://", "http://a:b@");
    let in_url = ElasticSink::new(ElasticConfig::new(&url, "audit").unwrap()).unwrap();
    put(&in_url, &events(2..3), 0).await;
    failed(sink(&fake).write(&events(3..4)).await, ErrorKind::Auth, false);
}

#[tokio::test]
async fn o01_check_says_what_would_not_work_and_changes_nothing() {
    let fake = Fake::start().await;
    let kind = async |config: ElasticConfig| {
        ElasticSink::new(config).unwrap().check().await.map_err(|e| e.kind())
    };
    assert_eq!(kind(config(&fake)).await, Ok(()), "the first write creates the index");
    fake.lock().auto_create_setting = Some("logs-*,-*");
    assert_eq!(kind(config(&fake)).await, Err(ErrorKind::Config));
    fake.lock().store.indices.insert("audit".to_owned());
    assert_eq!(kind(config(&fake)).await, Ok(()), "it is there");
    let mut daily = config(&fake);
    daily.index = "audit-{yyyy}".to_owned();
    assert_eq!(kind(daily.clone()).await, Err(ErrorKind::Config));
    daily.index = "logs-{yyyy}".to_owned();
    assert_eq!(kind(daily).await, Ok(()));
    let mut piped = config(&fake);
    piped.pipeline = Some("missing".to_owned());
    assert_eq!(kind(piped).await, Err(ErrorKind::Config));
    fake.lock().root = Some(json!({ "version": { "number": "6.8.0" } }));
    assert_eq!(kind(config(&fake)).await, Err(ErrorKind::Config), "too old");
    fake.lock().root = Some(json!({ "hello": "world" }));
    assert_eq!(kind(config(&fake)).await, Err(ErrorKind::Config), "another program");
    fake.lock().authorization = Some("Basic eA==".to_owned());
    assert_eq!(kind(config(&fake)).await, Err(ErrorKind::Auth));
    let state = fake.lock();
    assert!(state.seen.iter().all(|r| matches!(r.method.as_str(), "GET" | "HEAD")));
}

#[tokio::test]
async fn m05_the_template_goes_where_it_belongs() {
    let fake = Fake::start().await;
    let sink = sink(&fake);
    sink.install_template(&IndexTemplate::new("audit logs").data_stream(true)).await.unwrap();
    let seen = fake.lock().seen.pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/_index_template/audit logs"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body["index_patterns"], json!(["audit"]));
    assert_eq!(body["data_stream"], json!({}));
    let mut daily = config(&fake);
    daily.index = "audit-{yyyy}".to_owned();
    let daily = ElasticSink::new(daily).unwrap();
    let stream = IndexTemplate::new("t").data_stream(true);
    assert_eq!(daily.install_template(&stream).await.unwrap_err().kind(), ErrorKind::Config);
}
