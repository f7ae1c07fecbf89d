//! The classic layout. Every line is 30 columns for the label and 24 for the hours, 6 wide each: 174
//! in all. If any count of the report has more than five digits, all its hours are wider alike.
//!
//! A section is: `line`, a rule of hyphens, the title, the hours if there are rows, a rule of
//! underscores, a line a label with `-` for no events. A label wider than 30 columns has lines of its
//! own above its counts. A report is an empty line and the sections one after another.

use std::ops::Range;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::{OTHER, Report, for_people};
use crate::visible::visible;
use crate::{Row, Section};

const LABEL: usize = 30;
const HOUR: usize = 6;
/// As wide as the hours of the largest count there can be.
const WIDEST: usize = 1 + u64::MAX.ilog10() as usize + 1;

/// A report as text, and where in it its sections are.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) text: String,
    sections: Vec<(Section, Range<usize>)>,
}

impl Pages {
    pub(crate) fn of(report: &Report<'_>) -> Self {
        let mut page = Page::of(report);
        page.out.push('\n');
        let mut sections = Vec::with_capacity(report.sections.len());
        for (section, rows) in &report.sections {
            let start = page.out.len();
            page.section(report, *section, rows);
            sections.push((*section, start..page.out.len()));
        }
        Self { text: page.out, sections }
    }

    /// Returns the text of one section; nothing for one that the report does not have.
    pub(crate) fn section(&self, section: Section) -> &str {
        let place = self.sections.iter().find(|(found, _)| *found == section);
        place.and_then(|(_, range)| self.text.get(range.clone())).unwrap_or_default()
    }
}

struct Page {
    out: String,
    /// The width of an hour, with the blank before it.
    hour: usize,
    width: usize,
}

impl Page {
    fn of(report: &Report<'_>) -> Self {
        let rows = report.sections.iter().flat_map(|(_, rows)| rows);
        let largest = rows.flat_map(Row::counts).max().unwrap_or(0);
        let digits = largest.checked_ilog10().unwrap_or(0) as usize + 1;
        let hour = HOUR.max(digits + 1);
        Self { out: String::new(), hour, width: LABEL + 24 * hour }
    }

    fn section(&mut self, report: &Report<'_>, section: Section, rows: &[Row<'_>]) {
        let Self { hour, width, .. } = *self;
        // All at once: a text that grows takes twice its memory.
        let wide =
            rows.iter().filter(|row| row.label.is_some_and(|label| label.len() > LABEL)).count();
        self.out.reserve_exact((rows.len() + wide + 5) * (width + 1));
        self.line("line");
        self.line(&"-".repeat(width));
        self.line(&format!("{:67}{} ", "", section.title()));
        if !rows.is_empty() {
            let mut line = format!("{}{:17}Hour:", report.day, "");
            // The first hour ends where its counts end, as all others do.
            line.push_str(&format!("{:>1$}", "00", LABEL + hour - line.len()));
            (1..24).for_each(|h| line.push_str(&format!("{:>hour$}", format!("{h:02}"))));
            self.line(&line);
        }
        self.line(&format!("{}{:7}{}", "_".repeat(27), "", "_".repeat(width - 34)));
        for row in for_people(section, rows) {
            self.row(row);
        }
    }

    fn row(&mut self, row: &Row<'_>) {
        let label = row.label.map_or(OTHER.into(), visible);
        let mut start = label.as_ref();
        if width(&label) > LABEL {
            let (mut piece, mut columns) = (String::new(), 0);
            for c in label.chars() {
                let width = c.width().unwrap_or(0);
                if columns + width > self.width {
                    self.line(&std::mem::take(&mut piece));
                    columns = 0;
                }
                piece.push(c);
                columns += width;
            }
            self.line(&piece);
            start = "";
        }
        self.padded(start, LABEL);
        row.counts().into_iter().for_each(|count| self.count(count));
        self.out.push('\n');
    }

    /// Appends a count at the right of its hour.
    fn count(&mut self, count: u64) {
        let mut cell = [b' '; WIDEST];
        let (mut at, mut rest) = (cell.len(), count);
        while rest > 0 {
            at -= 1;
            // A digit fits.
            cell[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if count == 0 {
            cell[at - 1] = b'-';
        }
        let cell = cell.get(cell.len() - self.hour..).and_then(|cell| str::from_utf8(cell).ok());
        self.out.push_str(cell.unwrap_or_default());
    }

    fn line(&mut self, text: &str) {
        self.padded(text, self.width);
        self.out.push('\n');
    }

    fn padded(&mut self, text: &str, columns: usize) {
        self.out.push_str(text);
        self.out.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(text))));
    }
}

