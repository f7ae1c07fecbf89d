//! Every record once, whatever the API does and whenever the process dies.

#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use audit_core::{ErrorKind, Limit, Read, Source};
use audit_source_port::LastProcessed;
use common::*;

/// Reads on after failures, in the same process or a new one, until there is no more for now.
async fn persist(world: &World, got: &mut Got, new_process: bool) {
    let mut source = world.opened(got.cursor.as_ref()).await;
    for _ in 0..100_000 {
        match source.read(limit(70)).await {
            Ok(Read::Batch(batch)) => got.add(batch),
            Ok(Read::Idle(_) | Read::End) => return,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                if new_process {
                    source = world.source();
                }
                source.open(got.cursor.as_ref()).await.unwrap();
            }
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn d01_an_error_at_any_request_loses_nothing() {
    let mut world = World::new().await;
    world.config.limit = 40;
    world.config.max_window = Duration::from_secs(900);
    world.fake.add_samples(0, (0..100).map(|n| T0 + n * n * SECOND / 3));
    world.time.set(T0 + HOUR);
    for (kind, new_process) in [(0, false), (1, true), (2, false), (3, true)] {
        for k in 0.. {
            let fault = match kind {
                0 => Fault::status(500),
                1 => Fault::Torn,
                2 => Fault::CutOff,
                _ => Fault::Instead("<html>busy</html>".to_owned()),
            };
            world.fake.lock().faults.extend((0..k).map(|_| Fault::Pass).chain([fault]));
            let mut got = Got::default();
            persist(&world, &mut got, new_process).await;
            got.assert_all_once(100);
            let unused = std::mem::take(&mut world.fake.lock().faults);
            if !unused.is_empty() {
                assert!(k > 5, "only {k} requests");
                break;
            }
        }
    }
}

#[tokio::test]
async fn d09_a_thousand_records_of_one_moment_and_a_crash_at_each_page() {
    let mut world = World::new().await;
    world.config.limit = 100;
    world.fake.add_samples(0, (0..1000).map(|_| T0 + 7));
    world.time.set(T0 + SECOND);
    let mut got = Got::default();
    for _ in 0..100 {
        let mut source = world.opened(got.cursor.as_ref()).await;
        match source.read(limit(100)).await.unwrap() {
            Read::Batch(batch) => got.add(batch),
            _ => break,
        }
    }
    got.assert_all_once(1000);
}

#[tokio::test]
async fn d10_a_filter_of_whole_seconds_loses_no_millisecond() {
    for look_back in [Duration::ZERO, Duration::from_secs(600)] {
        let mut world = World::new().await;
        world.fake.lock().whole_seconds = true;
        world.config.look_back = look_back;
        let mut got = Got::default();
        let mut source = world.opened(None).await;
        for n in 0..200 {
            world.time.pass(337);
            world.fake.add_samples(n, [world.time.now() - 1]);
            drain(&mut source, &mut got).await.unwrap();
            world.time.pass(MINUTE);
        }
        drain(&mut source, &mut got).await.unwrap();
        got.assert_all_once(200);
    }
}

/// Twelve events within the second after the newest one, over several runs.
#[tokio::test]
async fn fault_01_the_second_after_the_newest_record_is_not_skipped() {
    let world = World::new().await;
    let mut got = Got::default();
    for n in 0..12 {
        world.fake.add_samples(n, [world.time.now()]);
        world.time.pass(90);
        persist(&world, &mut got, true).await;
    }
    world.time.pass(HOUR);
    persist(&world, &mut got, true).await;
    got.assert_all_once(12);
}

#[tokio::test]
async fn d14_fault_02_a_late_record_is_found_once_however_late_within_the_look_back() {
    for look_back in [MINUTE, HOUR, 3 * DAY] {
        let mut world = World::new().await;
        world.config.look_back = Duration::from_millis(look_back.unsigned_abs());
        world.config.poll_interval = Duration::ZERO;
        for n in 0..=40 {
            let at = T0 + n * 97 * SECOND;
            let json = Json::Sample(n.unsigned_abs());
            world.fake.lock().add(Record { at, appears: at + look_back * n / 40, json });
        }
        let mut got = Got::default();
        let mut source = world.opened(None).await;
        while world.time.now() < T0 + 2 * HOUR + look_back {
            drain(&mut source, &mut got).await.unwrap();
            world.time.pass(look_back / 3 + 11 * MINUTE.min(look_back / 7));
        }
        drain(&mut source, &mut got).await.unwrap();
        got.assert_all_once(41);
    }
}

#[tokio::test]
async fn fault_03_more_new_records_than_one_answer_holds_are_all_read() {
    for count in [99, 100, 101, 1000] {
        for newest_first in [true, false] {
            let mut world = World::new().await;
            world.config.limit = 100;
            world.fake.lock().newest_first = newest_first;
            world.fake.add_samples(0, (0..count).map(|n| T0 + n));
            world.time.set(T0 + MINUTE);
            let mut got = Got::default();
            persist(&world, &mut got, false).await;
            got.assert_all_once(count.unsigned_abs());
        }
    }
}

#[tokio::test]
async fn fault_09_no_answer_is_larger_than_asked_for() {
    let mut world = World::new().await;
    world.config.limit = 50;
    world.fake.add_samples(0, (0..2000).map(|n| T0 + n * 10));
    world.time.set(T0 + DAY);
    let mut got = Got::default();
    persist(&world, &mut got, false).await;
    got.assert_all_once(2000);
    let seen = world.fake.lock().seen.clone();
    assert!(seen.iter().all(|seen| seen.records <= 50));
    let whole = seen.iter().filter(|seen| seen.records < 50).count();
    assert!(seen.len() < 3 * whole, "{} requests, {whole} of use", seen.len());
}

#[tokio::test]
async fn fault_10_records_come_oldest_first_over_all_windows() {
    let mut world = World::new().await;
    world.config.limit = 30;
    world.fake.add_samples(0, (0..400).map(|n| T0 + (n * 7919) % HOUR));
    world.time.set(T0 + DAY);
    let mut got = Got::default();
    persist(&world, &mut got, false).await;
    assert!(got.events.is_sorted_by_key(|event| event.time));
    got.assert_all_once(400);
}

#[tokio::test]
async fn d12_an_api_that_repeats_itself_is_noticed() {
    let mut world = World::new().await;
    world.config.limit = 3;
    world.time.set(T0 + DAY);
    let page = |count: i64| {
        let records: Vec<_> = (0..count).map(|n| sample(n.unsigned_abs(), T0 + n)).collect();
        Fault::Instead(format!(r#"{{"ok":true,"audits":[{}]}}"#, records.join(",")))
    };
    world.fake.lock().faults.extend((0..1000).map(|_| page(2)));
    let mut got = Got::default();
    let mut source = world.opened(None).await;
    drain(&mut source, &mut got).await.unwrap();
    got.assert_all_once(2);
    assert!(world.requests() < 10, "a page that is not full is the end of its window");

    world.fake.lock().seen.clear();
    world.fake.lock().faults.iter_mut().for_each(|fault| *fault = page(3));
    world.time.pass(DAY);
    let mut got = Got::default();
    let error = drain(&mut source, &mut got).await.unwrap_err();
    assert!(error.to_string().contains("lead nowhere"), "{error}");
    assert!(world.requests() < 200, "{}", world.requests());
    assert_eq!(got.ids().into_iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn d20_a_cap_in_the_smallest_window_is_a_loud_error() {
    for (count, fits) in [(9_999, true), (10_000, false), (10_001, false)] {
        let mut world = World::new().await;
        world.config.limit = 1000;
        world.fake.add_samples(0, (0..3).map(|n| T0 + n * SECOND));
        for n in 0..count {
            let at = T0 + 5 * SECOND;
            let json = Json::Kept(format!(r#"{{"identifier":"{}"}}"#, sample_id(n + 3)));
            world.fake.lock().add(Record { at, appears: at, json });
        }
        world.time.set(T0 + 10 * SECOND);
        let (mut got, mut source) = (Got::default(), world.opened(None).await);
        let end = drain(&mut source, &mut got).await;
        if fits {
            end.unwrap();
            got.assert_all_once(count + 3);
            continue;
        }
        let error = end.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Rejected, false));
        assert!(error.to_string().contains("2026-01-01T00:00:05"), "{error}");
        assert!(error.hint().unwrap().contains("limit"));
        got.assert_all_once(3);
        let position = LastProcessed::of(got.cursor.as_ref().unwrap()).unwrap().to_string();
        assert!(position.as_str() <= "2026-01-01T00:00:05.000Z", "{position}");
        // With room for them all, the same process goes on where it stood.
        world.config.limit = 20_000;
        persist(&world, &mut got, true).await;
        got.assert_all_once(count + 3);
    }
}

#[tokio::test]
async fn d20_a_cap_that_nobody_told_of_loses_nothing() {
    for cap in [50, 100, 500] {
        for newest_first in [true, false] {
            let world = World::new().await;
            world.fake.lock().cap = cap;
            world.fake.lock().newest_first = newest_first;
            world.fake.add_samples(0, (0..700).map(|n| T0 + n * 5));
            world.time.set(T0 + MINUTE);
            let mut got = Got::default();
            persist(&world, &mut got, false).await;
            got.assert_all_once(700);
        }
    }
}

#[tokio::test]
async fn a_gateway_time_out_makes_windows_smaller_until_they_are_answered() {
    for new_process in [false, true] {
        let mut world = World::new().await;
        world.fake.lock().slow_above = Some(100);
        world.fake.add_samples(0, (0..500).map(|n| T0 + n * MINUTE));
        world.time.set(T0 + DAY);
        world.config.max_window = Duration::from_secs(if new_process { 3600 } else { 30 * 86_400 });
        let mut got = Got::default();
        persist(&world, &mut got, new_process).await;
        got.assert_all_once(500);
        assert!(world.requests() < 100, "{}", world.requests());
    }
}

/// Where there is nothing for years, and where the answers are.
#[tokio::test]
async fn years_without_a_record_are_found_empty_with_few_questions() {
    let year = 365 * DAY;
    for first in [DAY, 3 * year, 7 * year - DAY] {
        let mut world = World::new().await;
        world.config.max_window = Duration::from_secs(30 * 86_400);
        world.fake.add_samples(0, (0..10).map(|n| T0 + first + n * MINUTE));
        world.time.set(T0 + 7 * year);
        let mut got = Got::default();
        persist(&world, &mut got, false).await;
        got.assert_all_once(10);
        assert!(world.requests() < 30, "{}", world.requests());
        let seen = world.fake.lock().seen.clone();
        let records: usize = seen.iter().map(|seen| seen.records).sum();
        assert!(records < 30, "only one is asked for to see whether there is any: {records}");
    }
    let mut world = World::new().await;
    world.fake.lock().slow_above = Some(5);
    world.fake.add_samples(0, (0..10).map(|n| T0 + n * 10 * DAY));
    world.time.set(T0 + 200 * DAY);
    world.config.max_window = Duration::from_secs(30 * 86_400);
    let mut source = world.opened(None).await;
    let mut got = Got::default();
    drain(&mut source, &mut got).await.unwrap();
    got.assert_all_once(10);
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_asked_for_in_halves() {
    let mut world = World::new().await;
    world.config.max_answer_bytes = 20_000;
    world.fake.add_samples(0, (0..200).map(|n| T0 + n));
    world.time.set(T0 + DAY);
    let mut got = Got::default();
    persist(&world, &mut got, false).await;
    got.assert_all_once(200);

    world.config.max_answer_bytes = 500;
    let mut source = world.opened(None).await;
    let error = failure(&mut source).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Rejected, false));
    assert!(error.hint().unwrap().contains("max_answer_bytes"), "{error:?}");
}

/// The local clock is a day ahead, or behind; each run is a process of its own.
#[tokio::test]
async fn d17_d18_the_server_s_clock_decides_what_is_over() {
    for ahead in [-DAY, -5 * MINUTE, 5 * MINUTE, DAY, 3650 * DAY] {
        let world = World::new().await;
        let local = Time::at(0);
        let mut got = Got::default();
        for n in 0..12 {
            world.fake.add_samples(n, [world.time.now() + 1]);
            world.time.pass(17 * MINUTE);
            local.set(world.time.now() + ahead);
            let mut source = world.source().with_clock(local.clock());
            source.open(got.cursor.as_ref()).await.unwrap();
            drain(&mut source, &mut got).await.unwrap();
            if let Some(cursor) = &got.cursor {
                let closed = LastProcessed::of(cursor).unwrap();
                let now = at(world.time.now() + 2 * SECOND);
                assert!(closed.start() < now, "{closed} is to come, with {ahead}");
            }
        }
        world.time.pass(HOUR);
        local.set(world.time.now() + ahead);
        let mut source = world.source().with_clock(local.clock());
        source.open(got.cursor.as_ref()).await.unwrap();
        drain(&mut source, &mut got).await.unwrap();
        // A clock that is behind gives way once the first answer has come.
        drain(&mut source, &mut got).await.unwrap();
        if ahead >= 0 {
            got.assert_all_once(12);
        } else {
            local.pass(2 * DAY);
            drain(&mut source, &mut got).await.unwrap();
            got.assert_all_once(12);
        }
    }
}

/// For one answer the server's clock is far ahead; what happens meanwhile is found all the same.
#[tokio::test]
async fn d17_a_leap_of_the_server_s_clock_closes_nothing_for_good() {
    for leap in [HOUR, DAY, 3650 * DAY] {
        let world = World::new().await;
        let mut got = Got::default();
        for n in 0..12 {
            world.fake.add_samples(n, [world.time.now() + 1]);
            world.time.pass(17 * MINUTE);
            let now = world.time.now();
            world.time.set(if n == 5 { now + leap } else { now });
            let mut source = world.opened(got.cursor.as_ref()).await;
            drain(&mut source, &mut got).await.unwrap();
            world.time.set(now);
        }
        world.time.pass(HOUR);
        let mut source = world.opened(got.cursor.as_ref()).await;
        drain(&mut source, &mut got).await.unwrap();
        // What was closed before the leap may come again, under its old ids.
        for n in 0..12 {
            let id = format!("evt_{n:012}");
            assert!(got.ids().contains(&id.as_str()), "{id} is lost with a leap of {leap}");
        }
    }
}

#[tokio::test]
async fn d16_a_record_from_the_future_is_delivered_and_poisons_nothing() {
    let world = World::new().await;
    let mut got = Got::default();
    for n in 0..20 {
        let now = world.time.now();
        let says = if n == 5 { now + 3650 * DAY } else { now };
        let json = Json::Kept(sample(n, says));
        world.fake.lock().add(Record { at: now, appears: now, json });
        world.time.pass(3 * MINUTE);
        persist(&world, &mut got, true).await;
    }
    got.assert_all_once(20);
}

#[tokio::test]
async fn records_without_a_time_or_an_identifier_are_delivered_once() {
    let mut world = World::new().await;
    world.config.limit = 3;
    let texts = [
        r#"{"action":"CREATE"}"#,
        r#"{"identifier":"a"}"#,
        r#"{"identifier":"b","trigger":{"at":"yesterday"}}"#,
        r#"{"identifier":"c","trigger":null}"#,
        "{}",
    ];
    for (n, text) in texts.into_iter().enumerate() {
        let at = T0 + MINUTE + n as i64;
        world.fake.lock().add(Record { at, appears: at, json: Json::Kept(text.to_owned()) });
    }
    let mut got = Got::default();
    for _ in 0..5 {
        world.time.pass(2 * MINUTE);
        persist(&world, &mut got, true).await;
    }
    let mut raws: Vec<_> = got.events.iter().map(|event| event.raw.get()).collect();
    raws.sort_unstable();
    let mut expected = texts;
    expected.sort_unstable();
    assert_eq!(raws, expected);
    for event in &got.events {
        assert!((at(T0)..=at(T0 + HOUR)).contains(&event.time), "{}", event.time);
    }
}

#[tokio::test]
async fn an_end_is_an_end_and_only_when_it_has_come() {
    let mut world = World::new().await;
    world.config.to = Some(at(T0 + HOUR));
    world.config.settle = Duration::from_secs(60);
    world.fake.add_samples(0, (0..10).map(|n| T0 + n * 6 * MINUTE));
    world.fake.add_samples(10, [T0 + HOUR + 5]);
    world.time.set(T0 + HOUR);
    let (mut got, mut source) = (Got::default(), world.opened(None).await);
    assert!(matches!(drain(&mut source, &mut got).await.unwrap(), Stop::Idle(_)));
    world.time.pass(2 * MINUTE);
    assert!(matches!(drain(&mut source, &mut got).await.unwrap(), Stop::End));
    got.assert_all_once(10);
    world.config.to = None;
    world.time.pass(HOUR);
    persist(&world, &mut got, true).await;
    got.assert_all_once(11);
}

/// From a file of the earlier exporter, whose time is the newest record's and a second.
#[tokio::test]
async fn x01_goes_on_from_last_processed_txt_and_repairs_its_second() {
    let mut world = World::new().await;
    world.fake.add_samples(0, [T0 + 10_000, T0 + 10_300, T0 + 10_999, T0 + 11_500]);
    world.time.set(T0 + HOUR);
    let last = LastProcessed::parse("2026-01-01T00:00:11.300Z").unwrap().unwrap();
    world.config.from = Some(last.start());
    let mut got = Got::default();
    persist(&world, &mut got, false).await;
    assert_eq!(got.ids(), [sample_id(1), sample_id(2), sample_id(3)], "the newest once more");
    let written = LastProcessed::of(got.cursor.as_ref().unwrap()).unwrap();
    assert_eq!(written.to_string(), "2026-01-01T01:00:00.000Z");
}

#[tokio::test]
async fn d11_cursors_of_a_long_back_fill_stay_small() {
    let mut world = World::new().await;
    world.config.limit = 200;
    for n in 0..5_000_u32 {
        let at = T0 + i64::from(n) * MINUTE;
        world.fake.lock().add(Record { at, appears: at, json: Json::Sample(n.into()) });
    }
    world.time.set(T0 + 30 * DAY);
    let (mut got, mut source) = (Got::default(), world.opened(None).await);
    let mut longest = 0;
    loop {
        let Read::Batch(batch) = source.read(Limit::default()).await.unwrap() else { break };
        longest = longest.max(serde_json::to_string(&batch.cursor).unwrap().len());
        got.add(batch);
    }
    got.assert_all_once(5_000);
    assert!(longest < 400 * 25, "{longest}");
}

/// N-07: what starts at once does not stay in step.
#[tokio::test]
async fn n07_rests_are_a_little_longer_than_configured_and_not_all_alike() {
    let world = World::new().await;
    world.time.pass(MINUTE);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let (mut got, mut source) = (Got::default(), world.opened(None).await);
        let Stop::Idle(wait) = drain(&mut source, &mut got).await.unwrap() else { panic!() };
        assert!((60..=66).contains(&wait.as_secs()), "{wait:?}");
        waits.push(wait);
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 1);
}
