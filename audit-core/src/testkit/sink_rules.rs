//! The rules of the sink contract, each as a function. The suite calls them by
//! [`conformance!`](crate::conformance); their list is in `rules.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::sample::{sample_events, sample_events_with_line_breaks};
use super::source_rules::of_kind;
use super::violation::{OrViolation, ensure, exactly, whole};
use super::{SinkHarness, Verdict, Violation, When};
use crate::{AuditEvent, Error, ErrorKind, EventId, Sink, Written};

type Harness<'a> = &'a mut dyn SinkHarness;

pub async fn k01_keeps_what_it_reported_as_written(h: Harness<'_>) -> Verdict {
    let events = sample_events(0, 6)?;
    let sink = h.sink().await;
    sink.check().await.or_violation("check")?;
    write_all(h, &sink, &events[..4]).await?;
    drop(sink); // as a killed process would: without close
    let stored = finish(h).await?;
    exactly(ids(&events[..4]), stored.iter().map(|(id, _)| id))
        .map_err(|v| v.during("after a crash right behind the write"))?;

    let sink = h.sink().await;
    write_all(h, &sink, &events[4..]).await?;
    sink.close().await.or_violation("close")?;
    sink.close().await.or_violation("a second close")?;
    drop(sink);
    exactly(ids(&events), h.stored().await.iter().map(|(id, _)| id))
        .map_err(|v| v.during("after a restart and close"))
}

pub async fn k02_writes_an_event_again_without_effect(h: Harness<'_>) -> Verdict {
    let events = sample_events(0, 8)?;
    let sink = h.sink().await;
    let deduplicates = sink.deduplicates();
    write_all(h, &sink, &events[..6]).await?;
    // As the pipeline may after a crash: the same again, cut elsewhere, with new ones behind.
    write_all(h, &sink, &events[..6]).await?;
    drop(sink);
    let sink = h.sink().await;
    write_all(h, &sink, &events[2..4]).await?;
    write_all(h, &sink, &events[4..8]).await?;
    drop(sink);
    let stored = finish(h).await?;
    if deduplicates {
        return exactly(ids(&events), stored.iter().map(|(id, _)| id));
    }
    let distinct: BTreeSet<_> = stored.iter().map(|(id, _)| id).collect();
    exactly(ids(&events), distinct)?;
    ensure(stored.len() > events.len(), || {
        "the sink says that it cannot deduplicate, yet it does: let `deduplicates` say so".into()
    })
}

pub async fn k03_keeps_the_payload_byte_for_byte(h: Harness<'_>) -> Verdict {
    let events = sample_events(0, 10)?;
    let sink = h.sink().await;
    write_all(h, &sink, &events).await?;
    drop(sink);
    let stored = finish(h).await?;
    same_payloads(&events, &stored)
}

pub async fn k04_names_a_failed_event_and_keeps_its_neighbours(h: Harness<'_>) -> Verdict {
    let mut delivered = Vec::new();
    for (round, failing) in [&[3][..], &[0], &[6], &[1, 4]].into_iter().enumerate() {
        let events = sample_events(round * 7, 7)?;
        let step = |v: Violation| v.during(format!("events {failing:?} of 7 fail"));
        let sink = h.sink().await;
        let items: Vec<_> =
            failing.iter().map(|i| (events[*i].id.clone(), ErrorKind::Rejected)).collect();
        if !h.fail_items(&items).await {
            return Err(Violation::undeclared("make single events fail"));
        }
        let written = sink.write(&events).await.or_violation("write").map_err(step)?;
        h.written(&sink).await;
        let mut named: Vec<_> = written.failures.iter().map(|f| f.index).collect();
        named.sort_unstable();
        ensure(named == failing, || format!("the report names {named:?}")).map_err(step)?;
        for failure in &written.failures {
            of_kind(&failure.error, ErrorKind::Rejected).map_err(step)?;
        }
        drop(sink);
        let mut good = events;
        let mut index = 0;
        good.retain(|_| (!failing.contains(&index), index += 1).0);
        delivered.extend(good);
        let stored = finish(h).await.map_err(step)?;
        exactly(ids(&delivered), stored.iter().map(|(id, _)| id)).map_err(step)?;
    }
    Ok(())
}

