use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    AuditEvent, Checkpoint, Cursor, ErrorKind, EventId, Limit, Revision, Sink, Source, StreamId,
};

/// A fake or real upstream, as the suite needs it to judge a [`Source`].
///
/// One harness is started for each rule, with nothing in its upstream. A method with a default that
/// says "cannot" fails the rules that need it, until the adapter names them in `except`.
#[async_trait]
pub trait SourceHarness: Send {
    /// Returns a new source on the same upstream, as after a restart; the last one was dropped
    /// before.
    async fn source(&mut self) -> Box<dyn Source>;

    /// Adds good records, each with its own payload and a later time than all before, and returns
    /// the ids their events will have. They are readable at once.
    async fn seed(&mut self, records: usize) -> Vec<EventId>;

    /// As [`seed`](Self::seed), but all these records carry one and the same time.
    async fn seed_tied(&mut self, records: usize) -> Vec<EventId>;

    /// Returns the record of an event exactly as the upstream has it, if the upstream keeps text: then
    /// the suite demands that the event's payload is that text, byte for byte.
    async fn payload(&mut self, id: &EventId) -> Option<String> {
        let _ = id;
        None
    }

    /// Adds a record, later than all before, that cannot be made an event. `false`: there is no such
    /// record in this upstream.
    async fn seed_bad(&mut self) -> bool {
        false
    }

    /// Adds a good record that sorts before some that were seeded earlier, and returns its id.
    /// `None`: records of this upstream cannot appear late.
    async fn seed_late(&mut self) -> Option<EventId> {
        None
    }

    /// Makes the next call to the upstream fail in a way that the source has to report as `kind`
    /// (and each repetition of it, if the source itself repeats calls). `false`: cannot.
    async fn fail_next(&mut self, kind: ErrorKind) -> bool {
        let _ = kind;
        false
    }

    /// Lets the time pass that the source asked for with [`Read::Idle`](crate::Read::Idle): moves an
    /// injected clock, or sleeps a little. Nothing by default.
    async fn idle(&mut self, wait: Duration) {
        let _ = wait;
    }

    /// How often in a row the source may be idle although records are there, for upstreams that
    /// take a moment (a consumer group that assembles).
    fn patience(&self) -> usize {
        3
    }

    /// The limit to read with, where a rule does not set its own bounds.
    fn limit(&self) -> Limit {
        Limit::default().wait(Duration::from_millis(200))
    }
}

/// When an injected fault or a blown fuse strikes: before the call took effect or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// The call took effect, but its answer is lost.
    After,
    /// The call never took effect.
    Before,
}

impl When {
    /// Both, for loops.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

/// A fake or real destination, as the suite needs it to judge a [`Sink`].
///
/// One harness is started for each rule, with nothing in its destination. Events come from
/// [`sample_events`](super::sample_events), whose payloads name their id
/// ([`sample_id`](super::sample_id)).
#[async_trait]
pub trait SinkHarness: Send {
    /// Returns a new sink on the same destination, as after a restart; the last one was dropped
    /// before, without `close`.
    async fn sink(&mut self) -> Arc<dyn Sink>;

    /// Returns id and payload of each record in the order in which a reader of the destination finds
    /// them; called after `close`. The payload is the event's raw record, without the envelope of
    /// the format. A record that was not written by the suite, or that cannot be read, is returned
    /// with an id of its own.
    async fn stored(&mut self) -> Vec<(EventId, String)>;

    /// Called after each successful write: a sink that is the checkpoint as well saves here what
    /// makes the write durable. Nothing by default.
    async fn written(&mut self, sink: &Arc<dyn Sink>) {
        let _ = sink;
    }

    /// Makes the destination refuse these events, and only these, the next time each is written, in
    /// a way that the sink has to report as the kind given. `false`: cannot, for one of them.
    async fn fail_items(&mut self, items: &[(EventId, ErrorKind)]) -> bool {
        let _ = items;
        false
    }

    /// Makes the next write fail as a whole, in a way that the sink has to report as `kind`, before
    /// or after it took effect. `false`: cannot.
    async fn fail_call(&mut self, kind: ErrorKind, when: When) -> bool {
        let _ = (kind, when);
        false
    }

    /// Returns the key under which the destination keeps an event in order. By default all events
    /// have the same key: the destination keeps the order of writing.
    fn key(&self, event: &AuditEvent) -> String {
        let _ = event;
        String::new()
    }

    /// Returns how many requests reached the destination, if it can be counted.
    fn requests(&self) -> Option<usize> {
        None
    }

    /// Returns a secret that the sinks of this harness are configured with.
    fn canary(&self) -> Option<String> {
        None
    }

    /// Returns the `Debug` and `Display` texts of configuration and sink in which the canary must
    /// not show. The suite adds those of the errors it provokes.
    async fn texts(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// What may befall a stored checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// One bit of the position is another.
    BitFlip,
    /// Nothing is left of the content; the file or row is there.
    Empty,
    /// Written by a later version of the program.
    NewerVersion,
    /// The end is missing.
    Truncated,
}

/// A save that the suite asks a harness to begin and cut off.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Save {
    /// The stream to save.
    pub stream: StreamId,
    /// The new cursor.
    pub cursor: Cursor,
    /// The revision the save goes on from.
    pub after: Option<Revision>,
}

/// A place for progress, as the suite needs it to judge a [`Checkpoint`].
///
/// One harness is started for each rule, with nothing saved.
#[async_trait]
pub trait CheckpointHarness: Send {
    /// Returns a new instance over the same state, as after a restart; the last one was dropped
    /// before.
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint>;

    /// Returns a second instance over the same state while the first lives, as another process
    /// would have it. `None`: other processes cannot reach this state.
    async fn rival(&mut self) -> Option<Arc<dyn Checkpoint>> {
        None
    }

    /// Damages what is saved of a stream; no instance is alive. `false`: cannot happen here.
    async fn damage(&mut self, stream: &StreamId, damage: Damage) -> bool {
        let _ = (stream, damage);
        false
    }

    /// Leaves the state as a process would that is killed at the given step of a save, counted from
    /// 0; no instance is alive. `false`: a save has no such step, or none that can be cut off.
    async fn crash(&mut self, save: &Save, step: usize) -> bool {
        let _ = (save, step);
        false
    }

    /// Returns an instance over a place that cannot be written. `None`: cannot happen here.
    async fn unwritable(&mut self) -> Option<Arc<dyn Checkpoint>> {
        None
    }
}
