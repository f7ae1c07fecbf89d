//! The emitters that write at once, and those that stand before others.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

use std::fs;
use std::sync::Arc;

use audit_core::ErrorKind;
use audit_core::logger::LineWriter;
use audit_logger::{
    AuditLogger, AuditRecord, BestEffort, Capture, Emitter, RollingConfig, RollingFile, Tee,
};

fn record(message: impl AsRef<str>) -> AuditRecord {
    AuditLogger::new().info(message).record().unwrap()
}

#[test]
fn a03_full_disk_in_each_policy() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    // Fail closed: the caller is told, each time, by every direct emitter.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.ndjson");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let file = RollingFile::new(RollingConfig::new(&path)).unwrap();
    let writer = LineWriter::new(full());
    for _ in 0..2 {
        for error in [file.emit(&record("x")).unwrap_err(), writer.emit(&record("x")).unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.hint().unwrap().contains("free some space"), "{error}");
        }
    }
    // Best effort: counted.
    let lossy = BestEffort::new(LineWriter::new(full()));
    for _ in 0..3 {
        lossy.emit(&record("x")).unwrap();
    }
    assert_eq!(lossy.lost(), 3);
    // Held back in memory: the flush tells.
    let buffered = LineWriter::new(full()).buffered(4096);
    buffered.emit(&record("x")).unwrap();
    assert!(buffered.flush().is_err());
}

#[test]
fn several_at_once_succeed_when_enough_do() {
    let (one, two) = (Capture::new(), Capture::new());
    let both = || [Arc::new(one.clone()) as Arc<dyn Emitter>, Arc::new(two.clone()) as _];
    one.fail(true);
    let error = Tee::all(both()).emit(&record("all")).unwrap_err();
    assert_eq!(error.to_string(), "too few emitters took the record (took it: 1, required: 2)");
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    Tee::all(both()).required(1).emit(&record("one is enough")).unwrap();
    assert_eq!(two.messages(), ["all", "one is enough"], "all are tried");
    assert_eq!(Tee::all([]).emit(&record("nowhere")).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn every_emitter_of_several_sees_the_same_id() {
    let (one, two) = (Capture::new(), Capture::new());
    let both: [Arc<dyn Emitter>; 2] = [Arc::new(one.clone()), Arc::new(two.clone())];
    let mut audit = AuditLogger::new().with_emitter(Arc::new(Tee::all(both)));
    audit.info("x").send_log().unwrap();
    assert_eq!(one.single(), two.single());
}

#[test]
fn best_effort_reports_the_loss_before_it_goes_on() {
    let capture = Capture::new();
    let lossy = BestEffort::new(capture.clone());
    capture.fail(true);
    lossy.emit(&record("a")).unwrap();
    lossy.emit(&record("b")).unwrap();
    capture.fail(false);
    lossy.emit(&record("c")).unwrap();
    lossy.emit(&record("d")).unwrap();
    assert_eq!(capture.messages(), ["audit records were lost", "c", "d"]);
    assert_eq!(capture.records()[0].results_json(), Some(r#"{"lost_records": 2}"#));
    assert_eq!(lossy.lost(), 2);
}
