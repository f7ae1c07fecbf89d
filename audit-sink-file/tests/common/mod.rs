//! What the tests share.
#![allow(dead_code, unreachable_pub)]

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use audit_core::{AuditEvent, EventId, Raw, Result, Sink};
use audit_sink_file::{FileConfig, FileSink};
use chrono::DateTime;

/// The event with this number; the payload is `{"n":<number>,"pad":"…"}`.
pub fn event(n: u64) -> AuditEvent {
    let pad = "x".repeat(usize::try_from(n % 50).unwrap());
    let raw = Raw::parse(format!(r#"{{"n":{n},"pad":"{pad}"}}"#)).unwrap();
    let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    AuditEvent::new(EventId::new(format!("event-{n}")), Arc::from("test"), time, raw)
}

/// The events with these numbers.
pub fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<AuditEvent> {
    numbers.into_iter().map(event).collect()
}

/// A sink in which all follows from the path.
pub fn sink(path: &Path) -> FileSink {
    FileSink::new(FileConfig::new(path)).unwrap()
}

/// Writes the events with these numbers and returns how many were there already.
pub async fn put(sink: &FileSink, numbers: impl IntoIterator<Item = u64>) -> Result<usize> {
    let written = sink.write(&events(numbers)).await?;
    assert!(written.failures.is_empty());
    Ok(written.duplicates.len())
}

/// The text of a file, decompressed by its name's ending; empty if there is none.
pub fn text(path: &Path) -> String {
    let Ok(file) = File::open(path) else { return String::new() };
    let mut reader: Box<dyn Read> = match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file).unwrap()),
        _ => Box::new(file),
    };
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// The records of a file, in order; panics if one is torn or the array is not one.
pub fn records(path: &Path) -> Vec<String> {
    let text = text(path);
    if text.is_empty() {
        return Vec::new();
    }
    if path.file_name().unwrap().to_str().unwrap().contains(".json") {
        let elements: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(&text).unwrap();
        return elements.iter().map(|element| element.get().to_owned()).collect();
    }
    assert!(text.ends_with('\n'), "the last line is torn");
    let check = |line: &str| serde_json::from_str::<serde::de::IgnoredAny>(line).map(drop);
    text.lines().inspect(|line| check(line).unwrap()).map(str::to_owned).collect()
}

/// The numbers of the events in a file, in order.
pub fn numbers(path: &Path) -> Vec<u64> {
    let number = |record: &String| {
        let value: serde_json::Value = serde_json::from_str(record).unwrap();
        assert_eq!(value["pad"].as_str().unwrap().len() as u64, value["n"].as_u64().unwrap() % 50);
        value["n"].as_u64().unwrap()
    };
    records(path).iter().map(number).collect()
}

/// The ways to write a file.
pub const NAMES: [&str; 6] =
    ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst", "a.json", "a.json.gz", "a.json.zst"];

/// A runtime to run one future on.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
