//! A disk that is full, for real: a small file system of its own, and a limit on file sizes.
//!
//! This test program is its own child, under `unshare` and `ulimit`.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use audit_core::{Error, ErrorKind};
use common::{NAMES, numbers, put, run, sink};

const PATH: &str = "AUDIT_SINK_FILE_FULL_PATH";

/// Runs a test of this file with `PATH` set, started by a shell script as its `$0 "$@"`.
fn in_shell(shell: &[&str], script: &str, test: &str, path: &Path) -> Option<Output> {
    Command::new(shell[0])
        .args(&shell[1..])
        .args(["sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PATH, path)
        .output()
        .ok()
}

fn full(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(error.hint().unwrap().contains("free some space"), "{error}");
}

/// Writes until the disk is full; what is there is whole, and it goes on when there is space.
fn fill(path: &Path, make_space: Option<&dyn Fn()>) {
    run(async {
        let sink = sink(path);
        let mut next = 0;
        let error = loop {
            match put(&sink, next..next + 700).await {
                Ok(duplicates) => assert_eq!(duplicates, 0),
                Err(error) => break error,
            }
            next += 700;
        };
        full(&error);
        assert!(next > 0, "not one batch fits");
        full(&put(&sink, next..next + 700).await.unwrap_err());
        if !path.to_str().unwrap().contains(".json") {
            assert!(numbers(path).into_iter().eq(0..next), "torn, lost or repeated");
        }
        let Some(make_space) = make_space else { return };
        make_space();
        assert_eq!(put(&sink, next..next + 700).await.unwrap(), 0);
        assert_eq!(put(&sink, next - 1..next + 701).await.unwrap(), 701);
        audit_core::Sink::close(&sink).await.unwrap();
        assert!(numbers(path).into_iter().eq(0..next + 701), "torn, lost or repeated");
    });
}

/// The child of the next test.
#[test]
fn on_a_small_disk() {
    let Some(directory) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    for name in NAMES {
        let ballast = directory.join("ballast");
        fs::write(&ballast, vec![0; 800 << 10]).unwrap();
        let path = directory.join(name);
        fill(&path, Some(&|| fs::remove_file(&ballast).unwrap()));
        for file in fs::read_dir(&directory).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn c03_s13_a_full_disk_tears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=1536k none \"${PATH}\"");
    let unshare = ["unshare", "--mount"];
    let possible = in_shell(&unshare, &mount, "", dir.path()).is_some_and(|o| o.status.success());
    let required = std::env::var_os("AUDIT_LIVE").is_some_and(|value| value == "1");
    if !possible && !required {
        eprintln!("skipped: this user cannot mount a small disk");
        return;
    }
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let output = in_shell(&unshare, &script, "on_a_small_disk", dir.path()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The child of the next test.
#[test]
fn under_a_size_limit() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    fill(&path, None);
}

#[test]
fn c03_s13_a_file_size_limit_tears_nothing() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        // The signal that comes with the limit is ignored, so that the write fails instead.
        let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
        let output = in_shell(&["env"], script, "under_a_size_limit", &path).unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        // Without the limit it goes on.
        run(async {
            let sink = sink(&path);
            put(&sink, 0..3000).await.unwrap();
            audit_core::Sink::close(&sink).await.unwrap();
        });
        let found = numbers(&path);
        assert!(found.len() >= 3000 && found.iter().copied().eq(0..found.len() as u64));
    }
}

/// The child of the next test: the journal is what grows to the limit.
#[test]
fn under_a_size_limit_of_the_journal() {
    let Some(directory) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    // The limit comes at each place in the records of a batch: in the announcement, in the note.
    for more in 0..9 {
        let path = directory.join(format!("{more}.ndjson.gz"));
        run(async {
            let sink = sink(&path);
            let mut next = 3000 + more;
            put(&sink, 0..next).await.unwrap();
            let error = loop {
                match put(&sink, next..next + 1).await {
                    Ok(_) => next += 1,
                    Err(error) => break error,
                }
            };
            full(&error);
            let again = put(&sink, next..next + 1).await;
            assert!(numbers(&path).into_iter().eq(0..next), "lost what was acknowledged");
            full(&again.unwrap_err());
        });
    }
}

#[test]
fn c03_s13_a_note_that_finds_no_room_costs_no_batch() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let test = "under_a_size_limit_of_the_journal";
    let output = in_shell(&["env"], script, test, dir.path()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
