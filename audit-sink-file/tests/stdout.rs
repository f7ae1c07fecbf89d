//! Streams: closed, slow, and arrays on them.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::io::{PipeReader, Read, Write, pipe};
use std::process::{Command, Stdio};
use std::time::Duration;

use audit_core::{ErrorKind, Retry, Sink};
use audit_sink_file::{FileConfig, FileSink, Layout};
use common::{put, run};

const ROLE: &str = "AUDIT_SINK_FILE_STDOUT";

fn stream(config: FileConfig) -> (PipeReader, FileSink) {
    let (reader, writer) = pipe().unwrap();
    (reader, FileSink::to_writer(writer, config).unwrap())
}

#[test]
fn s14_a_closed_stream_is_a_defined_end() {
    let (reader, sink) = stream(FileConfig::new("-"));
    assert!(!sink.deduplicates());
    run(async {
        sink.check().await.unwrap();
        put(&sink, 0..3).await.unwrap();
        drop(reader);
        for _ in 0..2 {
            let error = put(&sink, 3..4).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.retry(), Retry::Never);
            assert_eq!(error.message(), "stdout was closed by its reader");
        }
    });
}

#[test]
fn s14_nothing_follows_a_torn_record() {
    /// Takes ten bytes, then has no space.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            let len = bytes.len().min(self.0);
            self.0 -= len;
            Ok(len)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let sink = FileSink::to_writer(Full(10), FileConfig::new("-")).unwrap();
    run(async {
        for _ in 0..2 {
            let error = put(&sink, 0..3).await.unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Never));
        }
    });
}

#[test]
fn s14_a_slow_reader_holds_up_and_gets_everything() {
    let (mut reader, sink) = stream(FileConfig::new("-"));
    let read = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 8192]);
        loop {
            std::thread::sleep(Duration::from_micros(300));
            match reader.read(&mut piece).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    });
    run(async {
        for n in 0..10 {
            put(&sink, n * 2000..(n + 1) * 2000).await.unwrap();
        }
        sink.close().await.unwrap();
    });
    drop(sink);
    let text = String::from_utf8(read.join().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 20_000);
}

#[test]
fn an_array_on_a_stream_is_ended_by_close() {
    for (batches, expected) in
        [(0, "[]\n"), (2, "[\n{\"n\":0,\"pad\":\"\"},\n{\"n\":1,\"pad\":\"x\"}\n]\n")]
    {
        let (mut reader, sink) = stream(FileConfig::new("-").layout(Layout::Array));
        run(async {
            for n in 0..batches {
                put(&sink, n..n + 1).await.unwrap();
            }
            sink.close().await.unwrap();
            sink.close().await.unwrap();
        });
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
}

/// The child of the next test: writes to its own stdout until it cannot.
#[test]
#[expect(clippy::exit, reason = "the exit code is the answer to the parent")]
fn writes_to_stdout() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let sink = FileSink::new(FileConfig::new("-")).unwrap();
    let error = run(async {
        loop {
            if let Err(error) = put(&sink, 0..1000).await {
                break error;
            }
        }
    });
    assert_eq!(error.message(), "stdout was closed by its reader");
    std::process::exit(42);
}

#[test]
fn s14_stdout_itself_closed_as_by_head() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writes_to_stdout", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut head = [0; 100_000];
    out.read_exact(&mut head).unwrap();
    assert!(String::from_utf8_lossy(&head).contains("\n{\"n\":1,\"pad\":\"x\"}\n"));
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(42));
}
