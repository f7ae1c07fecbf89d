//! A scan of files: what is found does not depend on how many threads look, and it is what the source
//! finds.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;
#[path = "../examples/generate/records.rs"]
mod records;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use audit_core::{Error, ErrorKind, Source as _};
use audit_source_confluent::scan::{Scan, ScanConfig, Scanned, Summary};
use audit_source_confluent::{FilesConfig, FilesSource};
use common::{drain, id, record};

type Rejects = Vec<(PathBuf, u64, Vec<u8>, String)>;

/// All records of some files, as text and sorted, and all rejects in order.
fn scan(config: ScanConfig) -> (Vec<String>, Rejects, Summary) {
    let mut rejects = Vec::new();
    let scanned = Scan::new(config).unwrap().run(
        Vec::new,
        |seen: &mut Vec<String>, record| {
            let told = (record.id(), record.time(), record.action(), record.action_kind());
            let who = (record.principal(), record.email(), record.client(), record.outcome());
            seen.push(format!("{told:?} {who:?} {:?}", String::from_utf8_lossy(record.line())));
        },
        |reject| {
            let (path, body) = (reject.path.to_owned(), reject.body.to_vec());
            rejects.push((path, reject.line, body, reject.error.to_string()));
            Ok(())
        },
    );
    let Scanned { states, summary, .. } = scanned.unwrap();
    let mut seen = states.concat();
    seen.sort_unstable();
    (seen, rejects, summary)
}

fn sums(summary: &Summary) -> [u64; 4] {
    assert_eq!(summary.lines, summary.records + summary.repeats + summary.rejected);
    [summary.lines, summary.records, summary.repeats, summary.rejected]
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn generated(count: u64) -> Vec<u8> {
    let mut records = records::Records::new(7);
    let lines = (0..count).map(|n| records.line(n, count));
    lines.flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn r02_threads_packing_and_cuts_between_files_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = generated(3000);
    let plain = write(folder.path(), "plain", &text);
    let mut config = ScanConfig::new([&plain]);
    config.threads = 1;
    let (records, rejects, summary) = scan(config.clone());
    let [lines, found, repeats, rejected] = sums(&summary);
    assert_eq!(lines, 3000);
    assert!(found > 2900 && repeats > 2 && rejected > 2, "{summary:?}");
    assert_eq!(summary.bytes, text.len() as u64);
    for threads in [2, 5] {
        config.threads = threads;
        let (again, same_rejects, summary) = scan(config.clone());
        assert!(again == records && same_rejects == rejects, "with {threads} threads");
        assert_eq!(sums(&summary), [lines, found, repeats, rejected]);
    }
    let cut = text.len() / 3 + text[text.len() / 3..].iter().position(|b| *b == b'\n').unwrap() + 1;
    config.files = vec![
        write(folder.path(), "first.gz", &gzip(&text[..cut])),
        write(folder.path(), "second.zst", &zstd::encode_all(&text[cut..], 1).unwrap()),
    ];
    let (again, same_rejects, summary) = scan(config);
    assert!(again == records);
    let bodies = |rejects: &Rejects| -> Vec<_> {
        rejects.iter().map(|(_, _, body, why)| (body.clone(), why.clone())).collect()
    };
    assert_eq!(bodies(&same_rejects), bodies(&rejects));
    assert_eq!(sums(&summary), [lines, found, repeats, rejected]);
}

#[tokio::test]
async fn m01_a_record_says_what_its_event_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "events", &generated(2000));
    let mut config = FilesConfig::new([&path]);
    config.repeat_window = 0;
    let mut source = FilesSource::new(config).unwrap();
    source.open(None).await.unwrap();
    let drained = drain(&mut source).await.unwrap();
    let mut events: Vec<_> = drained
        .events
        .iter()
        .map(|event| {
            let known = (!event.id.as_str().contains('@')).then(|| event.id.as_str());
            let actor = event.actor.as_ref();
            let told = (known, event.time, event.action.name.as_deref(), event.action.kind);
            let id = actor.and_then(|actor| actor.id.as_deref());
            let email = actor.and_then(|actor| actor.email.as_deref());
            format!(
                "{told:?} {:?} {:?}",
                (id, email, event.origin.ip, event.outcome),
                event.raw.get()
            )
        })
        .collect();
    events.sort_unstable();
    let mut config = ScanConfig::new([&path]);
    config.repeat_window = 0;
    let (records, rejects, _) = scan(config);
    assert!(events == records);
    let bodies: Vec<_> = drained.rejected.iter().map(audit_core::DeadLetter::body).collect();
    assert_eq!(rejects.iter().map(|(_, _, body, _)| &**body).collect::<Vec<_>>(), bodies);
}

