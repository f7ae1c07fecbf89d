//! What an event of 600 bytes costs the client: building the body, sending it, judging the answer.
//!
//! "CPU" is the time that the client's own thread spends, the kernel's part of sending included; the
//! server is another thread, and its time is not counted. "wall" is the time that passes.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{AuditEvent, EventId, Format, Raw, Sink};
use audit_sink_elastic::{ElasticConfig, ElasticSink};
use chrono::DateTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// About 4 MiB, the pipeline's default bound of a batch.
const BATCH: usize = 6_000;

fn events() -> Vec<AuditEvent> {
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
        while raw.len() < 590 {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            raw.push_str(&format!("{:x} changed ", word % 0xffff));
        }
        raw.truncate(598);
        raw.push_str(r#""}"#);
        let time = DateTime::from_timestamp_micros(1_700_000_000_000_001 + n as i64).unwrap();
        let id = EventId::new(format!("orders-db/audit_log/{n}"));
        AuditEvent::new(id, source.clone(), time, Raw::parse(raw).unwrap())
    };
    (0..BATCH).map(event).collect()
}

/// Answers each body with as many 201 as it has documents.
fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = vec![0; 1 << 20];
    let mut held = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&held, b"\r\n\r\n") {
                break held.drain(..end + 4).collect::<Vec<_>>();
            }
            let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            held.extend_from_slice(&buffer[..n]);
        };
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ")?;
        let mut left: usize = length.lines().next()?.parse().ok()?;
        let mut lines = 0;
        loop {
            lines += memchr::memchr_iter(b'\n', &held).count();
            left -= held.len();
            held.clear();
            if left == 0 {
                break;
            }
            let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            held.extend_from_slice(&buffer[..n]);
        }
        let items = vec![r#"{"create":{"status":201}}"#; lines / 2].join(",");
        let body = format!(r#"{{"errors":false,"items":[{items}]}}"#);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
    }
}

/// The time that this thread has had a processor.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn bulk(c: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batch = events();
    let mut group = c.benchmark_group("bulk");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);

    let mut body = Vec::new();
    group.bench_function("floor: copy the records", |b| {
        b.iter(|| {
            body.clear();
            for event in &batch {
                Format::Raw.append_line(event, &mut body).unwrap();
                body.push(b'\n');
            }
            black_box(body.len())
        });
    });
    let sent = bytes::Bytes::from(body.clone());
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    group.bench_function("floor: send a body that is there (CPU)", |b| {
        b.iter_custom(|rounds| {
            let begin = cpu();
            for _ in 0..rounds {
                runtime.block_on(async {
                    let answer = plain.post(&url).body(sent.clone()).send().await.unwrap();
                    black_box(answer.bytes().await.unwrap())
                });
            }
            cpu() - begin
        });
    });
    group.bench_function("gzip alone", |b| {
        b.iter(|| {
            let level = flate2::Compression::fast();
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), level);
            packed.write_all(&sent).unwrap();
            black_box(packed.finish().unwrap().len())
        });
    });
    for (name, index) in [("write", "audit"), ("write, an index a day", "audit-{yyyy.MM.dd}")] {
        let mut config = ElasticConfig::new(&url, index).unwrap();
        config.gzip = Some(false);
        let sink = ElasticSink::new(config).unwrap();
        let write = || {
            let written = runtime.block_on(sink.write(&batch)).unwrap();
            assert!(written.failures.is_empty() && written.duplicates.is_empty());
        };
        group.bench_function(format!("{name} (CPU)"), |b| {
            b.iter_custom(|rounds| {
                let begin = cpu();
                (0..rounds).for_each(|_| write());
                cpu() - begin
            });
        });
        group.bench_function(format!("{name} (wall)"), |b| {
            b.iter_custom(|rounds| {
                let begin = Instant::now();
                (0..rounds).for_each(|_| write());
                begin.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bulk);
criterion_main!(benches);
