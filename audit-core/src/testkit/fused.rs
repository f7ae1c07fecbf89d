use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Fuse, Probe};
use crate::{
    AuditEvent, Checkpoint, Cursor, DeadLetter, DeadLetters, Error, Failure, Limit, Read, Result,
    Revision, Sink, Source, StreamId, Written,
};

macro_rules! opaque_debug {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("fuse", &self.fuse).finish_non_exhaustive()
            }
        }
    )*};
}

opaque_debug!(FusedCheckpoint FusedDeadLetters FusedSink FusedSource);

/// Wraps a source so that its calls pass a [`Fuse`] and a [`Probe`].
pub struct FusedSource {
    inner: Box<dyn Source>,
    fuse: Fuse,
    probe: Probe,
}

impl FusedSource {
    /// Wraps `inner`.
    pub fn new(inner: Box<dyn Source>, fuse: Fuse, probe: Probe) -> Self {
        Self { inner, fuse, probe }
    }
}

#[async_trait]
impl Source for FusedSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.probe.opens(from);
        self.fuse.call("source.open", self.inner.open(from)).await
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        self.probe.reads();
        let answer = self.fuse.call("source.read", self.inner.read(limit)).await;
        if let Ok(read) = &answer {
            self.probe.has_read(read);
        }
        answer
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        self.probe.tells(cursor);
        self.fuse.call("source.committed", self.inner.committed(cursor)).await
    }

    async fn check(&mut self) -> Result<()> {
        self.fuse.call("source.check", self.inner.check()).await
    }
}

/// Wraps a sink so that its calls pass a [`Fuse`] and a [`Probe`].
pub struct FusedSink {
    inner: Arc<dyn Sink>,
    fuse: Fuse,
    probe: Probe,
}

impl FusedSink {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Sink>, fuse: Fuse, probe: Probe) -> Self {
        Self { inner, fuse, probe }
    }

    /// Writes all events but one, and reports that one as failed.
    async fn write_but_one(
        &self,
        events: &[AuditEvent],
        left_out: usize,
        error: Error,
    ) -> Result<Written> {
        let mut others = events.to_vec();
        others.remove(left_out);
        let mut written = self.inner.write(&others).await?;
        for failure in &mut written.failures {
            failure.index += usize::from(failure.index >= left_out);
        }
        written.failures.push(Failure { index: left_out, error });
        Ok(written)
    }
}

#[async_trait]
impl Sink for FusedSink {
    async fn check(&self) -> Result<()> {
        self.fuse.call("sink.check", self.inner.check()).await
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let write = async {
            let written = match self.fuse.pick(events.len()) {
                Some((index, kind)) => {
                    let error = Error::new(kind, "injected fault");
                    self.write_but_one(events, index, error).await
                }
                None => self.inner.write(events).await,
            };
            if let Ok(written) = &written {
                self.probe.wrote(events, written);
            }
            written
        };
        self.fuse.call("sink.write", write).await
    }

    async fn close(&self) -> Result<()> {
        self.fuse.call("sink.close", self.inner.close()).await
    }

    fn deduplicates(&self) -> bool {
        self.inner.deduplicates()
    }
}

/// Wraps a checkpoint so that its calls pass a [`Fuse`] and a [`Probe`].
pub struct FusedCheckpoint {
    inner: Arc<dyn Checkpoint>,
    fuse: Fuse,
    probe: Probe,
}

impl FusedCheckpoint {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Checkpoint>, fuse: Fuse, probe: Probe) -> Self {
        Self { inner, fuse, probe }
    }
}

#[async_trait]
impl Checkpoint for FusedCheckpoint {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let loaded = self.fuse.call("checkpoint.load", self.inner.load(stream)).await;
        if let Ok(found) = &loaded {
            self.probe.loaded(found.as_ref().map(|(cursor, _)| cursor));
        }
        loaded
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        self.probe.saves(cursor);
        let save = async {
            let saved = self.inner.save(stream, cursor, after).await;
            if saved.is_ok() {
                self.probe.saved(cursor);
            }
            saved
        };
        self.fuse.call("checkpoint.save", save).await
    }

    async fn release(&self, stream: &StreamId) -> Result<()> {
        self.inner.release(stream).await
    }
}

/// Wraps dead letters so that their calls pass a [`Fuse`] and a [`Probe`].
pub struct FusedDeadLetters {
    inner: Arc<dyn DeadLetters>,
    fuse: Fuse,
    probe: Probe,
}

impl FusedDeadLetters {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn DeadLetters>, fuse: Fuse, probe: Probe) -> Self {
        Self { inner, fuse, probe }
    }
}

#[async_trait]
impl DeadLetters for FusedDeadLetters {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let put = async {
            let answer = self.inner.put(letters).await;
            if answer.is_ok() {
                self.probe.buried(letters);
            }
            answer
        };
        self.fuse.call("dead_letters.put", put).await
    }
}
