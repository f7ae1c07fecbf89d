//! What it costs to write an event in each format, without a sink.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop")]

use std::hint::black_box;

use audit_core::{AuditEvent, Format};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Events as every source makes them.
const EVENTS: &[&str] = &[
    include_str!("../tests/format/data/events_confluent.ndjson"),
    include_str!("../tests/format/data/events_django.ndjson"),
    include_str!("../tests/format/data/events_helsinki.ndjson"),
    include_str!("../tests/format/data/events_oci.ndjson"),
    include_str!("../tests/format/data/events_port.ndjson"),
];

fn write(c: &mut Criterion) {
    let lines = EVENTS.iter().flat_map(|lines| lines.lines());
    let events: Vec<AuditEvent> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut group = c.benchmark_group("formats");
    group.throughput(Throughput::Elements(events.len() as u64));
    let mut out = Vec::with_capacity(1 << 16);
    for format in Format::ALL {
        group.bench_function(format.as_str(), |b| {
            b.iter(|| {
                out.clear();
                for event in black_box(&events) {
                    format.append_line(event, &mut out).unwrap();
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, write);
criterion_main!(benches);
