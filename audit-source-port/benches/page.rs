//! What an event of a kilobyte costs: from the bytes of an answer to the batch, over HTTP.
//!
//! The server is in the same process, and sends the same answer again and again; the source begins anew
//! each time. "ask" is the least that could be done: the same requests, without a look at the answers.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop")]

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};

use audit_core::{Clock, Limit, Read, Secret, Source};
use audit_source_port::{PortConfig, PortSource};
use chrono::{DateTime, Utc};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

#[path = "../tests/fake/sample.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
mod sample;

/// Not a round number, which would be asked for again.
const PAGE: u64 = 999;
const START: i64 = 1_767_225_600_000;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(START + 86_400_000).unwrap()
}

/// Answers every request with one page.
fn serve(stream: TcpStream, body: &[u8]) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    let date = now().format("%a, %d %b %Y %H:%M:%S GMT");
    let head = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n", body.len());
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
        }
        writer.write_all(head.as_bytes()).ok()?;
        writer.write_all(body).ok()?;
    }
}

fn server(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body: &'static [u8] = body.leak();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, body));
        }
    });
    url
}

/// Reads one page from the beginning, in batches.
async fn page(source: &mut PortSource) -> usize {
    source.open(None).await.unwrap();
    let mut events = 0;
    while events < PAGE as usize {
        match source.read(Limit::default()).await.unwrap() {
            Read::Batch(batch) => events += black_box(batch).events.len(),
            _ => break,
        }
    }
    events
}

fn bench(criterion: &mut Criterion) {
    let records: Vec<_> = (0..PAGE).map(|n| sample::sample(n, START + n as i64 * 60_000)).collect();
    let body = format!(r#"{{"ok":true,"audits":[{}]}}"#, records.join(",")).into_bytes();
    let size = body.len() as u64;
    let url = server(body);
    let runtime = Runtime::new().unwrap();
    let mut group =
        criterion.benchmark_group(format!("page of {PAGE} events, {} B each", size / PAGE));
    group.throughput(Throughput::Elements(PAGE));

    let mut config = PortConfig::with_token(Secret::new("bench"));
    config.url.clone_from(&url);
    config.from = DateTime::from_timestamp_millis(START);
    let clock = Clock::from_fn(now);
    let mut source = PortSource::new(config).unwrap().with_clock(clock);
    group.bench_function("read", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(page(&mut source)), PAGE as usize));
    });

    let address = url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    let mut buffer = vec![0; size as usize];
    group.bench_function("ask", |bencher| {
        bencher.iter(|| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.read_exact(&mut buffer).unwrap();
            black_box(&buffer);
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
