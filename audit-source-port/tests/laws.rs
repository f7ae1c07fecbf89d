//! Every record exactly once: for any order of the answers, either meaning of `from` and `to`, any
//! burst, any delay, any difference between what a record says and what the API goes by, and any
//! failure or crash in between.

#![allow(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use audit_core::{Read, Source};
use common::*;
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Pass(i64),
    /// Records happen now: so many, so far apart, visible so much later, and off by so much.
    Burst {
        count: u64,
        apart: i64,
        late: i64,
        skew: i64,
    },
    /// So many reads of so many records at most.
    Read {
        times: usize,
        limit: usize,
    },
    Fail(usize),
    /// The process dies; what was read last may not have been saved.
    Crash {
        unsaved: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let times = prop::sample::select(vec![1, 3, 500, 61_000, 700_000]);
    let burst =
        (1..14_u64, 0..3_i64, 0..590_000_i64, -3..3_i64).prop_map(|(count, apart, late, skew)| {
            let late = if late % 3 == 0 { late } else { 0 };
            Step::Burst { count, apart, late, skew: skew * 10_000 }
        });
    let step = prop_oneof![
        3 => times.prop_map(Step::Pass),
        3 => burst,
        4 => (1..6_usize, 1..9_usize).prop_map(|(times, limit)| Step::Read { times, limit }),
        1 => (0..4_usize).prop_map(Step::Fail),
        1 => any::<bool>().prop_map(|unsaved| Step::Crash { unsaved }),
    ];
    prop::collection::vec(step, 1..25)
}

#[derive(Clone, Debug)]
struct Mood {
    newest_first: bool,
    from_inclusive: bool,
    to_inclusive: bool,
    tells_date: bool,
    limit: usize,
    cap: usize,
}

fn moods() -> impl Strategy<Value = Mood> {
    let flags = any::<(bool, bool, bool, bool)>();
    let limits = (2..9_usize, prop::sample::select(vec![usize::MAX, 10_000]));
    (flags, limits).prop_map(
        |((newest_first, from_inclusive, to_inclusive, tells_date), limits)| {
            let (limit, cap) = limits;
            Mood { newest_first, from_inclusive, to_inclusive, tells_date, limit, cap }
        },
    )
}

async fn live(mood: Mood, steps: Vec<Step>) {
    let mut world = World::new().await;
    world.config.limit = mood.limit;
    world.config.poll_interval = Duration::from_secs(1);
    {
        let mut state = world.fake.lock();
        state.newest_first = mood.newest_first;
        state.from_inclusive = mood.from_inclusive;
        state.to_inclusive = mood.to_inclusive;
        state.tells_date = mood.tells_date;
        state.cap = mood.cap;
    }
    let mut count = 0;
    let mut got = Got::default();
    let mut source = world.opened(None).await;
    for step in steps {
        match step {
            Step::Pass(time) => world.time.pass(time),
            Step::Burst { count: more, apart, late, skew } => {
                for _ in 0..more {
                    let at = world.time.now();
                    let json = Json::Kept(sample(count, at + skew));
                    world.fake.lock().add(Record { at, appears: at + late, json });
                    world.time.pass(apart);
                    count += 1;
                }
            }
            Step::Read { times, limit: most } => {
                for _ in 0..times {
                    match source.read(limit(most)).await {
                        Ok(Read::Batch(batch)) => got.add(batch),
                        Ok(_) => world.time.pass(1_100),
                        Err(_) => source.open(got.cursor.as_ref()).await.unwrap(),
                    }
                }
            }
            Step::Fail(which) => {
                let faults = [Fault::status(500), Fault::Torn, Fault::CutOff, Fault::status(504)];
                world.fake.fail(faults[which].clone());
            }
            Step::Crash { unsaved } => {
                if unsaved {
                    // Read, and lost with the process.
                    _ = source.read(limit(3)).await;
                }
                source = world.opened(got.cursor.as_ref()).await;
            }
        }
    }
    world.fake.lock().faults.clear();
    for _ in 0..3 {
        world.time.pass(11 * MINUTE);
        if drain(&mut source, &mut got).await.is_err() {
            source.open(got.cursor.as_ref()).await.unwrap();
        }
    }
    drain(&mut source, &mut got).await.unwrap();
    let mut times = BTreeMap::new();
    got.ids().into_iter().for_each(|id| *times.entry(id).or_insert(0) += 1);
    let wrong: Vec<_> =
        (0..count).map(sample_id).filter(|id| times.get(id.as_str()) != Some(&1)).collect();
    assert!(wrong.is_empty() && times.len() == got.events.len(), "{wrong:?} {times:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn every_record_exactly_once(mood in moods(), steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(mood, steps));
    }
}
