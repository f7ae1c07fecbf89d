//! The rules of the checkpoint contract, each as a function. The suite calls them by
//! [`conformance!`](crate::conformance); their list is in `rules.rs`.

use std::sync::Arc;

use futures_util::future::join_all;

use super::violation::{OrViolation, ensure, whole};
use super::{CheckpointHarness, Damage, Save, Verdict, Violation};
use crate::{Checkpoint, Cursor, ErrorKind, Raw, Revision, StreamId};

type Harness<'a> = &'a mut dyn CheckpointHarness;

pub async fn c01_knows_no_unknown_stream(h: Harness<'_>) -> Verdict {
    let checkpoint = h.checkpoint().await;
    expect(&*checkpoint, &stream("unknown")?, None).await?;
    checkpoint.save(&stream("known")?, &cursor(1)?, None).await.or_violation("save")?;
    expect(&*checkpoint, &stream("unknown")?, None).await
}

pub async fn c02_loads_what_was_saved(h: Harness<'_>) -> Verdict {
    let stream = stream("orders")?;
    let long = format!(r#"{{"window":["{}"]}}"#, "0123456789abcdef".repeat(8192));
    let positions = [
        "7",
        r#"{"b":1.10,"a":[123456789012345678901234567890],"a":"\u0041\/"}"#,
        "{ \"spaced\" : [ ] }",
        &long,
    ];
    let mut revision = None;
    for position in positions {
        let step = |v: Violation| v.during(format!("position {position:.40}"));
        let raw = Raw::parse(position).or_violation("making a position")?;
        let cursor = Cursor::encode("testkit", 3, &raw).or_violation("making a cursor")?;
        let checkpoint = h.checkpoint().await;
        let saved = checkpoint.save(&stream, &cursor, revision).await;
        let saved = saved.or_violation("save").map_err(step)?;
        ensure(revision < Some(saved), || format!("{saved:?} does not follow {revision:?}"))
            .map_err(step)?;
        let value = Some((&cursor, saved));
        expect(&*checkpoint, &stream, value).await.map_err(step)?;
        drop(checkpoint);
        let checkpoint = h.checkpoint().await;
        expect(&*checkpoint, &stream, value).await.map_err(|v| step(v.during("new instance")))?;
        revision = Some(saved);
    }
    Ok(())
}

pub async fn c03_refuses_a_stale_or_missing_revision(h: Harness<'_>) -> Verdict {
    let stream = stream("orders")?;
    let checkpoint = h.checkpoint().await;
    conflict(&*checkpoint, &stream, Some(Revision(1))).await?;
    expect(&*checkpoint, &stream, None).await?;
    let first = checkpoint.save(&stream, &cursor(1)?, None).await.or_violation("save")?;
    let second = checkpoint.save(&stream, &cursor(2)?, Some(first)).await.or_violation("save")?;
    ensure(first < second, || format!("{second:?} does not follow {first:?}"))?;
    let (newest, stale) = (cursor(2)?, [None, Some(first), Some(Revision(second.0 + 1))]);
    let refuses = async |checkpoint: Arc<dyn Checkpoint>| {
        for after in stale {
            conflict(&*checkpoint, &stream, after).await?;
            expect(&*checkpoint, &stream, Some((&newest, second))).await?;
        }
        Verdict::Ok(())
    };
    refuses(checkpoint).await?;
    refuses(h.checkpoint().await).await.map_err(|v| v.during("new instance"))
}

pub async fn c04_lets_one_of_two_racing_saves_win(h: Harness<'_>) -> Verdict {
    let stream = stream("orders")?;
    let mut checkpoint = h.checkpoint().await;
    let mut after = None;
    for round in 0..20_u32 {
        let rival = h.rival().await.unwrap_or_else(|| Arc::clone(&checkpoint));
        let cursors: Vec<_> = (0..6).map(|n| cursor(round * 10 + n)).collect::<Verdict<_>>()?;
        let saves = cursors.iter().enumerate().map(|(n, cursor)| {
            let runner = if n % 2 == 0 { &checkpoint } else { &rival };
            runner.save(&stream, cursor, after)
        });
        let (mut won, mut winner) = (None, 0);
        for (n, answer) in join_all(saves).await.into_iter().enumerate() {
            match answer {
                Ok(revision) => {
                    winner += 1;
                    won = Some((n, revision));
                }
                Err(e) => ensure(e.kind() == ErrorKind::Conflict, || {
                    format!("a save that lost the race is no conflict: {}", whole(&e))
                })?,
            }
        }
        ensure(winner == 1, || format!("{winner} of 6 racing saves won"))?;
        let Some((n, revision)) = won else { continue };
        // Whoever holds a lock may be the rival: ask a new instance.
        drop(rival);
        drop(checkpoint);
        checkpoint = h.checkpoint().await;
        expect(&*checkpoint, &stream, Some((&cursors[n], revision))).await?;
        after = Some(revision);
    }
    Ok(())
}

pub async fn c05_keeps_the_old_or_the_new_value_when_killed(h: Harness<'_>) -> Verdict {
    let stream = stream("orders")?;
    let mut saved: Option<(Cursor, Revision)> = None;
    let mut steps = 0;
    // Without an earlier value first, then with one.
    for earlier in [false, true] {
        if earlier && saved.is_none() {
            let checkpoint = h.checkpoint().await;
            let revision =
                checkpoint.save(&stream, &cursor(1)?, None).await.or_violation("save")?;
            saved = Some((cursor(1)?, revision));
        }
        for step in 0..100 {
            let new = cursor(1000 + steps)?;
            let after = saved.as_ref().map(|(_, revision)| *revision);
            let save = Save { stream: stream.clone(), cursor: new.clone(), after };
            if !h.crash(&save, step).await {
                break;
            }
            steps += 1;
            let at = |v: Violation| v.during(format!("killed at step {step} of a save"));
            let checkpoint = h.checkpoint().await;
            let found = checkpoint.load(&stream).await.or_violation("load").map_err(at)?;
            let value = found.as_ref().map(|(cursor, _)| cursor);
            let whole = value == saved.as_ref().map(|(cursor, _)| cursor) || value == Some(&new);
            ensure(whole, || format!("{found:?} is neither the old nor the new value"))
                .map_err(at)?;
            // And it goes on from there.
            let after = found.map(|(_, revision)| revision);
            let next = cursor(5000 + steps)?;
            let revision = checkpoint.save(&stream, &next, after).await;
            let revision = revision.or_violation("the next save").map_err(at)?;
            expect(&*checkpoint, &stream, Some((&next, revision))).await.map_err(at)?;
            saved = Some((next, revision));
        }
    }
    ensure(steps > 0, || Violation::undeclared("cut off a save").message().to_owned())
}

pub async fn c06_refuses_a_cut_off_value(h: Harness<'_>) -> Verdict {
    refuses(h, Damage::Truncated).await
}

pub async fn c06_refuses_a_value_with_a_flipped_bit(h: Harness<'_>) -> Verdict {
    refuses(h, Damage::BitFlip).await
}

pub async fn c06_refuses_an_empty_value(h: Harness<'_>) -> Verdict {
    refuses(h, Damage::Empty).await
}

pub async fn c06_refuses_a_newer_value(h: Harness<'_>) -> Verdict {
    refuses(h, Damage::NewerVersion).await
}

pub async fn c07_keeps_streams_apart(h: Harness<'_>) -> Verdict {
    let names = ["a", "A", "a.a", "a-a", "a_a", "b", &"x".repeat(100)];
    let checkpoint = h.checkpoint().await;
    let mut saved = Vec::new();
    for (n, name) in (1..).zip(names) {
        let stream = stream(name)?;
        expect(&*checkpoint, &stream, None).await?;
        let first = checkpoint.save(&stream, &cursor(n)?, None).await.or_violation("save")?;
        saved.push((stream, cursor(n)?, first));
    }
    let (stream, cursor_of_it, revision) = &mut saved[1];
    *cursor_of_it = cursor(100)?;
    *revision =
        checkpoint.save(stream, cursor_of_it, Some(*revision)).await.or_violation("save")?;
    drop(checkpoint);
    let checkpoint = h.checkpoint().await;
    for (stream, cursor, revision) in &saved {
        expect(&*checkpoint, stream, Some((cursor, *revision))).await?;
    }
    Ok(())
}

pub async fn c08_fails_where_it_cannot_write(h: Harness<'_>) -> Verdict {
    let Some(checkpoint) = h.unwritable().await else {
        return Err(Violation::undeclared("offer a place that cannot be written"));
    };
    for _ in 0..2 {
        match checkpoint.save(&stream("orders")?, &cursor(1)?, None).await {
            Ok(_) => return Err(Violation::new("a save that cannot be kept is reported as done")),
            Err(e) => ensure(e.kind() != ErrorKind::Conflict, || {
                format!("it is reported as another runner's doing: {}", whole(&e))
            })?,
        }
    }
    Ok(())
}

fn stream(name: &str) -> Verdict<StreamId> {
    name.parse().or_violation("making a stream name")
}

fn cursor(n: u32) -> Verdict<Cursor> {
    let position = serde_json::json!({ "offset": n, "window": ["2024-05-01T00:00:00Z", n] });
    Cursor::encode("testkit", 1, &position).or_violation("making a cursor")
}

async fn expect(
    checkpoint: &dyn Checkpoint,
    stream: &StreamId,
    value: Option<(&Cursor, Revision)>,
) -> Verdict {
    let found = checkpoint.load(stream).await.or_violation("load")?;
    let same = found.as_ref().map(|(cursor, revision)| (cursor, *revision)) == value;
    ensure(same, || format!("'{stream:.20}' holds {value:?} and loads as {found:?}"))
}

async fn conflict(
    checkpoint: &dyn Checkpoint,
    stream: &StreamId,
    after: Option<Revision>,
) -> Verdict {
    match checkpoint.save(stream, &cursor(99)?, after).await {
        Ok(_) => Err(Violation::new(format!("a save after {after:?} was accepted"))),
        Err(e) => ensure(e.kind() == ErrorKind::Conflict && !e.is_retryable(), || {
            format!("a save after {after:?} is reported as {}", whole(&e))
        }),
    }
}

async fn refuses(h: Harness<'_>, damage: Damage) -> Verdict {
    let stream = stream("orders")?;
    let checkpoint = h.checkpoint().await;
    let mut revision = None;
    for n in 1..4 {
        let saved = checkpoint.save(&stream, &cursor(n)?, revision).await.or_violation("save")?;
        revision = Some(saved);
    }
    drop(checkpoint);
    if !h.damage(&stream, damage).await {
        return Err(Violation::undeclared("damage a saved value in this way"));
    }
    for restarted in [false, true] {
        let checkpoint = h.checkpoint().await;
        match checkpoint.load(&stream).await {
            Ok(found) => return Err(Violation::new(format!("it loads as {found:?}"))),
            Err(e) => ensure(e.kind() == ErrorKind::InvalidData && !e.is_retryable(), || {
                format!("it is not reported as invalid data: {}", whole(&e))
            })?,
        }
        for after in [None, revision] {
            ensure(checkpoint.save(&stream, &cursor(9)?, after).await.is_err(), || {
                format!("a save after {after:?} replaced the damaged value (again: {restarted})")
            })?;
        }
    }
    Ok(())
}
