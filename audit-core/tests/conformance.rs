//! The conformance suite over everything in this crate that implements a port.

#![expect(clippy::unwrap_used, reason = "harnesses are test code")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use audit_core::testkit::{
    CheckpointHarness, Damage, MemoryDestination, MemoryProgress, MemoryUpstream, Save,
    SourceHarness, Verdict, World, crash_at_every_call, sample_events, survive_random_faults,
};
use audit_core::{
    Checkpoint, DeadLetter, DeadLetters, Error, ErrorKind, EventId, FileCheckpoint,
    FileDeadLetters, Source, StreamId,
};

mod memory_source_history {
    use super::*;

    audit_core::conformance!(source: async || MemoryUpstream::history());
}

mod memory_source_flags {
    use super::*;

    audit_core::conformance!(source: async || MemoryUpstream::flags());
}

mod memory_source_partitions {
    use super::*;

    audit_core::conformance!(
        source: async || MemoryUpstream::partitions(3),
        except: {
            s07_finds_a_late_record_once: "a log is only ever appended to",
        }
    );
}

mod memory_source_that_ends {
    use super::*;

    audit_core::conformance!(
        source: async || MemoryUpstream::history().ending(),
        except: {
            s07_finds_a_late_record_once: "nothing is late in an upstream that is complete",
        }
    );
}

mod memory_sink {
    use super::*;

    audit_core::conformance!(
        sink: async || MemoryDestination::new(),
        except: {
            k10_shows_no_secret: "it has none",
        }
    );
}

mod memory_sink_as_a_pipe {
    use super::*;

    audit_core::conformance!(
        sink: async || MemoryDestination::pipe(),
        except: {
            k10_shows_no_secret: "it has none",
        }
    );
}

mod memory_checkpoint {
    use super::*;

    audit_core::conformance!(
        checkpoint: async || MemoryProgress::new(),
        except: {
            c05_keeps_the_old_or_the_new_value_when_killed: "it dies with the process",
            c06_refuses_a_cut_off_value: "memory is not read back from a medium",
            c06_refuses_a_value_with_a_flipped_bit: "memory is not read back from a medium",
            c06_refuses_an_empty_value: "memory is not read back from a medium",
            c06_refuses_a_newer_value: "memory is not read back from a medium",
            c08_fails_where_it_cannot_write: "memory can always be written",
        }
    );
}

struct InFiles(tempfile::TempDir);

impl InFiles {
    async fn start() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, stream: &StreamId) -> PathBuf {
        FileCheckpoint::open(self.0.path()).path(stream)
    }
}

#[async_trait]
impl CheckpointHarness for InFiles {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        Arc::new(FileCheckpoint::open(self.0.path()))
    }

    async fn rival(&mut self) -> Option<Arc<dyn Checkpoint>> {
        Some(Arc::new(FileCheckpoint::open(self.0.path())))
    }

    async fn damage(&mut self, stream: &StreamId, damage: Damage) -> bool {
        let path = self.path(stream);
        let text = fs::read_to_string(&path).unwrap();
        let damaged = match damage {
            Damage::Empty => String::new(),
            Damage::Truncated => text.chars().take(text.len() / 2).collect(),
            // '3' and '7' are one bit apart.
            Damage::BitFlip => text.replacen(r#""offset":3"#, r#""offset":7"#, 1),
            Damage::NewerVersion => text.replacen(r#""version":1"#, r#""version":2"#, 1),
            _ => return false,
        };
        assert_ne!(text, damaged);
        fs::write(&path, damaged).unwrap();
        true
    }

    async fn crash(&mut self, save: &Save, step: usize) -> bool {
        // What the save writes is found out in a copy of the directory.
        let path = self.path(&save.stream);
        let copy = tempfile::tempdir().unwrap();
        let twin = FileCheckpoint::open(copy.path());
        if path.exists() {
            fs::copy(&path, twin.path(&save.stream)).unwrap();
        }
        twin.save(&save.stream, &save.cursor, save.after).await.unwrap();
        let new = fs::read(twin.path(&save.stream)).unwrap();
        let beside = |suffix: &str| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let link = |name: PathBuf| {
            if path.exists() {
                fs::copy(&path, name).unwrap();
            }
        };
        match step {
            0 => link(beside(".previous.tmp")),
            1 => link(beside(".previous")),
            2 => fs::write(beside(".tmp"), "").unwrap(),
            3 => fs::write(beside(".tmp"), &new[..new.len() / 2]).unwrap(),
            4 => fs::write(beside(".tmp"), &new).unwrap(),
            5 => {
                fs::write(beside(".tmp"), &new).unwrap();
                fs::rename(beside(".tmp"), &path).unwrap();
            }
            _ => return false,
        }
        true
    }

    async fn unwritable(&mut self) -> Option<Arc<dyn Checkpoint>> {
        let file = self.0.path().join("a-file");
        fs::write(&file, "not a directory").unwrap();
        Some(Arc::new(FileCheckpoint::open(file.join("below"))))
    }
}

mod file_checkpoint {
    use super::*;

    audit_core::conformance!(checkpoint: InFiles::start);
}

/// Letters in a file, replayed.
struct Replay {
    letters: FileDeadLetters,
    seeded: usize,
    _dir: tempfile::TempDir,
}

impl Replay {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let letters = FileDeadLetters::open(dir.path().join("dead.ndjson"));
        Self { letters, seeded: 0, _dir: dir }
    }
}

#[async_trait]
impl SourceHarness for Replay {
    async fn source(&mut self) -> Box<dyn Source> {
        Box::new(self.letters.replay().unwrap())
    }

    async fn seed(&mut self, records: usize) -> Vec<EventId> {
        let events = sample_events(self.seeded, records).unwrap();
        self.seeded += records;
        let ids = events.iter().map(|e| e.id.clone()).collect();
        let error = Error::new(ErrorKind::Rejected, "the sink did not like it");
        let letters: Vec<_> = events.into_iter().map(|e| DeadLetter::event(e, &error, 1)).collect();
        self.letters.put(&letters).await.unwrap();
        ids
    }

    async fn seed_tied(&mut self, records: usize) -> Vec<EventId> {
        self.seed(records).await // the order is that of the file
    }

    async fn seed_bad(&mut self) -> bool {
        self.seeded += 1;
        let id = EventId::new(format!("bad-{}", self.seeded));
        let error = Error::new(ErrorKind::InvalidData, "not valid JSON");
        self.letters.put(&[DeadLetter::record(id, "{cut", &error)]).await.unwrap();
        true
    }

    async fn payload(&mut self, id: &EventId) -> Option<String> {
        let number = id.as_str().strip_prefix("sample-")?.parse().ok()?;
        Some(sample_events(number, 1).ok()?.pop()?.raw.get().to_owned())
    }
}

mod dead_letter_replay {
    use super::*;

    audit_core::conformance!(
        source: Replay::start,
        except: {
            s07_finds_a_late_record_once: "later letters are another replay",
            s09_reports_a_failure_with_its_kind: "the file system does not fail on demand",
        }
    );

    #[tokio::test]
    async fn a_kill_at_any_call_loses_and_doubles_nothing() -> Verdict {
        crash_at_every_call(async || World::of_source(Replay::start().await)).await
    }

    #[tokio::test]
    async fn random_faults_and_deaths_lose_and_double_nothing() -> Verdict {
        survive_random_faults(async || World::of_source(Replay::start().await), 0..30).await
    }
}
