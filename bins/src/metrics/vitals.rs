use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use audit_core::{Clock, ErrorKind, Progress, StreamId, Summary};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{Families, InState, OfPipeline, Seconds, seconds};

/// How one pipeline is, as told by what it reports.
pub struct Vitals {
    stream: StreamId,
    counters: [Counter; 8],
    batch: Histogram,
    states: [(State, Gauge); 6],
    latest: Seconds,
    saved: Seconds,
    contact: Seconds,
    kept_until: Box<dyn Fn(f64) + Send + Sync>,
    seen: Mutex<Seen>,
    clock: Clock,
}

struct Seen {
    /// The last sums of the run, to add only what is new: a run after a reload begins at nothing.
    total: Summary,
    state: State,
    /// When it last got on, or had nothing to do.
    contact: Instant,
}

/// What a pipeline is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Idle,
    Retrying,
    /// As retrying, since the other side asks for less.
    Throttled,
    Ended,
    Failed,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Running, Self::Idle, Self::Retrying, Self::Throttled, Self::Ended, Self::Failed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Retrying => "retrying",
            Self::Throttled => "throttled",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

impl Vitals {
    pub(super) fn new(stream: &StreamId, families: &Families) -> Self {
        let of = OfPipeline { pipeline: stream.to_string() };
        let counters = [
            &families.read,
            &families.delivered,
            &families.duplicate,
            &families.dead_lettered,
            &families.filtered,
            &families.drifted,
            &families.retries,
            &families.bytes,
        ];
        let states = State::ALL.map(|state| {
            let labels = InState { pipeline: stream.to_string(), state: state.as_str() };
            (state, families.state.get_or_create_owned(&labels))
        });
        let kept_until = {
            // Only sources with such a limit have it.
            let (family, of) = (families.kept_until.clone(), of.clone());
            Box::new(move |at| {
                family.get_or_create(&of).set(at);
            })
        };
        let seen =
            Seen { total: Summary::default(), state: State::Running, contact: Instant::now() };
        let vitals = Self {
            stream: stream.clone(),
            counters: counters.map(|family| family.get_or_create_owned(&of)),
            batch: families.batch.get_or_create_owned(&of),
            states,
            latest: families.latest.get_or_create_owned(&of),
            saved: families.saved.get_or_create_owned(&of),
            contact: families.contact.get_or_create_owned(&of),
            kept_until,
            seen: Mutex::new(seen),
            clock: Clock::system(),
        };
        vitals.show(State::Running);
        vitals
    }

    /// Learns what the pipeline reports.
    pub fn observe(&self, progress: &Progress<'_>) {
        let now = seconds(self.clock.now().timestamp_millis());
        match progress {
            Progress::Read { kept_until: Some(at) } => {
                (self.kept_until)(seconds(at.timestamp_millis()));
            }
            Progress::Settled { total, took } => {
                self.settled(total, *took);
                self.saved.set(now);
                self.contact.set(now);
                self.enter(State::Running);
            }
            Progress::Idle(_) => {
                self.contact.set(now);
                self.enter(State::Idle);
            }
            Progress::Retrying { error, .. } if error.kind() == ErrorKind::RateLimited => {
                self.enter(State::Throttled);
            }
            Progress::Retrying { .. } => self.enter(State::Retrying),
            _ => {}
        }
    }

    /// Learns that the next report begins a run of its own, whose sums begin at nothing.
    pub fn begin(&self) {
        self.seen().total = Summary::default();
    }

    /// Learns that the pipeline has ended.
    pub fn end(&self, failed: bool) {
        self.enter(if failed { State::Failed } else { State::Ended });
    }

    /// Returns why the pipeline is not fine, if it is not: it failed, or has neither got on nor found
    /// itself idle for longer than `limit`.
    pub(super) fn trouble(&self, limit: Duration) -> Option<String> {
        let seen = self.seen();
        let since = seen.contact.elapsed();
        let stuck = since > limit && seen.state != State::Ended;
        (seen.state == State::Failed || stuck).then(|| {
            let since = humantime::format_duration(Duration::from_secs(since.as_secs()));
            format!("{}: {}, last got on {since} ago", self.stream, seen.state.as_str())
        })
    }

    fn settled(&self, total: &Summary, took: Duration) {
        let mut seen = self.seen();
        let (new, old) = (numbers(total), numbers(&seen.total));
        for ((counter, new), old) in self.counters.iter().zip(new).zip(old) {
            counter.inc_by(new.saturating_sub(old));
        }
        self.batch.observe(took.as_secs_f64());
        if let Some(latest) = total.latest {
            self.latest.set(self.latest.get().max(seconds(latest.timestamp_millis())));
        }
        seen.total = total.clone();
    }

    fn enter(&self, state: State) {
        let mut seen = self.seen();
        if matches!(state, State::Running | State::Idle) {
            seen.contact = Instant::now();
        }
        if seen.state != state {
            seen.state = state;
            self.show(state);
        }
    }

    fn show(&self, now: State) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == now));
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vitals").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// In the order of the counters.
fn numbers(s: &Summary) -> [u64; 8] {
    [s.read, s.delivered, s.duplicates, s.dead_lettered, s.filtered, s.drifted, s.retries, s.bytes]
}
