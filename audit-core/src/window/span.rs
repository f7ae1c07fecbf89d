use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// A range of time, `[from, to)`: with its beginning, without its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Window {
    /// Returns the first instant in it.
    pub fn from(self) -> DateTime<Utc> {
        time(self.from)
    }

    /// Returns the first instant after it.
    pub fn to(self) -> DateTime<Utc> {
        time(self.to)
    }

    /// Returns its length.
    pub fn span(self) -> Duration {
        duration(self.len())
    }

    pub(super) fn len(self) -> i64 {
        self.to.saturating_sub(self.from)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write!(f, "[{}, {})", text(self.from()), text(self.to()))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Every value made by the arithmetic here lies between values that were times once; at the very
/// end of representable time it stays at that end.
pub(super) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or(if millis < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

pub(super) fn floor(millis: i64, granule: i64) -> i64 {
    millis.saturating_sub(millis.rem_euclid(granule))
}

pub(super) fn ceil(millis: i64, granule: i64) -> i64 {
    match millis.rem_euclid(granule) {
        0 => millis,
        over => millis.saturating_add(granule - over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_granule_on_both_sides_of_1970() {
        assert_eq!((floor(61, 60), ceil(61, 60)), (60, 120));
        assert_eq!((floor(60, 60), ceil(60, 60)), (60, 60));
        assert_eq!((floor(-1, 60), ceil(-1, 60)), (-60, 0));
        assert_eq!(ceil(i64::MAX, 60), i64::MAX);
    }

    #[test]
    fn reads_as_a_half_open_range() {
        let window = Window { from: 0, to: 1_500 };
        assert_eq!(window.to_string(), "[1970-01-01T00:00:00Z, 1970-01-01T00:00:01.500Z)");
        assert_eq!(window.span(), Duration::from_millis(1_500));
    }
}
