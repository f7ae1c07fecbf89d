//! The README's example beside a bare write, the JSON layer of `tracing-subscriber` and the Python
//! package, in turns in one run: `cargo bench -p audit-logger`.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed benchmark")]
#![expect(clippy::print_stdout, reason = "prints its figures")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{AuditEvent, Result, Sink, Written};
use audit_logger::{AuditLogger, Emitter, LineWriter, Policy, Queue, QueueConfig, SpoolConfig};

/// Short rounds in turns, so that what else the machine does befalls all alike.
const EVENTS: u32 = 10_000;
const ROUNDS: usize = 101;

fn null() -> File {
    OpenOptions::new().write(true).open("/dev/null").unwrap()
}

fn send(logger: &mut AuditLogger) {
    logger
        .set_http_request(black_box("GET"), black_box("https://localhost"), black_box("Test"))
        .info(black_box("This is a log message"))
        .send_log()
        .unwrap();
}

fn fresh(template: &AuditLogger) {
    send(&mut template.clone());
}

fn per_event(mut event: impl FnMut()) -> f64 {
    let began = cpu_time();
    for _ in 0..EVENTS {
        event();
    }
    (cpu_time() - began) * 1e9 / f64::from(EVENTS)
}

/// The time this thread had a processor, in seconds.
fn cpu_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn tracing_json(writer: impl Write + Send + 'static) -> impl FnMut() {
    let writer = std::sync::Mutex::new(writer);
    let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
    let dispatch = tracing::Dispatch::new(subscriber);
    move || {
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(
                target: "audit",
                method = black_box("GET"),
                url = black_box("https://localhost"),
                user_agent = black_box("Test"),
                "This is a log message"
            );
        });
    }
}

fn python() -> Option<f64> {
    let script = "
import sys, time
from audit_log.logger import AuditLogger
n = 20000
t = time.process_time()
for _ in range(n):
    AuditLogger().set_http_request(method='GET', url='https://localhost', user_agent='Test').info('This is a log message').send_log()
print((time.process_time() - t) / n * 1e9, file=sys.stderr)
";
    let python = std::env::var_os("AUDIT_TEST_PYTHON")?;
    let output =
        std::process::Command::new(python).args(["-c", script]).stdout(null()).output().unwrap();
    String::from_utf8(output.stderr).unwrap().trim().parse().ok()
}

fn main() {
    let logger = |emitter: Arc<dyn Emitter>| AuditLogger::new().with_emitter(emitter);
    let mut line = AuditLogger::new()
        .set_http_request("GET", "https://localhost", "Test")
        .info("This is a log message")
        .record()
        .unwrap()
        .to_json_line()
        .unwrap();
    line.push('\n');
    let mut bare = null();
    let direct = logger(Arc::new(LineWriter::new(null())));
    let mut reused = direct.clone();
    let buffered = || Arc::new(LineWriter::new(null()).buffered(64 << 10));
    let mut into_buffer = logger(buffered());
    let fresh_into_buffer = logger(buffered());
    let mut peer = tracing_json(null());
    let mut buffered_peer = tracing_json(BufWriter::with_capacity(64 << 10, null()));
    let names = [
        "write(2) of a ready line",
        "one write a line, a new logger each",
        "one write a line, one logger",
        "buffered, a new logger each",
        "buffered, one logger",
        "tracing-subscriber json, one write a line",
        "tracing-subscriber json, buffered",
    ];
    let mut rounds: Vec<[f64; 7]> = Vec::new();
    for _ in 0..=ROUNDS {
        rounds.push([
            per_event(|| assert_eq!(bare.write(black_box(line.as_bytes())).unwrap(), line.len())),
            per_event(|| fresh(&direct)),
            per_event(|| send(&mut reused)),
            per_event(|| fresh(&fresh_into_buffer)),
            per_event(|| send(&mut into_buffer)),
            per_event(&mut peer),
            per_event(&mut buffered_peer),
        ]);
    }
    rounds.remove(0);
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{:<45}{:>10}{:>12}",
        format!("{} bytes a line", line.len()),
        "ns/event",
        "x write(2)"
    );
    for (n, name) in names.iter().enumerate() {
        let time = median(rounds.iter().map(|round| round[n]).collect());
        let ratio = median(rounds.iter().map(|round| round[n] / round[0]).collect());
        println!("{name:<45}{time:>10.0}{ratio:>12.2}");
    }
    if let Some(time) = python() {
        let ours = median(rounds.iter().map(|round| round[1]).collect());
        println!("{:<45}{time:>10.0}{:>12.2}", "datapunt_audit_log 0.4.0", time / rounds[0][0]);
        println!("times faster than the Python package: {:.0}", time / ours);
    }
    let peers = rounds.iter().map(|round| round[5] / round[1]).collect();
    println!("times faster than tracing-subscriber: {:.1}", median(peers));
    latencies();
}

/// What a queue adds to a request, while its sink works and while it is stalled, by the clock: of many
/// short rounds, the one that other programs disturbed least.
fn latencies() {
    const ROUNDS: usize = 25;
    const REQUESTS: usize = 2000;
    for name in ["best effort", "spool"] {
        for stalled in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let policy = match name {
                "spool" => Policy::Spool(SpoolConfig::new(dir.path())),
                _ => Policy::BestEffort,
            };
            let config = QueueConfig::new(policy).grace(Duration::ZERO);
            let queue = Queue::open(config).unwrap();
            let guard = queue.start(Arc::new(Stall(stalled)), None).unwrap();
            let mut audit = AuditLogger::new().with_emitter(Arc::new(queue));
            let mut round = || {
                let mut times: Vec<_> = (0..REQUESTS)
                    .map(|_| {
                        let began = Instant::now();
                        send(&mut audit);
                        let time = began.elapsed();
                        std::thread::sleep(Duration::from_micros(20));
                        time
                    })
                    .collect();
                times.sort();
                (times[REQUESTS * 99 / 100], times[REQUESTS / 2])
            };
            let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
            rounds.sort();
            let state = if stalled { "sink stalled" } else { "sink works" };
            let (p99, median) = rounds[0];
            let usual = rounds[ROUNDS / 2].0;
            println!("queue, {name}, {state}: median {median:?}, p99 {p99:?}, usual p99 {usual:?}");
            drop((audit, guard));
        }
    }
}

struct Stall(bool);

#[async_trait::async_trait]
impl Sink for Stall {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, _: &[AuditEvent]) -> Result<Written> {
        if self.0 {
            std::future::pending::<()>().await;
        }
        Ok(Written::all())
    }
}