#[test]
fn n05_every_line_counts_once_whatever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!(r#"{{"id":"x","x":"{}"}}"#, "y".repeat(3_000_000));
    let text = [
        "\u{feff}",
        &record(1),
        "\r\n\r\n   \n",
        "Headers: []\n",
        &record(2),
        "\n",
        &long,
        "\n",
        &record(1),
        "\n",
        "{\"id\":\"no time\"}\n",
        &record(3),
    ]
    .concat();
    let path = write(folder.path(), "events", text.as_bytes());
    let mut config = ScanConfig::new([&path]);
    config.max_record_bytes = 1_000_000;
    let (records, rejects, summary) = scan(config);
    let found = |n| records.iter().any(|told| told.contains(&id(n)));
    assert!((1..=3).all(found), "{records:?}");
    assert_eq!(sums(&summary), [7, 3, 1, 3]);
    let told: Vec<_> =
        rejects.iter().map(|(_, line, body, why)| (*line, body.len(), &**why)).collect();
    assert_eq!(
        told,
        [
            (4, 11, "not valid JSON (line: 1, column: 1)"),
            (6, 1_000_001, "larger than allowed (bytes: 1000001)"),
            (8, 16, "it has no usable time"),
        ]
    );
}

#[test]
fn a_damaged_file_ends_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let text = generated(2000);
    let packed = gzip(&text);
    let cut = write(folder.path(), "cut.gz", &packed[..packed.len() / 2]);
    let whole = write(folder.path(), "whole", format!("{}\n", record(1)).as_bytes());
    let (records, _, summary) = scan(ScanConfig::new([&cut, &whole]));
    assert!(records.len() > 500 && records.iter().any(|told| told.contains(&id(1))));
    let failures: Vec<_> = summary.failures.iter().map(Error::kind).collect();
    assert_eq!(failures, [ErrorKind::InvalidData]);
    let missing = folder.path().join("missing");
    let error = Scan::new(ScanConfig::new([&whole, &missing])).unwrap().check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn a_reject_that_cannot_be_kept_ends_the_scan() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "events", &generated(3000));
    let scanned = Scan::new(ScanConfig::new([path])).unwrap().run(
        || (),
        |(), _| (),
        |_| Err(Error::new(ErrorKind::Unavailable, "no space left")),
    );
    assert_eq!(scanned.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_visitor_that_panics_hangs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "events", &generated(3000));
    let mut config = ScanConfig::new([path]);
    config.threads = 4;
    let ended = std::panic::catch_unwind(|| {
        Scan::new(config).unwrap().run(|| (), |(), _| panic!("on purpose"), |_| Ok(())).map(drop)
    });
    assert!(!matches!(ended, Ok(Ok(()))));
}

#[test]
fn options_that_cannot_be_meant_are_named() {
    let error = |change: fn(&mut ScanConfig)| {
        let mut config = ScanConfig::new(["a"]);
        change(&mut config);
        Scan::new(config).unwrap_err().to_string()
    };
    assert!(error(|c| c.files.clear()).contains("files"));
    assert!(error(|c| c.files.push("a".into())).contains("files"));
    assert!(error(|c| c.max_record_bytes = 9).contains("max_record_bytes"));
    assert!(error(|c| c.repeat_window = usize::MAX).contains("repeat_window"));
    assert!(error(|c| c.threads = 5000).contains("threads"));
}
