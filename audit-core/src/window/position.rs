use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::seen::Groups;
use super::span::time;

/// Where reading by windows stands: what a source puts into its [`Cursor`](crate::Cursor), from
/// which another process goes on exactly.
///
/// Its size is bounded by [`seen_limit`](super::WindowConfig::seen_limit) ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Every window before this time is finished.
    closed_to: DateTime<Utc>,
    /// Nothing can appear any more before this time; the next sweep begins here.
    complete_to: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<DateTime<Utc>>,
    /// The latest time at which a sweep that finished a window began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    swept_at: Option<DateTime<Utc>>,
    /// Where reading stood when the clock last leapt ahead, while nothing shows that it was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leapt_at: Option<DateTime<Utc>>,
    /// Ids that may be read again, grouped by the time until which they may (milliseconds).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen: Groups,
}

impl Position {
    /// Returns up to where every window is finished.
    pub fn closed_to(&self) -> DateTime<Utc> {
        self.closed_to
    }

    /// Returns before which time nothing is read again.
    pub fn complete_to(&self) -> DateTime<Utc> {
        self.complete_to
    }

    /// Returns where reading is to end, if it is.
    pub fn end(&self) -> Option<DateTime<Utc>> {
        self.end
    }

    pub(super) fn of(marks: &Marks, seen: Groups) -> Self {
        Self {
            closed_to: time(marks.closed),
            complete_to: time(marks.complete),
            end: marks.end.map(time),
            swept_at: marks.swept_at.map(time),
            leapt_at: marks.leapt_at.map(time),
            seen,
        }
    }

    pub(super) fn into_parts(self) -> (Marks, Groups) {
        let millis = |time: DateTime<Utc>| time.timestamp_millis();
        let marks = Marks {
            closed: millis(self.closed_to),
            complete: millis(self.complete_to),
            end: self.end.map(millis),
            swept_at: self.swept_at.map(millis),
            leapt_at: self.leapt_at.map(millis),
        };
        (marks, self.seen)
    }
}

/// The times of a [`Position`], in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub(super) closed: i64,
    pub(super) complete: i64,
    pub(super) end: Option<i64>,
    pub(super) swept_at: Option<i64>,
    pub(super) leapt_at: Option<i64>,
}

impl Marks {
    /// Notes that a sweep begins now. Returns whether reading has to go back to where the clock
    /// leapt, because it has fallen back since.
    pub(super) fn begin_sweep(&mut self, now: i64, tolerance: i64) -> bool {
        let step = self.swept_at.map(|before| now.saturating_sub(before));
        match (step, self.leapt_at) {
            (Some(step), Some(leap)) if step < -tolerance => {
                self.closed = self.closed.min(leap);
                self.complete = self.complete.min(leap);
                // Whether the clock is right now is not known either, so the mark of the leap stays.
                self.swept_at = Some(now);
                return true;
            }
            (Some(step), _) if step <= tolerance => {}
            // A pause, the very beginning, or a leap: which of them will be seen.
            (_, leap) => self.leapt_at = Some(leap.map_or(self.complete, |l| l.min(self.complete))),
        }
        false
    }

    /// Notes that a window is finished and its records are taken.
    pub(super) fn close(&mut self, closed: i64, complete: i64, swept_at: i64) {
        self.closed = self.closed.max(closed);
        self.complete = self.complete.max(complete);
        self.swept_at = self.swept_at.max(Some(swept_at));
    }
}
