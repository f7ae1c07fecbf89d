use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Result};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An hour of UTC, in the years 1970 to 9999.
///
/// Reports know no other time zone, so that every day has 24 hours and a report means the same
/// everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i32);

impl Hour {
    /// Returns the hour of a time; none before 1970 and after 9999.
    pub fn of(time: &DateTime<Utc>) -> Option<Self> {
        Self::of_unix_seconds(time.timestamp())
    }

    /// As [`of`](Self::of), from seconds since 1970.
    pub fn of_unix_seconds(seconds: i64) -> Option<Self> {
        const END: i64 = 253_402_300_800; // 10000-01-01
        let hour = i32::try_from(seconds.div_euclid(3600)).ok()?;
        (0..END).contains(&seconds).then_some(Self(hour))
    }

    /// Returns the day the hour is in.
    pub fn day(self) -> Day {
        Day(self.0 / 24)
    }

    pub(crate) fn unix_millis(self) -> i64 {
        i64::from(self.0) * 3_600_000
    }

    /// Returns the hour's place in its day, 0 to 23.
    pub fn of_day(self) -> usize {
        (self.0 % 24).unsigned_abs() as usize
    }
}

/// A day of UTC, in the years 1970 to 9999; shown as `2026-11-21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// Returns the day as a date.
    pub fn date(self) -> NaiveDate {
        NaiveDate::from_epoch_days(self.0).unwrap_or(NaiveDate::MAX)
    }

    /// Returns an hour of this day; 24 and more count as 23.
    pub fn hour(self, hour: usize) -> Hour {
        Hour(self.0 * 24 + hour.min(23) as i32)
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the days between two, both left out.
    pub(crate) fn between(self, later: Self) -> impl ExactSizeIterator<Item = Self> {
        (self.0 + 1..later.0.max(self.0 + 1)).map(Self)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
        let day = date.filter(|d| (1970..=9999).contains(&d.year())).map(|d| d.to_epoch_days());
        // Only as it is shown: `2026-1-2` would be a second name of a day.
        day.map(Self).filter(|day| day.to_string() == text).ok_or_else(|| {
            Error::new(ErrorKind::Config, "not a day")
                .with("day", text.escape_debug())
                .with_hint("write it 2026-11-21, from 1970 on")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str) -> Option<(String, usize)> {
        let time = DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        Hour::of(&time).map(|hour| (hour.day().to_string(), hour.of_day()))
    }

    #[test]
    fn r03_offsets_and_daylight_saving_end_in_utc_hours() {
        let at = |day: &str, hour| Some((day.to_owned(), hour));
        assert_eq!(hour("2026-10-25T02:30:00+02:00"), at("2026-10-25", 0));
        assert_eq!(hour("2026-10-25T02:30:00+01:00"), at("2026-10-25", 1), "the hour told twice");
        assert_eq!(hour("2026-12-31T23:59:59.999999999-18:00"), at("2027-01-01", 17));
        assert_eq!(hour("1970-01-01T00:00:00Z"), at("1970-01-01", 0));
        assert_eq!(hour("9999-12-31T23:59:59Z"), at("9999-12-31", 23));
        assert_eq!(hour("1969-12-31T23:59:59Z"), None);
        assert_eq!(Hour::of(&DateTime::<Utc>::MAX_UTC), None);
        assert_eq!(Hour::of_unix_seconds(i64::MIN), None);
        assert_eq!(Hour::of_unix_seconds(253_402_300_800), None);
    }

    #[test]
    fn a_day_has_one_name() {
        let day: Day = "2024-02-29".parse().unwrap();
        assert_eq!(day.to_string(), "2024-02-29");
        assert_eq!((day.hour(7).day(), day.hour(7).of_day()), (day, 7));
        for text in ["2024-2-29", "2023-02-29", "1969-12-31", "+2024-02-29", "", "../x"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
