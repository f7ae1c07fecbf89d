//! Reads an NDJSON file of audit records on all cores and writes its reports, as often as you like:
//! `cargo run -p audit-sink-report --example analyze -- FILE DIRECTORY`
//!
//! It reads no more of a record than these reports need.
#![expect(clippy::print_stdout, reason = "an example talks to people")]

use std::error::Error;

use audit_sink_report::{
    Class, Crosstab, Facts, Hour, ReportConfig, ReportFormat, Reports, Section,
};
use chrono::DateTime;
use serde::Deserialize;

#[derive(Deserialize)]
struct Record<'a> {
    time: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    method_name: &'a str,
    #[serde(borrow)]
    authentication_info: Authentication<'a>,
    #[serde(borrow)]
    authorization_info: Option<Authorization<'a>>,
}

#[derive(Deserialize)]
struct Authentication<'a> {
    principal: &'a str,
}

#[derive(Deserialize)]
struct Authorization<'a> {
    operation: &'a str,
    granted: bool,
}

/// Counts one line; false is one that cannot be read.
fn count(line: &str, crosstab: &mut Crosstab) -> bool {
    let Ok(record) = serde_json::from_str::<Record<'_>>(line) else { return false };
    let Ok(time) = DateTime::parse_from_rfc3339(record.time) else { return false };
    let Some(hour) = Hour::of_unix_seconds(time.timestamp()) else { return false };
    let mut facts = Facts::new(hour);
    facts.method = Some(record.data.method_name);
    facts.principal = Some(record.data.authentication_info.principal);
    if let Some(authorization) = record.data.authorization_info {
        facts.failed = !authorization.granted;
        if record.data.method_name == "mds.Authorize" {
            facts.class = Class::Authorization { operation: Some(authorization.operation) };
        }
    }
    facts.count(crosstab);
    true
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (file, directory) = (arguments.next(), arguments.next());
    let scratch = tempfile::tempdir()?;
    let text = match file {
        Some(file) => std::fs::read_to_string(file)?,
        None => include_str!("records.ndjson").to_owned(),
    };
    let directory = directory.map_or_else(|| scratch.path().join("reports"), Into::into);

    let lines: Vec<&str> = text.lines().collect();
    let threads = std::thread::available_parallelism()?.get();
    let portions = lines.chunks(lines.len().div_ceil(threads).max(1));
    let (crosstab, bad) = std::thread::scope(|scope| {
        let count_all = |lines: &[&str]| {
            let mut own = Crosstab::default();
            let bad = lines.iter().filter(|line| !count(line, &mut own)).count();
            (own, bad)
        };
        let readers: Vec<_> =
            portions.map(|portion| scope.spawn(move || count_all(portion))).collect();
        let mut whole = (Crosstab::default(), 0);
        for reader in readers {
            let (own, bad) = reader.join().map_err(|_| "a reader panicked")?;
            whole.0.merge(&own);
            whole.1 += bad;
        }
        Ok::<_, &str>(whole)
    })?;

    let config = ReportConfig::new(&directory).formats(ReportFormat::ALL);
    for day in Reports::new(config)?.publish(crosstab.clone())? {
        println!("{}: {} events, {} in the report", day.day, day.seen, day.reported);
        for row in crosstab.rows(day.day, Section::AuthEvents) {
            println!("  {:30} {:5}", row.label.unwrap_or("others"), row.total());
        }
    }
    println!("{bad} lines could not be read");
    Ok(())
}
