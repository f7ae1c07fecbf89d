//! What an event of 700 bytes costs, from the slice of events to the durable file.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may stop and tell")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{AuditEvent, EventId, Format, Raw, Sink};
use audit_sink_file::{FileConfig, FileSink};
use chrono::DateTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// About twice the pipeline's default bound of a batch.
const BATCH: usize = 6_000;

fn events(from: usize) -> Vec<AuditEvent> {
    let source: Arc<str> = Arc::from("bench");
    let event = |n: usize| {
        let mut raw = format!(
            r#"{{"id":{n},"actor":"user-{}@example.com","action":"app.change","ip":"10.0.{}.{}""#,
            n % 997,
            n % 256,
            n % 251
        );
        let mut word = n as u64;
        raw.push_str(r#","detail":""#);
        while raw.len() < 690 {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            raw.push_str(&format!("{:x} changed ", word % 0xffff));
        }
        raw.push_str(r#""}"#);
        let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let id = EventId::new(format!("orders-db/audit_log/{n}"));
        AuditEvent::new(id, source.clone(), time, Raw::parse(raw).unwrap())
    };
    (from..from + BATCH).map(event).collect()
}

/// Gives each batch new ids, as a source does; not measured.
fn renumber(events: &mut [AuditEvent], from: &mut usize) {
    for event in events {
        event.id = EventId::new(format!("orders-db/audit_log/{from}"));
        *from += 1;
    }
}

fn write(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let mut group = c.benchmark_group("write");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);

    let mut batch = events(0);
    let mut buffer = Vec::new();
    group.bench_function("floor: copy only", |b| {
        b.iter(|| {
            buffer.clear();
            for event in &batch {
                buffer.extend_from_slice(event.raw.get().as_bytes());
                buffer.push(b'\n');
            }
            black_box(buffer.len())
        });
    });
    group.bench_function("floor: format only", |b| {
        b.iter(|| {
            buffer.clear();
            for event in &batch {
                Format::Raw.append_line(event, &mut buffer).unwrap();
                buffer.push(b'\n');
            }
            black_box(buffer.len())
        });
    });

    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, directory) in [
        ("memory/a.ndjson", memory.path()),
        ("disk/a.ndjson", disk.path()),
        ("memory/a.ndjson.zst", memory.path()),
        ("disk/a.ndjson.zst", disk.path()),
        ("memory/a.ndjson.gz", memory.path()),
    ] {
        let path = directory.join(name.rsplit('/').next().unwrap());
        let sink = FileSink::new(FileConfig::new(&path)).unwrap();
        let mut next = 0;
        let mut bytes = 0;
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    renumber(&mut batch, &mut next);
                    let start = Instant::now();
                    let written = runtime.block_on(sink.write(&batch)).unwrap();
                    spent += start.elapsed();
                    assert!(written.duplicates.is_empty());
                    bytes = std::fs::metadata(&path).unwrap().len();
                    if bytes > 1 << 30 {
                        std::fs::File::options()
                            .write(true)
                            .open(&path)
                            .unwrap()
                            .set_len(0)
                            .unwrap();
                    }
                }
                spent
            });
        });
        println!("{name}: {bytes} bytes at the end of {next} events");
        group.bench_function(format!("{name}, repeats"), |b| {
            b.iter(|| runtime.block_on(sink.write(&batch)).unwrap().duplicates.len());
        });
    }
    group.finish();
}

criterion_group!(benches, write);
criterion_main!(benches);