pub async fn k05_survives_a_write_that_failed_as_a_whole(h: Harness<'_>) -> Verdict {
    let (mut all, mut tried) = (Vec::new(), 0);
    for kind in FAULTS {
        for when in When::ALL {
            for restarted in [false, true] {
                let events = sample_events(all.len(), 4)?;
                let mut sink = h.sink().await;
                if !h.fail_call(kind, when).await {
                    break;
                }
                tried += 1;
                let step = |v: Violation| {
                    v.during(format!("a write that fails with '{kind}' ({when:?} its effect)"))
                };
                let failed = failed_whole(&sink.write(&events).await).map_err(step)?;
                if restarted {
                    drop(sink);
                    sink = h.sink().await;
                }
                // What the report did not name is durable, and is sent again all the same.
                drop(failed);
                write_all(h, &sink, &events).await.map_err(step)?;
                all.extend(events);
                let deduplicates = sink.deduplicates();
                drop(sink);
                let stored = finish(h).await.map_err(step)?;
                let distinct: BTreeSet<_> = stored.iter().map(|(id, _)| id).collect();
                if deduplicates {
                    exactly(ids(&all), stored.iter().map(|(id, _)| id)).map_err(step)?;
                } else {
                    exactly(ids(&all), distinct).map_err(step)?;
                }
            }
        }
    }
    ensure(tried > 0, || Violation::undeclared("make a write fail").message().to_owned())
}

pub async fn k06_gives_each_failure_its_kind(h: Harness<'_>) -> Verdict {
    let (mut all, mut tried) = (Vec::new(), 0);
    for (round, kind) in FAULTS.into_iter().enumerate() {
        let step = |v: Violation| v.during(format!("a fault of kind '{kind}'"));
        let sink = h.sink().await;
        let events = sample_events(round * 10, 4)?;
        if h.fail_items(&[(events[2].id.clone(), kind)]).await {
            tried += 1;
            let written = sink.write(&events).await.or_violation("write").map_err(step)?;
            h.written(&sink).await;
            let [failure] = &written.failures[..] else {
                let n = written.failures.len();
                return Err(step(Violation::new(format!("the report names {n} events, not 1"))));
            };
            ensure(failure.index == 2, || format!("index {} is named", failure.index))
                .map_err(step)?;
            of_kind(&failure.error, kind).map_err(step)?;
            // What may be sent again is sent alone, and arrives.
            let again = failure.error.is_retryable();
            if again {
                write_all(h, &sink, &events[2..3]).await.map_err(step)?;
            }
            all.extend(events.into_iter().enumerate().filter(|(i, _)| again || *i != 2));
        }
        if h.fail_call(kind, When::Before).await {
            tried += 1;
            let events: Vec<_> = sample_events(round * 10 + 4, 2)?;
            for error in failed_whole(&sink.write(&events).await).map_err(step)? {
                of_kind(&error, kind).map_err(step)?;
            }
            write_all(h, &sink, &events).await.map_err(step)?;
            all.extend(events.into_iter().enumerate());
        }
        drop(sink);
        let stored = finish(h).await.map_err(step)?;
        let distinct: BTreeSet<_> = stored.iter().map(|(id, _)| id).collect();
        exactly(all.iter().map(|(_, e)| &e.id), distinct).map_err(step)?;
    }
    ensure(tried > 0, || {
        Violation::undeclared("make an event or a write fail").message().to_owned()
    })
}

pub async fn k07_sends_nothing_for_nothing(h: Harness<'_>) -> Verdict {
    let sink = h.sink().await;
    // If it sent anything, it would run into this.
    h.fail_call(ErrorKind::Unavailable, When::Before).await;
    let before = h.requests();
    let written = sink.write(&[]).await.or_violation("a write of nothing")?;
    ensure(written.failures.is_empty() && written.duplicates.is_empty(), || {
        format!("a write of nothing is reported as {written:?}")
    })?;
    ensure(h.requests() == before, || "a request was sent for no events".into())?;
    drop(sink);
    let stored = h.stored().await;
    ensure(stored.is_empty(), || format!("{} records were written", stored.len()))
}

pub async fn k08_keeps_the_order_of_a_key(h: Harness<'_>) -> Verdict {
    let events = sample_events(0, 40)?;
    let sink = h.sink().await;
    for batch in events.chunks(13) {
        write_all(h, &sink, batch).await?;
    }
    drop(sink);
    let stored = finish(h).await?;
    exactly(ids(&events), stored.iter().map(|(id, _)| id))?;
    let place: BTreeMap<_, _> = stored.iter().enumerate().map(|(n, (id, _))| (id, n)).collect();
    let mut last: BTreeMap<String, &AuditEvent> = BTreeMap::new();
    for event in &events {
        if let Some(before) = last.insert(h.key(event), event) {
            ensure(place.get(&before.id) < place.get(&event.id), || {
                format!("{} was written before {} and is stored behind it", before.id, event.id)
            })?;
        }
    }
    Ok(())
}