/// Returns how many columns a text takes that has no hidden characters.
fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Crosstab, Hour};

    fn one(label: &str, count: u64) -> String {
        let hour = Hour::of_unix_seconds(1_795_219_200 + 9 * 3600).unwrap();
        let mut crosstab = Crosstab::default();
        crosstab.add_many(Section::OtherEvents, hour, label, count);
        Report::new(&crosstab, hour.day(), &[Section::OtherEvents], None)
            .section_text(Section::OtherEvents)
    }

    #[test]
    fn the_classic_lines_are_these_bytes() {
        let blank = |n: usize| " ".repeat(n);
        let expected = format!(
            "line{}\n{}\n{}All CC Audit Events{}\n2026-11-21{}Hour:  00{}\n{}{}{}\n{}{}\n",
            blank(170),
            "-".repeat(174),
            blank(67),
            blank(174 - 67 - 19),
            blank(17),
            (1..24).map(|h| format!("    {h:02}")).collect::<String>(),
            "_".repeat(27),
            blank(7),
            "_".repeat(140),
            "mds.Authorize                 ",
            (0..24).map(|h| if h == 9 { " 13862" } else { "     -" }).collect::<String>(),
        );
        assert_eq!(one("mds.Authorize", 13_862), expected);
    }

    #[test]
    fn a_section_without_events_has_no_hours() {
        let hour = Hour::of_unix_seconds(0).unwrap();
        let crosstab = Crosstab::default();
        let report = Report::new(&crosstab, hour.day(), Section::CLASSIC, None);
        let text = report.section_text(Section::SigninFail);
        assert_eq!(text.lines().count(), 4);
        assert!(!text.contains("Hour:"));
        let whole = Pages::of(&report).text;
        assert!(whole.starts_with("\nline "));
        assert_eq!(whole.lines().count(), 1 + 4 * 4);
    }

    #[test]
    fn a_large_count_keeps_its_digits() {
        // The replaced program showed the last five: 23456.
        let text = one("x", 123_456);
        assert!(text.contains(" 123456 "));
        assert!(text.lines().all(|line| line.len() == 30 + 24 * 7));
        let text = one("x", u64::MAX);
        assert!(text.contains(&format!(" {} ", u64::MAX)));
        assert!(text.lines().all(|line| line.len() == 30 + 24 * 21));
    }

    #[test]
    fn r05_no_label_breaks_a_line_or_runs_into_another() {
        let label = format!("a\n\u{1b}[31m{}\u{202e}", "語".repeat(120));
        let text = one(&label, 1);
        assert!(text.lines().all(|line| line.width() == 174), "{text}");
        assert!(text.contains(r"a\u{a}\u{1b}[31m") && text.contains(r"\u{202e}"));
        let shared = "a-service-account-with-a-long-name";
        assert_ne!(one(&format!("{shared}-1"), 5), one(&format!("{shared}-2"), 5));
    }

    proptest! {
        #[test]
        fn every_line_has_the_same_width(label in "\\PC{0,200}", count: u64) {
            let text = one(&label, count.max(1));
            let width = text.lines().next().unwrap().width();
            prop_assert!(text.lines().all(|line| line.width() == width), "{}", text);
            prop_assert!(text.contains(&count.max(1).to_string()));
        }
    }
}
