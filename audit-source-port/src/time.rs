use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, Utc, Weekday};

/// Reads a time as people write it for this API: ISO 8601, in UTC where no offset is given.
///
/// Besides RFC 3339 these are `2025`, `2025-01`, `2025-01-31`, `20250131`, `2025-W05`, `2025-W05-5`,
/// each with or without a time after `T` or a space: `10`, `10:30`, `1030`, `10:30:15.25`,
/// `10:30:15,25`, `24:00`; and the offsets `Z`, `+02`, `+0200`, `+02:00`.
///
/// # Errors
/// [`ErrorKind::Config`] for anything else, epoch numbers among it.
pub fn parse_time(text: &str) -> Result<DateTime<Utc>> {
    read(text.trim()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "not a time")
            .with("text", text.chars().take(40).collect::<String>().escape_debug())
            .with_hint("write it like 2025-01-31 or 2025-01-31T10:30:00Z")
    })
}

/// Writes a time as the API wants it: UTC, milliseconds, `Z`.
pub(crate) fn format_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads what [`parse_time`] reads, without a word why not.
pub(crate) fn read(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)),
        None => (text, None),
    };
    let midnight = date_of(date)?.and_hms_opt(0, 0, 0)?;
    let Some(rest) = rest else { return Some(midnight.and_utc()) };
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (rest.get(..at)?, offset_of(rest.get(at..)?)?),
        None => (rest, TimeDelta::zero()),
    };
    let local = clock_on(midnight, clock)?;
    Some(local.checked_sub_signed(offset)?.and_utc())
}

fn date_of(text: &str) -> Option<NaiveDate> {
    let (year, rest) = text.split_at_checked(4)?;
    let year = number(year)?.try_into().ok()?;
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    if let Some(week) = rest.strip_prefix(['W', 'w']) {
        let (week, day) = week.split_at_checked(2)?;
        let day = match day.strip_prefix('-').unwrap_or(day) {
            "" => Weekday::Mon,
            day if day.len() == 1 => Weekday::try_from(number(day)?.checked_sub(1)? as u8).ok()?,
            _ => return None,
        };
        return NaiveDate::from_isoywd_opt(year, number(week)?, day);
    }
    // `202501` would be read as a year and month by some and as a day by others.
    let dashed = text.as_bytes().get(4) == Some(&b'-');
    let (month, day) = match rest.len() {
        0 if text.len() == 4 => ("01", "01"),
        2 if dashed => (rest, "01"),
        4 if !dashed => rest.split_at_checked(2)?,
        5 if dashed => rest.split_once('-')?,
        _ => return None,
    };
    NaiveDate::from_ymd_opt(year, two(month)?, two(day)?)
}

fn clock_on(midnight: NaiveDateTime, text: &str) -> Option<NaiveDateTime> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let colons = whole.contains(':');
    let mut parts = [0; 3];
    let mut count = 0;
    let mut left = whole;
    while !left.is_empty() {
        let (part, rest) = left.split_at_checked(2)?;
        *parts.get_mut(count)? = two(part)?;
        count += 1;
        left = match rest.strip_prefix(':') {
            Some(rest) if colons && !rest.is_empty() => rest,
            None if !colons || rest.is_empty() => rest,
            _ => return None,
        };
    }
    let nanos = match fraction {
        None => 0,
        Some(digits) if count == 3 && !digits.is_empty() => nanos(digits)?,
        Some(_) => return None,
    };
    match (count, parts, nanos) {
        (0, ..) => None,
        (_, [24, 0, 0], 0) => midnight.checked_add_days(Days::new(1)),
        (_, [hour, minute, second], nanos) => {
            midnight.date().and_hms_nano_opt(hour, minute, second, nanos)
        }
    }
}

fn nanos(digits: &str) -> Option<u32> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(
        digits
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |n, digit| n * 10 + u32::from(digit - b'0')),
    )
}

fn offset_of(text: &str) -> Option<TimeDelta> {
    let (sign, rest) = text.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return rest.is_empty().then(TimeDelta::zero),
    };
    let (hours, minutes) = rest.split_at_checked(2)?;
    let minutes = match minutes.strip_prefix(':') {
        Some(minutes) => two(minutes)?,
        None if minutes.is_empty() => 0,
        None => two(minutes)?,
    };
    let hours = two(hours)?;
    (hours < 24 && minutes < 60).then(|| TimeDelta::minutes(sign * i64::from(hours * 60 + minutes)))
}

fn two(text: &str) -> Option<u32> {
    if text.len() == 2 { number(text) } else { None }
}

fn number(text: &str) -> Option<u32> {
    // `parse` would take a sign as well.
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_spellings_that_were_accepted_before_are_understood() {
        for (text, expected) in [
            ("2025", "2025-01-01T00:00:00.000Z"),
            ("2025-03", "2025-03-01T00:00:00.000Z"),
            ("2025-03-04", "2025-03-04T00:00:00.000Z"),
            ("20250304", "2025-03-04T00:00:00.000Z"),
            ("2025-W01", "2024-12-30T00:00:00.000Z"),
            ("2025W013", "2025-01-01T00:00:00.000Z"),
            ("2025-W01-3T10", "2025-01-01T10:00:00.000Z"),
            ("2025-03-04T05:06", "2025-03-04T05:06:00.000Z"),
            ("2025-03-04 05:06:07", "2025-03-04T05:06:07.000Z"),
            ("20250304T050607", "2025-03-04T05:06:07.000Z"),
            ("2025-03-04T05:06:07,89", "2025-03-04T05:06:07.890Z"),
            ("2025-03-04T24:00", "2025-03-05T00:00:00.000Z"),
            ("2025-03-04T05:06:07.891234567Z", "2025-03-04T05:06:07.891Z"),
            ("2025-03-04T05:06:07+02:00", "2025-03-04T03:06:07.000Z"),
            ("2025-03-04T05:06+0230", "2025-03-04T02:36:00.000Z"),
            ("2025-03-04T05-03", "2025-03-04T08:00:00.000Z"),
            (" 2025-03-04T05:06Z\n", "2025-03-04T05:06:00.000Z"),
        ] {
            assert_eq!(format_time(parse_time(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            " ",
            "2025-1-1",
            "202501",
            "1700000000",
            "1700000000000",
            "yesterday",
            "2025-13",
            "2025-02-30",
            "2025-W54",
            "2025-W01-8",
            "2025-03-04T",
            "2025-03-04T25:00",
            "2025-03-04T24:01",
            "2025-03-04T05:6",
            "2025-03-04T05:06:",
            "2025-03-04T05:0607",
            "2025-03-04T05.5",
            "2025-03-04T05:06+2",
            "2025-03-04T05:06+24:00",
            "+025",
            "2025-+1",
            "2025-03-04&limit=5",
        ] {
            assert_eq!(parse_time(text).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,30}") {
            read(&text);
        }

        #[test]
        fn what_is_written_reads_back(millis in 0..4_000_000_000_000_i64) {
            let time = DateTime::from_timestamp_millis(millis).unwrap();
            prop_assert_eq!(read(&format_time(time)), Some(time));
        }
    }
}
