use chrono::{DateTime, NaiveDate, Utc};

/// Reads a time of RFC 3339, as [`DateTime::parse_from_rfc3339`] does.
///
/// The one form that logs are full of, `2026-11-21T09:41:07.123456789Z`, is read here: a month of
/// records has the same few days, and reading a date the general way costs more than all else that
/// is done with a record.
pub(crate) fn parse(text: &[u8]) -> Option<DateTime<Utc>> {
    usual(text).or_else(|| {
        let time = DateTime::parse_from_rfc3339(str::from_utf8(text).ok()?).ok()?;
        Some(time.to_utc())
    })
}

/// None: it is of another form, or no time.
fn usual(text: &[u8]) -> Option<DateTime<Utc>> {
    let (whole, rest) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        whole
    else {
        return None;
    };
    let two = |a: &u8, b: &u8| {
        let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
        (a < 10 && b < 10).then_some(u32::from(a) * 10 + u32::from(b))
    };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, two(m1, m2)?, two(d1, d2)?)?;
    let (hour, minute, second) = (two(h1, h2)?, two(n1, n2)?, two(s1, s2)?);
    let time = date.and_hms_nano_opt(hour, minute, second, nanos(rest)?)?;
    Some(time.and_utc())
}

/// Reads the fraction of a second and the mark of UTC.
fn nanos(text: &[u8]) -> Option<u32> {
    let digits = match text {
        [b'Z'] => return Some(0),
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut nanos = 0;
    for place in 0..9 {
        let digit = digits.get(place).map_or(0, |digit| digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        nanos = nanos * 10 + u32::from(digit);
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn m06_every_text_is_the_time_that_chrono_says(
            text in "(19|20|00|99)[0-9]{2}-[012][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,11})?(Z|z|\\+02:00|)",
        ) {
            let expected = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc());
            prop_assert_eq!(parse(text.as_bytes()), expected);
        }
    }
}
