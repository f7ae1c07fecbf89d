use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::OciConfig;
use crate::cursor::{At, Open, Position};
use crate::fetch::Unit;
use crate::target::{Target, print_of};
use crate::window::{Window, ceil, floor, windows};

/// How long OCI keeps audit events at most.
const RETENTION: TimeDelta = TimeDelta::days(365);

/// Returns where reading begins without a cursor.
pub(crate) fn beginning(config: &OciConfig, now: DateTime<Utc>) -> Position {
    let start = config.start.unwrap_or_else(|| now - RETENTION);
    Position::at(floor(start))
}

/// What there is to read now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    /// Up to here.
    Until(DateTime<Utc>),
    /// Nothing before this much time has passed.
    Later(Duration),
    /// Nothing any more.
    Never,
}

/// Says up to where to read: what is processed by then has settled, and lies before the end.
///
/// `now` is the service's time.
pub(crate) fn due(
    config: &OciConfig,
    position: &Position,
    last: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Due {
    let end = config.end.map(ceil);
    let begun = position.window.as_ref().map(|window| window.to);
    let closed = begun.unwrap_or(position.closed);
    if begun.is_none() && end.is_some_and(|end| closed >= end) {
        return Due::Never;
    }
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500));
    let wait = |until: DateTime<Utc>| {
        (until - now).to_std().unwrap_or_default().max(Duration::from_millis(1))
    };
    // A clock that went back does not make the rest longer.
    let rested = last.is_none_or(|last| now < last || now - last >= delta(config.poll_interval));
    if let (false, Some(last)) = (rested, last) {
        return Due::Later(wait(last + delta(config.poll_interval)));
    }
    let settled = floor(now.checked_sub_signed(delta(config.settle)).unwrap_or(now));
    let until = end.map_or(settled, |end| end.min(settled)).max(closed);
    if begun.is_none() && until <= closed {
        return Due::Later(wait(closed + TimeDelta::minutes(1) + delta(config.settle)));
    }
    Due::Until(until)
}

/// The windows of all compartments in the order in which they are delivered: window after window,
/// and in each compartment after compartment.
pub(crate) struct Plan {
    pub(crate) targets: Arc<[Arc<Target>]>,
    windows: Box<dyn Iterator<Item = Window> + Send>,
    current: Option<(Window, usize)>,
    /// Where to go on in the first of them.
    at: Option<At>,
}

impl Plan {
    /// Goes on from a position. Compartments that were done in its window and are no longer the same
    /// make it begin anew: its events come again rather than that one of them is missed.
    pub(crate) fn new(
        config: &OciConfig,
        targets: Vec<Arc<Target>>,
        position: &mut Position,
        until: DateTime<Utc>,
    ) -> Self {
        let mut current = None;
        let mut at = None;
        let mut from = position.closed;
        if let Some(open) = &mut position.window {
            let done = targets.get(..open.done).filter(|done| print_of(done) == open.print);
            if done.is_none_or(|done| done.len() == targets.len()) {
                tracing::info!(
                    from = %position.closed,
                    to = %open.to,
                    "the compartments have changed; the window is read anew"
                );
                *open = Open { to: open.to, done: 0, print: 0, at: None };
            }
            let same = |at: &At| targets.get(open.done).is_some_and(|t| t.name() == at.target);
            open.at = open.at.take().filter(same);
            at = open.at.clone();
            current = Some((Window { from, to: open.to }, open.done));
            from = open.to;
        }
        let in_flight = config.concurrency.div_ceil(targets.len().max(1));
        let windows = Box::new(windows(from, until.max(from), config.window, in_flight));
        Self { targets: targets.into(), windows, current, at }
    }

    /// Returns the next unit, and the place in it to go on from.
    pub(crate) fn next(&mut self) -> Option<(Unit, Option<At>)> {
        let (window, number) = match self.current {
            Some((window, number)) if number < self.targets.len() => (window, number),
            _ => (self.windows.next()?, 0),
        };
        let target = Arc::clone(self.targets.get(number)?);
        self.current = Some((window, number + 1));
        let at = self.at.take();
        let page = at.as_ref().and_then(|at| at.page.clone());
        Some((Unit { target, window, page }, at))
    }

