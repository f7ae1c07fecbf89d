//! The array: valid whenever somebody looks, and no step of publishing loses or repeats.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use audit_core::{ErrorKind, Sink};
use common::{numbers, put, run, sink, text};

const NAMES: [&str; 3] = ["a.json", "a.json.gz", "a.json.zst"];

fn publish(path: &Path, numbers: std::ops::Range<u64>) -> usize {
    run(async {
        let sink = sink(path);
        let written = put(&sink, numbers).await.unwrap();
        sink.close().await.unwrap();
        written
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    path.with_file_name(format!(".{}{suffix}", path.file_name().unwrap().to_str().unwrap()))
}

fn each(test: impl Fn(&Path)) {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        test(&dir.path().join(name));
    }
}

#[test]
fn s13_an_array_appears_whole_and_one_element_a_line() {
    each(|path| {
        run(async {
            let sink = sink(path);
            put(&sink, 0..2).await.unwrap();
            assert!(!path.exists());
            put(&sink, 1..3).await.unwrap();
            sink.close().await.unwrap();
            sink.close().await.unwrap();
            assert_eq!(numbers(path), [0, 1, 2]);
            put(&sink, 3..4).await.unwrap();
            assert_eq!(numbers(path), [0, 1, 2], "the published one is not touched");
            sink.close().await.unwrap();
        });
        let expected = "[\n{\"n\":0,\"pad\":\"\"},\n{\"n\":1,\"pad\":\"x\"},\n\
                        {\"n\":2,\"pad\":\"xx\"},\n{\"n\":3,\"pad\":\"xxx\"}\n]\n";
        assert_eq!(text(path), expected);
        assert_eq!(publish(path, 2..5), 2);
        assert_eq!(numbers(path), [0, 1, 2, 3, 4]);
        assert!(!beside(path, ".partial").exists() && !beside(path, ".partial.tmp").exists());
    });
}

#[test]
fn s13_a_run_without_events_publishes_an_empty_array_where_there_is_none() {
    each(|path| {
        run(sink(path).close()).unwrap();
        assert_eq!(text(path), "[]\n");
        publish(path, 0..2);
        run(sink(path).close()).unwrap();
        assert_eq!(numbers(path), [0, 1]);
    });
}

#[test]
fn s13_arrays_of_others_are_continued() {
    each(|path| {
        for (foreign, expected) in [
            ("[{\"n\":1,\"pad\":\"x\"}]", vec![1, 2, 3]),
            (" [ \n {\"n\":0,\"pad\":\"\"}\n , {\"n\":1,\"pad\":\"x\"} ] \n\n", vec![0, 1, 2, 3]),
            ("[]", vec![2, 3]),
            ("[ \n]\n", vec![2, 3]),
            ("", vec![2, 3]),
        ] {
            let bytes = match path.extension().unwrap().to_str().unwrap() {
                _ if foreign.is_empty() => Vec::new(),
                "gz" => {
                    use std::io::Write;
                    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
                    gz.write_all(foreign.as_bytes()).unwrap();
                    gz.finish().unwrap()
                }
                "zst" => zstd::encode_all(foreign.as_bytes(), 9).unwrap(),
                _ => foreign.as_bytes().to_vec(),
            };
            fs::write(path, bytes).unwrap();
            fs::remove_file(beside(path, ".journal")).ok();
            publish(path, 2..4);
            assert_eq!(numbers(path), expected, "{foreign}");
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    for foreign in ["{}", "[1", "1]", "[1]]x"] {
        fs::write(&path, foreign).unwrap();
        let error = run(put(&sink(&path), 0..1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{foreign}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}

/// The files of a run that stopped at a step of publishing, put together from those around it.
#[test]
fn s13_a_stop_at_any_step_of_publishing_loses_and_repeats_nothing() {
    each(|path| {
        publish(path, 0..5);
        run(put(&sink(path), 5..9)).unwrap();
        let (partial, journal) = (beside(path, ".partial"), beside(path, ".journal"));
        let before = (fs::read(path).unwrap(), fs::read(&partial).unwrap());
        let written = fs::read(&journal).unwrap();
        publish(path, 9..9);
        let after = fs::read(path).unwrap();
        let noted = fs::read(&journal).unwrap();
        assert_eq!(&noted[..written.len()], written);
        assert_eq!(noted.len(), written.len() + 64);
        assert!(after.starts_with(&before.1));

        // The closing bracket: none of it, a part, all; not renamed.
        for len in before.1.len()..=after.len() {
            fs::write(path, &before.0).unwrap();
            fs::write(&partial, &after[..len]).unwrap();
            fs::write(&journal, &written).unwrap();
            assert_eq!(numbers(path), (0..5).collect::<Vec<_>>());
            assert_eq!(publish(path, 4..12), 5);
            assert_eq!(numbers(path), (0..12).collect::<Vec<_>>(), "{len}");
        }

        // Renamed, and not noted. The identity of the file tells, so that it is to be the same one.
        fs::remove_file(path).unwrap();
        fs::remove_file(&journal).unwrap();
        run(put(&sink(path), 0..9)).unwrap();
        let written = fs::read(&journal).unwrap();
        publish(path, 9..9);
        fs::write(&journal, &written).unwrap();
        assert_eq!(publish(path, 4..12), 5);
        assert_eq!(numbers(path), (0..12).collect::<Vec<_>>());

        // The copy of the published elements: begun; noted and not renamed.
        fs::write(beside(path, ".partial.tmp"), "[\n{\"n\"").unwrap();
        let noted = fs::read(&journal).unwrap();
        run(put(&sink(path), 12..13)).unwrap();
        let placed = fs::read(&journal).unwrap();
        fs::rename(&partial, beside(path, ".partial.tmp")).unwrap();
        fs::write(&journal, &placed[..noted.len() + 64]).unwrap();
        assert_eq!(publish(path, 10..14), 2);
        assert_eq!(numbers(path), (0..14).collect::<Vec<_>>());
    });
}

#[test]
fn s13_events_of_a_partial_file_that_was_deleted_are_new_when_sent_again() {
    each(|path| {
        run(put(&sink(path), 0..5)).unwrap();
        fs::remove_file(beside(path, ".partial")).unwrap();
        assert_eq!(publish(path, 0..6), 0);
        assert_eq!(numbers(path), (0..6).collect::<Vec<_>>());
    });
}

#[test]
fn s13_a_partial_file_in_other_hands_is_a_conflict() {
    each(|path| {
        run(async {
            let sink = sink(path);
            put(&sink, 0..5).await.unwrap();
            fs::rename(beside(path, ".partial"), beside(path, ".away")).unwrap();
            let error = put(&sink, 5..6).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            fs::rename(beside(path, ".away"), beside(path, ".partial")).unwrap();
            put(&sink, 5..6).await.unwrap();
        });
        let journal = beside(path, ".journal");
        let saved = fs::read(&journal).unwrap();
        fs::remove_file(&journal).unwrap();
        let error = run(put(&sink(path), 5..6)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        fs::write(&journal, saved).unwrap();
        assert_eq!(publish(path, 5..7), 1);
        assert_eq!(numbers(path), (0..7).collect::<Vec<_>>());
    });
}
