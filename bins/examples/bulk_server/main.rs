//! A fast stand-in for OpenSearch's `_bulk`, to measure against: it keeps what it took in memory,
//! answers each document as the real one does, and can be slow, busy and picky.
//!
//! Usage: `bulk_server [--port N] [--latency-ms N] [--seed N]`, and as shares of 1: of the requests
//! `--busy` (429), `--down` (503) and `--lose` (503 though the documents were stored); of the
//! documents `--throttle` (429) and `--refuse` (400, always the same documents).
//!
//! It prints its URL, and runs until it is killed. `GET /stats` tells what it holds.

#![allow(clippy::print_stdout, reason = "a program")]

mod http;
mod store;

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Connection, Request};
use store::{Fate, Fields, Store};

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    latency: Duration,
    seed: u64,
    busy: f64,
    down: f64,
    lose: f64,
    throttle: f64,
    refuse: f64,
}

struct Server {
    faults: Faults,
    requests: AtomicU64,
    failed: AtomicU64,
    store: Mutex<Store>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut faults, mut port) = (Faults::default(), 0);
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--port" => port = value.parse()?,
            "--latency-ms" => faults.latency = Duration::from_millis(value.parse()?),
            "--seed" => faults.seed = value.parse()?,
            "--busy" => faults.busy = value.parse()?,
            "--down" => faults.down = value.parse()?,
            "--lose" => faults.lose = value.parse()?,
            "--throttle" => faults.throttle = value.parse()?,
            "--refuse" => faults.refuse = value.parse()?,
            _ => return Err(format!("no such option: {option}").into()),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("http://{}", listener.local_addr()?);
    let server = Arc::new(Server {
        faults,
        requests: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        store: Mutex::new(Store::new(faults.lose > 0.0)),
    });
    for stream in listener.incoming() {
        let (server, stream) = (Arc::clone(&server), stream?);
        // A client that goes away ends its thread.
        std::thread::spawn(move || server.serve(stream));
    }
    Ok(())
}

impl Server {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut connection = Connection::new(stream)?;
        let mut answer = Vec::new();
        while let Some(request) = connection.next()? {
            answer.clear();
            let status = self.answer(&request, &mut answer);
            let (is_head, is_stats) = (request.method == "HEAD", request.path == "/stats");
            if !self.faults.latency.is_zero() && !is_stats {
                std::thread::sleep(self.faults.latency);
            }
            connection.reply(status, is_head, &answer)?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request<'_>, out: &mut Vec<u8>) -> u16 {
        let (path, query) = (request.path, request.query);
        match (request.method, path) {
            ("GET", "/") => out.extend_from_slice(
                br#"{"name":"stand-in","cluster_name":"bench","version":{"distribution":"opensearch","number":"2.19.0"}}"#,
            ),
            ("GET", "/stats") => self.stats(out),
            ("POST", "/_mget") => {
                if self.lock().get_many(request.body, out).is_err() {
                    return 400;
                }
            }
            ("POST", _) if path.ends_with("/_bulk") => {
                let index = path.trim_end_matches("_bulk").trim_matches('/');
                return self.bulk(index, query, request.body, out);
            }
            // The index is there.
            ("HEAD" | "GET", _) if !path.starts_with("/_") => out.extend_from_slice(b"{}"),
            _ => {
                out.extend_from_slice(br#"{"error":"no such address","status":404}"#);
                return 404;
            }
        }
        200
    }

    fn bulk(&self, index: &str, query: &str, body: &[u8], out: &mut Vec<u8>) -> u16 {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::new(self.faults.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let Faults { busy, down, lose, throttle, refuse, seed, .. } = self.faults;
        let drawn = random.share();
        if drawn < busy + down {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let (kind, status) = match drawn < busy {
                true => ("es_rejected_execution_exception", 429),
                false => ("cluster_block_exception", 503),
            };
            let text =
                format!(r#"{{"error":{{"type":"{kind}","reason":"a fault"}},"status":{status}}}"#);
            out.extend_from_slice(text.as_bytes());
            return status;
        }
        let fate = |id: &[u8]| {
            if refuse > 0.0 && Random::new(seed ^ store::hash(id)).share() < refuse {
                Fate::Refused
            } else if throttle > 0.0 && random.share() < throttle {
                Fate::Throttled
            } else {
                Fate::Taken
            }
        };
        let done = self.lock().bulk(index, Fields::of(query), body, fate, out);
        if let Err(error) = done {
            out.clear();
            out.extend_from_slice(br#"{"error":{"type":"illegal_argument_exception","reason":""#);
            out.extend_from_slice(error.as_bytes());
            out.extend_from_slice(br#""},"status":400}"#);
            return 400;
        }
        if drawn < busy + down + lose {
            self.failed.fetch_add(1, Ordering::Relaxed);
            out.clear();
            return 503;
        }
        200
    }

    fn stats(&self, out: &mut Vec<u8>) {
        let (requests, failed) =
            (self.requests.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let text =
            format!(r#"{{"requests":{requests},"failed":{failed},{}}}"#, self.lock().stats());
        out.extend_from_slice(text.as_bytes());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A small generator of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 up to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
