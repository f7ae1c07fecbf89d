//! What a record costs the sender: CPU time a record, all threads counted, of the sink and of the
//! least that could be done, a loop that hands ready payloads to librdkafka with the same settings.
//!
//! `cargo bench -p audit-sink-kafka` starts a cluster of its own in another process;
//! `AUDIT_TEST_KAFKA=host:port` takes a real one. A number behind `--` is that of the records of each
//! run, uncompressed only.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may stop, and prints")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit_core::{AuditEvent, EventId, Raw, Sink};
use audit_sink_kafka::{Compression, KafkaConfig, KafkaSink};
use chrono::DateTime;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

/// About the bound of a pipeline's batch.
const BATCH: usize = 2_000;
const RECORDS: usize = 120_000;

fn events() -> Vec<AuditEvent> {
    let source: Arc<str> = Arc::from("bench");
    let event = |n: usize| {
        let mut raw = format!(r#"{{"identifier":{n},"actor":"user-{}","detail":""#, n % 997);
        let mut word = n as u64;
        while raw.len() < 1_000 {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            raw.push_str(&format!("{:x} changed ", word % 0xffff));
        }
        raw.push_str(r#""}"#);
        let time = DateTime::from_timestamp_millis(1_760_000_000_001 + n as i64).unwrap();
        let id = EventId::new(format!("orders-db/audit_log/{n}"));
        AuditEvent::new(id, source.clone(), time, Raw::parse(raw).unwrap())
    };
    (0..BATCH).map(event).collect()
}

/// The processor time of all threads of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A cluster in another process, so that its work is not counted.
struct Cluster(Option<Child>, String);

impl Cluster {
    fn start() -> Self {
        if let Ok(brokers) = std::env::var("AUDIT_TEST_KAFKA") {
            return Self(None, brokers);
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child =
            command.env("AUDIT_BENCH_CLUSTER", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(Some(child), line.trim().to_owned())
    }

    /// Serves until the other process is gone.
    fn serve() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("bench", 4, 1).unwrap();
        println!("{}", cluster.bootstrap_servers());
        let _gone = std::io::stdin().read(&mut [0]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

fn bare(
    brokers: &str,
    compression: &str,
    events: &[AuditEvent],
    batches: usize,
    headers: bool,
) -> Duration {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("partitioner", "murmur2_random")
        .set("compression.type", compression)
        .set("queue.buffering.max.kbytes", "32768")
        .create()
        .unwrap();
    let send = |event: &AuditEvent| {
        let mut record = BaseRecord::to("bench")
            .key(event.id.as_str().as_bytes())
            .payload(event.raw.get().as_bytes())
            .timestamp(event.time.timestamp_millis());
        if headers {
            let text = |key, value| Header { key, value: Some(value) };
            record.headers = Some(
                OwnedHeaders::new_with_capacity(4)
                    .insert(text("id", event.id.as_str()))
                    .insert(text("source", &event.source))
                    .insert(text("time", "2025-10-09T08:53:20.001Z"))
                    .insert(text("content-type", "application/json")),
            );
        }
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    events.iter().for_each(send);
    producer.flush(Duration::from_secs(30)).unwrap();
    let begin = cpu();
    for _ in 0..batches {
        events.iter().for_each(send);
    }
    while producer.in_flight_count() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    cpu() - begin
}

fn sink(
    brokers: &str,
    compression: Compression,
    events: &[AuditEvent],
    batches: usize,
) -> (Duration, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = KafkaConfig::new(brokers, "bench");
    config.compression = compression;
    let sink = KafkaSink::new(config).unwrap();
    let write = || {
        let written = runtime.block_on(sink.write(events)).unwrap();
        assert!(written.failures.is_empty());
    };
    write();
    let (begin, clock) = (cpu(), Instant::now());
    (0..batches).for_each(|_| write());
    (cpu() - begin, clock.elapsed())
}

fn main() {
    if std::env::var_os("AUDIT_BENCH_CLUSTER").is_some() {
        return Cluster::serve();
    }
    let cluster = Cluster::start();
    let events = events();
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let batches = given.unwrap_or(RECORDS) / BATCH;
    let compressions = [Compression::None, Compression::Lz4, Compression::Zstd];
    let compressions = compressions.iter().take(if given.is_some() { 1 } else { 3 });
    let records = (BATCH * batches) as u32;
    let micros = |time: Duration| (time / records).as_nanos() as f64 / 1000.0;
    println!("{records} records of {} bytes; µs of CPU a record", events[0].raw.get().len());
    for &compression in compressions {
        let name = format!("{compression:?}").to_lowercase();
        let mut best = [Duration::MAX; 4];
        for _ in 0..3 {
            let (cpu, wall) = sink(&cluster.1, compression, &events, batches);
            let round = [
                bare(&cluster.1, &name, &events, batches, false),
                bare(&cluster.1, &name, &events, batches, true),
                cpu,
                wall,
            ];
            best = std::array::from_fn(|n| best[n].min(round[n]));
        }
        let [bare, with_headers, sink, wall] = best;
        println!(
            "{name:5} bare {:.2}, bare with the same headers {:.2}, sink {:.2}: {:.2} times, {:.2} \
             with headers; {:.0} records a second",
            micros(bare),
            micros(with_headers),
            micros(sink),
            sink.as_secs_f64() / bare.as_secs_f64(),
            sink.as_secs_f64() / with_headers.as_secs_f64(),
            f64::from(records) / wall.as_secs_f64(),
        );
    }
}
