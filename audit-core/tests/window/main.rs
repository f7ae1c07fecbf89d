//! Reading by windows against a model of an API that honours what it is asked: nothing is lost,
//! nothing comes twice, whatever fails and wherever the process stops.

#![expect(clippy::unwrap_used, reason = "the model is test code")]

mod laws;
mod model;

use std::sync::Arc;
use std::time::Duration;

use audit_core::ErrorKind;
use audit_core::window::{Found, Next, WindowConfig, Windows};

use model::*;

#[test]
fn d01_an_error_at_any_window_of_a_newest_first_api_loses_nothing() {
    for failing in 0..40 {
        let mut api = Api::of((0..200).map(|n| Record::prompt(T0 + n * MINUTE))).cap(20);
        let mut reader = Reader::new(config(1), T0, Some(T0 + DAY));
        let mut asked = 0;
        while let Next::Window(window) = reader.windows.next(at(T0 + 2 * DAY)) {
            asked += 1;
            if asked == failing {
                // The process ends with the error; what was not taken is gone.
                reader.restart();
                continue;
            }
            reader.answer(&mut api, window, T0 + 2 * DAY).unwrap();
            while reader.deliver(3) {}
        }
        reader.assert_all_once(&api);
        let order: Vec<_> = (0..200).collect();
        assert_eq!(reader.delivered, order, "oldest first");
    }
}

#[test]
fn d01_a_failed_window_is_asked_for_again_before_any_other() {
    let mut windows = Windows::<usize>::new(config(1), at(T0), Some(at(T0 + 3 * DAY))).unwrap();
    let mut next = || windows.next(at(T0 + 9 * DAY));
    let (Next::Window(first), Next::Window(second)) = (next(), next()) else {
        panic!("no two windows");
    };
    assert_eq!(first.to(), second.from());
    windows.failed(first);
    assert_eq!(windows.next(at(T0 + 9 * DAY)), Next::Window(first));
    assert!(windows.take(|_| true).is_none(), "no progress");
}

#[test]
fn d09_a_thousand_records_of_one_instant_and_a_stop_after_each_page() {
    let api = Api::of((0..1_000).map(|_| Record::prompt(T0 + 5)));
    let mut reader = Reader::new(config(1), T0, Some(T0 + DAY));
    let now = at(T0 + 2 * DAY);
    for page in 1..=10 {
        let Next::Window(window) = reader.windows.next(now) else {
            panic!("no window");
        };
        // Tokens do not outlive the process: each starts at the first page.
        for chunk in (0..page * 100).collect::<Vec<_>>().chunks(100) {
            reader.windows.accept(window, chunk.iter().map(|n| api.found(*n))).unwrap();
        }
        while reader.deliver(30) {}
        if page < 10 {
            reader.restart();
        } else {
            reader.windows.finish(window).unwrap();
        }
    }
    while reader.deliver(30) {}
    reader.assert_all_once(&api);
    assert_eq!(reader.delivered.len(), 1_000);
    assert_eq!(reader.windows.next(now), Next::End);
}

#[test]
fn d10_milliseconds_under_a_filter_of_seconds() {
    let mut api = Api::of((0..3_000).map(|n| Record::prompt(T0 + n * 7))).cap(200);
    let mut reader = Reader::new(config(SECOND), T0 + 1, None);
    for now in (T0..T0 + MINUTE).step_by(333) {
        reader.catch_up(&mut api, now);
        let closed = reader.windows.position().closed_to();
        assert_eq!(closed.timestamp_subsec_millis(), 0, "{closed}");
    }
    reader.assert_all_once(&api);
}

#[test]
fn d11_the_look_back_filters_what_is_known_in_bounded_memory() {
    let mut api = Api::of((0..6_000).map(|n| Record::prompt(T0 + n * SECOND)));
    let mut reader = Reader::new(config(1).look_back(span(5 * MINUTE)), T0, None);
    for now in (T0..T0 + 6_100 * SECOND).step_by(30_000) {
        reader.catch_up(&mut api, now);
        let text = serde_json::to_string(&reader.saved).unwrap();
        assert!(text.matches("record-").count() <= 300 + 60, "{}", text.len());
    }
    reader.assert_all_once(&api);
    assert_eq!(reader.windows.forgotten(), 0);
}

