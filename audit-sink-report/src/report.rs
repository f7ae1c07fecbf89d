use std::cmp::Reverse;

use crate::text::Pages;
use crate::{Crosstab, Day, Known, ReportFormat, Row, Section, html, tidy};

/// The report of one day, ready to be written in any format.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    pub(crate) day: Day,
    pub(crate) events: u64,
    /// In the order of sections; rows by label, the sum of all labels beyond the limit last.
    pub(crate) sections: Vec<(Section, Vec<Row<'a>>)>,
    pub(crate) begins: bool,
}

impl<'a> Report<'a> {
    /// Takes a day's counts, of the sections given, in the order of [`Section::ALL`].
    ///
    /// Without `known` nothing is new; it has to have observed what was counted.
    pub fn new(
        crosstab: &'a Crosstab,
        day: Day,
        sections: &[Section],
        known: Option<&Known>,
    ) -> Self {
        let rows = |section: Section| {
            let mut rows = crosstab.rows(day, section);
            if section.counted_as() != section {
                let new = |label| known.is_some_and(|known| known.is_new(section, label, day));
                rows.retain(|row| row.label.is_some_and(new));
            }
            rows
        };
        let wanted = Section::ALL.iter().filter(|section| sections.contains(section));
        Self {
            day,
            events: crosstab.events(day),
            sections: wanted.map(|section| (*section, rows(*section))).collect(),
            begins: known.is_some_and(|known| known.begins(day)),
        }
    }

    /// Returns the day.
    pub fn day(&self) -> Day {
        self.day
    }

    /// Returns the number of events of the day.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns the whole report in a format.
    pub fn render(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Text => Pages::of(self).text,
            ReportFormat::Csv => tidy::csv(self),
            ReportFormat::Json => tidy::json(self),
            ReportFormat::Html => html::page(self),
        }
    }

    /// Returns the table of one section as text, as it is in the whole report; nothing for a section
    /// that the report does not have.
    pub fn section_text(&self, section: Section) -> String {
        Pages::of(self).section(section).to_owned()
    }
}

/// Brings the rows of a section into the order people want them: the classic ones by label, all
/// others by their sum, the largest first. What has no label stays last.
pub(crate) fn for_people<'r, 'a>(section: Section, rows: &'r [Row<'a>]) -> Vec<&'r Row<'a>> {
    let mut rows: Vec<_> = rows.iter().collect();
    if !Section::CLASSIC.contains(&section) {
        rows.sort_by_key(|row| (row.label.is_none(), Reverse(row.total())));
    }
    rows
}

/// What people see in place of a label for all labels beyond the limit.
pub(crate) const OTHER: &str = "(all other labels)";
