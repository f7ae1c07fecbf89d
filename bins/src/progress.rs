//! Progress of long work: a bar on a terminal, one log line a minute elsewhere.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use audit_core::{Error, ErrorKind, Progress, Result, StreamId, Summary};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::terminal::count;

const LOG_EVERY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// The lower part of the terminal, where the bars are.
#[derive(Clone, Debug)]
pub struct Screen {
    bars: Option<MultiProgress>,
}

impl Screen {
    /// Uses the terminal behind stderr, if there is one and bars are wanted.
    pub fn new(wanted: bool) -> Self {
        let terminal = wanted && io::stderr().is_terminal();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars }
    }

    /// Writes something while the bars are out of the way.
    pub fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// What a source knows of what is still to come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outlook {
    /// How many records are not read yet.
    pub unread: Option<u64>,
    /// What else people should know by now.
    pub note: Option<String>,
}

/// Asks for the outlook of now.
pub type Ask = Arc<dyn Fn() -> Outlook + Send + Sync>;

/// Shows how one pipeline gets on.
pub struct Meter {
    stream: StreamId,
    bar: Option<ProgressBar>,
    ask: Option<Ask>,
    started: Instant,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    summary: Summary,
    /// What was done before the configuration was read again.
    before: Summary,
    logged: u64,
    waiting: Option<String>,
    outlook: Outlook,
}

impl Meter {
    /// Adds a bar to the screen; a spinner when the total is not known.
    pub fn new(screen: &Screen, stream: &StreamId, total: Option<u64>, ask: Option<Ask>) -> Self {
        let bar = screen.bars.as_ref().map(|bars| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = match total.or(ask.as_ref().map(|_| 0)) {
                Some(_) => "{prefix} {bar:30} {percent}% {msg}, {elapsed}, {eta} left",
                None => "{spinner} {prefix} {msg}, {elapsed}",
            };
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(stream.to_string());
            bar.set_message("starting");
            bars.add(bar)
        });
        Self { stream: stream.clone(), bar, ask, started: Instant::now(), latest: Mutex::default() }
    }

    /// Learns what the pipeline reports.
    pub fn observe(&self, progress: &Progress<'_>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Settled { total, .. } => {
                latest.summary = latest.before.clone();
                latest.summary.add(total);
                latest.waiting = None;
            }
            Progress::Retrying { delay, .. } => {
                latest.waiting = Some(format!("trying again in {}", seconds(*delay)));
            }
            Progress::Idle(_) => latest.waiting = Some("waiting for new records".to_owned()),
            _ => {}
        }
        if let Some(ask) = &self.ask {
            latest.outlook = ask();
        }
        if let Some(bar) = &self.bar {
            if let Some(unread) = latest.outlook.unread {
                bar.set_length(latest.summary.read + unread);
            }
            bar.set_message(self.words(&latest));
            bar.set_position(latest.summary.read);
        }
    }

    /// Learns that the next report begins a run of its own, whose sums begin at nothing.
    pub fn begin(&self) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.before = latest.summary.clone();
    }

    /// Removes the bar: the summary takes its place.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn words(&self, latest: &Latest) -> String {
        let Summary { delivered, duplicates, dead_lettered, .. } = latest.summary;
        let rate = rate(latest.summary.read, self.started.elapsed());
        let mut words = format!("{} delivered", count(delivered + duplicates));
        if dead_lettered > 0 {
            words += &format!(", {} dead letters", count(dead_lettered));
        }
        words += &match &latest.waiting {
            Some(waiting) => format!(", {waiting}"),
            None => format!(", {}/s", count(rate)),
        };
        if let Some(note) = &latest.outlook.note {
            words += &format!(", {note}");
        }
        words
    }

    fn log(&self) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let Summary { read, delivered, duplicates, dead_lettered, .. } = latest.summary;
        let rate = rate(read.saturating_sub(latest.logged), LOG_EVERY);
        latest.logged = read;
        let waiting = latest.waiting.as_deref();
        let Outlook { unread, note } = &latest.outlook;
        let left = unread.filter(|_| rate > 0).map(|n| seconds(Duration::from_secs(n / rate)));
        info!(pipeline = %self.stream, read, delivered, duplicates, dead_lettered, per_second = rate, unread, left, note, waiting, "progress");
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Keeps the bars moving, or logs a line a minute. Never returns.
pub async fn beat(screen: &Screen, meters: &[Arc<Meter>]) {
    let period = if screen.bars.is_some() { TICK } else { LOG_EVERY };
    loop {
        tokio::time::sleep(period).await;
        for meter in meters {
            match &meter.bar {
                Some(bar) => bar.tick(),
                None => meter.log(),
            }
        }
    }
}

/// Does work that blocks, and shows how many of `total` bytes are read by then.
///
/// # Errors
/// Those of the work; [`ErrorKind::Unexpected`] when it ends without an answer.
pub async fn of_bytes<T: Send + 'static>(
    screen: &Screen,
    quiet: bool,
    total: u64,
    read: impl Fn() -> u64,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let bar = screen.bars.as_ref().map(|bars| {
        let template = "{bar:30} {percent}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::new(total);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bars.add(bar)
    });
    let mut beat = tokio::time::interval(if bar.is_some() { TICK } else { LOG_EVERY });
    beat.tick().await;
    let mut work = tokio::task::spawn_blocking(work);
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            _ = beat.tick() => match &bar {
                Some(bar) => bar.set_position(read()),
                None if quiet => {}
                None => info!(bytes = read(), total, "progress"),
            },
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result.map_err(|e| Error::new(ErrorKind::Unexpected, "the work was broken off").because(e))?
}

/// Returns how many there were a second.
pub fn rate(number: u64, time: Duration) -> u64 {
    let rate = number as f64 / time.as_secs_f64().max(0.001);
    rate as u64
}

/// Returns a duration for people: `12 ms`, `3.4 s`, `2m 5s`.
pub fn seconds(time: Duration) -> String {
    match time.as_millis() {
        0..1_000 => format!("{} ms", time.as_millis()),
        1_000..60_000 => format!("{:.1} s", time.as_secs_f64()),
        _ => humantime::format_duration(Duration::from_secs(time.as_secs())).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn logs_a_line_a_minute_where_there_is_no_terminal() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        let _installed = tracing::subscriber::set_default(subscriber);
        let screen = Screen::new(false);
        let meters = [Arc::new(Meter::new(&screen, &"orders".parse().unwrap(), None, None))];
        let mut summary = Summary::default();
        (summary.read, summary.delivered) = (600, 600);
        meters[0].observe(&Progress::Settled { total: &summary, took: Duration::ZERO });
        let beat = tokio::time::timeout(Duration::from_secs(125), beat(&screen, &meters));
        assert!(beat.await.is_err(), "it never ends");
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let rates: Vec<_> = text.lines().map(|line| line.contains("per_second=10")).collect();
        assert_eq!(rates, [true, false], "{text}");
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn times_for_people() {
        let times = [12, 3_400, 125_000].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(times, ["12 ms", "3.4 s", "2m 5s"]);
        assert_eq!(rate(500, Duration::from_millis(250)), 2000);
    }
}
