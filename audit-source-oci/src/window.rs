use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// A range of processing time, `[from, to)`, that begins and ends with a minute: the granularity of
/// the service, which refuses seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
}

/// Shorter windows than this, in minutes, are not made to keep more requests in flight.
const SHORTEST: u64 = 60;

/// Cuts `[from, to)` into windows, from the first to the last: without gap, without overlap, none
/// longer than `longest`, and a multiple of `in_flight` of them if that leaves each an hour: so all are
/// busy to the end.
pub(crate) fn windows(
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    longest: Duration,
    in_flight: usize,
) -> impl Iterator<Item = Window> + Send {
    let (from, to) = (floor(from), ceil(to));
    let minutes = (to - from).num_minutes().max(1).unsigned_abs();
    let longest = (longest.as_secs() / 60).max(1);
    let in_flight = u64::try_from(in_flight.max(1)).unwrap_or(u64::MAX);
    let needed = minutes.div_ceil(longest);
    let parts = needed.checked_next_multiple_of(in_flight).unwrap_or(u64::MAX);
    let even = minutes.div_ceil(parts).max(SHORTEST);
    let step = if parts == needed { longest } else { even.min(longest) };
    let step = i64::try_from(step).ok().and_then(TimeDelta::try_minutes).unwrap_or(TimeDelta::MAX);
    let mut next = from;
    std::iter::from_fn(move || {
        let from = next;
        next = from.checked_add_signed(step).map_or(to, |end| end.min(to));
        (from < to).then_some(Window { from, to: next })
    })
}

/// Returns the beginning of the minute.
pub(crate) fn floor(time: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = time.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(60), 0).unwrap_or(time)
}

/// Returns the beginning of the next minute, unless a minute begins here.
pub(crate) fn ceil(time: DateTime<Utc>) -> DateTime<Utc> {
    let begin = floor(time);
    if begin == time { time } else { begin + TimeDelta::minutes(1) }
}

/// Writes a time as the service wants it.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", text(self.from), text(self.to))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn january_by_fortnights_has_no_hole() {
        let day = Duration::from_secs(24 * 3600);
        let found: Vec<_> =
            windows(time("2024-01-01T00:00:00Z"), time("2024-02-01T00:00:00Z"), 14 * day, 1)
                .map(|window| window.to_string())
                .collect();
        assert_eq!(
            found,
            [
                "[2024-01-01T00:00:00Z, 2024-01-15T00:00:00Z)",
                "[2024-01-15T00:00:00Z, 2024-01-29T00:00:00Z)",
                "[2024-01-29T00:00:00Z, 2024-02-01T00:00:00Z)",
            ]
        );
    }

    #[test]
    fn a_short_range_is_spread_over_the_requests_in_flight() {
        let day = Duration::from_secs(24 * 3600);
        let count = |from, to| windows(time(from), time(to), 14 * day, 8).count();
        assert_eq!(count("2024-01-01T00:00:00Z", "2024-01-09T00:00:00Z"), 8);
        assert_eq!(count("2024-01-01T00:00:00Z", "2024-01-01T03:00:00Z"), 3, "an hour each");
        assert_eq!(count("2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"), 1);
        assert_eq!(count("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), 0);
        assert_eq!(count("2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z"), 32, "27 are enough");
    }

    proptest! {
        #[test]
        fn windows_cover_the_range_exactly_in_whole_minutes(
            from in -10_000_000_i64..4_000_000_000,
            span in 0_i64..40_000_000,
            longest in 60_u64..4_000_000,
            in_flight in 0_usize..40,
        ) {
            let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
            let (from, to) = (at(from), at(from + span));
            let longest = Duration::from_secs(longest);
            let mut next = floor(from);
            for window in windows(from, to, longest, in_flight).take(1_000_000) {
                prop_assert_eq!(window.from, next, "no gap, no overlap");
                prop_assert!(window.from < window.to);
                prop_assert!((window.to - window.from).to_std().unwrap() <= longest);
                for end in [window.from, window.to] {
                    prop_assert_eq!(end, floor(end), "seconds are zero");
                }
                next = window.to;
            }
            prop_assert_eq!(next, if span == 0 { floor(from) } else { ceil(to) });
        }
    }
}
