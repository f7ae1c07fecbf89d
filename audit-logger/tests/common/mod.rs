//! A sink that can be stopped, and small helpers.
#![allow(dead_code, reason = "not each test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::{AuditEvent, Error, ErrorKind, Result, Sink, Written};

/// A sink that is down while its gate is closed: it fails, or does not answer.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: bool,
    stalls: bool,
    panics: bool,
    lines: Vec<String>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self::default()
    }

    pub(crate) fn stalled() -> Self {
        let gate = Self::default();
        gate.0.lock().unwrap().stalls = true;
        gate
    }

    pub(crate) fn opened() -> Self {
        let gate = Self::default();
        gate.open();
        gate
    }

    pub(crate) fn open(&self) {
        self.0.lock().unwrap().open = true;
    }

    pub(crate) fn panic_once(&self) {
        self.0.lock().unwrap().panics = true;
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.lines().iter().map(message_of).collect()
    }
}

#[async_trait]
impl Sink for Gate {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let stalls = || {
            let state = self.0.lock().unwrap();
            state.stalls && !state.open
        };
        while stalls() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.panics) {
            drop(state);
            panic!("a defect of the sink");
        }
        if !state.open {
            return Err(Error::new(ErrorKind::Unavailable, "the sink is down"));
        }
        state.lines.extend(events.iter().map(|event| event.raw.get().to_owned()));
        Ok(Written::all())
    }
}

pub(crate) fn message_of(line: impl AsRef<str>) -> String {
    let value: serde_json::Value = serde_json::from_str(line.as_ref()).unwrap();
    value["audit"]["message"].as_str().unwrap().to_owned()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
