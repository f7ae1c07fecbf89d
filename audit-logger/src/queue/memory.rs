use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::{AuditEvent, DeadLetter, DeadLetters, Error, ErrorKind, Result};
use tokio::sync::Notify;

use crate::{Policy, QueueConfig};

/// For so many entries there is room from the start; memory that is not used is not taken.
const MOST_ROOM: usize = 1 << 16;

/// Events in memory, in order, each until it is delivered.
///
/// The lock is held for moments only, and never across an await: what allocates or frees for a whole
/// batch is done without it, as callers wait for it.
pub(super) struct Memory {
    config: QueueConfig,
    /// Tells the cursors of this queue from those of another process.
    pub(super) instance: u64,
    lossy: bool,
    state: Mutex<State>,
    arrived: Notify,
    room: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    entries: VecDeque<Entry>,
    /// The number of the first entry; numbers begin at 1.
    first: u64,
    /// The number after the last one handed out.
    handed: u64,
    closed: bool,
    lost: u64,
    unreported: u64,
}

struct Entry {
    /// Nothing: withdrawn.
    event: Option<Arc<AuditEvent>>,
    caller: Option<SyncSender<Result<()>>>,
}

impl Memory {
    pub(super) fn new(policy: &Policy, config: &QueueConfig) -> Self {
        Self {
            config: config.clone(),
            instance: RandomState::new().hash_one(0),
            lossy: *policy == Policy::BestEffort,
            state: Mutex::new(State {
                // So that none of its callers has to move what others have queued.
                entries: VecDeque::with_capacity(config.capacity.min(MOST_ROOM)),
                first: 1,
                handed: 1,
                ..State::default()
            }),
            arrived: Notify::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn capacity(&self) -> usize {
        self.config.capacity.max(1)
    }

    /// Takes an event if there is room, else counts it as lost.
    pub(super) fn offer(&self, event: AuditEvent) -> Result<()> {
        let mut state = self.lock();
        // The report of a loss takes a place of its own.
        let needed = 1 + usize::from(state.unreported > 0);
        if state.closed || state.entries.len() + needed > self.capacity().max(needed) {
            self.lose(&mut state, 1);
            return Ok(());
        }
        self.report(&mut state)?;
        state.push(event, None);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    fn lose(&self, state: &mut State, events: u64) {
        if state.unreported == 0 {
            tracing::error!(queue = self.config.name, "audit records are being lost");
        }
        state.lost += events;
        state.unreported += events;
    }

    /// Puts the record of a loss into the place where the lost records would be.
    fn report(&self, state: &mut State) -> Result<()> {
        if state.unreported > 0 {
            state.push(super::loss_event(state.unreported, &self.config)?, None);
            state.unreported = 0;
        }
        Ok(())
    }

    /// Takes an event and waits until it is delivered.
    pub(super) fn deliver(&self, event: AuditEvent, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while !state.closed && state.entries.len() >= self.capacity() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(not_taken("the queue is full")
                    .with_hint("the sink is slower than the application, or does not answer"));
            }
            state = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.closed {
            return Err(not_taken("the queue is closed"));
        }
        let (caller, answer) = sync_channel(1);
        let number = state.push(event, Some(caller));
        drop(state);
        self.arrived.notify_one();
        match answer.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(not_taken("the queue is gone")),
            Err(RecvTimeoutError::Timeout) => match self.withdraw(number) {
                true => Err(timed_out("the audit record was not delivered in time")),
                false => answer.try_recv().unwrap_or_else(|_| {
                    Err(timed_out("the audit record was not delivered in time, and may still be"))
                }),
            },
        }
    }

    /// Takes an event back; false when it has been handed out.
    fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let free = number >= state.handed;
        if free && let Some(entry) = state.entry(number) {
            *entry = Entry { event: None, caller: None };
        }
        free
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if self.lossy
            && let Err(error) = self.report(&mut state)
        {
            tracing::error!(%error, "the loss of audit records could not be recorded");
        }
        drop(state);
        self.arrived.notify_one();
        self.room.notify_all();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Ends the waiting of all callers: the run that was to deliver failed.
    pub(super) fn fail_callers(&self, error: &Error) {
        let mut state = self.lock();
        for entry in &mut state.entries {
            if let Some(caller) = entry.caller.take() {
                // A caller that has given up does not listen.
                caller.try_send(Err(copy(error))).unwrap_or_default();
                entry.event = None;
            }
        }
        drop(state);
        self.room.notify_all();
    }

    /// Gives up what is left.
    pub(super) fn abandon(&self) {
        let error = not_taken("the queue ended before the audit record was delivered");
        self.fail_callers(&error);
        let mut state = self.lock();
        let left = state.entries.iter().filter(|entry| entry.event.is_some()).count();
        if left > 0 {
            state.lost += left as u64;
            tracing::error!(
                lost = left,
                "the queue ended with audit records that were not delivered"
            );
        }
        state.entries.clear();
    }

    /// Returns the number after `from`, or of the first entry there is.
    pub(super) fn position(&self, after: Option<u64>) -> u64 {
        let first = self.lock().first;
        after.map_or(first, |number| first.max(number + 1))
    }

    /// Hands out events from a number on, and returns the number after the last.
    pub(super) fn hand_out(
        &self,
        from: u64,
        max: usize,
        max_bytes: usize,
    ) -> (Vec<AuditEvent>, u64) {
        let mut state = self.lock();
        let skip = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
        let (mut events, mut bytes, mut next) = (Vec::new(), 0, from.max(state.first));
        for entry in state.entries.range(skip.min(state.entries.len())..) {
            if let Some(event) = &entry.event {
                bytes += event.size();
                if events.len() == max || bytes > max_bytes && !events.is_empty() {
                    break;
                }
                events.push(event.clone());
            }
            next += 1;
        }
        state.handed = state.handed.max(next);
        drop(state);
        (events.iter().map(|event| AuditEvent::clone(event)).collect(), next)
    }

    /// Returns whether there is nothing more to come, and whether something is under way.
    pub(super) fn outlook(&self) -> (bool, bool) {
        let state = self.lock();
        (state.closed, !state.entries.is_empty())
    }

    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Lets go of what is delivered.
    pub(super) fn delivered(&self, up_to: u64) {
        let mut state = self.lock();
        let done = usize::try_from((up_to + 1).saturating_sub(state.first)).unwrap_or(usize::MAX);
        let done = done.min(state.entries.len());
        state.first += done as u64;
        let done: Vec<_> = state.entries.drain(..done).collect();
        drop(state);
        self.room.notify_all();
        for caller in done.into_iter().filter_map(|entry| entry.caller) {
            caller.try_send(Ok(())).unwrap_or_default();
        }
    }

    fn refused(&self, letter: &DeadLetter) {
        let mut state = self.lock();
        let found = state
            .entries
            .iter_mut()
            .find(|entry| entry.event.as_ref().is_some_and(|event| event.id == *letter.id()));
        let caller = found.and_then(|entry| entry.caller.take());
        if let Some(caller) = caller {
            let error = Error::new(letter.kind, letter.reason.as_str());
            caller.try_send(Err(error.while_doing("deliver the audit record"))).unwrap_or_default();
        } else if self.lossy {
            self.lose(&mut state, 1);
        }
    }
}

impl State {
    fn push(&mut self, event: AuditEvent, caller: Option<SyncSender<Result<()>>>) -> u64 {
        self.entries.push_back(Entry { event: Some(event.into()), caller });
        self.first + self.entries.len() as u64 - 1
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }
}

/// Tells callers that the sink refused their record for good, and keeps it where asked to.
pub(super) struct Refusals {
    memory: Arc<Memory>,
    kept: Option<Arc<dyn DeadLetters>>,
}

impl Refusals {
    pub(super) fn new(memory: Arc<Memory>, kept: Option<Arc<dyn DeadLetters>>) -> Self {
        Self { memory, kept }
    }
}

#[async_trait]
impl DeadLetters for Refusals {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        if let Some(kept) = &self.kept {
            kept.put(letters).await?;
        }
        for letter in letters {
            tracing::error!(id = %letter.id(), reason = letter.reason, "the sink refused an audit record");
            if self.kept.is_none() || !self.memory.lossy {
                self.memory.refused(letter);
            }
        }
        Ok(())
    }
}

fn not_taken(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message).while_doing("deliver the audit record")
}

fn timed_out(message: &str) -> Error {
    Error::new(ErrorKind::Timeout, message).while_doing("deliver the audit record")
}

/// Each caller gets an error of its own.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.to_string()).with_retry(error.retry());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}
