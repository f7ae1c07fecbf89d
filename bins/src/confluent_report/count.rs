//! Counts the records of files, on all cores.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use audit_core::{Error, Result};
use audit_sink_report::{Crosstab, Details, Facts, Hour, Section};
use audit_source_confluent::scan::{Record, Scan, ScanConfig};

use crate::app::App;
use crate::report::{Look, Rejects, ReportOptions};
use crate::{exit, progress, terminal};

/// Looks at files as a whole.
///
/// # Errors
/// Those that keep it from starting, and of the file of rejected lines. Of a file that turns out to be
/// damaged the rest is told and left out, and decides about the exit code.
pub(super) async fn files(files: &[PathBuf], options: &ReportOptions, app: &App) -> Result<Look> {
    let scan = Scan::new(ScanConfig::new(files))?;
    scan.check()?;
    let total = files.iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum();
    let rejects = Mutex::new(options.rejects()?);
    let counts = options.crosstab();
    let (bytes, work) = (scan.progress(), move || count(&scan, rejects, counts));
    let look = progress::of_bytes(&app.screen, app.quiet, total, move || bytes.bytes(), work);
    look.await
}

/// A thread keeps so many labels for itself at most.
const OWN_LABELS: usize = 8192;

/// What a thread of the scan counts.
struct Share {
    /// What is not in the counts of all yet.
    counts: Crosstab,
    /// Records of a time that no report has.
    outside: u64,
    failure: Option<Error>,
}

fn count(scan: &Scan, rejects: Mutex<Rejects>, counts: Crosstab) -> Result<Look> {
    let lock = || rejects.lock().unwrap_or_else(PoisonError::into_inner);
    let share = || Share { counts: counts.clone(), outside: 0, failure: None };
    let all = Mutex::new(counts.clone());
    let mut notes = 0;
    let scanned = scan.run(
        share,
        |share, record| {
            if !count_record(record, &mut share.counts) {
                share.outside += 1;
                let id = record.id().unwrap_or_default();
                let kept = lock().put(id, record.line(), &crate::report::outside());
                share.failure = share.failure.take().or(kept.err());
            }
            if share.counts.labels() > OWN_LABELS {
                all.lock().unwrap_or_else(PoisonError::into_inner).take(&mut share.counts);
            }
        },
        |reject| {
            if is_note(reject.body) {
                notes += 1;
                return Ok(());
            }
            let place = format!("{}:{}", reject.path.display(), reject.line);
            lock().put(place, reject.body, reject.error)
        },
    )?;
    let summary = scanned.summary;
    let counts = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut look = Look { counts, ..Look::default() };
    for mut share in scanned.states {
        share.failure.map_or(Ok(()), Err)?;
        look.counts.take(&mut share.counts);
        look.rejected += share.outside;
    }
    lock().finish()?;
    look.rejected += summary.rejected - notes;
    look.repeats = summary.repeats;
    for error in &summary.failures {
        terminal::complain(error);
        look.code = if look.code == exit::OK { exit::of_error(error) } else { look.code };
    }
    Ok(look)
}

/// Counts a record as its event would be; false if no report has its time.
fn count_record(record: &Record<'_>, counts: &mut Crosstab) -> bool {
    let Some(hour) = Hour::of(&record.time()) else { return false };
    let (method, principal) = (record.action(), record.principal());
    let (operation, user, status) = (record.operation(), record.email(), record.error_status());
    let mut facts = Facts::new(hour);
    facts.method = method.as_deref();
    facts.principal = principal.as_deref();
    facts.client = if counts.counts(Section::ClientAddresses) { record.client() } else { None };
    let (operation, user, status) = (operation.as_deref(), user.as_deref(), status.as_deref());
    let details = Details { operation, user, status };
    facts.classify(counts, || record.action_kind(), || record.outcome(), details);
    facts.count(counts);
    true
}

/// Whether a line is not meant to be a record: `% Headers: [ce_id="…"]`, as the `confluent` command
/// prints them in between.
fn is_note(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let line = line.strip_prefix(b"%").unwrap_or(line).trim_ascii_start();
    line.starts_with(b"Headers: ")
}
