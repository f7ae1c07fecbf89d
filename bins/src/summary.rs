//! What a run has done: a table for people, JSON for programs.

use audit_core::{Error, ErrorKind, Result, StreamId, Summary};
use serde_json::{Value, json};

use crate::progress::{rate, seconds};
use crate::{exit, terminal};

/// How the run of one pipeline ended.
#[derive(Debug)]
pub struct Report {
    /// Which pipeline.
    pub stream: StreamId,
    /// What it did.
    pub summary: Summary,
    /// What ended it early.
    pub error: Option<Error>,
    /// Whether it only read and mapped.
    pub dry_run: bool,
}

impl Report {
    /// Puts a report together; books that do not balance are an error of their own.
    pub fn new(stream: StreamId, summary: Summary, error: Option<Error>, dry_run: bool) -> Self {
        let error = error.or_else(|| (!summary.balances()).then(|| unbalanced(&stream)));
        Self { stream, summary, error, dry_run }
    }

    /// Returns the exit code that this run alone deserves.
    pub fn code(&self) -> u8 {
        match &self.error {
            Some(error) => exit::of_error(error),
            None if self.summary.dead_lettered > 0 => exit::DEAD_LETTERS,
            None => exit::OK,
        }
    }

    /// Returns the table for people.
    pub fn table(&self) -> String {
        let s = &self.summary;
        let mut text = format!("{}: {} in {}", self.stream, self.headline(), seconds(s.elapsed));
        let delivered = if self.dry_run { "would be delivered" } else { "delivered" };
        let rows = [
            ("read", s.read, true),
            (delivered, s.delivered, true),
            ("there already", s.duplicates, s.duplicates > 0),
            ("dead letters", s.dead_lettered, true),
            ("filtered", s.filtered, s.filtered > 0),
            ("of another form", s.drifted, s.drifted > 0),
            ("retries", s.retries, s.retries > 0),
        ];
        for (name, number, _) in rows.into_iter().filter(|(_, _, shown)| *shown) {
            text += &format!("\n  {name:<18} {:>13}", terminal::count(number));
        }
        if s.read > 0 {
            let rate = terminal::count(rate(s.read, s.elapsed));
            text += &format!("\n  {:<18} {rate:>13}", "a second");
        }
        text
    }

    fn headline(&self) -> &'static str {
        match self {
            Self { error: Some(_), .. } => "failed",
            Self { summary, .. } if summary.interrupted => "stopped",
            Self { dry_run: true, .. } => "dry run, nothing written,",
            Self { summary, .. } if summary.dead_lettered > 0 => "done, with dead letters,",
            Self { summary, .. } if summary.read == 0 => "nothing new",
            _ => "all delivered",
        }
    }

    fn json(&self) -> Value {
        let error = self.error.as_ref().map(
            |e| json!({"kind": e.kind().as_str(), "message": terminal::describe(e), "hint": terminal::help(e)}),
        );
        let s = &self.summary;
        json!({
            "pipeline": self.stream.as_str(),
            "read": s.read,
            "delivered": s.delivered,
            "duplicates": s.duplicates,
            "dead_lettered": s.dead_lettered,
            "filtered": s.filtered,
            "drifted": s.drifted,
            "batches": s.batches,
            "retries": s.retries,
            "bytes": s.bytes,
            "latest": s.latest,
            "interrupted": s.interrupted,
            "elapsed_ms": u64::try_from(s.elapsed.as_millis()).unwrap_or(u64::MAX),
            "dry_run": self.dry_run,
            "error": error,
            "exit_code": self.code(),
        })
    }
}

/// Returns the exit code of several runs: the first failure, else dead letters, else success.
pub fn code(reports: &[Report]) -> u8 {
    let codes = || reports.iter().map(Report::code);
    codes()
        .find(|code| !matches!(*code, exit::OK | exit::DEAD_LETTERS))
        .or_else(|| codes().find(|code| *code != exit::OK))
        .unwrap_or(exit::OK)
}

/// Writes all reports to stdout as one line of JSON.
///
/// # Errors
/// As [`terminal::out`].
pub fn write_json(reports: &[Report]) -> Result<()> {
    write_line(&json!({"exit_code": code(reports), "pipelines": pipelines(reports)}))
}

/// As [`write_json`], with one thing more.
///
/// # Errors
/// As [`terminal::out`].
pub fn write_json_with(reports: &[Report], key: &str, value: Value) -> Result<()> {
    let mut line = json!({"exit_code": code(reports), "pipelines": pipelines(reports)});
    line[key] = value;
    write_line(&line)
}

fn pipelines(reports: &[Report]) -> Vec<Value> {
    reports.iter().map(Report::json).collect()
}

fn write_line(value: &Value) -> Result<()> {
    let line = value.to_string();
    terminal::out(|out| writeln!(out, "{}", terminal::neutral_json(&line)))
}

fn unbalanced(stream: &StreamId) -> Error {
    Error::new(ErrorKind::Unexpected, "the books do not balance: not every record is accounted for")
        .with("pipeline", stream)
        .with_hint("please report this; the checkpoint has not passed what is unaccounted for")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(summary: Summary, error: Option<Error>) -> Report {
        Report::new("orders".parse().unwrap(), summary, error, false)
    }

    fn read(read: u64, delivered: u64, dead_lettered: u64) -> Summary {
        let mut summary = Summary::default();
        (summary.read, summary.delivered, summary.dead_lettered) = (read, delivered, dead_lettered);
        summary
    }

    #[test]
    fn books_that_do_not_balance_are_an_error() {
        assert_eq!(report(read(5, 4, 1), None).code(), exit::DEAD_LETTERS);
        assert_eq!(report(read(5, 5, 0), None).code(), exit::OK);
        assert_eq!(report(read(5, 4, 0), None).code(), exit::UNEXPECTED);
    }

    #[test]
    fn the_first_failure_decides_before_dead_letters() {
        let failed = || report(read(0, 0, 0), Some(Error::new(ErrorKind::Auth, "")));
        let buried = || report(read(1, 0, 1), None);
        assert_eq!(code(&[]), exit::OK);
        assert_eq!(code(&[buried(), failed()]), exit::AUTH);
        assert_eq!(code(&[report(read(1, 1, 0), None), buried()]), exit::DEAD_LETTERS);
    }
}
