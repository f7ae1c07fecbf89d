//! One page that needs nothing else: no file, no server, no network. Its policy lets no script run but
//! its own, known by its sum, so that nothing in a label could.

use std::fmt;

use crate::report::{OTHER, Report, for_people};
use crate::visible::visible;
use crate::{Row, Section};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The SHA-256 of the script, in base64; a test compares them.
const SCRIPT_SUM: &str = "Wt3eIVHN8lThJQhsc6QeIzcGjvGBPTWSlLslDJsutZs=";

/// More rows than this a section help nobody; the other formats have them all.
const MAX_ROWS: usize = 500;

pub(crate) fn page(report: &Report<'_>) -> String {
    Page(report).to_string()
}

struct Page<'a>(&'a Report<'a>);

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_page(out, self.0)
    }
}

fn write_page(out: &mut fmt::Formatter<'_>, report: &Report<'_>) -> fmt::Result {
    let Report { day, events, .. } = report;
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'sha256-{SCRIPT_SUM}'; base-uri 'none'; \
         form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Audit report {day}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#sections\">Skip to the sections</a>\n\
         <header>\n<h1>Audit report <time>{day}</time></h1>\n\
         <p>{} events. All hours are UTC.</p>\n\
         <label class=\"filter\" hidden>Filter <input id=\"filter\" type=\"search\" \
         placeholder=\"part of a label\" autocomplete=\"off\" spellcheck=\"false\"></label>\n\
         <nav aria-label=\"Sections\">\n<ul>\n",
        grouped(*events)
    )?;
    for (section, rows) in &report.sections {
        let total = rows.iter().map(Row::total).fold(0, u64::saturating_add);
        writeln!(
            out,
            "<li><a href=\"#{section}\">{} <b>{}</b></a></li>",
            title(*section),
            grouped(total)
        )?;
    }
    out.write_str("</ul>\n</nav>\n</header>\n<main id=\"sections\">\n")?;
    for (section, rows) in &report.sections {
        write_section(out, report, *section, rows)?;
    }
    writeln!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>")
}

fn write_section(
    out: &mut fmt::Formatter<'_>,
    report: &Report<'_>,
    section: Section,
    rows: &[Row<'_>],
) -> fmt::Result {
    let title = title(section);
    writeln!(out, "<section id=\"{section}\" aria-labelledby=\"{section}-title\">")?;
    writeln!(out, "<h2 id=\"{section}-title\">{title}</h2>")?;
    if rows.is_empty() {
        let first = report.begins && section.counted_as() != section;
        let why = if first { "Nothing to compare with: the first day." } else { "None." };
        return writeln!(out, "<p class=\"none\">{why}</p>\n</section>");
    }
    let mut shown = for_people(section, rows);
    shown.sort_by_key(|row| (row.label.is_none(), std::cmp::Reverse(row.total())));
    let hidden = shown.len().saturating_sub(MAX_ROWS);
    shown.truncate(MAX_ROWS);
    let largest = shown.iter().flat_map(|row| row.counts()).max().unwrap_or(0);
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" aria-labelledby=\"{section}-title\" tabindex=\"0\">\n\
         <table>\n<thead><tr><th scope=\"col\" class=\"label\">Label</th>"
    )?;
    (0..24).try_for_each(|hour| write!(out, "<th scope=\"col\">{hour:02}</th>"))?;
    out.write_str("<th scope=\"col\">Total</th></tr></thead>\n<tbody>\n")?;
    for row in shown {
        let label = row.label.map_or(OTHER.into(), visible);
        write!(out, "<tr><th scope=\"row\" class=\"label\">{}</th>", escaped(&label))?;
        for count in row.counts() {
            match heat(count, largest) {
                0 => out.write_str("<td></td>")?,
                heat => write!(out, "<td class=\"h{heat}\">{count}</td>")?,
            }
        }
        writeln!(out, "<td class=\"sum\">{}</td></tr>", row.total())?;
    }
    let mut sums = [0_u64; 24];
    for row in rows {
        sums.iter_mut().zip(row.counts()).for_each(|(sum, count)| *sum = sum.saturating_add(count));
    }
    out.write_str("</tbody>\n<tfoot><tr><th scope=\"row\" class=\"label\">Total</th>")?;
    for sum in sums {
        if sum == 0 { out.write_str("<td></td>")? } else { write!(out, "<td>{sum}</td>")? }
    }
    let total = sums.iter().fold(0_u64, |a, b| a.saturating_add(*b));
    writeln!(out, "<td class=\"sum\">{total}</td></tr></tfoot>\n</table>\n</div>")?;
    if hidden > 0 {
        writeln!(
            out,
            "<p class=\"none\">{hidden} more labels with fewer events are in the totals; \
             the other formats list them.</p>"
        )?;
    }
    out.write_str("</section>\n")
}