    /// Moves a position to the end of a unit.
    pub(crate) fn advance(&self, position: &mut Position, window: Window) {
        let done = position.window.as_ref().map_or(0, |open| open.done) + 1;
        if done >= self.targets.len() {
            (position.closed, position.window) = (window.to, None);
        } else {
            let print = print_of(self.targets.get(..done).unwrap_or_default());
            position.window = Some(Open { to: window.to, done, print, at: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn targets(names: &[&str]) -> Vec<Arc<Target>> {
        let target = |name: &&str| {
            Arc::new(Target { region: "r".into(), compartment: (*name).into(), deleted: false })
        };
        names.iter().map(target).collect()
    }

    fn config(end: Option<i64>) -> OciConfig {
        let minute = Duration::from_secs(60);
        OciConfig {
            end: end.map(at),
            window: 60 * minute,
            settle: 10 * minute,
            poll_interval: minute,
            concurrency: 1,
            ..OciConfig::new()
        }
    }

    fn units(plan: &mut Plan) -> Vec<String> {
        let unit = |(unit, at): (Unit, Option<At>)| {
            let at = at.map_or(String::new(), |at| format!(" at {}", at.records));
            format!("{} {}{at}", unit.window, unit.target.compartment)
        };
        std::iter::from_fn(|| plan.next()).map(unit).collect()
    }

    #[test]
    fn d18_only_what_has_settled_is_read() {
        let position = Position::at(at(0));
        let due = |end, now| due(&config(end), &position, None, now);
        let minutes = |n: u64| Due::Later(Duration::from_secs(60 * n));
        assert_eq!(due(None, at(10)), minutes(1));
        assert_eq!(due(None, at(10) + TimeDelta::seconds(59)), Due::Later(Duration::from_secs(1)));
        assert_eq!(due(None, at(11)), Due::Until(at(1)));
        assert_eq!(due(Some(30), at(30)), Due::Until(at(20)));
        assert_eq!(due(Some(30), at(3000)), Due::Until(at(30)));
        assert_eq!(due(Some(0), at(3000)), Due::Never);
        assert_eq!(due(None, at(-50)), minutes(61), "a clock that went back only waits");
    }

    #[test]
    fn sweeps_rest_between_each_other() {
        let position = Position::at(at(0));
        let due = |last, now| due(&config(None), &position, Some(last), now);
        let half = at(99) + TimeDelta::seconds(30);
        assert_eq!(due(half, at(100)), Due::Later(Duration::from_secs(30)));
        assert_eq!(due(at(99), at(100)), Due::Until(at(90)));
        assert_eq!(due(at(200), at(100)), Due::Until(at(90)), "the clock went back");
    }

    #[test]
    fn a_window_goes_through_all_compartments_before_the_next() {
        let mut position = Position::at(at(0));
        let mut plan = Plan::new(&config(None), targets(&["a", "b"]), &mut position, at(90));
        let hour = "[1970-01-01T00:00:00Z, 1970-01-01T01:00:00Z)";
        let rest = "[1970-01-01T01:00:00Z, 1970-01-01T01:30:00Z)";
        assert_eq!(
            units(&mut plan),
            [format!("{hour} a"), format!("{hour} b"), format!("{rest} a"), format!("{rest} b")]
        );
        let window = Window { from: at(0), to: at(60) };
        plan.advance(&mut position, window);
        assert_eq!((position.closed, position.window.as_ref().unwrap().done), (at(0), 1));
        let mut plan = Plan::new(&config(None), targets(&["a", "b"]), &mut position, at(60));
        assert_eq!(units(&mut plan), [format!("{hour} b")]);
        plan.advance(&mut position, window);
        assert_eq!(position, Position::at(at(60)));
    }

    #[test]
    fn compartments_that_appear_or_vanish_lose_nothing() {
        let done = targets(&["b"]);
        let at_b = At { target: "r/c".into(), page: None, records: 3, last: 0 };
        let open = Open { to: at(60), done: 1, print: print_of(&done), at: Some(at_b) };
        let position = Position { window: Some(open), ..Position::at(at(0)) };
        let read = |names: &[&str]| {
            let mut plan = Plan::new(&config(None), targets(names), &mut position.clone(), at(60));
            let units = units(&mut plan);
            units.iter().map(|u| u.split(") ").nth(1).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(read(&["b", "c", "d"]), ["c at 3", "d"], "one more behind");
        assert_eq!(read(&["b", "c"]), ["c at 3"]);
        assert_eq!(read(&["a", "b", "c"]), ["a", "b", "c"], "one more before: all again");
        assert_eq!(read(&["b", "bb", "c"]), ["bb", "c"], "one more between");
        assert_eq!(read(&["c"]), ["c"], "one fewer");
        assert_eq!(read(&["b"]), ["b"], "the one under way vanished");
    }
}
