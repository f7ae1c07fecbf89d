//! What an event costs: counting alone, and through the sink, durable.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use audit_core::{Action, ActionKind, Actor, AuditEvent, EventId, Outcome, Raw, Sink};
use audit_sink_report::{Class, Crosstab, Facts, Hour, ReportConfig, ReportFormat, ReportSink};
use chrono::DateTime;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 10_000;

/// Events as an audit topic has them: a few hundred principals, a third of them authorizations.
fn events(round: u64) -> Vec<AuditEvent> {
    let filler = "x".repeat(900);
    let event = |n: u64| {
        let method =
            ["mds.Authorize", "kafka.Authentication", "kafka.CreateTopics"][n as usize % 3];
        let (principal, operation) = (n * 7919 % 300, n % 6);
        let raw = format!(
            r#"{{"data":{{"authenticationInfo":{{"principal":"User:u-{principal}"}},"authorizationInfo":{{"granted":true,"operation":"Operation{operation}"}},"methodName":"{method}","filler":"{filler}"}},"id":"{round}-{n}"}}"#
        );
        let time = DateTime::from_timestamp(1_795_132_800 + (round * EVENTS + n) as i64 / 4, 0);
        let id = EventId::new(format!("{round:08x}-{n:08x}-4603-8603-dc48fbc5772f"));
        let raw = Raw::parse(raw).unwrap();
        let mut event = AuditEvent::new(id, Arc::from("cc"), time.unwrap(), raw);
        event.action = Action { name: Some(method.into()), kind: ActionKind::Authorize };
        event.actor = Some(Actor { id: Some(format!("u-{principal}").into()), ..Actor::default() });
        event.outcome = Outcome::Success;
        event.origin.ip = Some(format!("192.0.2.{}", n % 50).parse().unwrap());
        event
    };
    (0..EVENTS).map(event).collect()
}

/// Returns the time that all threads of this process have run.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let text = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat"));
    let nanos = tasks.flat_map(text).filter_map(|t| t.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

fn count(c: &mut Criterion) {
    let mut group = c.benchmark_group("count");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("facts", |b| {
        let principals: Vec<_> = (0..300).map(|n| format!("u-{n}")).collect();
        b.iter_batched_ref(
            Crosstab::default,
            |crosstab| {
                for n in 0..EVENTS {
                    let mut facts =
                        Facts::new(Hour::of_unix_seconds(1_795_132_800 + n as i64 * 60).unwrap());
                    facts.principal = Some(&principals[n as usize * 7919 % 300]);
                    facts.method = Some("mds.Authorize");
                    facts.class = Class::Authorization { operation: Some("Describe") };
                    facts.count(black_box(crosstab));
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.sample_size(30);
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let config = ReportConfig::new(directory.path()).formats(ReportFormat::ALL);
    let sink = ReportSink::new(config).unwrap();
    let mut round = 0;
    // CPU time: what the disk and other programs do beside it says nothing about the sink.
    group.bench_function("sink, CPU time", |b| {
        b.iter_custom(|rounds| {
            let mut total = Duration::ZERO;
            for _ in 0..rounds {
                round += 1;
                let events = events(round);
                let before = cpu_time();
                let written = runtime.block_on(sink.write(&events)).unwrap();
                total += cpu_time().saturating_sub(before);
                assert!(written.duplicates.is_empty());
            }
            total
        });
    });
    group.finish();
}

criterion_group!(benches, count);
criterion_main!(benches);
