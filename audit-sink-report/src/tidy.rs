//! One record a count, for programs: CSV and JSON. By section, label and hour; what was not counted
//! has no record.

use crate::Report;
use crate::visible::{is_hidden, visible};

/// CSV as in RFC 4180, with line feeds. A label that a spreadsheet would take for a formula, or that
/// begins with an apostrophe, has one before it; that of all labels beyond the limit is empty.
pub(crate) fn csv(report: &Report<'_>) -> String {
    let mut out = "date,section,label,hour,count\n".to_owned();
    each(report, |section, label, hour, count| {
        let label = match label {
            Some(label) => visible(label),
            None => "".into(),
        };
        let calm = if label.starts_with(is_formula) { "'" } else { "" };
        let quote = label.contains(['"', ',', ';']) || label.trim() != label;
        let day = report.day;
        let (quote, label) = match quote {
            true => ("\"", label.replace('"', "\"\"").into()),
            false => ("", label),
        };
        out.push_str(&format!("{day},{section},{quote}{calm}{label}{quote},{hour},{count}\n"));
    });
    out
}

/// Spreadsheets also take the wide forms, and skip blanks before.
fn is_formula(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\'' | '＝' | '＋' | '－' | '＠') || c.is_whitespace()
}

/// A JSON array, one object a line. The label is exact, with what is hidden escaped; it is null for
/// all labels beyond the limit.
pub(crate) fn json(report: &Report<'_>) -> String {
    let mut out = "[".to_owned();
    let mut comma = "\n";
    each(report, |section, label, hour, count| {
        let (day, label) = (report.day, label.map_or("null".to_owned(), json_text));
        out.push_str(&format!(
            r#"{comma}{{"date":"{day}","section":"{section}","label":{label},"hour":{hour},"count":{count}}}"#
        ));
        comma = ",\n";
    });
    out.push_str("\n]\n");
    out
}

fn json_text(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_hidden(c) => {
                let mut units = [0; 2];
                let units = c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"));
                out.extend(units);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn each(report: &Report<'_>, mut record: impl FnMut(&str, Option<&str>, usize, u64)) {
    for (section, rows) in &report.sections {
        for row in rows {
            let counted = row.counts().into_iter().enumerate().filter(|(_, count)| *count > 0);
            counted.for_each(|(hour, count)| record(section.name(), row.label, hour, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{Crosstab, Hour, ReportFormat, Section};

    fn one(label: &str, format: ReportFormat) -> String {
        let hour = Hour::of_unix_seconds(9 * 3600).unwrap();
        let mut crosstab = Crosstab::default();
        crosstab.add(Section::Denied, hour, label);
        Report::new(&crosstab, hour.day(), Section::ALL, None).render(format)
    }

    #[test]
    fn r05_a_spreadsheet_calculates_nothing() {
        for (label, shown) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1+2", "'-1+2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", r"\u{9}=1"),
            ("\r=1", r"\u{d}=1"),
            (" =1", "\"' =1\""),
            ("＝1", "'＝1"),
            ("'x", "''x"),
            ("a,\"b\"\n", "\"a,\"\"b\"\"\\u{a}\""),
            ("a;=1", "\"a;=1\""),
            ("u-1", "u-1"),
        ] {
            let csv = one(label, ReportFormat::Csv);
            let expected =
                format!("date,section,label,hour,count\n1970-01-01,DENIED,{shown},9,1\n");
            assert_eq!(csv, expected, "{label:?}");
        }
    }

    #[test]
    fn an_empty_report_is_still_whole() {
        let crosstab = Crosstab::default();
        let day = Hour::of_unix_seconds(0).unwrap().day();
        let report = Report::new(&crosstab, day, Section::ALL, None);
        assert_eq!(csv(&report), "date,section,label,hour,count\n");
        assert_eq!(json(&report), "[\n]\n");
    }

    proptest! {
        #[test]
        fn json_holds_each_label_exactly_and_hides_nothing(label in ".{1,40}") {
            let json = one(&label, ReportFormat::Json);
            prop_assert!(!json.replace('\n', "").contains(is_hidden), "{}", json);
            let value: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value[0]["label"].as_str().unwrap(), label);
        }
    }
}
