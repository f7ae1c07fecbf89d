//! The source contract of `audit-core` on files, and what files may hold.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::testkit::{SourceHarness, World, crash_at_every_call, survive_random_faults};
use audit_core::{Cursor, ErrorKind, EventId, Limit, Read, Result, Source};
use audit_source_confluent::{FilesConfig, FilesSource};
use common::{drain, id, record};

struct Folder {
    dir: tempfile::TempDir,
    next: usize,
    fault: Arc<Mutex<bool>>,
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.dir.path().join("events")
    }

    fn add(&self, line: &str) {
        let mut file =
            std::fs::OpenOptions::new().append(true).create(true).open(self.path()).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

#[async_trait]
impl SourceHarness for Folder {
    async fn source(&mut self) -> Box<dyn Source> {
        let other = self.dir.path().join("empty");
        std::fs::write(&other, "\n").unwrap();
        let source = FilesSource::new(FilesConfig::new([other, self.path()])).unwrap();
        Box::new(Faulty { source, path: self.path(), fault: Arc::clone(&self.fault) })
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let numbers = self.next..self.next + records;
        self.next += records;
        numbers
            .map(|n| {
                self.add(&record(n));
                EventId::new(id(n))
            })
            .collect()
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        let numbers = self.next..self.next + records;
        self.next += records;
        numbers
            .map(|n| {
                self.add(&format!(r#"{{"id":"{}","time":"2026-03-04T06:00:00Z"}}"#, id(n)));
                EventId::new(id(n))
            })
            .collect()
    }

    async fn seed_bad(&mut self) -> bool {
        self.next += 1;
        self.add(&format!("{{\"cut off\": {}", self.next));
        true
    }

    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        *self.fault.lock().unwrap() = kind == ErrorKind::Config;
        kind == ErrorKind::Config
    }
}

/// A source whose file is away during its next read.
struct Faulty {
    source: FilesSource,
    path: PathBuf,
    fault: Arc<Mutex<bool>>,
}

#[async_trait]
impl Source for Faulty {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.source.open(from).await
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        if !std::mem::take(&mut *self.fault.lock().unwrap()) {
            return self.source.read(limit).await;
        }
        let away = self.path.with_extension("away");
        std::fs::rename(&self.path, &away).unwrap();
        let mut answer = self.source.read(limit).await;
        while let Ok(Read::Batch(batch)) = &answer {
            assert!(batch.events.is_empty());
            answer = self.source.read(limit).await;
        }
        std::fs::rename(&away, &self.path).unwrap();
        answer
    }

    async fn check(&mut self) -> Result<()> {
        self.source.check().await
    }
}

async fn start() -> Folder {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder { dir, next: 0, fault: Arc::default() };
    std::fs::write(folder.path(), "").unwrap();
    folder
}

audit_core::conformance!(
    source: start,
    except: { s07_finds_a_late_record_once: "a file is read in its order" }
);

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn a_line_that_is_no_record_does_not_stop_the_rest_of_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let plain = format!("Headers: []\n{}\n{}\r\n{{\"cut", record(1), record(2));
    let packed = zstd::encode_all(format!("{}\n\n{}", record(2), record(3)).as_bytes(), 1).unwrap();
    let files = [write(dir.path(), "a", plain), write(dir.path(), "b.zst", packed)];
    let mut source = FilesSource::new(FilesConfig::new(files)).unwrap();
    source.check().await.unwrap();
    source.open(None).await.unwrap();
    let all = drain(&mut source).await.unwrap();
    assert_eq!(all.ids(), [id(1), id(2), id(3)], "one of them is in both files");
    let bodies: Vec<_> = all.rejected.iter().map(|letter| letter.body()).collect();
    assert_eq!(bodies, [&b"Headers: []"[..], b"{\"cut"]);
    // More files than before: it goes on behind the last one.
    let more = write(dir.path(), "c", record(4));
    let files = [dir.path().join("a"), dir.path().join("b.zst"), more];
    let mut source = FilesSource::new(FilesConfig::new(files)).unwrap();
    source.open(all.cursor.as_ref()).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().ids(), [id(4)]);
}

#[tokio::test]
async fn a_checkpoint_of_other_files_and_missing_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a", record(1));
    let mut source = FilesSource::new(FilesConfig::new([path])).unwrap();
    source.open(None).await.unwrap();
    let cursor = drain(&mut source).await.unwrap().cursor;
    let mut other = FilesSource::new(FilesConfig::new([dir.path().join("none")])).unwrap();
    let error = other.open(cursor.as_ref()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = other.check().await.unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
    let twice = FilesConfig::new(["a", "a"]);
    assert_eq!(FilesSource::new(twice).unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_crash_at_any_call_loses_nothing() {
    let world = async || World::of_source(start().await);
    crash_at_every_call(world).await.unwrap();
    survive_random_faults(world, 0..5).await.unwrap();
}
