//! The least that could be done with the stand-in: the same requests over the same number of connections,
//! and nothing else. No signature, no JSON, no order; what comes is counted and forgotten.
//!
//! `cargo run --release -p audit-source-oci --example floor -- 127.0.0.1:8124 304 22 8`
//!
//! The arguments: address of a `fake_oci` that is `open`, its days, windows, windows at once.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example shows what it does")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Instant;

use audit_core::Clock;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Fetches a window page by page; returns pages and bytes.
fn window(
    connection: &mut BufReader<TcpStream>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> (u64, u64) {
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (from, to) = (text(from), text(to));
    let (mut page, mut pages, mut bytes) = (String::new(), 0, 0);
    loop {
        let request = format!(
            "GET /eu-frankfurt-1/20190901/auditEvents?compartmentId=ocid1.tenancy.oc1..t\
             &startTime={from}&endTime={to}{page} HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length, mut next) = (String::new(), 0, None);
        while line != "\r\n" {
            line.clear();
            connection.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("opc-next-page", value)) => next = Some(value.to_owned()),
                _ => {}
            }
        }
        bytes += std::io::copy(&mut connection.take(length), &mut std::io::sink()).unwrap();
        pages += 1;
        let Some(next) = next else { return (pages, bytes) };
        page = format!("&page={next}");
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, days, windows, at_once] = arguments.as_slice() else { panic!("four arguments") };
    let (days, windows): (i64, i32) = (days.parse().unwrap(), windows.parse().unwrap());
    let step = TimeDelta::minutes(TimeDelta::days(days).num_minutes() / i64::from(windows) + 1);
    let now = Clock::system().now();
    let end = DateTime::from_timestamp(now.timestamp() / 60 * 60, 0).unwrap();
    let (turn, pages, bytes) = (AtomicI32::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once.parse().unwrap() {
            scope.spawn(|| {
                let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                loop {
                    let n = turn.fetch_add(1, Ordering::Relaxed);
                    if n >= windows {
                        return;
                    }
                    let to = end - step * n;
                    let (some, length) = window(&mut connection, to - step, to);
                    pages.fetch_add(some, Ordering::Relaxed);
                    bytes.fetch_add(length, Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} pages, {} bytes in {seconds:.2} s", pages.into_inner(), bytes.into_inner());
}
