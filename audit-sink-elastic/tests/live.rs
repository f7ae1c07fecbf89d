//! Against a real node: see `.ci/README.md` for how to start one. Without it, tests say that they
//! were skipped; with `AUDIT_LIVE=1` they fail instead.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::testkit::{SINK_RULES, SinkHarness, When};
use audit_core::{
    AuditEvent, Error, ErrorKind, EventId, Format, Raw, Result, Secret, Sink, Written,
};
use audit_sink_elastic::{ElasticConfig, ElasticSink, IndexTemplate};
use common::{Live, events, failed, failures, put};
use serde_json::json;

macro_rules! live {
    ($test:literal) => {
        match Live::find($test) {
            Some(live) => live,
            None => return,
        }
    };
}

fn sink(config: ElasticConfig) -> ElasticSink {
    ElasticSink::new(config).unwrap()
}

/// A real node refuses a name that is there twice. The suite has such records: they are stored with
/// another name in its place, and read with the first.
const DOUBLED: &str = r#""a":2,"a":3"#;
const APART: &str = r#""a":2,"c":3"#;

struct Harness {
    live: Live,
    config: ElasticConfig,
    canary: Option<String>,
    fault: Arc<Mutex<Option<When>>>,
}

#[async_trait]
impl SinkHarness for Harness {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let sink = sink(self.config.clone());
        // Without it, the first number would decide that a field takes no larger one.
        sink.install_template(&IndexTemplate::new(&self.live.index)).await.unwrap();
        Arc::new(Faulty { sink, live: self.live.clone(), fault: self.fault.clone() })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let record = |source: String| {
            let (record, _) = source.rsplit_once(r#","@timestamp":""#).unwrap();
            format!("{}}}", record.replace(APART, DOUBLED))
        };
        let all = self.live.documents().await.into_iter();
        all.map(|(id, source)| (EventId::new(id), record(source))).collect()
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let possible = matches!(
            (kind, when),
            (ErrorKind::Unavailable, When::Before) | (ErrorKind::Timeout, When::After)
        );
        if possible {
            *self.fault.lock().unwrap() = Some(when);
        }
        possible
    }

    fn key(&self, event: &AuditEvent) -> String {
        event.id.to_string()
    }

    fn canary(&self) -> Option<String> {
        self.canary.clone()
    }

    async fn texts(&mut self) -> Vec<String> {
        vec![format!("{:#?} {:?}", self.config, sink(self.config.clone()))]
    }
}

/// A sink whose next write finds the index blocked, or whose answer gets lost.
struct Faulty {
    sink: ElasticSink,
    live: Live,
    fault: Arc<Mutex<Option<When>>>,
}

#[async_trait]
impl Sink for Faulty {
    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let fault = if events.is_empty() { None } else { self.fault.lock().unwrap().take() };
        let mut events = events.to_vec();
        for event in &mut events {
            event.raw = Raw::parse(event.raw.get().replace(DOUBLED, APART)).unwrap();
        }
        let events = &events[..];
        match fault {
            None => self.sink.write(events).await,
            Some(When::Before) => {
                let index = &self.live.index;
                self.live.ask("PUT", index, None).await; // it may not be there yet
                let path = format!("{index}/_settings");
                let block = |on: bool| Some(json!({ "index.blocks.write": on }));
                self.live.json("PUT", &path, block(true)).await;
                let answer = self.sink.write(events).await;
                self.live.json("PUT", &path, block(false)).await;
                answer
            }
            Some(When::After) => {
                let _lost = self.sink.write(events).await?;
                Err(Error::new(ErrorKind::Timeout, "no answer"))
            }
        }
    }
}

