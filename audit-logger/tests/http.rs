//! The middleware over axum: one record a request, however it ends.
#![cfg(feature = "tower")]
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use audit_core::{MemoryDeadLetters, Outcome};
use audit_logger::{
    Audit, AuditLayer, AuditLogger, AuditRecord, BestEffort, Capture, Emitter, Exchange, Level,
    Policy, Queue, QueueConfig, User,
};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use axum::{Extension, Router};
use common::Gate;
use tower::{Layer, ServiceExt, service_fn};

fn router(layer: AuditLayer) -> Router {
    Router::new()
        .route("/books", get(books))
        .route("/health", get(async || "up"))
        .route("/refused", get(async || (StatusCode::FORBIDDEN, "no")))
        .route("/panic", get(panics))
        .route("/slow", get(slow))
        .layer(layer)
}

async fn books(
    Extension(audit): Extension<Audit>,
) -> ([(&'static str, &'static str); 1], &'static str) {
    audit.with(|record| {
        record.set_filter("Book", [("title", "rust")]).set_results(["Rust"]).info("List books")
    });
    ([("set-cookie", "canary")], "[]")
}

async fn panics() -> &'static str {
    panic!("a defect of the handler")
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    ""
}

async fn call(router: Router, request: Request<Body>) -> Response<Body> {
    router.oneshot(request).await.unwrap()
}

fn request(path: &str) -> Request<Body> {
    let request = Request::get(path).header("host", "shop.example").header("user-agent", "curl/8");
    request.body(Body::empty()).unwrap()
}

fn layer(capture: &Capture) -> AuditLayer {
    AuditLayer::new(Arc::new(capture.clone()))
}

#[tokio::test]
async fn a_request_and_what_its_handler_adds_are_one_record() {
    let capture = Capture::new();
    let layer = layer(&capture)
        .logger(AuditLogger::new().with_limits(Default::default()))
        .user(|request: &Exchange<'_>| {
            let name = request.headers.get("x-user")?.to_str().ok()?;
            Some(User::authenticated(name).roles(["staff"]))
        })
        .base_url("https://shop.example/");
    let mut request = request("/books?q=1&token=canary");
    request.headers_mut().insert("x-user", "ada@example.com".parse().unwrap());
    assert_eq!(call(router(layer), request).await.status(), StatusCode::OK);
    let line = capture.single().to_json_line().unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"audit": {"http_request": {"method": "GET", "#,
            r#""url": "https://shop.example/books?q=1&token=***", "user_agent": "curl/8"}, "#,
            r#""http_response": {"status_code": 200, "reason": "OK", "headers": "#,
            r#"{"content-type": "text/plain; charset=utf-8", "set-cookie": "***"}}, "#,
            r#""user": {"authenticated": true, "email": "ada@example.com", "roles": ["staff"], "#,
            r#""ip": "", "provider": {"name": "", "realm": ""}}, "#,
            r#""filter": {"object": "Book", "kwargs": [["title", "rust"]]}, "results": ["Rust"], "#,
            r#""type": "INFO", "message": "List books"}}"#,
        )
    );
}

