//! A month of events, and what is read of it.

use std::time::Duration;

use audit_core::{Batch, Cursor, Error, Limit, Read, Source};
use audit_source_oci::{OciConfig, OciSource};
use chrono::{DateTime, Utc};

use super::{Fake, record};

pub const TENANCY: &str = "ocid1.tenancy.oc1..t";
pub const CHILD: &str = "ocid1.compartment.oc1..c";

pub fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn id(n: usize) -> String {
    format!("{n:08x}-aaaa-4bbb-8ccc-000000000000")
}

/// January 2024, read by windows of two days; `events` events, evenly spread over it.
pub fn january(events: usize) -> (Fake, OciConfig) {
    let fake = Fake::start();
    let (from, to) = (time("2024-01-01T00:00:00Z"), time("2024-02-01T00:00:00Z"));
    for n in 0..events {
        let at = from + (to - from) / i32::try_from(events).unwrap() * i32::try_from(n).unwrap();
        fake.add(TENANCY, at, record(&id(n), "GetInstance", at));
    }
    fake.lock().page_events = 7;
    let mut config = fake.config();
    (config.start, config.end) = (Some(from), Some(to));
    config.window = Duration::from_secs(2 * 24 * 3600);
    config.request_timeout = Duration::from_secs(5);
    (fake, config)
}

pub fn source(fake: &Fake, config: &OciConfig) -> OciSource {
    OciSource::new(config.clone()).unwrap().with_clock(fake.clock())
}

/// Reads to the end, or to an error.
pub async fn drain(
    source: &mut OciSource,
    from: Option<&Cursor>,
) -> (Vec<Batch>, Result<(), Error>) {
    let mut batches = Vec::new();
    if let Err(error) = source.open(from).await {
        return (batches, Err(error));
    }
    loop {
        match source.read(Limit::default().events(10)).await {
            Ok(Read::Batch(batch)) => batches.push(batch),
            Ok(Read::Idle(_) | Read::End) => return (batches, Ok(())),
            Err(error) => return (batches, Err(error)),
        }
    }
}

pub fn ids(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|b| &b.events).map(|e| e.id.as_str().to_owned()).collect()
}

pub fn all(events: usize) -> Vec<String> {
    (0..events).map(id).collect()
}

pub async fn reads_all(fake: &Fake, config: &OciConfig, events: usize) -> OciSource {
    let mut source = source(fake, config);
    let (batches, end) = drain(&mut source, None).await;
    end.unwrap();
    assert_eq!(ids(&batches), all(events), "all, once, in order");
    source
}
