//! Events and what is found of them.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::path::Path;
use std::sync::Arc;

use audit_core::{Action, ActionKind, Actor, AuditEvent, EventId, Outcome, Raw};
use audit_sink_report::{Day, ReportConfig, ReportFormat, ReportSink};
use serde_json::Value;

/// Makes an event of a source without a payload worth reading.
pub fn event(id: &str, time: &str, action: &str, actor: &str, outcome: Outcome) -> AuditEvent {
    let raw = Raw::parse("{}").unwrap();
    let mut event =
        AuditEvent::new(EventId::new(id), Arc::from("test"), time.parse().unwrap(), raw);
    event.action = Action { name: Some(action.into()), kind: ActionKind::Other };
    event.actor = Some(Actor { id: Some(actor.into()), ..Actor::default() });
    event.outcome = outcome;
    event
}

/// Makes numbered events, one a minute from 2026-11-20 on.
pub fn events(numbers: std::ops::Range<u64>) -> Vec<AuditEvent> {
    numbers
        .map(|n| {
            let time = chrono::DateTime::from_timestamp(1_795_132_800 + 60 * n as i64, 0).unwrap();
            let action = format!("method.{}", n % 7);
            let (id, actor) = (n.to_string(), format!("u-{}", n % 3));
            event(&id, &time.to_rfc3339(), &action, &actor, Outcome::Success)
        })
        .collect()
}

pub fn config(path: &Path) -> ReportConfig {
    ReportConfig::new(path).formats([ReportFormat::Text, ReportFormat::Json])
}

pub fn sink(path: &Path) -> ReportSink {
    ReportSink::new(config(path)).unwrap()
}

/// Reads the records of a JSON report: section, label, hour, count.
pub fn records(path: &Path, day: &str) -> Vec<(String, String, u64, u64)> {
    let Ok(text) = std::fs::read(path.join(format!("{day}.json"))) else { return Vec::new() };
    let records: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let of = |r: &Value| {
        assert_eq!(r["date"], day);
        let (hour, count) = (r["hour"].as_u64().unwrap(), r["count"].as_u64().unwrap());
        (text(&r["section"]), text(&r["label"]), hour, count)
    };
    records.iter().map(of).collect()
}

/// Returns the number of events in all reports of a directory.
pub fn total(path: &Path) -> u64 {
    let days = days(path).into_iter();
    let of = |day: Day| records(path, &day.to_string());
    days.flat_map(of).filter(|r| r.0 == "OTHER_EVENTS").map(|r| r.3).sum()
}

/// Returns the days that have a JSON report.
pub fn days(path: &Path) -> Vec<Day> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let name =
        |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
    let mut days: Vec<Day> =
        entries.map(name).filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect();
    days.sort();
    days
}
