//! What is in a directory of reports after runs, re-runs, crashes and foreign hands. Names begin with
//! the catalogue's ids.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit_core::{Clock, ErrorKind, Outcome, Sink};
use audit_sink_report::{
    Crosstab, Day, Hour, ReportConfig, ReportFormat, ReportSink, Reports, Section,
};
use chrono::{DateTime, TimeDelta};
use common::{event, events, sink, total};

/// Every report of a directory, without the state.
fn reports(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.extend((!entry.ends_with(".state")).then_some(entry));
            } else {
                found.insert(
                    entry.strip_prefix(path).unwrap().to_owned(),
                    fs::read(&entry).unwrap(),
                );
            }
        }
    }
    found
}

fn look(counts: &[(&str, usize, &str, u64)]) -> Crosstab {
    let mut look = Crosstab::default();
    for (day, hour, label, count) in counts {
        let hour = day.parse::<Day>().unwrap().hour(*hour);
        look.add_many(Section::OtherEvents, hour, label, *count);
    }
    look
}

#[tokio::test]
async fn r02_any_order_and_any_batches_give_the_same_bytes() {
    let mut all = events(0..4000);
    let all_formats =
        |path: &Path| ReportSink::new(ReportConfig::new(path).formats(ReportFormat::ALL)).unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = all_formats(one.path());
    let _written = first.write(&all).await.unwrap();
    first.close().await.unwrap();
    all.reverse();
    for portion in all.chunks(999) {
        // Another process each time, and an event sent twice.
        let sink = all_formats(two.path());
        let _written = sink.write(portion).await.unwrap();
        let again = sink.write(&portion[..1]).await.unwrap();
        assert_eq!(again.duplicates.len(), 1);
        sink.close().await.unwrap();
    }
    assert_eq!(reports(one.path()), reports(two.path()));
    let names = reports(one.path()).into_keys().map(|p| p.to_string_lossy().into_owned());
    let names: Vec<_> = names.filter(|name| name.contains("2026-11-22")).collect();
    assert_eq!(names.len(), 9 + 4, "{names:?}");
    assert!(names.contains(&"AUTH_EVENTS/2026-11-22.txt".to_owned()));
}

#[tokio::test]
async fn counts_are_durable_before_any_report_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let killed = sink(directory.path());
    let _written = killed.write(&events(0..100)).await.unwrap();
    assert_eq!(total(directory.path()), 0, "it is not time yet");
    drop(killed);
    let next = sink(directory.path());
    let written = next.write(&events(50..120)).await.unwrap();
    assert_eq!(written.duplicates.len(), 50);
    assert_eq!(total(directory.path()), 100, "what the crash left is published first");
    next.close().await.unwrap();
    assert_eq!(total(directory.path()), 120);
}

