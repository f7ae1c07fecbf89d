//! Serves the stand-in of the API with so many samples of a kilobyte, for benchmarks and trials.
//!
//! `cargo run --release -p audit-source-port --example fake_port -- 8089 100000`, then read it with the
//! token `bench`, or the client id `client` and the secret `s3cret-canary`. The samples lie over the
//! 30 days before today's midnight.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "an example shows what it does")]
#![allow(unreachable_pub, reason = "a folder that tests share")]

#[path = "../tests/fake/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
mod fake;

use audit_core::Clock;
use fake::{FakePort, Json, Record};

const MONTH: i64 = 30 * 86_400_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().unwrap_or_else(|| "8089".to_owned());
    let count: u64 = arguments.next().map_or(100_000, |n| n.parse().expect("a number of records"));
    let clock = Clock::system();
    let midnight = clock.now().timestamp_millis() / 86_400_000 * 86_400_000;
    let fake = FakePort::start_at(&format!("127.0.0.1:{port}"), clock).await;
    let first = midnight - MONTH;
    {
        let mut state = fake.lock();
        state.fixed_token = Some("bench".to_owned());
        state.notes = false;
        for n in 0..count {
            let at = first + (i128::from(n) * i128::from(MONTH) / i128::from(count)) as i64;
            state.add(Record { at, appears: at, json: Json::Sample(n) });
        }
    }
    println!("{count} records from {} on: {}", first / 1000, fake.url());
    std::future::pending::<()>().await;
}