async fn judge(live: &dyn Fn() -> (Live, ElasticConfig), canary: Option<String>) {
    let mut broken = Vec::new();
    for rule in SINK_RULES {
        // A node refuses a document for what is in it: see the mapping conflicts below.
        if rule.name().starts_with("k04") || canary.is_none() && rule.name().starts_with("k10") {
            continue;
        }
        let (live, config) = live();
        let mut harness = Harness { live, config, canary: canary.clone(), fault: Arc::default() };
        broken.extend(rule.judge(&mut harness).await.err());
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn the_contract_holds_on_a_real_node() {
    let _there = live!("the_contract_holds_on_a_real_node");
    let start = || {
        let live = Live::find("contract").unwrap();
        let config = live.config();
        (live, config)
    };
    judge(&start, None).await;
}

#[tokio::test]
async fn the_contract_holds_behind_tls_and_a_password() {
    let live = live!("the_contract_holds_behind_tls_and_a_password");
    let password = live.tls_config().password.unwrap().expose().to_owned();
    let start = || {
        let live = Live::find("contract").unwrap();
        let mut config = live.tls_config();
        config.gzip = Some(true);
        (live, config)
    };
    judge(&start, Some(password)).await;
}

#[tokio::test]
async fn s08_a_mapping_conflict_costs_one_document() {
    let live = live!("s08_a_mapping_conflict_costs_one_document");
    let sink = sink(live.config());
    let mut all = events(0..5);
    for (n, event) in all.iter_mut().enumerate() {
        let value = if n == 3 { json!("many") } else { json!(n) };
        event.raw = Raw::parse(json!({ "n": value }).to_string()).unwrap();
    }
    sink.check().await.unwrap();
    let written = sink.write(&all).await.unwrap();
    assert_eq!(failures(&written), [(3, ErrorKind::Rejected)]);
    let text = written.failures[0].error.to_string();
    assert!(text.contains("mapper_parsing_exception: failed to parse field [n]"), "{text}");
    let written = sink.write(&all).await.unwrap();
    assert_eq!((written.duplicates.len(), failures(&written).len()), (4, 1));
    assert_eq!(live.count().await, 4);
    sink.check().await.unwrap();
}

/// Events that every node takes.
fn plain(range: std::ops::Range<usize>) -> Vec<AuditEvent> {
    let mut all = events(range);
    for event in &mut all {
        let record = json!({ "id": event.id.as_str(), "price": 1.5, "n": { "deep": [1, 2] } });
        event.raw = Raw::parse(record.to_string()).unwrap();
    }
    all
}

#[tokio::test]
async fn n05_a_record_with_a_doubled_name_is_rejected_with_the_reason() {
    let live = live!("n05_a_record_with_a_doubled_name_is_rejected_with_the_reason");
    let written = sink(live.config()).write(&events(0..1)).await.unwrap();
    assert_eq!(failures(&written), [(0, ErrorKind::Rejected)]);
    let text = written.failures[0].error.to_string();
    assert!(text.contains("Duplicate field 'a'"), "{text}");
}

#[tokio::test]
async fn i03_equal_ids_are_compared_and_others_reported() {
    let live = live!("i03_equal_ids_are_compared_and_others_reported");
    let sink = sink(live.config());
    put(&sink, &plain(0..10), 0).await;
    let mut all = plain(0..10);
    all[4].raw = Raw::parse(r#"{"other":1}"#).unwrap();
    all[7].id = EventId::new("x".repeat(600));
    let written = sink.write(&all).await.unwrap();
    assert_eq!((written.duplicates.len(), failures(&written)), (8, vec![(4, ErrorKind::Rejected)]));
    assert_eq!(live.count().await, 11);
}

#[tokio::test]
async fn s10_a_data_stream_is_made_by_the_template_and_knows_repeats() {
    let live = live!("s10_a_data_stream_is_made_by_the_template_and_knows_repeats");
    let sink = sink(live.config());
    let template = IndexTemplate::new(&live.index).data_stream(true);
    sink.install_template(&template).await.unwrap();
    sink.install_template(&template).await.unwrap();
    sink.check().await.unwrap();
    put(&sink, &plain(0..6), 0).await;
    put(&sink, &plain(0..6), 6).await;
    let streams = live.json("GET", &format!("_data_stream/{}", live.index), None).await;
    assert_eq!(streams["data_streams"].as_array().unwrap().len(), 1);
    sink.check().await.unwrap();
    live.json("DELETE", &format!("_data_stream/{}", live.index), None).await;
    live.json("DELETE", &format!("_index_template/{}", live.index), None).await;
}

#[tokio::test]
async fn m05_ten_thousand_keys_do_not_grow_the_mapping() {
    let live = live!("m05_ten_thousand_keys_do_not_grow_the_mapping");
    for (format, term) in [
        (Format::Raw, "diff.key_4203"),
        (Format::Canonical, "raw.diff.key_4203"),
        (Format::Ecs, "audit.record.diff.key_4203"),
        (Format::CloudEvents, "data.diff.key_4203"),
        // The record is text there.
        (Format::Ocsf, "metadata.uid"),
    ] {
        let mut config = live.config();
        let index = format!("{}-{}", live.index, format.as_str());
        config.index = format!("{index}-{{yyyy}}");
        config.format = format;
        let sink = sink(config);
        sink.install_template(&IndexTemplate::new(&index)).await.unwrap();
        let mut all = events(0..100);
        for (n, event) in all.iter_mut().enumerate() {
            let keys = (100 * n..100 * n + 100).map(|key| {
                let value = match key % 4 {
                    0 => json!(key),
                    1 => json!([null, "x"]),
                    2 => json!({ "before": key, "after": [{ "deep": true }] }),
                    _ => json!(key.to_string()),
                };
                (format!("key_{key}"), value)
            });
            let diff: serde_json::Map<_, _> = keys.collect();
            let changing = if n % 2 == 0 { json!(n) } else { json!("text") };
            event.raw = Raw::parse(json!({ "diff": diff, "n": changing }).to_string()).unwrap();
            event.origin.ip = Some("2001:db8::1".parse().unwrap());
        }
        put(&sink, &all, 0).await;
        put(&sink, &all, 100).await;
        let mapping = live.json("GET", &format!("{index}-2023/_mapping"), None).await;
        let text = mapping.to_string();
        assert!(!text.contains("key_") && text.contains("flat_object"), "{text}");
        live.json("POST", &format!("{index}-2023/_refresh"), None).await;
        let value = if format == Format::Ocsf { all[42].id.as_str() } else { "4203" };
        let query = json!({ "query": { "term": { term: value } } });
        let found = live.json("GET", &format!("{index}-2023/_search"), Some(query)).await;
        assert_eq!(found["hits"]["total"]["value"], 1, "and they can be searched");
        live.json("DELETE", &format!("_index_template/{index}"), None).await;
    }
}

#[tokio::test]
async fn wrong_setups_are_told_apart() {
    let live = live!("wrong_setups_are_told_apart");
    let mut config = live.config();
    config.pipeline = Some("nowhere".to_owned());
    let piped = sink(config);
    assert_eq!(piped.check().await.unwrap_err().kind(), ErrorKind::Config);
    failed(piped.write(&events(0..2)).await, ErrorKind::Config, false);

    let mut config = live.tls_config();
    config.password = Some(Secret::new("wrong"));
    failed(sink(config).write(&events(0..1)).await, ErrorKind::Auth, false);

    let mut config = live.tls_config();
    config.ca_file = None;
    let error = failed(sink(config).write(&events(0..1)).await, ErrorKind::Config, false);
    assert!(error.hint().unwrap().contains("ca_file"), "{error:?}");

    let mut config = live.config();
    let plain = config.hosts[0].to_string().replace("http://", "https://");
    config.hosts = vec![plain.parse().unwrap()];
    let error = failed(sink(config).write(&events(0..1)).await, ErrorKind::Unavailable, true);
    assert!(error.hint().is_some_and(|hint| hint.contains("http://")), "{error:?}");
}

#[tokio::test]
async fn n03_certificates_that_change_on_disk_are_read_anew() {
    let live = live!("n03_certificates_that_change_on_disk_are_read_anew");
    let directory = tempfile::tempdir().unwrap();
    let mut config = live.tls_config();
    let good = config.ca_file.replace(directory.path().join("ca.crt")).unwrap();
    let ca = config.ca_file.clone().unwrap();
    // A certificate, but of no authority for the server's.
    std::fs::copy(good.with_file_name("client.crt"), &ca).unwrap();
    config.client_cert_file = Some(good.with_file_name("client.crt"));
    config.client_key_file = Some(good.with_file_name("client.key"));
    let sink = sink(config);
    failed(sink.write(&events(0..1)).await, ErrorKind::Config, false);
    std::fs::copy(&good, &ca).unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    put(&sink, &plain(0..1), 0).await;
    std::fs::write(&ca, "half a certi").unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    put(&sink, &plain(1..2), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn how_fast_a_real_node_is() {
    let live = live!("how_fast_a_real_node_is");
    const BATCH: usize = 6000;
    const BATCHES: usize = 5;
    let records: Vec<_> = (0..BATCH * BATCHES)
        .map(|n| {
            let text = format!("{n:x} ").repeat(90);
            let record = json!({ "n": n, "user": format!("user-{}", n % 97), "text": text });
            let mut event = events(0..1).remove(0);
            event.id = EventId::new(format!("speed/{n}"));
            event.raw = Raw::parse(record.to_string()).unwrap();
            event
        })
        .collect();
    let bytes: usize = records.iter().map(|event| event.raw.get().len()).sum();
    for (name, concurrency, gzip) in
        [("warm-up", 1, false), ("serial", 1, false), ("4 at once", 4, false), ("4, gzip", 4, true)]
    {
        let mut config = live.config();
        config.index = format!("{}-{}-{gzip}-{}", live.index, concurrency, name.len());
        config.concurrency = concurrency;
        config.gzip = Some(gzip);
        let sink = sink(config.clone());
        live.json("PUT", &config.index, Some(json!({ "mappings": { "enabled": false } }))).await;
        let begin = Instant::now();
        for batch in records.chunks(BATCH) {
            put(&sink, batch, 0).await;
        }
        let spent = begin.elapsed();
        let begin = Instant::now();
        put(&sink, &records[..BATCH], BATCH).await;
        println!(
            "{name}: {} events of {} bytes in {spent:?}, {:.0} events/s; {BATCH} repeats in {:?}",
            records.len(),
            bytes / records.len(),
            records.len() as f64 / spent.as_secs_f64(),
            begin.elapsed(),
        );
        live.json("DELETE", &config.index, None).await;
    }
}
