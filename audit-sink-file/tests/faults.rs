//! Rotation, foreign hands, a second writer, odd places. Names begin with the catalogue's ids.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use audit_core::{ErrorKind, Sink};
use audit_sink_file::{FileConfig, FileSink, Layout};
use common::{events, numbers, put, run, sink};

fn temporary(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

fn write(path: &Path, numbers: std::ops::Range<u64>) -> audit_core::Result<usize> {
    run(put(&sink(path), numbers))
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn journal(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.journal", path.file_name().unwrap().to_str().unwrap()))
}

fn list(dir: &Path) -> Vec<(PathBuf, u64)> {
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.path(), entry.metadata().unwrap().len())
    };
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(entry).collect();
    all.sort();
    all
}

#[test]
fn s13_rotation_by_rename_goes_on_in_a_new_file() {
    for name in ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst"] {
        let (dir, path) = temporary(name);
        let rotated = |n: u32| dir.path().join(format!("{n}.{name}"));
        run(async {
            let sink = sink(&path);
            put(&sink, 0..10).await.unwrap();
            fs::rename(&path, rotated(1)).unwrap();
            let written = put(&sink, 5..20).await.unwrap();
            assert_eq!(written, 5, "what is in the rotated file is known");
            fs::rename(&path, rotated(2)).unwrap();
            // As logrotate's `create` does.
            fs::File::create(&path).unwrap();
            put(&sink, 20..30).await.unwrap();
        });
        fs::rename(&path, rotated(3)).unwrap();
        assert_eq!(write(&path, 25..40).unwrap(), 5, "between two runs");
        let all: Vec<_> = (1..4).flat_map(|n| numbers(&rotated(n))).collect();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
        assert_eq!(numbers(&path), (30..40).collect::<Vec<_>>());
    }
}

#[test]
fn s13_a_torn_batch_is_cut_off_also_in_a_file_that_was_rotated_since() {
    let (dir, path) = temporary("a.ndjson");
    write(&path, 0..10).unwrap();
    write(&path, 10..20).unwrap();
    let (journal, rotated) = (journal(&path), dir.path().join("a.ndjson.1"));
    let cut = |path: &Path, by: u64| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    };
    cut(&journal, 64);
    cut(&path, 30);
    fs::rename(&path, &rotated).unwrap();
    assert_eq!(write(&path, 5..20).unwrap(), 5);
    assert_eq!(numbers(&rotated), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&path), (10..20).collect::<Vec<_>>());
}

/// The note that a batch is durable is not synced: a power cut may take it, and not the batch.
#[test]
fn s13_a_batch_without_its_note_outlives_a_start_that_fails() {
    let (dir, path) = temporary("a.ndjson");
    write(&path, 0..10).unwrap();
    let journal = journal(&path);
    let file = OpenOptions::new().write(true).open(&journal).unwrap();
    file.set_len(file.metadata().unwrap().len() - 64).unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    run(async {
        let sink = sink(&path);
        assert_eq!(put(&sink, 10..12).await.unwrap_err().kind(), ErrorKind::Config);
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        put(&sink, 10..12).await.unwrap();
    });
    assert_eq!(numbers(&path), (0..12).collect::<Vec<_>>());
}

#[test]
fn s13_copy_and_truncate_goes_on_at_the_end() {
    let (_dir, path) = temporary("a.ndjson");
    run(async {
        let sink = sink(&path);
        put(&sink, 0..10).await.unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        let written = put(&sink, 5..15).await.unwrap();
        assert_eq!(written, 5);
    });
    assert_eq!(numbers(&path), (10..15).collect::<Vec<_>>());
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(write(&path, 10..17).unwrap(), 5);
    assert_eq!(numbers(&path), [15, 16]);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(7).unwrap();
    let error = write(&path, 17..18).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "cut within a line: {error}");
}

#[test]
fn s13_what_another_program_wrote_is_neither_cut_nor_continued() {
    for name in ["a.ndjson", "a.ndjson.zst"] {
        let (_dir, path) = temporary(name);
        run(async {
            let sink = sink(&path);
            put(&sink, 0..3).await.unwrap();
            let len = fs::metadata(&path).unwrap().len();
            append(&path, "foreign\n");
            for error in [
                put(&sink, 3..4).await.unwrap_err(),
                put(&sink, 3..4).await.unwrap_err(),
                FileSink::check(&common::sink(&path)).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                if error.message().contains("another program") {
                    let text = error.to_string();
                    assert!(text.contains(&format!("bytes: {}, expected: {len}", len + 8)));
                    assert!(error.hint().unwrap().contains(".journal"), "{text}");
                }
            }
        });
        assert!(fs::read(&path).unwrap().ends_with(b"foreign\n"));
        assert_eq!(write(&path, 3..4).unwrap_err().kind(), ErrorKind::Conflict);
        if name == "a.ndjson" {
            // The way out that keeps both.
            fs::remove_file(journal(&path)).unwrap();
            write(&path, 3..4).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5);
        }
    }
}

