//! Events of `tracing` become records.
#![cfg(feature = "tracing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use audit_core::{ActionKind, Outcome};
use audit_logger::{AuditLogger, AuditTracing, Capture, Emitter, Level};
use tracing_subscriber::layer::SubscriberExt;

fn with_layer(adapt: impl FnOnce(AuditTracing) -> AuditTracing, run: impl FnOnce(&Capture)) {
    let capture = Capture::new();
    let emitter: Arc<dyn Emitter> = Arc::new(capture.clone());
    let layer = adapt(AuditTracing::new(AuditLogger::new().with_emitter(emitter)));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || run(&capture));
}

#[test]
fn an_event_carries_the_fields_of_its_spans() {
    with_layer(
        |layer| layer,
        |capture| {
            let outer =
                tracing::info_span!("request", request_id = "r-1", actor = "nobody", role = 7);
            let _outer = outer.enter();
            let inner = tracing::info_span!("update", late = tracing::field::Empty);
            inner.record("late", 1.5);
            inner.in_scope(|| {
                tracing::info!(
                    target: "audit",
                    actor = "42",
                    action = "update",
                    target_type = "User",
                    target_id = 42,
                    outcome = "denied",
                    password = "canary",
                    flag = true,
                    "phone number changed for {}",
                    "Ada"
                );
            });
            let record = capture.single();
            assert_eq!(record.message(), "phone number changed for Ada");
            assert_eq!(record.level(), Level::Info);
            assert_eq!(record.actor().unwrap().id.as_deref(), Some("42"), "the innermost wins");
            assert_eq!(record.action().kind, ActionKind::Update);
            let target = record.target().unwrap();
            assert_eq!((target.kind.as_deref(), target.id.as_deref()), (Some("User"), Some("42")));
            assert_eq!(record.outcome(), Outcome::Denied);
            assert_eq!(record.correlation_id(), Some("r-1"));
            assert_eq!(
                record.results_json(),
                Some(r#"{"flag": true, "late": 1.5, "password": "***", "role": 7}"#)
            );
        },
    );
}

#[test]
fn every_level_has_its_own_and_other_targets_none() {
    with_layer(
        |layer| layer.target("security"),
        |capture| {
            tracing::error!("not for the audit log");
            tracing::error!(target: "audit", "another target");
            tracing::error!(target: "security", "e");
            tracing::warn!(target: "security", "w");
            tracing::debug!(target: "security", "d");
            tracing::trace!(target: "security", outcome = "odd", action = "fly");
            let levels: Vec<_> = capture.records().iter().map(|r| r.level()).collect();
            assert_eq!(levels, [Level::Error, Level::Warning, Level::Debug, Level::Debug]);
            let odd = &capture.records()[3];
            assert_eq!((odd.outcome(), odd.action().kind), (Outcome::Unknown, ActionKind::Other));
            assert_eq!(odd.action().name.as_deref(), Some("fly"));
        },
    );
}

#[test]
fn a_record_that_is_not_taken_is_told() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let on_error = move |_: &audit_core::Error| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    with_layer(
        |layer| layer.on_error(on_error),
        |capture| {
            capture.fail(true);
            tracing::info!(target: "audit", "lost?");
            assert_eq!(told.load(Ordering::Relaxed), 1);
        },
    );
}

#[test]
fn by_default_the_failure_is_an_event_that_does_not_go_round_in_circles() {
    with_layer(
        |layer| layer,
        |capture| {
            capture.fail(true);
            tracing::info!(target: "audit", "lost?");
            capture.fail(false);
            capture.assert_empty();
            assert_eq!(capture.messages().len(), 0);
        },
    );
}
