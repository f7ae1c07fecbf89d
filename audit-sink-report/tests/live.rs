//! The aggregation on a real OpenSearch: the same counts as the sink makes of the same events.
//! Without a server the tests are skipped; with `AUDIT_LIVE=1` they fail instead.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeSet;

use audit_core::{ActionKind, AuditEvent, EventId, Format, Outcome, Raw, Sink};
use audit_sink_report::{Aggregation, Crosstab, Day, Fields, Section};
use serde_json::{Value, json};

/// A server, and an index that nobody else uses, removed in the end.
struct Live {
    url: String,
    index: String,
}

impl Live {
    fn find(test: &str) -> Option<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = variable("AUDIT_TEST_OPENSEARCH_URL");
        let promised = variable("AUDIT_LIVE").is_some_and(|live| live == "1");
        assert!(url.is_some() || !promised, "AUDIT_LIVE is set, but no server is named");
        Some(Self { url: url?, index: format!("sink-report-{}-{test}", std::process::id()) })
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> Vec<u8> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .request(method.parse().unwrap(), format!("{}/{}{path}", self.url, self.index))
            .header("content-type", "application/json")
            .body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap().to_vec();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&bytes));
        bytes
    }

    async fn index(&self, mappings: Value, events: &[AuditEvent], format: Format) {
        self.ask("PUT", "", json!({ "mappings": mappings }).to_string()).await;
        let mut body = Vec::new();
        for event in events {
            body.extend_from_slice(b"{\"create\":{}}\n");
            format.append_line(event, &mut body).unwrap();
            body.push(b'\n');
        }
        let body = String::from_utf8(body).unwrap();
        let answer = self.ask("POST", "/_bulk?refresh=true", body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["errors"], false, "{answer}");
    }

    /// Asks for sections, in small pages.
    async fn report(&self, fields: &Fields, sections: &[Section], days: (Day, Day)) -> Crosstab {
        let mut crosstab = Crosstab::default();
        for section in sections {
            let mut query = Aggregation::new(fields.clone(), *section, days.0, days.1).page(40);
            while let Some(request) = query.request() {
                let answer = self.ask("POST", "/_search", request.to_string()).await;
                query.read(&answer, &mut crosstab).unwrap();
            }
        }
        self.ask("DELETE", "", String::new()).await;
        crosstab
    }
}

const OWN: [Section; 7] = [
    Section::AuthEvents,
    Section::SigninFail,
    Section::SigninSuccess,
    Section::OtherEvents,
    Section::Denied,
    Section::ClientAddresses,
    Section::Principals,
];

/// Counts events as a pipeline would.
async fn counted(events: &[AuditEvent]) -> BTreeSet<(String, String, String, u64, u64)> {
    let directory = tempfile::tempdir().unwrap();
    let sink = common::sink(directory.path());
    let written = sink.write(events).await.unwrap();
    assert_eq!(written.duplicates.len() + written.failures.len(), 0);
    sink.close().await.unwrap();
    let mut all = BTreeSet::new();
    for day in common::days(directory.path()).iter().map(Day::to_string) {
        let records = common::records(directory.path(), &day);
        let own = records.into_iter().filter(|r| !r.0.starts_with("NEW_"));
        all.extend(own.map(|(section, label, hour, n)| (day.clone(), section, label, hour, n)));
    }
    all
}

fn flat(crosstab: &Crosstab) -> BTreeSet<(String, String, String, u64, u64)> {
    let mut all = BTreeSet::new();
    for day in crosstab.days() {
        for section in OWN {
            for row in crosstab.rows(day, section) {
                let (name, label) = (section.name().to_owned(), row.label.unwrap_or("").to_owned());
                let counts = row.counts().into_iter().zip(0..).filter(|(count, _)| *count > 0);
                all.extend(counts.map(|(count, hour)| {
                    (day.to_string(), name.clone(), label.clone(), hour, count)
                }));
            }
        }
    }
    all
}

#[tokio::test]
async fn canonical_events_are_counted_by_the_server_as_by_the_sink() {
    let Some(live) = Live::find("canonical") else { return };
    let mut events = common::events(0..300);
    let outcomes = [Outcome::Success, Outcome::Denied, Outcome::Failure, Outcome::Unknown];
    let kinds = [ActionKind::Login, ActionKind::Authorize, ActionKind::Update];
    for (n, event) in events.iter_mut().enumerate() {
        event.outcome = outcomes[n % 4];
        event.action.kind = kinds[n % 3];
        event.time += chrono::TimeDelta::minutes(7 * n as i64);
        event.origin.ip = (n % 5 > 0).then(|| format!("192.0.2.{}", n % 5).parse().unwrap());
        if n % 10 == 0 {
            event.actor = None;
        }
        if n % 11 == 0 {
            event.action.name = Some("kafka.Authentication".into());
        }
        if let Some(actor) = event.actor.as_mut().filter(|_| n % 2 == 0) {
            actor.email = Some(format!("{n}@example.com").into());
        }
    }
    let word = json!({"type": "keyword"});
    let mappings = json!({"dynamic": false, "properties": {
        "time": {"type": "date"},
        "action": {"properties": {"name": word, "kind": word}},
        "actor": {"properties": {"id": word, "email": word}},
        "outcome": word,
        "origin": {"properties": {"ip": {"type": "ip"}}},
    }});
    live.index(mappings, &events, Format::Canonical).await;
    let days = ("2026-11-20".parse().unwrap(), "2026-11-30".parse().unwrap());
    let found = live.report(&Fields::canonical(), &OWN, days).await;
    assert_eq!(flat(&found), counted(&events).await);
}

#[tokio::test]
async fn records_as_received_are_counted_by_the_server_as_by_the_sink() {
    let Some(live) = Live::find("received") else { return };
    let mut events = Vec::new();
    for n in 0..200_u64 {
        let time = format!("2026-11-20T{:02}:{:02}:00.123Z", n % 24, n % 60);
        let raw = json!({"id": n.to_string(), "time": time, "data": {
            "methodName": if n % 3 == 0 { "kafka.CreateTopics" } else { "mds.Authorize" },
            "authenticationInfo": {"principal": format!("User:u-{}", n % 4)},
            "authorizationInfo": {"granted": n % 5 != 0, "operation": format!("Op{}", n % 2)},
            "requestMetadata": {"clientAddress": [{"ip": format!("192.0.2.{}", n % 3)}]},
        }});
        let raw = Raw::parse(raw.to_string()).unwrap();
        let id = EventId::new(n.to_string());
        events.push(AuditEvent::new(id, "cc".into(), time.parse().unwrap(), raw));
    }
    live.index(json!({}), &events, Format::Raw).await;
    let day = "2026-11-20".parse().unwrap();
    let found = live.report(&Fields::confluent(), &OWN, (day, day)).await;
    let mut expected = counted(&events).await;
    // The server knows the operation of all that has one.
    let by_method = |r: &(String, String, String, u64, u64)| r.1 == "DENIED";
    let denied: u64 = expected.iter().filter(|r| by_method(r)).map(|r| r.4).sum();
    expected.retain(|r| !by_method(r));
    assert_eq!(found.total(day, Section::Denied), denied);
    let found: BTreeSet<_> = flat(&found).into_iter().filter(|r| !by_method(r)).collect();
    assert_eq!(found, expected);
}
