//! What is left when a process ends badly, and when its streams are not what they should be. The test
//! program is its own child.
#![expect(clippy::exit, reason = "some children end so")]
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit_core::logger::LineWriter;
use audit_core::testkit::MemoryDestination;
use audit_core::{AuditEvent, Result, Sink, Written};
use audit_logger::{
    AuditLogger, BestEffort, Emitter, FlushGuard, Policy, Queue, QueueConfig, SpoolConfig,
};
use common::message_of;

const ROLE: &str = "AUDIT_LOGGER_ROLE";
const PLACE: &str = "AUDIT_LOGGER_PLACE";

/// A child that plays a role; its stdout carries nothing but its records, after one line of the test
/// harness.
fn child(script: &str, role: &str, place: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["role", "--exact", "--nocapture", "--quiet"])
        .env(ROLE, role)
        .env(PLACE, place);
    command
}

fn run(script: &str, role: &str, place: &Path) -> Output {
    child(script, role, place).output().unwrap()
}

/// A sink that appends lines to a file, each with one write.
struct Lines(File);

#[async_trait]
impl Sink for Lines {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        for event in events {
            (&self.0).write_all(format!("{}\n", event.raw.get()).as_bytes()).unwrap();
        }
        Ok(Written::all())
    }
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = std::path::PathBuf::from(std::env::var(PLACE).unwrap());
    let to = |emitter: Arc<dyn Emitter>| AuditLogger::new().with_emitter(emitter);
    let send = |audit: &mut AuditLogger, count: usize| {
        (0..count).for_each(|n| audit.info(n.to_string()).send_log().unwrap());
    };
    let lines = || {
        let file = OpenOptions::new().append(true).create(true).open(place.join("out")).unwrap();
        Arc::new(Lines(file))
    };
    let spool = || Queue::open(QueueConfig::new(Policy::Spool(SpoolConfig::new(&place)))).unwrap();
    let timeout = Duration::from_secs(5);
    match role.as_str() {
        "one" => {
            // The test harness writes to stdout as well, so it becomes bad only now.
            let file = match place.to_str() {
                Some("gone") => {
                    let (_, writer) = std::io::pipe().unwrap();
                    File::from(std::os::fd::OwnedFd::from(writer))
                }
                Some("read-only") => File::open("/dev/null").unwrap(),
                _ => File::create(&place).unwrap(),
            };
            rustix::stdio::dup2_stdout(file).unwrap();
            let sent = AuditLogger::new().info("x").send_log();
            let lossy = BestEffort::new(LineWriter::stdout());
            lossy.emit(&AuditLogger::new().record().unwrap()).unwrap();
            let hint = sent.as_ref().err().and_then(|error| error.hint());
            eprintln!("sent: {sent:?}; {hint:?}; lost: {}", lossy.lost());
            std::process::exit(0);
        }
        "many" => send(&mut AuditLogger::new(), 2000),
        "spool, then abort" => {
            send(&mut to(Arc::new(spool())), 500);
            std::process::abort();
        }
        "spool, then exit" => {
            let queue = spool();
            let _guard = queue.start(lines(), None).unwrap();
            send(&mut to(Arc::new(queue)), 500);
            std::process::exit(3);
        }
        "fail closed, then abort" => {
            let queue = Queue::open(QueueConfig::new(Policy::FailClosed { timeout })).unwrap();
            let _guard = queue.start(lines(), None).unwrap();
            send(&mut to(Arc::new(queue)), 50);
            std::process::abort();
        }
        "buffer, then panic" => {
            let file = File::create(place.join("out")).unwrap();
            let writer: Arc<dyn Emitter> = Arc::new(LineWriter::new(file).buffered(1 << 20));
            let _guard = FlushGuard::new(writer.clone());
            send(&mut to(writer), 500);
            panic!("the application fails");
        }
        other => panic!("no such role: {other}"),
    }
}

fn messages(text: &str) -> Vec<String> {
    // The harness of another process may have begun a line of its own before it.
    let records =
        text.lines().filter_map(|line| line.find("{\"audit").and_then(|at| line.get(at..)));
    records.map(message_of).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn a03_a_stdout_that_takes_nothing_is_an_error_and_not_silence() {
    for (stdout, hint) in [
        ("/dev/full", "free some space"),
        ("gone", "the program that reads the records has ended"),
        // As closed: the system gives the same error.
        ("read-only", "the stream is closed"),
    ] {
        let output = run(r#"exec "$0" "$@""#, "one", Path::new(stdout));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("sent: Err"), "{stdout}: {text}");
        assert!(text.contains(hint) && text.contains("lost: 1"), "{stdout}: {text}");
    }
}

#[test]
fn lines_of_several_processes_on_one_pipe_do_not_mix() {
    let output = run(r#""$0" "$@" & "$0" "$@" & wait"#, "many", Path::new("/"));
    let found = messages(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(found.len(), 4000);
}

#[test]
fn a_slow_reader_of_a_non_blocking_stdout_gets_every_line() {
    let (reader, writer) = std::io::pipe().unwrap();
    // Both ends share the flag with the child.
    let script = r#"exec python3 -c 'import os,sys; os.set_blocking(1, False); os.execv(sys.argv[1], sys.argv[1:])' "$0" "$@""#;
    if Command::new("python3").arg("-V").output().is_err() {
        return;
    }
    let mut command = child(script, "many", Path::new("/"));
    let mut running = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    std::thread::sleep(Duration::from_millis(300));
    let mut text = String::new();
    let mut reader = BufReader::new(reader);
    reader.read_line(&mut text).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    reader.read_to_string(&mut text).unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(messages(&text), numbers(2000));
}

#[test]
fn a04_what_was_spooled_survives_abort_and_exit() {
    for role in ["spool, then abort", "spool, then exit"] {
        let dir = tempfile::tempdir().unwrap();
        let output = run(r#"exec "$0" "$@""#, role, dir.path());
        assert!(!output.status.success());
        let queue =
            Queue::open(QueueConfig::new(Policy::Spool(SpoolConfig::new(dir.path())))).unwrap();
        let destination = MemoryDestination::new();
        drop(queue.start(destination.connect(), None).unwrap());
        let written = std::fs::read_to_string(dir.path().join("out")).unwrap_or_default();
        let mut found = messages(&written);
        let later: Vec<_> =
            destination.records().iter().map(|(_, line)| message_of(line)).collect();
        // The batch in flight may be in both.
        let new = later.into_iter().filter(|message| !found.contains(message)).collect::<Vec<_>>();
        found.extend(new);
        assert_eq!(found, numbers(500), "{role}");
    }
}

#[test]
fn a04_what_fail_closed_said_ok_to_survives_abort() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!run(r#"exec "$0" "$@""#, "fail closed, then abort", dir.path()).status.success());
    let text = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert_eq!(messages(&text), numbers(50));
}

#[test]
fn a04_a_guard_flushes_when_a_panic_unwinds() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!run(r#"exec "$0" "$@""#, "buffer, then panic", dir.path()).status.success());
    let text = std::fs::read_to_string(dir.path().join("out")).unwrap();
    assert_eq!(messages(&text), numbers(500));
}