#[test]
fn d11_beyond_the_bound_records_come_again_but_none_is_lost() {
    let mut api = Api::of((0..600).map(|n| Record::prompt(T0 + n * SECOND)));
    let config = config(1).look_back(span(5 * MINUTE)).seen_limit(100);
    let mut reader = Reader::new(config, T0, None);
    for now in (T0..T0 + 700 * SECOND).step_by(30_000) {
        reader.catch_up(&mut api, now);
        let text = serde_json::to_string(&reader.saved).unwrap();
        assert!(text.matches("record-").count() <= 100);
    }
    assert!((0..600).all(|n| reader.delivered.contains(&n)));
    assert!(reader.delivered.len() > 600 && reader.windows.forgotten() > 0);
}

#[test]
fn d11_a_long_back_fill_leaves_only_the_look_back_to_remember() {
    for filters_record_time in [true, false] {
        let mut api = Api::of((0..2_000).map(|n| Record::prompt(T0 + n * MINUTE)));
        let config = config(MINUTE).max_span(span(14 * DAY));
        let config = config.filters_record_time(filters_record_time);
        let mut reader = Reader::new(config, T0, None);
        reader.catch_up(&mut api, T0 + 2_000 * MINUTE);
        let text = serde_json::to_string(&reader.saved).unwrap();
        assert_eq!(text.matches("record-").count(), 10, "{text}");
        reader.assert_all_once(&api);
    }
}

#[test]
fn d12_a_repeated_page_has_no_new_record() {
    let api = Api::of((0..10).map(|n| Record::prompt(T0 + n)));
    let mut reader = Reader::new(config(1), T0, Some(T0 + DAY));
    let Next::Window(window) = reader.windows.next(at(T0 + 2 * DAY)) else {
        panic!("no window");
    };
    let mut page = || {
        let page = (0..10).map(|n| api.found(n));
        let accepted = reader.windows.accept(window, page).unwrap();
        reader.windows.take(|n| *n < 5);
        (accepted.new, accepted.known)
    };
    assert_eq!((page(), page()), ((10, 0), (0, 10)));
}

#[test]
fn d13_a_window_that_starts_over_midway_delivers_nothing_twice() {
    for filters_record_time in [true, false] {
        let api = Api::of((0..300).map(|n| Record::prompt(T0 + n / 10)));
        let config = config(1).filters_record_time(filters_record_time);
        let mut reader = Reader::new(config, T0, Some(T0 + DAY));
        for pages in [1, 2, 2, 3] {
            let Next::Window(window) = reader.windows.next(at(T0 + 2 * DAY)) else {
                panic!("no window");
            };
            for page in 0..pages {
                let page = (page * 100..(page + 1) * 100).map(|n| api.found(n));
                reader.windows.accept(window, page).unwrap();
                reader.deliver(60);
            }
            if pages < 3 {
                // The token for the next page has expired.
                reader.windows.failed(window);
            } else {
                reader.windows.finish(window).unwrap();
            }
        }
        while reader.deliver(60) {}
        reader.assert_all_once(&api);
        assert_eq!(reader.windows.next(at(T0 + 2 * DAY)), Next::End);
    }
}

#[test]
fn d14_a_record_is_found_once_however_late_it_is_within_the_look_back() {
    for look_back in [0, MINUTE, HOUR, 3 * DAY] {
        let late = (0..=60).map(|n| Record::late(T0 + n * 97 * SECOND, look_back * n / 60));
        let mut api = Api::of(late);
        let config = config(MINUTE).look_back(span(look_back));
        let mut reader = Reader::new(config, T0, None);
        for now in (T0..T0 + 4 * DAY).step_by(11 * 60 * 1_000) {
            reader.catch_up(&mut api, now);
        }
        reader.assert_all_once(&api);
    }
}

