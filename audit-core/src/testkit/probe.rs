use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Verdict, Violation};
use crate::{AuditEvent, Cursor, DeadLetter, EventId, Read, Written};

/// Watches the calls of a pipeline over all its lives, and notes where it breaks the invariant:
///
/// > told to the source ≤ saved in the checkpoint ≤ durable in the sink or in the dead letters
///
/// Clones are the same probe.
#[derive(Clone, Debug, Default)]
pub struct Probe(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Each record ever handed out, with its payload, if it was a good one.
    payloads: BTreeMap<EventId, Option<String>>,
    durable: BTreeSet<EventId>,
    dead: BTreeSet<EventId>,
    /// The batches handed out since the source was opened last, in order.
    batches: Vec<(Cursor, Vec<EventId>)>,
    saved: Option<Cursor>,
    told: Option<Cursor>,
    /// The source had no more at its last read.
    idle: bool,
    violations: Vec<Violation>,
}

impl Probe {
    /// Makes a probe that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the first break of the invariant, if there was one.
    ///
    /// # Errors
    /// The violation.
    pub fn verdict(&self) -> Verdict {
        match self.lock().violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Returns the payload of each good record that was handed out.
    pub fn payloads(&self) -> BTreeMap<EventId, String> {
        let state = self.lock();
        let good = state.payloads.iter();
        good.filter_map(|(id, raw)| Some((id.clone(), raw.clone()?))).collect()
    }

    /// Returns the ids of everything that went to the dead letters.
    pub fn dead(&self) -> BTreeSet<EventId> {
        self.lock().dead.clone()
    }

    pub(super) fn loaded(&self, cursor: Option<&Cursor>) {
        let state = &mut *self.lock();
        if state.saved.as_ref() != cursor {
            state.breaks("the checkpoint loads as something else than was saved last");
            state.saved = cursor.cloned();
        }
    }

    pub(super) fn opens(&self, from: Option<&Cursor>) {
        let state = &mut *self.lock();
        if state.saved.as_ref() != from {
            state.breaks("the source is opened at another position than the saved one");
        }
        state.batches.clear();
        state.idle = false;
    }

    pub(super) fn reads(&self) {
        let state = &mut *self.lock();
        let last = state.batches.last().map(|(cursor, _)| cursor);
        if state.idle && last.is_some() && last != state.told.as_ref() {
            state.breaks("the source is read on after it was idle, with batches unsettled");
        }
        state.idle = false;
    }

    pub(super) fn has_read(&self, read: &Read) {
        let state = &mut *self.lock();
        let Read::Batch(batch) = read else {
            state.idle = true;
            return;
        };
        for event in &batch.events {
            let raw = event.raw.get().to_owned();
            let before = state.payloads.insert(event.id.clone(), Some(raw.clone()));
            if before.is_some_and(|before| before != Some(raw)) {
                state.breaks(format!("{} was handed out with two payloads", event.id));
            }
        }
        for letter in &batch.rejected {
            state.payloads.insert(letter.id().clone(), None);
        }
        let good = batch.events.iter().map(|e| e.id.clone());
        let ids = good.chain(batch.rejected.iter().map(|r| r.id().clone())).collect();
        state.batches.push((batch.cursor.clone(), ids));
    }

    pub(super) fn wrote(&self, events: &[AuditEvent], written: &Written) {
        let failed: BTreeSet<_> = written.failures.iter().map(|f| f.index).collect();
        let good = events.iter().enumerate().filter(|(index, _)| !failed.contains(index));
        self.lock().durable.extend(good.map(|(_, e)| e.id.clone()));
    }

    pub(super) fn buried(&self, letters: &[DeadLetter]) {
        self.lock().dead.extend(letters.iter().map(|l| l.id().clone()));
    }

    pub(super) fn saves(&self, cursor: &Cursor) {
        let state = &mut *self.lock();
        let position = |of: &Cursor| state.batches.iter().position(|(c, _)| c == of);
        let Some(new) = position(cursor) else {
            return state.breaks("a cursor is saved that the source did not return");
        };
        if state.saved.as_ref().and_then(position).is_some_and(|old| new < old) {
            state.breaks("the checkpoint goes back");
        }
        let up_to = state.batches[..=new].iter().flat_map(|(_, ids)| ids);
        let safe = |id: &EventId| state.durable.contains(id) || state.dead.contains(id);
        if let Some(id) = up_to.into_iter().find(|id| !safe(id)) {
            let text = format!("a cursor is saved while {id} is neither written nor a dead letter");
            state.breaks(text);
        }
    }

    pub(super) fn saved(&self, cursor: &Cursor) {
        self.lock().saved = Some(cursor.clone());
    }

    pub(super) fn tells(&self, cursor: &Cursor) {
        let state = &mut *self.lock();
        let position = |of: &Cursor| state.batches.iter().position(|(c, _)| c == of);
        let saved = state.saved.as_ref();
        let safe = saved == Some(cursor)
            || matches!((position(cursor), saved.and_then(position)), (Some(t), Some(s)) if t <= s);
        if !safe {
            state.breaks("the source is told of a cursor that is not saved");
        }
        state.told = Some(cursor.clone());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn breaks(&mut self, message: impl Into<String>) {
        self.violations.push(Violation::new(message).of("invariant"));
    }
}
