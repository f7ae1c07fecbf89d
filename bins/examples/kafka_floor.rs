//! The least that could be done, to measure `port-to-kafka` against: asks the stand-in of Port's API
//! for one slice of time after the other, cuts the records out, and hands them to librdkafka with the
//! settings of the Kafka sink and the headers it writes. It has no late records, no ids to remember,
//! no checks, no checkpoint, no dead letters.
//!
//! Usage: `kafka_floor BROKERS TOPIC PORT RECORDS LIMIT`, or `kafka_floor BROKERS TOPIC --make | --drop`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may stop, and prints")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use audit_core::Clock;
use chrono::DateTime;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

const MONTH: i64 = 30 * 86_400_000;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    audits: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Identified<'a> {
    identifier: &'a str,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [brokers, topic, "--make"] => admin(brokers, async |admin| {
            let new = NewTopic::new(topic, 3, TopicReplication::Fixed(1));
            assert!(admin.create_topics([&new], &AdminOptions::new()).await.unwrap()[0].is_ok());
        }),
        [brokers, topic, "--drop"] => admin(brokers, async |admin| {
            assert!(admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap()[0].is_ok());
        }),
        [brokers, topic, port, records, limit] => {
            ship(brokers, topic, port, records.parse().unwrap(), limit.parse().unwrap());
        }
        _ => panic!("usage: kafka_floor BROKERS TOPIC (PORT RECORDS LIMIT | --make | --drop)"),
    }
}

fn admin(brokers: &str, act: impl AsyncFnOnce(AdminClient<DefaultClientContext>)) {
    let admin = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(act(admin));
}

fn ship(brokers: &str, topic: &str, port: &str, records: i64, limit: i64) {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("sticky.partitioning.linger.ms", "2")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.kbytes", "32768")
        .create()
        .unwrap();
    // The library asks for a producer id with an answer about topics, else half a second later.
    for _ in 0..3 {
        producer.client().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
    let mut connection = BufReader::new(TcpStream::connect(format!("127.0.0.1:{port}")).unwrap());
    let midnight = Clock::system().now().timestamp_millis() / 86_400_000 * 86_400_000;
    // As full as answers are where nobody knows how many records there are.
    let slices = (records * 4 / 3 + limit - 1) / limit;
    let at = |slice: i64| midnight - MONTH + slice * MONTH / slices;
    let (mut body, mut sent) = (Vec::new(), 0);
    for slice in 0..slices {
        fetch(&mut connection, at(slice) - 1, at(slice + 1), limit, &mut body);
        let page: Page<'_> = serde_json::from_slice(&body).unwrap();
        sent += page.audits.len();
        page.audits.into_iter().for_each(|raw| produce(&producer, topic, raw));
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
    println!("{sent} sent");
}

fn produce(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, raw: &RawValue) {
    let id = serde_json::from_str::<Identified<'_>>(raw.get()).unwrap().identifier;
    let text = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new_with_capacity(4)
        .insert(text("id", id))
        .insert(text("source", "port"))
        .insert(text("time", "2025-10-09T08:53:20.001Z"))
        .insert(text("content-type", "application/json"));
    let mut record =
        BaseRecord::to(topic).key(id.as_bytes()).payload(raw.get().as_bytes()).headers(headers);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
        record = back;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks for the records from one time to another, over a connection that stays.
fn fetch(
    connection: &mut BufReader<TcpStream>,
    from: i64,
    to: i64,
    limit: i64,
    body: &mut Vec<u8>,
) {
    let text = |millis| DateTime::from_timestamp_millis(millis).unwrap().format("%FT%T%.3fZ");
    let request = format!(
        "GET /v1/audit-log?limit={limit}&from={}&to={} HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer bench\r\n\r\n",
        text(from),
        text(to),
    );
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let mut length = None;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse().unwrap());
        }
    }
    body.resize(length.unwrap(), 0);
    connection.read_exact(body).unwrap();
}