#[test]
fn d16_a_record_from_the_future_is_delivered_and_poisons_nothing() {
    for ahead in [2 * HOUR, 3_650 * DAY] {
        let mut api = Api::of((0..120).map(|n| Record::prompt(T0 + n * MINUTE)));
        api.records[50].time += ahead;
        for filters_record_time in [true, false] {
            let config = config(1).filters_record_time(filters_record_time);
            let mut reader = Reader::new(config, T0, None);
            for now in (T0..T0 + 3 * HOUR).step_by(60_000) {
                reader.catch_up(&mut api, now);
                assert!(reader.saved.closed_to() <= at(now));
            }
            reader.assert_all_once(&api);
            assert_eq!(reader.delivered.len(), 120);
        }
    }
}

#[test]
fn d17_a_clock_that_leaps_and_comes_back_loses_nothing() {
    for leap in [-DAY, -HOUR, -SECOND, SECOND, HOUR, 3_650 * DAY] {
        for length in [5, 30, 300] {
            let mut api = Api::of((0..600).map(|n| Record::prompt(T0 + n * MINUTE)));
            let mut reader = Reader::new(config(1), T0, None);
            for minute in 0..2_200 {
                let now = T0 + minute * MINUTE;
                let wrong = (200..200 + length).contains(&minute);
                let told = now + if wrong { leap } else { 0 };
                for _ in 0..100 {
                    match reader.windows.next(at(told)) {
                        Next::Window(window) => reader.answer(&mut api, window, now).unwrap(),
                        Next::Idle(_) => break,
                        other => panic!("{other:?}"),
                    }
                    while reader.deliver(50) {}
                }
                if minute % 50 == 0 {
                    reader.restart();
                }
            }
            for n in 0..600 {
                assert!(reader.delivered.contains(&n), "{n} with a leap of {leap} for {length}");
            }
            if leap <= SECOND {
                reader.assert_all_once(&api);
            }
        }
    }
}

#[test]
fn d17_with_the_server_s_time_the_local_clock_does_not_matter() {
    let mut api = Api::of((0..100).map(|n| Record::late(T0 + n * MINUTE, MINUTE)));
    let config = config(1).look_back(Duration::ZERO).settle(span(MINUTE));
    let mut reader = Reader::new(config, T0, None);
    for now in (T0..T0 + 3 * HOUR).step_by(17_000) {
        reader.catch_up(&mut api, now);
        assert!(reader.saved.closed_to() <= at((now - MINUTE).max(T0)), "d18: settled only");
    }
    reader.assert_all_once(&api);
}

#[test]
fn years_without_a_record_take_few_questions() {
    let years = 7 * 365 * DAY;
    for first in [10 * HOUR, 800 * DAY, years - HOUR] {
        let mut api = Api::of([Record::prompt(T0 + first)]).cap(1);
        let config = config(1).max_empty_span(span(years));
        let mut reader = Reader::new(config, T0, Some(T0 + years));
        // What is longer than a day is only asked whether there is anything.
        while let Next::Window(window) = reader.windows.next(at(T0 + 2 * years)) {
            api.cap = if window.span() > span(DAY) { 1 } else { 1_000 };
            reader.answer(&mut api, window, T0 + years).unwrap();
            while reader.deliver(7) {}
        }
        reader.assert_all_once(&api);
        assert!(api.requests < 50, "{} questions for {first}", api.requests);
    }
}

#[test]
fn windows_grow_until_answers_are_nearly_full_and_few_are_cut_off() {
    let mut api = Api::of((0..20_000).map(|n| Record::prompt(T0 + n * MINUTE))).cap(1_000);
    let config = config(1).max_span(span(30 * DAY));
    let mut wasted = Vec::new();
    for config in [config, config.answer_limit(1_000)] {
        let mut reader = Reader::new(config, T0, None);
        api.requests = 0;
        reader.catch_up(&mut api, T0 + 30 * DAY);
        reader.assert_all_once(&api);
        wasted.push(api.requests);
    }
    assert!(wasted[0] > 60, "half of the answers are cut off: {wasted:?}");
    // Three quarters of 1,000 records each; halving at the beginning, and the empty rest at the end.
    assert!(wasted[1] <= 20_000 / 750 + 7 + 7, "{wasted:?}");
}

