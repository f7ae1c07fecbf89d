//! Time windows over an API that is asked "what happened from … to …": which range to ask for next,
//! what to do when the answer is cut off, and how to read late records without reading any twice.
//!
//! [`Windows`] is a state machine without I/O and without a clock of its own; the source asks it,
//! talks to the API, and tells it what came:
//!
//! ```text
//!            next(now) ──▶ Window ──▶ the API ──┬─▶ accept(window, records), finish(window)
//!                ▲                              ├─▶ full(window): the answer was cut off at a cap
//!                │                              └─▶ failed(window): it will be asked for again
//!             take(..) ──▶ records, oldest first, and the Position behind them
//! ```
//!
//! # Rules
//!
//! 1. Windows are half-open, `[from, to)`, on multiples of the granularity, and each begins where
//!    the one before it ended: no gap, and no overlap but the look-back.
//! 2. Only a finished window moves the position, and only once its records were taken. An empty
//!    window moves it too. A failed one is asked for again.
//! 3. Reading goes in sweeps. Each ends `settle` before the time at which it began, and all that is
//!    older than `look_back` at that time is complete. The next sweep begins there, and reads the
//!    look-back once more; whole ids tell which of its records are known.
//! 4. The time of a record moves nothing. Only the clock does, so that a record dated in the future
//!    is delivered like any other and poisons nothing.
//! 5. A cut-off answer halves its window; windows grow again while answers are not cut off. If the
//!    smallest one is cut off as well, that is an error which names it; going on would lose records.
//! 6. Ids are remembered for the look-back, and never more than `seen_limit` of them. Beyond that
//!    the oldest are forgotten, and those records are delivered again, which sinks recognise by
//!    their id; [`Windows::forgotten`] counts them. No record is ever skipped for lack of room.
//! 7. The position never goes back, with one exception. A clock that leaps ahead looks like a long
//!    pause, and lets the sweeps close time that is still to come. If it then falls back, and no
//!    record had shown in between that the later time was right, reading goes on from where the
//!    leap began. Leaps within the look-back are covered by it; give the server's time as `now`
//!    where there is one. A clock that is behind only makes reading wait.
//!
//! A record that appears later than the look-back is not found: choose it longer than the upstream
//! ever was late.

mod config;
mod position;
mod seen;
mod span;
mod sweep;
mod windows;

pub use config::WindowConfig;
pub use position::Position;
pub use span::Window;
pub use windows::{Accepted, Found, Next, Taken, Windows};
