use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::When;
use crate::{Error, ErrorKind, Result};

/// Counts the calls of a pipeline to the outside, and kills it at one of them.
///
/// "Kills" means: the call never happens ([`When::Before`]), or happens and its answer never arrives
/// ([`When::After`]). From then on no call begins and no answer arrives, and
/// [`blown`](Self::blown) returns, so that the test can drop the pipeline as `kill -9` would. A call
/// that was under way beside the fatal one takes effect first: it may run on a thread of its own,
/// which outlives a dropped future, but no process. Clones are the same fuse.
#[derive(Clone, Debug)]
pub struct Fuse {
    state: Arc<Mutex<State>>,
    blow: Arc<Notify>,
    stop: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    calls: usize,
    at: Option<(usize, When)>,
    stops_at: Option<usize>,
    stopped: bool,
    under_way: usize,
    /// The name of the call at which it blew.
    blown: Option<&'static str>,
    faults: Option<Faults>,
}

/// Random failures, from a seed.
#[derive(Debug)]
struct Faults {
    random: Random,
    /// One call of so many fails.
    one_in: u64,
}

impl Fuse {
    /// Makes a fuse that blows at the given call, counted from 0.
    pub fn at(call: usize, when: When) -> Self {
        Self::new(Some((call, when)), None)
    }

    /// Makes a fuse that never blows.
    pub fn never() -> Self {
        Self::new(None, None)
    }

    /// Makes a fuse that blows at one of its first calls, and lets one call of six fail before that
    /// in a way that may be tried again; which, and how, follows from the seed.
    pub fn seeded(seed: u64) -> Self {
        let mut random = Random(seed);
        let when = When::ALL[random.below(2) as usize];
        let at = (random.below(60) as usize, when);
        Self::new(Some(at), Some(Faults { random, one_in: 6 }))
    }

    /// Makes a fuse that never blows, but asks for a clean [`stop`](Self::stopped) at the given call.
    pub fn stopping_at(call: usize) -> Self {
        let fuse = Self::never();
        fuse.lock().stops_at = Some(call);
        fuse
    }

    /// Returns whether it has blown.
    pub fn is_blown(&self) -> bool {
        self.lock().blown.is_some()
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Returns the name of the call at which it blew.
    pub fn blown_at(&self) -> Option<&'static str> {
        self.lock().blown
    }

    /// Returns once it has blown and no call is under way.
    pub async fn blown(&self) {
        loop {
            let changed = self.blow.notified();
            let quiet = {
                let state = self.lock();
                state.blown.is_some() && state.under_way == 0
            };
            if quiet {
                return;
            }
            changed.await;
        }
    }

    /// Returns once the call is reached at which to [stop](Self::stopping_at).
    pub async fn stopped(&self) {
        let notified = self.stop.notified();
        if !self.is_stopped() {
            notified.await;
        }
    }

    /// Returns whether a stop was asked for.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Makes a call to the outside, unless this is where the process dies.
    pub async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (dies, fails) = self.count();
        if dies == Some(When::Before) {
            self.kill(name);
        }
        if fails == Some(When::Before) {
            return Err(self.fault());
        }
        if self.is_blown() {
            return pending().await;
        }
        let under_way = UnderWay::new(self);
        let answer = call.await;
        if dies == Some(When::After) {
            self.kill(name);
        }
        drop(under_way);
        if self.is_blown() {
            return pending().await;
        }
        if fails == Some(When::After) { Err(self.fault()) } else { answer }
    }

    /// Picks one of so many at random, now and then, if this fuse injects faults.
    pub(super) fn pick(&self, of: usize) -> Option<(usize, ErrorKind)> {
        let mut state = self.lock();
        let faults = state.faults.as_mut()?;
        if of == 0 || faults.random.below(faults.one_in) != 0 {
            return None;
        }
        let kind = match faults.random.below(3) {
            0 => ErrorKind::Rejected,
            _ => ErrorKind::Unavailable,
        };
        Some((faults.random.below(of as u64) as usize, kind))
    }

    fn new(at: Option<(usize, When)>, faults: Option<Faults>) -> Self {
        let state = State {
            calls: 0,
            at,
            stops_at: None,
            stopped: false,
            under_way: 0,
            blown: None,
            faults,
        };
        Self { state: Arc::new(Mutex::new(state)), blow: Arc::default(), stop: Arc::default() }
    }

    fn count(&self) -> (Option<When>, Option<When>) {
        let mut state = self.lock();
        let number = state.calls;
        state.calls += 1;
        if state.stops_at == Some(number) {
            state.stopped = true;
            self.stop.notify_waiters();
        }
        let dies = state.at.filter(|(call, _)| *call == number).map(|(_, when)| when);
        let fails = state.faults.as_mut().and_then(|faults| {
            (faults.random.below(faults.one_in) == 0)
                .then(|| When::ALL[faults.random.below(2) as usize])
        });
        (dies, fails)
    }

    fn fault(&self) -> Error {
        let mut state = self.lock();
        let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::RateLimited];
        let n = state.faults.as_mut().map_or(0, |f| f.random.below(3));
        Error::new(kinds[n as usize], "injected fault")
    }

    fn kill(&self, name: &'static str) {
        self.lock().blown = Some(name);
        self.blow.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a call while it lasts, also if its future is dropped.
struct UnderWay<'a>(&'a Fuse);

impl<'a> UnderWay<'a> {
    fn new(fuse: &'a Fuse) -> Self {
        fuse.lock().under_way += 1;
        Self(fuse)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
        self.0.blow.notify_waiters();
    }
}

/// SplitMix64: enough for schedules, and the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::polls::poll_times;
    use super::*;

    async fn call(fuse: &Fuse, effects: &Mutex<u32>) -> Option<Result<()>> {
        let call = fuse.call("call", async {
            *effects.lock().unwrap() += 1;
            Ok(())
        });
        poll_times(call, 3).await
    }

    #[tokio::test]
    async fn the_answer_never_comes_and_the_effect_only_after() {
        for (when, expected) in [(When::Before, 1), (When::After, 2)] {
            let (fuse, effects) = (Fuse::at(1, when), Mutex::new(0));
            assert!(call(&fuse, &effects).await.is_some());
            assert!(!fuse.is_blown());
            // Polled again by nobody, so it stays at its first await.
            let waiting = fuse.call("call", async {
                *effects.lock().unwrap() += 1;
                Ok(())
            });
            tokio::select! { biased; _ = waiting => unreachable!(), () = fuse.blown() => {} }
            assert_eq!(fuse.blown_at(), Some("call"));
            assert_eq!(*effects.lock().unwrap(), expected, "{when:?}");
        }
    }
}