#[test]
fn d20_an_answer_at_the_cap_halves_the_window_and_the_smallest_one_is_loud() {
    for count in [99, 100, 101, 1_000] {
        let mut api = Api::of((0..count).map(|n| Record::prompt(T0 + n))).cap(100);
        let mut reader = Reader::new(config(1), T0, Some(T0 + DAY));
        assert_eq!(reader.run(&mut api, T0 + 2 * DAY).unwrap(), Next::End);
        reader.assert_all_once(&api);
        assert_eq!(api.requests > 1, count >= 100);
    }
    let mut api = Api::of((0..100).map(|_| Record::prompt(T0 + 7))).cap(100);
    let mut reader = Reader::new(config(1), T0, Some(T0 + DAY));
    let error = reader.run(&mut api, T0 + 2 * DAY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(!error.is_retryable());
    let range = "[2026-01-01T00:00:00.007Z, 2026-01-01T00:00:00.008Z)";
    assert!(error.to_string().contains(range), "{error}");
    assert!(reader.delivered.is_empty());
    assert!(reader.saved.closed_to() <= at(T0 + 7), "not past what could not be had");
}

#[test]
fn windows_grow_again_after_a_burst() {
    let burst = (0..5_000).map(|n| Record::prompt(T0 + n));
    let mut api = Api::of(burst).cap(100);
    let mut reader = Reader::new(config(1), T0, Some(T0 + 60 * DAY));
    reader.catch_up(&mut api, T0 + 90 * DAY);
    reader.assert_all_once(&api);
    assert!(api.requests < 300, "{}", api.requests);
}

#[test]
fn a_run_until_now_waits_for_the_settle_time_and_the_next_run_looks_back() {
    let mut api = Api::of([
        Record::prompt(T0 + HOUR - 1),
        Record::late(T0 + HOUR - 2, 4 * MINUTE),
        Record::prompt(T0 + HOUR),
    ]);
    let mut reader = Reader::new(config(1).settle(span(MINUTE)), T0, Some(T0 + HOUR));
    let idle = reader.run(&mut api, T0 + HOUR).unwrap();
    assert!(matches!(idle, Next::Idle(_)), "{idle:?}");
    assert_eq!(reader.run(&mut api, T0 + HOUR + MINUTE).unwrap(), Next::End);
    assert_eq!(reader.delivered, [0]);
    reader.restart();
    assert_eq!(reader.run(&mut api, T0 + 2 * HOUR).unwrap(), Next::End, "the end is kept");
    reader.windows.retarget(Some(at(T0 + 2 * HOUR)));
    reader.catch_up(&mut api, T0 + 3 * HOUR);
    assert_eq!(reader.delivered, [0, 1, 2]);
}

#[test]
fn out_of_turn_and_a_bad_granularity_are_errors() {
    let mut windows = Windows::<usize>::new(config(1), at(T0), Some(at(T0 + 3 * DAY))).unwrap();
    let now = at(T0 + 9 * DAY);
    let (Next::Window(first), Next::Window(second)) = (windows.next(now), windows.next(now)) else {
        panic!("no two windows");
    };
    let error = windows.finish(second).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(windows.accept(second, []).is_err());
    windows.finish(first).unwrap();
    assert_eq!(windows.front(), Some(second));
    assert!(windows.finish(first).is_err());
    for bad in [Duration::ZERO, Duration::from_micros(1_500)] {
        let error = Windows::<usize>::new(WindowConfig::new(bad), now, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[test]
fn ids_are_shared_not_copied() {
    let id: Arc<str> = "record".into();
    let mut windows = Windows::new(config(1), at(T0), None).unwrap();
    let Next::Window(window) = windows.next(at(T0 + MINUTE)) else {
        panic!("no window");
    };
    windows.accept(window, [Found::new(id.clone(), at(T0), ())]).unwrap();
    windows.take(|()| true).unwrap();
    assert!(Arc::strong_count(&id) > 1);
}
