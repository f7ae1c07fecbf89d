//! Reports of what is looked at as a whole: the second half of `confluent-report analyze` and of
//! `audit report`.

mod command;
mod look;
mod rejects;

use std::path::PathBuf;
use std::str::FromStr;

use audit_core::{Error, Result, durable};
use audit_sink_report::{Crosstab, Published, ReportConfig, ReportFormat, Reports, Section};
use clap::Args;
use serde_json::json;

pub use self::command::{Report, main};
pub use self::look::{Look, outside};
pub use self::rejects::Rejects;
use crate::app::App;
use crate::{exit, terminal};

/// Where records go that cannot be read, unless the user says otherwise.
pub const REJECTS: &str = "work/rejects.ndjson";

/// The options about reports.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reports")]
pub struct ReportOptions {
    /// The directory of reports
    #[arg(long, env = "AUDIT_REPORTS_DIR", value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    /// What they are written as: text, csv, json, html; may be given more than once
    #[arg(long = "format", env = "AUDIT_REPORT_FORMATS", value_name = "FORMAT",
        value_delimiter = ',', default_value = "text", value_parser = parse::<ReportFormat>)]
    formats: Vec<ReportFormat>,
    /// Only these sections: auth_events, signin_fail, … [default: all]
    #[arg(long = "section", env = "AUDIT_REPORT_SECTIONS", value_name = "NAME",
        value_delimiter = ',', value_parser = parse::<Section>)]
    sections: Vec<Section>,
    /// How many labels the reports may have in all; the events of all others are counted in one row
    #[arg(long, value_name = "N", default_value_t = 32_768,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_labels: u32,
    /// The file of the records that cannot be read, with the reasons; made anew by each run
    #[arg(long, value_name = "FILE", default_value = REJECTS)]
    rejects: PathBuf,
    /// Write what was done to stdout, as one line of JSON, in place of the last report
    #[arg(long)]
    summary_json: bool,
}

fn parse<T: FromStr<Err = Error>>(name: &str) -> Result<T, String> {
    name.trim().parse().map_err(|e: Error| e.hint().unwrap_or("it is not known").to_owned())
}

impl ReportOptions {
    /// Makes the writer of the reports. Touches no file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](audit_core::ErrorKind::Config) for options that cannot be meant.
    pub fn reports(&self) -> Result<Reports> {
        let config = ReportConfig::new(&self.reports)
            .formats(self.formats.clone())
            .max_labels(self.max_labels as usize);
        Reports::new(match self.sections.is_empty() {
            true => config,
            false => config.sections(self.sections.clone()),
        })
    }

    /// Begins the file of what cannot be read, anew.
    ///
    /// # Errors
    /// As [`Rejects::new`].
    pub fn rejects(&self) -> Result<Rejects> {
        Rejects::new(&self.rejects)
    }

    /// Returns a table that counts what the reports show, and nothing else.
    pub fn crosstab(&self) -> Crosstab {
        let all = Crosstab::new(self.max_labels as usize);
        if self.sections.is_empty() { all } else { all.only(&self.sections) }
    }

    /// Writes the reports of a look, tells what became of it, and returns the exit code.
    ///
    /// A look that ended early is published too, since it makes no report worse; its error decides
    /// about the exit code. One that was stopped by a signal is not.
    ///
    /// # Errors
    /// Those of [`Reports::publish`] and of stdout.
    pub fn publish(&self, reports: &Reports, mut look: Look, app: &App) -> Result<u8> {
        let counts = std::mem::take(&mut look.counts);
        let Look { rejected, repeats, code, interrupted, .. } = &look;
        if *interrupted {
            terminal::say("stopped: no report was written");
            return Ok(*code);
        }
        let left_out = counts.left_out();
        let is_empty = counts.days().len() == 0;
        let published = if is_empty { Vec::new() } else { reports.publish(counts)? };
        if !app.quiet {
            terminal::say(&self.table(&published, &look, left_out));
        }
        let code = match (*code, *rejected + left_out) {
            (exit::OK, 1..) => exit::DEAD_LETTERS,
            (code, _) => code,
        };
        if self.summary_json {
            let days: Vec<_> = published
                .iter()
                .map(|p| json!({"date": p.day.to_string(), "seen": p.seen, "reported": p.reported}))
                .collect();
            let mut line = json!({
                "exit_code": code, "events": seen(&published), "repeats": repeats,
                "rejected": rejected, "days": days,
            });
            if left_out > 0 {
                line["left_out"] = left_out.into();
            }
            terminal::out(|out| writeln!(out, "{line}"))?;
        } else if let (Some(last), false) = (published.last(), app.quiet) {
            self.show(last)?;
        }
        Ok(code)
    }

    /// Writes the text of the last day to stdout, as it is in the directory.
    fn show(&self, last: &Published) -> Result<()> {
        if !self.formats.contains(&ReportFormat::Text) {
            return Ok(());
        }
        let path = self.reports.join(format!("{}.txt", last.day));
        let text = std::fs::read(&path).map_err(|e| durable::io_error(&e, &path))?;
        terminal::out(|out| out.write_all(&text))
    }

    fn table(&self, published: &[Published], look: &Look, left_out: u64) -> String {
        let directory = self.reports.display().to_string();
        let mut text = match (published.first(), published.last()) {
            (Some(first), Some(last)) => format!(
                "{} events from {} to {}, reported in {}",
                terminal::count(seen(published)),
                first.day,
                last.day,
                terminal::neutral(&directory),
            ),
            _ => "no events".to_owned(),
        };
        for Published { day, seen, reported, .. } in published {
            text += &format!("\n  {day} {:>13}", terminal::count(*seen));
            if reported > seen {
                let more = terminal::count(*reported);
                text += &format!("   (kept: an earlier run saw more, {more} are reported)");
            }
        }
        for (number, what) in [(look.repeats, "repeats"), (look.rejected, "rejected")] {
            if number > 0 {
                text += &format!("\n  {what:<10} {:>13}", terminal::count(number));
            }
        }
        if look.rejected > 0 {
            let rejects = self.rejects.display().to_string();
            text += &format!("   (kept in {})", terminal::neutral(&rejects));
        }
        if left_out > 0 {
            let events = terminal::count(left_out);
            text += &format!(
                "\n  {:<10} {events:>13}   (on earlier days: there are too many)",
                "left out"
            );
        }
        text
    }
}

fn seen(published: &[Published]) -> u64 {
    published.iter().map(|p| p.seen).sum()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: ReportOptions,
    }

    #[test]
    fn r04_events_on_too_many_days_are_told() {
        let Cli { options } = Cli::parse_from(["report"]);
        let look = Look { rejected: 2, ..Look::default() };
        let table = options.table(&[], &look, 1234);
        let (_, last) = table.rsplit_once('\n').unwrap();
        assert_eq!(last, "  left out           1,234   (on earlier days: there are too many)");
        assert!(!options.table(&[], &look, 0).contains("left out"));
    }
}
