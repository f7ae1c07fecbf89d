use std::collections::HashMap;

use audit_core::window::{Next, Window, Windows};
use proptest::prelude::*;

use crate::model::*;

/// One thing that happens to a reader.
#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Ask,
    Answer,
    Fail(usize),
    Take(usize),
    Lose(usize),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..10 * MINUTE).prop_map(Step::Pass),
        5 => Just(Step::Ask),
        5 => Just(Step::Answer),
        1 => (0..4_usize).prop_map(Step::Fail),
        5 => (0..20_usize).prop_map(Step::Take),
        1 => (1..20_usize).prop_map(Step::Lose),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..200)
}

/// Times and delays in thousandths of the span and of the look-back, many of them equal.
fn records() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    prop::collection::vec(((0..40_i64).prop_map(|t| t * 25), 0..=1_000_i64, -5..5_i64), 0..120)
}

fn api(found: &[(i64, i64, i64)], look_back: i64, own_time: bool) -> Api {
    Api::of(found.iter().map(|(at, delay, skew)| {
        let at = T0 + at * 7_321;
        let appears = at + look_back * delay / 1_000;
        let time = if own_time { at } else { at + skew * MINUTE };
        Record { at, time, appears }
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_record_once_whatever_happens(
        found in records(),
        steps in steps(),
        granule in prop::sample::select(vec![1, SECOND, MINUTE]),
        max_span in prop::sample::select(vec![MINUTE, 10 * MINUTE, DAY]),
        max_empty_span in prop::sample::select(vec![0, HOUR, 900 * DAY]),
        knows_limit in any::<bool>(),
        look_back in prop::sample::select(vec![0, 90 * SECOND, HOUR]),
        settle in prop::sample::select(vec![0, 2 * MINUTE]),
        start in 0..DAY,
        ends in any::<bool>(),
        newest_first in any::<bool>(),
        own_time in any::<bool>(),
        inclusive_end in any::<bool>(),
    ) {
        let mut api = api(&found, look_back, own_time).cap(60);
        api.newest_first = newest_first;
        // An API with an inclusive end is only dealt with where the records' times tell.
        api.inclusive_end = inclusive_end && own_time;
        let most = api.records.iter().map(|r| r.at / granule);
        let mut per_granule = HashMap::new();
        most.for_each(|g| *per_granule.entry(g).or_insert(0) += 1);
        let most = per_granule.values().max().copied().unwrap_or(0);
        api.cap = api.cap.max(2 * most + 1);
        let mut config = config(granule)
            .max_span(span(max_span))
            .max_empty_span(span(max_empty_span))
            .look_back(span(look_back))
            .settle(span(settle))
            .filters_record_time(own_time);
        config.answer_limit = knows_limit.then_some(api.cap);
        let last = T0 + 1_000 * 7_321;
        let mut reader = Reader::new(config, T0, ends.then_some(last + HOUR));
        let mut now = T0 + start / 10;
        let mut under_way: Vec<Window> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Ask => if let Next::Window(window) = reader.windows.next(at(now)) {
                    under_way.push(window);
                },
                Step::Answer => if let Some(front) = reader.windows.front()
                    && let Some(n) = under_way.iter().position(|w| *w == front)
                {
                    under_way.remove(n);
                    reader.answer(&mut api, front, now).unwrap();
                },
                Step::Fail(n) => if n < under_way.len() {
                    reader.windows.failed(under_way.remove(n));
                },
                Step::Take(limit) => { reader.deliver(limit); }
                Step::Lose(limit) => {
                    // Taken, but neither delivered nor saved.
                    reader.windows.take(|_| limit % 2 == 0);
                    reader.restart();
                    under_way.clear();
                }
                Step::Crash => {
                    reader.restart();
                    under_way.clear();
                }
            }
        }
        reader.restart();
        for later in [0, HOUR, DAY] {
            reader.catch_up(&mut api, now.max(last + look_back) + later);
        }
        let mut delivered = reader.delivered.clone();
        delivered.sort_unstable();
        prop_assert_eq!(delivered, (0..api.records.len()).collect::<Vec<_>>());
        prop_assert_eq!(reader.windows.forgotten() + reader.windows.reopened(), 0);
    }

    #[test]
    fn prompt_records_come_in_the_order_of_time(
        found in records(), cap in 20..60_usize, newest_first in any::<bool>(), stops in any::<u64>(),
    ) {
        let mut api = api(&found, 0, true).cap(cap);
        api.newest_first = newest_first;
        let mut reader = Reader::new(config(1).max_span(span(HOUR)), T0, None);
        for n in 0..64 {
            if reader.run(&mut api, T0 + n * 4 * MINUTE).is_err() {
                return Ok(()); // More records of one instant than an answer holds.
            }
            if stops >> n & 1 == 1 {
                reader.restart();
            }
        }
        let times: Vec<_> = reader.delivered.iter().map(|n| api.records[*n].at).collect();
        prop_assert!(times.is_sorted());
        reader.assert_all_once(&api);
    }

    #[test]
    fn windows_have_neither_gap_nor_overlap(
        granule in prop::sample::select(vec![1, SECOND, MINUTE]), max_span in 0..3 * DAY,
        from in 0..DAY, length in 0..30 * DAY, full in prop::collection::vec(any::<bool>(), 50),
    ) {
        let (start, end) = (T0 + from, T0 + from + length);
        let config = config(granule).max_span(span(max_span.max(granule * 50_000)));
        let mut windows = Windows::<usize>::new(config, at(start), Some(at(end))).unwrap();
        let mut full = full.into_iter();
        let mut edge = None;
        while let Next::Window(window) = windows.next(at(end + 90 * DAY)) {
            prop_assert!(window.from() < window.to());
            prop_assert_eq!(window.from().timestamp_millis() % granule, 0);
            if full.next().unwrap_or(false) && windows.full(window).is_ok() {
                continue;
            }
            prop_assert_eq!(window.from(), edge.unwrap_or(window.from()));
            prop_assert!(edge.is_some() || (window.from() <= at(start) && window.to() > at(start)));
            edge = Some(window.to());
            windows.finish(window).unwrap();
            while windows.take(|_| true).is_some() {}
        }
        prop_assert!(edge.is_none_or(|edge| edge >= at(end)));
        prop_assert!(edge.is_some() || windows.position().closed_to() >= at(end));
    }
}
