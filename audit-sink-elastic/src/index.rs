use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::document::digits;

/// The name of an index, data stream or alias; parts of it may be the date of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexName(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Hour,
}

impl IndexName {
    /// Parses `audit` or `audit-{yyyy.MM.dd}`; in braces, `yyyy`, `MM`, `dd` and `HH` of UTC.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push(&mut parts, before);
            let (date, after) =
                after.split_once('}').ok_or_else(|| invalid(text, "a brace is not closed"))?;
            parse_date(date, &mut parts).ok_or_else(|| {
                invalid(text, "in braces, only yyyy, MM, dd, HH and . - _ are known")
            })?;
            rest = after;
        }
        push(&mut parts, rest);
        let name = Self(parts);
        name.check(text)?;
        Ok(name)
    }

    /// The rules of both products for names, so that a wrong one is found before the first write.
    fn check(&self, text: &str) -> Result<()> {
        let sample = self.at(DateTime::UNIX_EPOCH);
        let bad = |c: char| c.is_control() || c.is_whitespace() || "\\/*?\"<>|,#:{}".contains(c);
        let why = if sample.is_empty() {
            "it is empty"
        } else if sample.len() > 255 {
            "it is longer than 255 bytes"
        } else if sample.chars().any(bad) {
            r#"it must not hold spaces or \ / * ? " < > | , # : { }"#
        } else if sample.chars().any(char::is_uppercase) {
            "it must be in lower case"
        } else if sample.starts_with(['-', '_', '+']) {
            "it must not begin with - _ or +"
        } else if sample == "." || sample == ".." {
            "it must not be a dot or two"
        } else {
            return Ok(());
        };
        Err(invalid(text, why))
    }

    /// Returns the name if it is the same for all events.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(name)] => Some(name),
            _ => None,
        }
    }

    /// Returns the name for an event of this time.
    pub(crate) fn at(&self, time: DateTime<Utc>) -> String {
        let mut out = Vec::new();
        self.append(time, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends the name for an event of this time.
    pub(crate) fn append(&self, time: DateTime<Utc>, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Year => match u32::try_from(time.year()) {
                    Ok(year @ ..=9999) => digits(out, year, 4),
                    _ => out.extend_from_slice(time.year().to_string().as_bytes()),
                },
                Part::Month => digits(out, time.month(), 2),
                Part::Day => digits(out, time.day(), 2),
                Part::Hour => digits(out, time.hour(), 2),
            }
        }
    }

    /// Returns a pattern that fits every index of this name: `audit-*`.
    pub(crate) fn wildcard(&self) -> String {
        let mut pattern = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => pattern.push_str(text),
                _ if pattern.ends_with('*') => {}
                _ => pattern.push('*'),
            }
        }
        // Between two parts of a date the separators are inside the star already.
        match (pattern.find('*'), pattern.rfind('*')) {
            (Some(first), Some(last)) => {
                let (head, tail) = (pattern.get(..first), pattern.get(last..));
                format!("{}{}", head.unwrap_or_default(), tail.unwrap_or_default())
            }
            _ => pattern,
        }
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn parse_date(mut date: &str, parts: &mut Vec<Part>) -> Option<()> {
    let mut found = false;
    while let Some(first) = date.chars().next() {
        let known =
            [("yyyy", Part::Year), ("MM", Part::Month), ("dd", Part::Day), ("HH", Part::Hour)];
        let part =
            known.into_iter().find_map(|(name, part)| Some((date.strip_prefix(name)?, part)));
        match part {
            Some((rest, part)) => {
                found = true;
                parts.push(part);
                date = rest;
            }
            None if ".-_".contains(first) => {
                push(parts, first.encode_utf8(&mut [0; 4]));
                date = date.get(1..)?;
            }
            None => return None,
        }
    }
    found.then_some(())
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("invalid index name: {why}"))
        .with("index", text.escape_debug())
        .with_hint("give a name like `audit`, or `audit-{yyyy.MM.dd}` for one index a day")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pattern: &str) -> String {
        let time = "2026-03-09T23:59:59.999Z".parse().unwrap();
        IndexName::parse(pattern).unwrap().at(time)
    }

    #[test]
    fn the_date_is_that_of_the_event_in_utc() {
        assert_eq!(at("audit"), "audit");
        assert_eq!(at("audit-{yyyy.MM.dd}"), "audit-2026.03.09");
        assert_eq!(at("audit-{yyyyMM}-x"), "audit-202603-x");
        assert_eq!(at("{yyyy}_{MM}-{dd-HH}"), "2026_03-09-23");
        assert_eq!(IndexName::parse("audit").unwrap().fixed(), Some("audit"));
        assert_eq!(IndexName::parse("a-{yyyy}").unwrap().fixed(), None);
        let wildcard = |p| IndexName::parse(p).unwrap().wildcard();
        assert_eq!(wildcard("audit"), "audit");
        assert_eq!(wildcard("audit-{yyyy.MM.dd}"), "audit-*");
        assert_eq!(wildcard("audit-{yyyy}-x-{MM}-end"), "audit-*-end");
    }

    #[test]
    fn wrong_names_are_found_before_the_first_write() {
        for name in [
            "", "Audit", "a b", "a/b", "a*", "-a", "_a", "+a", ".", "..", "a,b", "a#", "a:b", "{",
            "a-{yyyy", "a-{}", "a-{foo}", "a-{.}", "a}", "a\n",
        ] {
            let error = IndexName::parse(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
        }
        assert!(IndexName::parse(&"a".repeat(256)).is_err());
        assert!(IndexName::parse(".hidden").is_ok());
    }
}