#[tokio::test]
async fn without_a_word_of_the_handler_the_record_has_the_time_it_took() {
    let capture = Capture::new();
    call(router(layer(&capture)), request("/refused")).await;
    let record = capture.single();
    assert_eq!(record.message(), "GET /refused");
    assert_eq!(record.http_request().unwrap().url, "http://shop.example/refused");
    assert_eq!(record.outcome(), Outcome::Denied);
    assert_eq!(record.user(), None);
    let results = record.results_json().unwrap();
    assert!(results.starts_with(r#"{"duration_ms": "#), "{results}");
}

#[tokio::test]
async fn exempt_paths_have_no_record() {
    let capture = Capture::new();
    let layer = layer(&capture).exempt("^health$").unwrap();
    assert!(layer.clone().exempt("(").unwrap_err().to_string().contains("regular expression"));
    call(router(layer.clone()), request("/health")).await;
    capture.assert_empty();
    call(router(layer), request("/books/health")).await;
    assert_eq!(capture.single().outcome(), Outcome::Failure, "404");
}

#[tokio::test]
async fn the_address_is_that_of_the_connection_unless_a_trusted_proxy_says_otherwise() {
    for (trusted, expected) in [("10.0.0.0/8", "203.0.113.7"), ("192.168.0.0/16", "10.0.0.1")] {
        let capture = Capture::new();
        let layer = layer(&capture)
            .peer(|request: &Exchange<'_>| request.extensions.get::<SocketAddr>().map(|a| a.ip()))
            .trusted_proxies([trusted.parse().unwrap()]);
        let mut request = request("/refused");
        request.headers_mut().insert("x-forwarded-for", "6.6.6.6, 203.0.113.7".parse().unwrap());
        request.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        request.extensions_mut().insert(SocketAddr::from((peer, 4711)));
        call(router(layer), request).await;
        let record = capture.single();
        assert_eq!(record.user().unwrap().ip, expected);
        let https = record.http_request().unwrap().url.starts_with("https://");
        assert_eq!(https, expected != "10.0.0.1", "the scheme of a stranger is not believed");
    }
}

#[tokio::test]
async fn a_handler_that_panics_has_one_record() {
    let capture = Capture::new();
    let app = router(layer(&capture));
    let result = tokio::spawn(call(app, request("/panic"))).await;
    assert!(result.unwrap_err().is_panic());
    let record = capture.single();
    assert_eq!(record.message(), "GET /panic: the handler panicked");
    assert_eq!((record.level(), record.outcome()), (Level::Error, Outcome::Failure));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_has_one_record() {
    let capture = Capture::new();
    let app = router(layer(&capture));
    let called = tokio::time::timeout(Duration::from_secs(1), call(app, request("/slow"))).await;
    assert!(called.is_err());
    let record = capture.single();
    assert_eq!(record.message(), "GET /slow: the client went away");
    assert_eq!((record.http_response(), record.outcome()), (None, Outcome::Unknown));
}

#[tokio::test]
async fn a_service_that_fails_has_one_record() {
    let capture = Capture::new();
    let inner = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("down") });
    assert_eq!(layer(&capture).layer(inner).oneshot(request("/")).await.unwrap_err(), "down");
    assert_eq!(capture.single().outcome(), Outcome::Failure);
}

#[tokio::test]
async fn grpc_says_how_it_ended_in_a_header() {
    for (status, outcome) in
        [("0", Outcome::Success), ("7", Outcome::Denied), ("13", Outcome::Failure)]
    {
        let capture = Capture::new();
        let inner = service_fn(move |_: Request<Body>| async move {
            let response = Response::builder().header("grpc-status", status);
            Ok::<_, ()>(response.body(Body::empty()).unwrap())
        });
        layer(&capture).layer(inner).oneshot(request("/")).await.unwrap();
        assert_eq!(capture.single().outcome(), outcome);
    }
}

#[tokio::test]
async fn no_answer_without_a_record_unless_chosen_otherwise() {
    let capture = Capture::new();
    capture.fail(true);
    let response = call(router(layer(&capture)), request("/books")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().get("set-cookie").is_none(), "nothing of the answer leaks");
    let lossy = Arc::new(BestEffort::new(capture.clone()));
    let response = call(router(AuditLayer::new(lossy.clone())), request("/books")).await;
    assert_eq!((response.status(), lossy.lost()), (StatusCode::OK, 1));
}

/// One thread serves, and the emitter waits: with a sink that is down, others are served all the same.
#[tokio::test(flavor = "current_thread")]
async fn a09_an_emitter_that_waits_holds_up_its_own_request_only() {
    let gate = Gate::closed();
    let policy = Policy::FailClosed { timeout: Duration::from_secs(20) };
    let queue = Queue::open(QueueConfig::new(policy)).unwrap();
    let letters = Arc::new(MemoryDeadLetters::default());
    let guard = queue.start(Arc::new(gate.clone()), Some(letters)).unwrap();
    let app = router(AuditLayer::new(Arc::new(queue)).exempt("^health$").unwrap());
    let waiting = tokio::spawn(call(app.clone(), request("/books")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(call(app, request("/health")).await.status(), StatusCode::OK);
    assert!(!waiting.is_finished(), "answered without a record");
    gate.open();
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
    assert_eq!(gate.messages(), ["List books"]);
    drop(guard);
}

/// The runtime ends while requests are handled and records are on their way.
#[test]
fn a05_a_runtime_that_ends_early_leaves_every_request_its_record() {
    let capture = Capture::new();
    let begun = Arc::new(AtomicUsize::new(0));
    for n in 0..40 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        for _ in 0..10 {
            let begun = begun.clone();
            let inner = service_fn(move |_: Request<Body>| {
                begun.fetch_add(1, Ordering::SeqCst);
                async move {
                    tokio::time::sleep(Duration::from_millis(n % 4)).await;
                    Ok::<_, ()>(Response::new(Body::empty()))
                }
            });
            let emitter = Arc::new(Waiting(capture.clone()));
            runtime.spawn(AuditLayer::new(emitter).layer(inner).oneshot(request("/")));
        }
        std::thread::sleep(Duration::from_millis(n % 3));
        runtime.shutdown_background();
    }
    assert!(begun.load(Ordering::SeqCst) > 0);
    common::eventually(|| capture.records().len() == begun.load(Ordering::SeqCst));
}

/// Is sent to from a thread of its own.
struct Waiting(Capture);

impl Emitter for Waiting {
    fn emit(&self, record: &AuditRecord) -> audit_core::Result<()> {
        self.0.emit(record)
    }

    fn waits(&self) -> bool {
        true
    }
}
