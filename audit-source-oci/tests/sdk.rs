//! The same job, done by Oracle's own package for Python on the same stand-in.
//!
//! Skipped unless `AUDIT_TEST_OCI_PYTHON` names a Python that has the package `oci`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use audit_core::{Clock, Limit, Read, Source};
use audit_source_oci::{Keys, OciSource};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use common::{Fake, record};

const TENANCY: &str = "ocid1.tenancy.oc1..t";

fn with_sdk(fake: &Fake, more: (&str, Value)) -> Option<String> {
    let python = std::env::var_os("AUDIT_TEST_OCI_PYTHON").filter(|path| !path.is_empty())?;
    let config = fake.config();
    let mut job = json!({
        "tenancy": config.tenancy,
        "user": config.user,
        "fingerprint": config.fingerprint,
        "region": config.region,
        "key": config.key.unwrap().expose(),
        "endpoint": format!("http://{}/eu-frankfurt-1", fake.address),
    });
    job[more.0] = more.1;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/read_with_sdk.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

async fn read(fake: &Fake, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Value> {
    let mut config = fake.config();
    (config.start, config.end) = (Some(from), Some(to));
    config.keys = Keys::Snake;
    let mut source = OciSource::new(config).unwrap().with_clock(Clock::system());
    source.open(None).await.unwrap();
    let mut events = Vec::new();
    while let Read::Batch(batch) = source.read(Limit::default()).await.unwrap() {
        events.extend(batch.events.iter().map(|e| parse(e.raw.get())));
    }
    events
}

/// An event, with its times in one form: the package writes them anew, we do not.
fn parse(text: &str) -> Value {
    let mut event: Value = serde_json::from_str(text).unwrap();
    for path in ["/event_time", "/data/response/response_time"] {
        let time = event.pointer_mut(path).unwrap();
        *time = json!(DateTime::parse_from_rfc3339(time.as_str().unwrap()).unwrap().to_utc());
    }
    event
}

/// January 2024, with 500 events.
fn january() -> (Fake, DateTime<Utc>, DateTime<Utc>) {
    let fake = Fake::start();
    fake.lock().real_time = true;
    let from: DateTime<Utc> = "2024-01-01T00:00:00Z".parse().unwrap();
    for n in 0..500 {
        let at = from + TimeDelta::minutes(83 * n);
        fake.add(
            TENANCY,
            at,
            record(&format!("{n:08x}-aaaa-4bbb-8ccc-000000000000"), "GetInstance", at),
        );
    }
    (fake, from, from + TimeDelta::days(31))
}

/// Each as the package's `oci.util.to_dict` has it, that is with its keys and nothing lost.
#[tokio::test(flavor = "multi_thread")]
async fn oracles_package_finds_the_same_events() {
    let (fake, from, to) = january();
    let windows: Vec<_> = (0..3)
        .map(|n| [from + TimeDelta::days(14 * n), (from + TimeDelta::days(14 * (n + 1))).min(to)])
        .map(|edges| edges.map(|edge| edge.format("%Y-%m-%dT%H:%M:%SZ").to_string()))
        .collect();
    let Some(theirs) = with_sdk(&fake, ("windows", json!(windows))) else { return };
    assert!(fake.lock().refusals.is_empty(), "{:?}", fake.lock().refusals);
    let theirs: Vec<_> = theirs.lines().map(parse).collect();
    assert_eq!(theirs.len(), 500);
    let ours = read(&fake, from, to).await;
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oracles_package_makes_the_same_signature() {
    let (fake, from, _) = january();
    read(&fake, from, from + TimeDelta::hours(2)).await;
    let [target, date, host, ours] = fake.lock().last_signed.clone();
    assert!(target.contains("startTime=2024-01-01T0"), "{target}");
    let Some(theirs) = with_sdk(&fake, ("sign", json!([target, date, host]))) else { return };
    let fields = |authorization: &str| {
        let fields = authorization.trim().strip_prefix("Signature ").unwrap();
        let mut fields: Vec<_> = fields.split(',').map(str::to_owned).collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(&ours), fields(&theirs));
}