#[tokio::test]
async fn reports_follow_during_a_run_when_it_is_time() {
    let directory = tempfile::tempdir().unwrap();
    let minutes = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let told = minutes.clone();
    let clock = Clock::from_fn(move || {
        DateTime::UNIX_EPOCH
            + TimeDelta::minutes(told.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    });
    let config = common::config(directory.path()).publish_every(Duration::from_secs(180));
    let sink = ReportSink::new(config).unwrap().clock(clock);
    let mut published = Vec::new();
    for n in 0..8 {
        let _written = sink.write(&events(n..n + 1)).await.unwrap();
        published.push(total(directory.path()));
    }
    assert_eq!(published, [0, 0, 0, 4, 4, 4, 7, 7]);
}

#[test]
fn a_smaller_look_never_makes_a_report_worse() {
    let directory = tempfile::tempdir().unwrap();
    let reports_of = Reports::new(common::config(directory.path())).unwrap();
    let day = "2026-11-20";
    let whole = look(&[(day, 9, "a", 500), (day, 10, "b", 40), ("2026-11-21", 0, "a", 1)]);
    reports_of.publish(whole.clone()).unwrap();
    let before = reports(directory.path());
    // The replaced program compared file sizes: this one is as long, and counts less.
    let less = reports_of.publish(look(&[(day, 9, "a", 100), (day, 10, "b", 40)])).unwrap();
    assert_eq!((less[0].seen, less[0].reported), (140, 540));
    assert_eq!(reports(directory.path()), before);
    // Repeating the whole run changes nothing: its second daily report had one section only.
    reports_of.publish(whole).unwrap();
    assert_eq!(reports(directory.path()), before);
    // A look that saw more of one hour and nothing of another.
    let more = reports_of.publish(look(&[(day, 9, "a", 501), (day, 11, "c", 1)])).unwrap();
    assert_eq!((more[0].seen, more[0].reported), (502, 542));
}

#[test]
fn d10_days_without_events_between_others_have_reports() {
    let directory = tempfile::tempdir().unwrap();
    let reports_of = Reports::new(common::config(directory.path())).unwrap();
    reports_of.publish(look(&[("2026-11-20", 1, "a", 1), ("2026-11-23", 1, "a", 1)])).unwrap();
    reports_of.publish(look(&[("1971-01-01", 1, "a", 1)])).unwrap();
    let days: Vec<_> = common::days(directory.path()).iter().map(Day::to_string).collect();
    let expected = ["1971-01-01", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"];
    assert_eq!(days, expected, "but not a file a day for 55 years");
    let empty = fs::read_to_string(directory.path().join("2026-11-21.txt")).unwrap();
    assert!(!empty.contains("Hour:"));
    reports_of.publish(look(&[("2026-11-21", 1, "late", 1)])).unwrap();
    assert!(!directory.path().join("2026-11-21.txt.1").exists(), "it was our own");
}

#[test]
fn a_report_that_was_written_elsewhere_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("2026-11-20.txt");
    fs::write(&old, "of the replaced program").unwrap();
    let reports_of = Reports::new(common::config(directory.path())).unwrap();
    reports_of.publish(look(&[("2026-11-20", 1, "a", 1)])).unwrap();
    reports_of.publish(look(&[("2026-11-20", 1, "a", 2)])).unwrap();
    let kept = fs::read_to_string(directory.path().join("2026-11-20.txt.1")).unwrap();
    assert_eq!(kept, "of the replaced program");
    assert!(!directory.path().join("2026-11-20.txt.2").exists());
    assert_eq!(total(directory.path()), 2);
}

#[tokio::test]
async fn new_labels_are_marked_also_when_an_earlier_day_comes_late() {
    let directory = tempfile::tempdir().unwrap();
    let of = |id: &str, day: &str, method: &str| {
        event(id, &format!("{day}T08:00:00Z"), method, "u-1", Outcome::Success)
    };
    let sink = sink(directory.path());
    let batch =
        [of("1", "2026-11-20", "a"), of("2", "2026-11-21", "a"), of("3", "2026-11-21", "b")];
    let _written = sink.write(&batch).await.unwrap();
    sink.close().await.unwrap();
    let new = |day: &str| -> Vec<String> {
        let records = common::records(directory.path(), day).into_iter();
        records.filter(|r| r.0 == "NEW_METHODS").map(|r| r.1).collect()
    };
    assert_eq!(new("2026-11-21"), ["b"]);
    let _written = sink.write(&[of("4", "2026-11-19", "b")]).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!((new("2026-11-20"), new("2026-11-21")), (vec!["a".to_owned()], vec![]));
}

#[tokio::test]
async fn a_second_process_and_another_way_of_counting_are_conflicts() {
    let directory = tempfile::tempdir().unwrap();
    let first = sink(directory.path());
    let _written = first.write(&events(0..1)).await.unwrap();
    let error = sink(directory.path()).write(&events(1..2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(first);
    let reports_of = Reports::new(common::config(directory.path())).unwrap();
    let error = reports_of.publish(look(&[("2026-11-20", 1, "a", 1)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(reports_of.check().is_err());
}

#[tokio::test]
async fn c06_damaged_state_is_never_taken_for_none() {
    let files = [".state/journal", ".state/known", ".state/days/2026-11-20"];
    for file in files {
        let directory = tempfile::tempdir().unwrap();
        let made = sink(directory.path());
        let _written = made.write(&events(0..10)).await.unwrap();
        made.close().await.unwrap();
        drop(made);
        let path = directory.path().join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let newer =
            String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":2");
        for damaged in [flipped, Vec::new(), whole[..whole.len() - 1].to_vec(), newer.into_bytes()]
        {
            fs::write(&path, &damaged).unwrap();
            let error = sink(directory.path()).write(&events(10..11)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{file}: {error}");
            assert!(error.to_string().contains(file), "{error}");
        }
        fs::write(&path, whole).unwrap();
        let _written = sink(directory.path()).write(&events(10..11)).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let made = sink(directory.path());
    let _written = made.write(&events(0..10)).await.unwrap();
    made.close().await.unwrap();
    drop(made);
    fs::remove_file(directory.path().join(".state/journal")).unwrap();
    let error = sink(directory.path()).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "without it, nothing says what is counted");
}

#[tokio::test]
async fn d03_a_journal_cut_anywhere_holds_whole_batches() {
    let directory = tempfile::tempdir().unwrap();
    let made = sink(directory.path());
    let _written = made.write(&events(0..3)).await.unwrap();
    let journal = directory.path().join(".state/journal");
    let first = fs::read(&journal).unwrap().len();
    let _written = made.write(&events(3..5)).await.unwrap();
    drop(made);
    let whole = fs::read(&journal).unwrap();
    for cut in (first..whole.len()).step_by(97) {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir_all(copy.path().join(".state/days")).unwrap();
        fs::write(copy.path().join(".state/journal"), &whole[..cut]).unwrap();
        let next = sink(copy.path());
        let written = next.write(&events(0..5)).await.unwrap();
        assert_eq!(written.duplicates.len(), 3, "cut at {cut}");
        next.close().await.unwrap();
        assert_eq!(total(copy.path()), 5, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_time_that_no_report_has_is_refused_and_its_neighbours_count() {
    let directory = tempfile::tempdir().unwrap();
    let made = sink(directory.path());
    let mut batch = events(0..3);
    batch[1].time = DateTime::<chrono::Utc>::MAX_UTC;
    let written = made.write(&batch).await.unwrap();
    assert_eq!(written.failures.len(), 1);
    assert_eq!(
        (written.failures[0].index, written.failures[0].error.kind()),
        (1, ErrorKind::Rejected)
    );
    made.close().await.unwrap();
    assert_eq!(total(directory.path()), 2);
}

#[tokio::test]
async fn many_days_at_once_are_counted_with_few_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let config = common::config(directory.path()).sections([Section::OtherEvents]);
    let sink = ReportSink::new(config).unwrap();
    let mut batch = events(0..180);
    for (n, event) in batch.iter_mut().enumerate() {
        event.time += TimeDelta::days(10 * (n as i64 % 90));
    }
    let _written = sink.write(&batch[..100]).await.unwrap();
    let _written = sink.write(&batch[100..]).await.unwrap();
    sink.close().await.unwrap();
    assert_eq!((common::days(directory.path()).len(), total(directory.path())), (90, 180));
}

#[tokio::test]
async fn files_are_private_and_check_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/reports");
    let made = sink(&path);
    made.check().await.unwrap();
    assert!(!path.exists());
    let _written = made.write(&events(0..2)).await.unwrap();
    made.close().await.unwrap();
    made.check().await.unwrap();
    for (name, _) in reports(&path) {
        let mode = fs::metadata(path.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name:?}");
    }
    let in_a_file = sink(&path.join("2026-11-20.txt/reports")).check().await.unwrap_err();
    assert_eq!(in_a_file.kind(), ErrorKind::Config, "{in_a_file}");
}

/// A day that has everything: every section, hostile labels, large counts, labels beyond the limit.
fn everything() -> (Crosstab, Day) {
    let day: Day = "2026-11-20".parse().unwrap();
    let at = |hour| -> Hour { day.hour(hour) };
    let mut counts = Crosstab::new(18);
    for (section, hour, label, count) in [
        (Section::AuthEvents, 9, "u-4v9q2-CloudClusterAdmin", 239),
        (Section::AuthEvents, 19, "u-4v9q2-CloudClusterAdmin", 12),
        (Section::AuthEvents, 9, "sa-d5j6x-a-service-with-a-long-name-1-Describe", 3),
        (Section::AuthEvents, 9, "sa-d5j6x-a-service-with-a-long-name-2-Describe", 3),
        (Section::SigninFail, 7, "ann@example.com (401)", 1),
        (Section::SigninSuccess, 8, "ann@example.com", 2),
        (Section::OtherEvents, 9, "mds.Authorize", 13_862),
        (Section::OtherEvents, 9, "GetKafkaClusters", 1),
        (Section::OtherEvents, 23, "kafka.Authentication", 99_999),
        (Section::Denied, 3, "=HYPERLINK(\"http://evil\")", 1),
        (Section::Denied, 3, "\u{1b}[31mred\u{202e}", 2),
        (Section::Denied, 4, "<b onload=alert(1)>", 3),
        (Section::ClientAddresses, 9, "192.0.2.17", 5),
        (Section::Principals, 9, "語-ユーザー", 4),
    ] {
        counts.add_many(section, at(hour), label, count);
    }
    (0..40).for_each(|n| counts.add(Section::Principals, at(n % 24), &format!("u-{n:02}")));
    (counts, day)
}

#[test]
fn every_format_shows_everything() {
    let (counts, day) = everything();
    let report = audit_sink_report::Report::new(&counts, day, Section::ALL, None);
    for format in ReportFormat::ALL {
        let shown = report.render(*format);
        if *format == ReportFormat::Text {
            let whole: String =
                Section::ALL.iter().map(|section| report.section_text(*section)).collect();
            assert_eq!(shown, format!("\n{whole}"));
        }
        insta::assert_snapshot!(format!("everything.{}", format.extension()), shown);
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_written_costs_no_count() {
    let directory = tempfile::tempdir().unwrap();
    let made = sink(directory.path());
    let in_the_way = directory.path().join("DENIED");
    fs::write(&in_the_way, "").unwrap();
    let _written = made.write(&events(0..10)).await.unwrap();
    let error = made.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("DENIED"), "{error}");
    assert!(made.write(&events(10..20)).await.is_err(), "nothing is counted that cannot be shown");
    fs::remove_file(&in_the_way).unwrap();
    let written = made.write(&events(0..20)).await.unwrap();
    assert_eq!(written.duplicates.len(), 10);
    made.close().await.unwrap();
    assert_eq!(total(directory.path()), 20);
}