pub async fn k09_keeps_a_payload_with_line_breaks_one_record(h: Harness<'_>) -> Verdict {
    let mut events = sample_events(0, 1)?;
    events.extend(sample_events_with_line_breaks(1, 8)?);
    events.extend(sample_events(9, 1)?);
    let sink = h.sink().await;
    write_all(h, &sink, &events).await?;
    drop(sink);
    let stored = finish(h).await?;
    same_payloads(&events, &stored)
}

pub async fn k10_shows_no_secret(h: Harness<'_>) -> Verdict {
    let Some(canary) = h.canary() else {
        return Err(Violation::undeclared("configure a secret"));
    };
    let mut texts = h.texts().await;
    ensure(!texts.is_empty(), || "the harness shows no texts to look through".into())?;
    let events = sample_events(0, 3)?;
    let sink = h.sink().await;
    let mut errors = Vec::new();
    for kind in FAULTS {
        if h.fail_call(kind, When::Before).await {
            match sink.write(&events).await {
                Err(error) => errors.push(error),
                Ok(written) => errors.extend(written.failures.into_iter().map(|f| f.error)),
            }
        }
    }
    texts.extend(errors.iter().flat_map(|e| [format!("{e:?}"), format!("{e:#?}"), whole(e)]));
    texts.extend(errors.iter().filter_map(|e| e.hint()).map(str::to_owned));
    match texts.iter().find(|t| t.contains(&canary)) {
        None => Ok(()),
        Some(text) => {
            let text = text.replace(&canary, "<the secret>");
            Err(Violation::new(format!("the secret shows: {text}")))
        }
    }
}

const FAULTS: [ErrorKind; 7] = [
    ErrorKind::Rejected,
    ErrorKind::InvalidData,
    ErrorKind::RateLimited,
    ErrorKind::Timeout,
    ErrorKind::Unavailable,
    ErrorKind::Auth,
    ErrorKind::Config,
];

fn ids(events: &[AuditEvent]) -> impl Iterator<Item = &EventId> {
    events.iter().map(|e| &e.id)
}

/// Writes events and expects that all of them are reported as durable.
async fn write_all(h: Harness<'_>, sink: &Arc<dyn Sink>, events: &[AuditEvent]) -> Verdict {
    let written = sink.write(events).await.or_violation("write")?;
    if let Some(failure) = written.failures.first() {
        let text = whole(&failure.error);
        return Err(Violation::new(format!("event {} was not written: {text}", failure.index)));
    }
    let named: BTreeSet<_> = written.duplicates.iter().copied().collect();
    let fits = named.len() == written.duplicates.len() && named.iter().all(|n| *n < events.len());
    ensure(fits, || {
        format!("{:?} are reported as duplicates of {} events", written.duplicates, events.len())
    })?;
    h.written(sink).await;
    Ok(())
}

/// Closes the destination with a new sink, and reads what is there.
async fn finish(h: Harness<'_>) -> Verdict<Vec<(EventId, String)>> {
    let sink = h.sink().await;
    sink.close().await.or_violation("close")?;
    drop(sink);
    Ok(h.stored().await)
}

/// Returns the errors of a write that was made to fail: one of the whole, or those of the events.
fn failed_whole(answer: &crate::Result<Written>) -> Verdict<Vec<Error>> {
    let copy = |e: &Error| Error::new(e.kind(), e.message()).with_retry(e.retry());
    match answer {
        Err(error) => Ok(vec![copy(error)]),
        Ok(written) if written.failures.is_empty() => {
            Err(Violation::new("the failed write is reported as a success"))
        }
        Ok(written) => Ok(written.failures.iter().map(|f| copy(&f.error)).collect()),
    }
}

fn same_payloads(events: &[AuditEvent], stored: &[(EventId, String)]) -> Verdict {
    exactly(ids(events), stored.iter().map(|(id, _)| id))?;
    let found: BTreeMap<_, _> = stored.iter().map(|(id, payload)| (id, payload)).collect();
    for event in events {
        let payload = found.get(&event.id).map_or("", |p| p.as_str());
        ensure(payload == event.raw.get() || payload == event.raw.line(), || {
            format!("{} went in as {:?} and came out as {payload:?}", event.id, event.raw.get())
        })?;
    }
    Ok(())
}