/// A title that fits every source.
fn title(section: Section) -> &'static str {
    match section {
        Section::AuthEvents => "Authorizations",
        Section::SigninFail => "Sign-in failures",
        Section::SigninSuccess => "Sign-ins",
        Section::OtherEvents => "All events",
        Section::Denied => "Denied and failed",
        Section::ClientAddresses => "Client addresses",
        Section::Principals => "Principals",
        Section::NewPrincipals => "New principals",
        Section::NewMethods => "New methods",
    }
}

/// Returns 0 for nothing, else 1 to 8 on a logarithmic scale, so that one loud label does not make all
/// others look silent.
fn heat(count: u64, largest: u64) -> u32 {
    if count == 0 {
        return 0;
    }
    let (own, all) = (f64::from(bits(count)), f64::from(bits(largest)));
    // Between 1 and 8 by construction; cutting off is meant.
    ((own / all * 8.0).ceil() as u32).clamp(1, 8)
}

/// The binary digits of a number: a whole logarithm, the same on every machine.
fn bits(count: u64) -> u32 {
    u64::BITS - count.leading_zeros()
}

fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + 6);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::{Crosstab, Hour};

    #[test]
    fn the_policy_names_the_script() {
        let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
        assert_eq!(SCRIPT_SUM, sum);
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }

    #[test]
    fn r05_a_label_is_never_markup() {
        let hour = Hour::of_unix_seconds(0).unwrap();
        let mut crosstab = Crosstab::default();
        for label in ["<script>alert(1)</script>", "\"><img src=x onerror='a'>", "&lt;\u{202e}"] {
            crosstab.add(Section::Principals, hour, label);
        }
        let page = page(&Report::new(&crosstab, hour.day(), Section::ALL, None));
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("<img") && !page.contains('\u{202e}'));
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&amp;lt;\\u{202e}"));
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
    }

    #[test]
    fn many_rows_are_cut_and_the_totals_are_not() {
        let hour = Hour::of_unix_seconds(0).unwrap();
        let mut crosstab = Crosstab::default();
        (0..800).for_each(|n| crosstab.add(Section::Denied, hour, &format!("u-{n}")));
        crosstab.add_many(Section::Denied, hour, "loud", 1_000_000);
        let page = page(&Report::new(&crosstab, hour.day(), &[Section::Denied], None));
        assert_eq!(page.matches("<tr><th scope=\"row\"").count(), MAX_ROWS + 1);
        assert!(page.contains("301 more labels") && page.contains("<b>1,000,800</b>"));
        assert!(page.contains("<td class=\"sum\">1000800</td>"));
    }

    #[test]
    fn heat_grows_with_the_logarithm() {
        assert_eq!([0, 1, 2, 1000, 1 << 20].map(|n| heat(n, 1 << 20)), [0, 1, 1, 4, 8]);
        assert_eq!((heat(1, 1), heat(u64::MAX, u64::MAX)), (8, 8));
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(grouped)[..]);
    }
}
