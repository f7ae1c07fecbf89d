use std::collections::VecDeque;

use super::Window;
use super::config::Scale;
use super::span::floor;
use crate::{Error, ErrorKind, Result};

/// One pass from where nothing can appear any more up to now: plans its windows and knows which of
/// them are under way.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The time at which it began.
    pub(super) now: i64,
    /// What is before this can not appear any more: the sweep reads all of it after `now`.
    pub(super) complete: i64,
    /// Where the next window begins, and the last one ends.
    next: i64,
    to: i64,
    queue: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    window: Window,
    asked: bool,
}

impl Sweep {
    pub(super) fn new(now: i64, from: i64, to: i64, scale: &Scale) -> Self {
        Self {
            now,
            complete: floor(now.saturating_sub(scale.look_back), scale.granule),
            next: from,
            to,
            queue: VecDeque::new(),
        }
    }

    /// Returns the next window to ask for: one given back or halved before a new one.
    pub(super) fn ask(&mut self, span: i64, scale: &Scale) -> Option<Window> {
        if let Some(slot) = self.queue.iter_mut().find(|slot| !slot.asked) {
            slot.asked = true;
            return Some(slot.window);
        }
        if self.next >= self.to {
            return None;
        }
        let mut to = self.next.saturating_add(span).min(self.to);
        // A long complete part is read by itself, so that its ids need not be remembered.
        if self.next.saturating_add(scale.look_back) < self.complete {
            to = to.min(self.complete);
        }
        let from = std::mem::replace(&mut self.next, to);
        let window = Window { from, to };
        let asked = true;
        self.queue.push_back(Slot { window, asked });
        Some(window)
    }

    /// Returns the window whose records come next.
    pub(super) fn front(&self) -> Option<Window> {
        self.queue.front().map(|slot| slot.window)
    }

    pub(super) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.next >= self.to
    }

    /// # Errors
    /// [`ErrorKind::Unexpected`] when it is not this window's turn.
    pub(super) fn expect(&self, window: Window) -> Result<()> {
        match self.queue.front() {
            Some(slot) if slot.window == window && slot.asked => Ok(()),
            _ => Err(not_its_turn(window)),
        }
    }

    pub(super) fn finish(&mut self, window: Window) -> Result<()> {
        self.expect(window)?;
        self.queue.pop_front();
        Ok(())
    }

    pub(super) fn failed(&mut self, window: Window) {
        if let Some(slot) = self.queue.iter_mut().find(|slot| slot.window == window) {
            slot.asked = false;
        }
    }

    /// Halves a window. Returns the length of its first half.
    ///
    /// Of the last window under way, the rest is planned anew: how long the next ones may be shows
    /// in the first half.
    pub(super) fn halve(&mut self, window: Window, scale: &Scale) -> Result<i64> {
        let found = self.queue.iter().position(|slot| slot.window == window);
        let at = found.ok_or_else(|| not_its_turn(window))?;
        if window.len() <= scale.granule {
            return Err(Error::new(
                ErrorKind::Rejected,
                "the smallest window holds more records than one answer can",
            )
            .with("window", window)
            .with_hint("raise the limit of records in one answer, or narrow the query"));
        }
        let half = floor(window.len() / 2, scale.granule).max(scale.granule);
        let middle = window.from.saturating_add(half);
        let (first, rest) = ((window.from, middle), (middle, window.to));
        let is_last = at + 1 == self.queue.len() && window.to == self.next;
        self.queue.remove(at);
        if is_last {
            self.next = middle;
        }
        for (from, to) in (!is_last).then_some(rest).into_iter().chain([first]) {
            let window = Window { from, to };
            let asked = false;
            self.queue.insert(at, Slot { window, asked });
        }
        Ok(half)
    }
}

pub(super) fn not_its_turn(window: Window) -> Error {
    Error::new(ErrorKind::Unexpected, "it is not this window's turn").with("window", window)
}
