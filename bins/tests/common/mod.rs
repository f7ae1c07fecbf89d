//! A directory with a database, a configuration and the real program.
#![allow(dead_code, clippy::unwrap_used, reason = "a test may, and each uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, params};
use tempfile::TempDir;

pub(crate) struct Lab {
    dir: TempDir,
}

/// What a run of the program left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    /// A database with rows `1..=rows` and a configuration that ships them to `out.ndjson`.
    pub(crate) fn new(rows: u32) -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        lab.db()
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, is_sent BOOLEAN NOT NULL DEFAULT 0,
                     message JSON, created_at TEXT NOT NULL);
                 CREATE INDEX unsent ON audit_logs (id) WHERE is_sent IS NOT TRUE;",
            )
            .unwrap();
        lab.add(1, rows);
        lab.config(&config("out.ndjson", ""));
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn db(&self) -> Connection {
        let db = Connection::open(self.path("app.db")).unwrap();
        db.busy_timeout(Duration::from_secs(20)).unwrap();
        db
    }

    pub(crate) fn add(&self, first: u32, rows: u32) {
        let mut db = self.db();
        let transaction = db.transaction().unwrap();
        for id in first..first + rows {
            transaction
                .execute(
                    "INSERT INTO audit_logs (id, message, created_at) VALUES (?1, ?2, '2026-01-05 08:00:00')",
                    params![id, message(id)],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
    }

    pub(crate) fn add_value(&self, id: u32, value: Value) {
        let sql = "INSERT INTO audit_logs (id, message, created_at) VALUES (?1, ?2, '2026-01-05')";
        self.db().execute(sql, params![id, value]).unwrap();
    }

    pub(crate) fn unsent(&self) -> u32 {
        let sql = "SELECT count(*) FROM audit_logs WHERE is_sent IS NOT TRUE";
        self.db().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn config(&self, text: &str) {
        fs::write(self.path("audit.toml"), text).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_audit"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("AUDIT_CONFIG")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn audit(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs a line of shell in which `$AUDIT` is the program.
    pub(crate) fn shell(&self, line: &str) -> Ran {
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(self.dir.path()).stdin(Stdio::null());
        Ran::of(command.env("AUDIT", env!("CARGO_BIN_EXE_audit")).output().unwrap())
    }

    pub(crate) fn run(&self) -> Ran {
        self.audit(&["run", "--config", "audit.toml"])
    }

    /// Starts a run that follows, and waits until it has shipped what is there.
    pub(crate) fn follow(&self) -> Child {
        let child = self
            .command(&["run", "--config", "audit.toml", "--follow"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(|| self.unsent() == 0);
        child
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        text.lines().map(str::to_owned).collect()
    }

    /// Asserts that a file holds each of the rows `1..=rows` once.
    #[track_caller]
    pub(crate) fn holds_each_once(&self, name: &str, rows: u32) {
        assert_each_once(self.lines(name), rows);
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().map(|s| -s);
        Self {
            code: output.status.code().or(signal).unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "not said: {words}\nstderr: {}", self.err);
        self
    }
}

#[track_caller]
pub(crate) fn assert_each_once(mut lines: Vec<String>, rows: u32) {
    let mut expected: Vec<_> = (1..=rows).map(message).collect();
    lines.sort_unstable();
    expected.sort_unstable();
    let twice: Vec<_> = lines.windows(2).filter(|w| w[0] == w[1]).map(|w| &w[0]).collect();
    assert!(twice.is_empty(), "{} rows are there twice, the first: {}", twice.len(), twice[0]);
    let lost: Vec<_> = expected.iter().filter(|e| lines.binary_search(e).is_err()).collect();
    assert!(lost.is_empty(), "{} of {rows} rows are lost, the first: {}", lost.len(), lost[0]);
    assert_eq!(lines.len(), expected.len(), "rows that nobody wrote");
}

pub(crate) fn message(id: u32) -> String {
    format!(
        r#"{{"audit_event": {{"origin": "test", "status": "SUCCESS", "date_time_epoch": 1767600000000, "date_time": "2026-01-05T08:00:00.000Z", "actor": {{"role": "admin", "user_id": "user-{}", "ip_address": "192.0.2.1"}}, "operation": "UPDATE", "additional_information": "", "target": {{"id": "{id}", "type": "Loan"}}}}}}"#,
        id % 17
    )
}

pub(crate) fn config(output: &str, more: &str) -> String {
    format!(
        "[pipelines.orders]\n{more}\n[pipelines.orders.source]\ntype = \"sql\"\n\
         url = \"sqlite://app.db\"\npoll_interval = \"20ms\"\n\
         [pipelines.orders.sink]\ntype = \"file\"\npath = \"{output}\"\n"
    )
}

#[track_caller]
pub(crate) fn wait_for(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// All files below a directory, with content.
pub(crate) fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.push((path.clone(), Vec::new()));
            files.extend(snapshot(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}
