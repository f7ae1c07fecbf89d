//! The sink contract of `audit-core`, for each kind of output.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::testkit::{SinkHarness, When, sample_id};
use audit_core::{AuditEvent, Error, ErrorKind, EventId, Result, Sink, Written};
use audit_sink_file::{FileConfig, FileSink};

/// A file in a directory of its own.
struct Files {
    directory: tempfile::TempDir,
    name: &'static str,
    fault: Arc<Mutex<Option<When>>>,
}

impl Files {
    fn start(name: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        Self { directory, name, fault: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("logs").join(self.name)
    }
}

#[async_trait]
impl SinkHarness for Files {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        let sink = common::sink(&self.path());
        let directory = self.directory.path().to_owned();
        Arc::new(Faulty { sink, directory, fault: self.fault.clone() })
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let records = common::records(&self.path());
        records.into_iter().map(|record| (sample_id(&record).unwrap(), record)).collect()
    }

    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let possible = kind == ErrorKind::Config || when == When::After;
        if possible {
            *self.fault.lock().unwrap() = Some(when);
        }
        possible
    }
}

/// A sink whose next write finds its directory gone, or whose answer gets lost.
struct Faulty {
    sink: FileSink,
    directory: PathBuf,
    fault: Arc<Mutex<Option<When>>>,
}

#[async_trait]
impl Sink for Faulty {
    async fn check(&self) -> Result<()> {
        self.sink.check().await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let fault = if events.is_empty() { None } else { self.fault.lock().unwrap().take() };
        let (there, away) = (self.directory.join("logs"), self.directory.join("away"));
        match fault {
            None => self.sink.write(events).await,
            Some(When::Before) => {
                std::fs::rename(&there, &away).unwrap();
                let answer = self.sink.write(events).await;
                std::fs::rename(&away, &there).unwrap();
                answer
            }
            Some(When::After) => {
                let _lost = self.sink.write(events).await?;
                Err(Error::new(ErrorKind::Timeout, "no answer"))
            }
        }
    }

    async fn close(&self) -> Result<()> {
        self.sink.close().await
    }
}

macro_rules! file_suite {
    ($module:ident, $name:literal) => {
        mod $module {
            audit_core::conformance!(
                sink: async || super::Files::start($name),
                except: {
                    k04_names_a_failed_event_and_keeps_its_neighbours: "a file takes any event",
                    k10_shows_no_secret: "there is no secret in the configuration",
                }
            );
        }
    };
}

file_suite!(ndjson, "a.ndjson");
file_suite!(ndjson_gz, "a.ndjson.gz");
file_suite!(ndjson_zst, "a.ndjson.zst");
file_suite!(array, "a.json");
file_suite!(array_zst, "a.json.zst");

/// A pipe that keeps what comes through.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // In pieces, as a pipe does.
        let piece = &bytes[..bytes.len().min(100)];
        self.0.lock().unwrap().extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SinkHarness for Pipe {
    async fn sink(&mut self) -> Arc<dyn Sink> {
        Arc::new(FileSink::to_writer(self.clone(), FileConfig::new("-")).unwrap())
    }

    async fn stored(&mut self) -> Vec<(EventId, String)> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| (sample_id(line).unwrap(), line.to_owned())).collect()
    }
}

mod stdout {
    audit_core::conformance!(
        sink: async || super::Pipe::default(),
        except: {
            k04_names_a_failed_event_and_keeps_its_neighbours: "a pipe takes any event",
            k05_survives_a_write_that_failed_as_a_whole:
                "nothing follows a failure: a torn record cannot be taken back (see faults.rs)",
            k06_gives_each_failure_its_kind: "as k05; the kinds are tested in faults.rs",
            k10_shows_no_secret: "there is no secret in the configuration",
        }
    );
}

mod crash {
    use audit_core::testkit::{Verdict, World, crash_at_every_call};

    use super::*;

    async fn a_kill_at_any_call_loses_and_doubles_nothing(name: &'static str) -> Verdict {
        crash_at_every_call(async || World::of_sink(Files::start(name))).await
    }

    #[tokio::test]
    async fn of_ndjson() -> Verdict {
        a_kill_at_any_call_loses_and_doubles_nothing("audit.ndjson").await
    }

    #[tokio::test]
    async fn of_zstandard() -> Verdict {
        a_kill_at_any_call_loses_and_doubles_nothing("audit.ndjson.zst").await
    }

    #[tokio::test]
    async fn of_an_array() -> Verdict {
        a_kill_at_any_call_loses_and_doubles_nothing("audit.json").await
    }
}
