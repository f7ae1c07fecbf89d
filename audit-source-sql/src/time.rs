use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Reads a point in time as audit tables write it: RFC 3339, the offset also as `+0300` or `+03` or
/// missing (then UTC), a space for the `T`, a date alone, or seconds, milli-, micro- or nanoseconds
/// since 1970 (told apart by their size).
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    date_time(text.as_bytes()).or_else(|| text.parse().ok().and_then(epoch))
}

/// Reads a number as a time since 1970; its size says the unit.
pub(crate) fn epoch(number: f64) -> Option<DateTime<Utc>> {
    let (scale, size) = (1e9, number.abs());
    let nanos = match size {
        _ if size < 1e11 => number * scale,
        _ if size < 1e14 => number * 1e6,
        _ if size < 1e17 => number * 1e3,
        _ => number,
    };
    // f64 holds 53 bits: whole units are exact, fractions are good to about a microsecond.
    let micros = nanos / 1e3;
    (micros.abs() < 1e17).then(|| DateTime::from_timestamp_micros(micros.round() as i64)).flatten()
}

fn date_time(text: &[u8]) -> Option<DateTime<Utc>> {
    let (date, rest) = text.split_at_checked(10)?;
    let [y @ .., b'-', m1, m2, b'-', d1, d2] = date else {
        return None;
    };
    let date = NaiveDate::from_ymd_opt(
        number(y)?.try_into().ok()?,
        number(&[*m1, *m2])?,
        number(&[*d1, *d2])?,
    )?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let (clock, mut rest) = rest.split_at_checked(9)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = clock else {
        return None;
    };
    let mut nanos = 0;
    if let [b'.' | b',', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        let (fraction, after) = fraction.split_at(digits);
        let taken = number(fraction.get(..digits.min(9))?)?;
        nanos = taken * 10_u32.pow(9 - digits.min(9) as u32);
        rest = after;
    }
    let mut second = number(&[*s1, *s2])?;
    if second == 60 {
        // A leap second.
        (second, nanos) = (59, 999_999_999);
    }
    let (hour, minute) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?;
    date.and_time(time).and_utc().checked_sub_signed(offset(rest)?)
}

fn offset(text: &[u8]) -> Option<TimeDelta> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, h, m) = match text {
        [] | [b'Z' | b'z'] => return Some(TimeDelta::zero()),
        [sign, h1, h2] => (sign, [*h1, *h2], [b'0', b'0']),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (h, m) = (number(&h)?, number(&m)?);
    if h > 23 || m > 59 {
        return None;
    }
    let minutes = i64::from(h * 60 + m);
    match sign {
        b'+' => TimeDelta::try_minutes(minutes),
        b'-' => TimeDelta::try_minutes(-minutes),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(of: &str) -> Option<String> {
        parse(of).map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }

    #[test]
    fn reads_every_form_met_in_the_field() {
        for (form, expected) in [
            ("2022-10-13T12:34:56.000+0300", "2022-10-13T09:34:56Z"),
            ("2022-10-13T12:34:56.789Z", "2022-10-13T12:34:56.789Z"),
            ("2022-10-13T12:34:56-05:30", "2022-10-13T18:04:56Z"),
            ("2022-10-13T12:34:56+03", "2022-10-13T09:34:56Z"),
            ("2026-11-21 02:50:26.521048", "2026-11-21T02:50:26.521048Z"),
            ("2022-10-13 12:34:56 +0000", "2022-10-13T12:34:56Z"),
            ("2022-10-13", "2022-10-13T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z"),
            ("1665664496", "2022-10-13T12:34:56Z"),
            ("1665664496789", "2022-10-13T12:34:56.789Z"),
            ("1665664496.789", "2022-10-13T12:34:56.789Z"),
            ("1665664496789012", "2022-10-13T12:34:56.789012Z"),
        ] {
            assert_eq!(text(form).as_deref(), Some(expected), "{form}");
        }
        for form in [
            "",
            "now",
            "2022-13-01",
            "2022-10-13T25:00:00Z",
            "2022-10-13T12:34:56X",
            "13.10.2022",
            "NaN",
            "inf",
            "1e300",
            "2022-10-13Tää:00:00",
        ] {
            assert_eq!(text(form), None, "{form}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono_on_rfc_3339(
            seconds in -62_000_000_000_i64..253_000_000_000, nanos in 0..1_000_000_000_u32, minutes in -1439..=1439_i32,
        ) {
            let zone = chrono::FixedOffset::east_opt(minutes * 60).unwrap();
            let time = DateTime::from_timestamp(seconds, nanos).unwrap();
            let form = time.with_timezone(&zone).to_rfc3339();
            prop_assume!(form.as_bytes()[0].is_ascii_digit());
            prop_assert_eq!(parse(&form), Some(time));
        }

        #[test]
        fn never_panics(form in "\\PC*") {
            let _ = parse(&form);
        }
    }
}
