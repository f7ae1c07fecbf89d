//! Every state a stopped process or a power cut can leave: reopen, send again, each event once.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use audit_core::Sink;
use common::{NAMES, events, numbers, run, sink};
use proptest::prelude::*;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap().to_str().unwrap();
    path.with_file_name(format!(".{name}{suffix}"))
}

fn data(path: &Path) -> PathBuf {
    let partial = beside(path, ".partial");
    if path.to_str().unwrap().contains(".json") { partial } else { path.to_owned() }
}

fn write(path: &Path, from: u64, len: u64) -> usize {
    run(async { sink(path).write(&events(from..from + len)).await.unwrap().duplicates.len() })
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

fn cut(path: &Path, len: u64) {
    if let Ok(file) = fs::OpenOptions::new().write(true).open(path) {
        file.set_len(len).unwrap();
    }
}

fn pick(from: u64, to: u64, fraction: f64) -> u64 {
    // Both ends are states of their own, and come often.
    let scaled = ((fraction * 1.2 - 0.1).clamp(0.0, 1.0) * (to - from) as f64) as u64;
    from + scaled.min(to - from)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The last batch stops at any byte: in the journal before the data, or in the data with the
    /// journal's note of it missing. Then the source sends from any point that was not committed.
    #[test]
    fn d02_d03_s13_any_stop_gives_each_event_once(
        name in prop::sample::select(&NAMES[..]),
        batches in prop::collection::vec((1u64..30, any::<bool>()), 0..5),
        last in 1u64..30,
        in_journal in any::<bool>(),
        fraction in 0.0f64..1.0,
        garbage in any::<bool>(),
        resend in prop_oneof![Just(0), 0u64..60],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let mut next = 0;
        for (len, close) in batches {
            prop_assert_eq!(write(&path, next, len), 0);
            next += len;
            if close {
                run(sink(&path).close()).unwrap();
            }
        }
        write(&path, next, last);
        // The journal ends with the record of the batch and the note that it is durable.
        let (data, journal) = (data(&path), beside(&path, ".journal"));
        let note = len(&journal) - 64;
        let record = note - 64 - 16 * last;
        let bytes = fs::read(&journal).unwrap();
        let begin = usize::try_from(record).unwrap() + 32;
        let begin = u64::from_le_bytes(bytes[begin..begin + 8].try_into().unwrap());
        let mut acknowledged = next;
        if in_journal {
            cut(&journal, pick(record, note - 1, fraction));
            cut(&data, begin);
        } else {
            cut(&journal, note);
            let to = pick(begin, len(&data), fraction);
            if to == len(&data) {
                // All was written, and only the note of it is lost: the source may know by now.
                acknowledged += last;
            } else if garbage {
                // A power cut may leave the length and not the bytes.
                let mut bytes = fs::read(&data).unwrap();
                bytes[usize::try_from(to).unwrap()..].fill(0);
                fs::write(&data, bytes).unwrap();
            } else {
                cut(&data, to);
            }
        }
        let end = next + last;
        let from = acknowledged.saturating_sub(resend);
        write(&path, from, end - from + 3);
        run(async {
            let sink = sink(&path);
            sink.check().await.unwrap();
            sink.close().await.unwrap();
        });
        let found = numbers(&path);
        prop_assert!(found.iter().copied().eq(0..end + 3), "{:?}", found);
    }

    /// Batches of any shape, repeated inside and between.
    #[test]
    fn any_batches_give_each_event_once(
        name in prop::sample::select(&NAMES[..]),
        batches in prop::collection::vec(prop::collection::vec(0u64..40, 0..30), 0..6),
        close in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let mut expected = Vec::new();
        for batch in batches {
            let mut duplicates = batch.len();
            for n in &batch {
                if !expected.contains(n) {
                    expected.push(*n);
                    duplicates -= 1;
                }
            }
            run(async {
                let sink = sink(&path);
                let written = sink.write(&events(batch)).await.unwrap();
                assert_eq!(written.duplicates.len(), duplicates);
                if close {
                    sink.close().await.unwrap();
                }
            });
        }
        run(sink(&path).close()).unwrap();
        prop_assert_eq!(numbers(&path), expected);
    }
}