#[test]
fn s13_a_file_of_others_is_continued_behind_a_whole_line_only() {
    let (_dir, path) = temporary("a.ndjson");
    fs::write(&path, "{\"n\":0,\"pad\":\"\"}\n").unwrap();
    write(&path, 1..3).unwrap();
    assert_eq!(numbers(&path), [0, 1, 2]);
    let (_dir, path) = temporary("b.ndjson");
    fs::write(&path, "{\"n\":0").unwrap();
    let error = write(&path, 1..3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("within a line"), "{error}");

    // Compressed: whole, cut off, and not compressed at all.
    let (dir, path) = temporary("a.ndjson.gz");
    write(&path, 0..50).unwrap();
    let whole = fs::read(&path).unwrap();
    let other = dir.path().join("b.ndjson.gz");
    fs::write(&other, &whole).unwrap();
    write(&other, 50..60).unwrap();
    assert_eq!(numbers(&other), (0..60).collect::<Vec<_>>());
    let other = dir.path().join("c.ndjson.gz");
    fs::write(&other, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(write(&other, 1..2).unwrap_err().kind(), ErrorKind::InvalidData);
    let other = dir.path().join("d.ndjson.gz");
    fs::write(&other, "{}\n").unwrap();
    assert_eq!(write(&other, 1..2).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn s13_a_second_writer_is_refused_until_the_first_ends() {
    let (dir, path) = temporary("a.ndjson");
    run(async {
        let first = sink(&path);
        put(&first, 0..1).await.unwrap();
        first.check().await.unwrap();
        let link = dir.path().join("link.ndjson");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let second = sink(path);
            assert_eq!(second.check().await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(put(&second, 1..2).await.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(second.close().await.unwrap_err().kind(), ErrorKind::Conflict);
        }
        drop(first);
        put(&sink(&link), 0..2).await.unwrap();
    });
    assert_eq!(numbers(&path), [0, 1]);
}

#[test]
fn o02_a_check_changes_nothing_and_names_what_is_wrong() {
    let (dir, path) = temporary("a.json");
    let check = |path: &Path| run(sink(path).check());
    check(&path).unwrap();
    assert_eq!(list(dir.path()), []);
    for (path, kind) in [
        (dir.path().join("no/such/a.ndjson"), ErrorKind::Config),
        (dir.path().to_owned(), ErrorKind::Config),
        ("/dev/null".into(), ErrorKind::Config),
    ] {
        let error = check(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    fs::write(&path, "{}").unwrap();
    assert_eq!(check(&path).unwrap_err().kind(), ErrorKind::InvalidData);
    fs::write(&path, "[]").unwrap();
    check(&path).unwrap();
    write(&path, 0..3).unwrap();
    let before = list(dir.path());
    check(&path).unwrap();
    assert_eq!(list(dir.path()), before);
}

#[test]
fn c02_a_journal_that_cannot_be_understood_is_an_error() {
    let (_dir, path) = temporary("a.ndjson");
    write(&path, 0..3).unwrap();
    let good = fs::read(journal(&path)).unwrap();
    let mut newer = good.clone();
    newer[7] = 2;
    for bad in [&newer[..], b"", b"AUDITJ"] {
        fs::write(journal(&path), bad).unwrap();
        assert_eq!(write(&path, 3..4).unwrap_err().kind(), ErrorKind::InvalidData);
    }
    // A flipped bit before the last record is not taken for one that was being written.
    for at in 16..good.len() - 64 {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        fs::write(journal(&path), flipped).unwrap();
        let error = write(&path, 3..4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{at}: {error}");
    }
    fs::write(journal(&path), good).unwrap();
    assert_eq!(write(&path, 0..4).unwrap(), 3);
}

#[test]
fn i07_repeats_are_known_across_restarts_also_after_the_journal_was_compacted() {
    let (_dir, path) = temporary("a.ndjson");
    run(async {
        let sink = sink(&path);
        for from in (0..320_000).step_by(20_000) {
            put(&sink, from..from + 20_000).await.unwrap();
        }
    });
    let len = fs::metadata(journal(&path)).unwrap().len();
    assert!(len < 4 << 20, "{len}");
    assert_eq!(write(&path, 320_000 - 65_536..320_001).unwrap(), 65_536);
    assert_eq!(numbers(&path), (0..320_001).collect::<Vec<_>>());
}

#[test]
fn d08_a_write_given_up_waiting_for_is_whole_or_absent() {
    let (_dir, path) = temporary("a.ndjson");
    run(async {
        let sink = sink(&path);
        for n in 0..40u64 {
            let batch = events(n * 500..(n + 1) * 500);
            let wait = std::time::Duration::from_micros(n * 100);
            let _given_up = tokio::time::timeout(wait, sink.write(&batch)).await;
            let _written = sink.write(&batch).await.unwrap();
        }
    });
    assert_eq!(numbers(&path), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn files_are_private_and_a_link_stays_a_link() {
    let (dir, path) = temporary("a.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    run(async {
        let sink = sink(&path);
        put(&sink, 0..1).await.unwrap();
        for (path, _) in list(dir.path()) {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        sink.close().await.unwrap();
        assert_eq!(mode(&path), 0o600);
    });
    // Who may read it is the user's choice from then on.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = dir.path().join("link.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    run(async {
        let sink = FileSink::new(FileConfig::new(&link).layout(Layout::Array)).unwrap();
        put(&sink, 1..2).await.unwrap();
        sink.close().await.unwrap();
    });
    assert_eq!((numbers(&path), mode(&path)), (vec![0, 1], 0o640));
    assert!(link.is_symlink());
}
