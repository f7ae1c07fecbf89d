//! Ends of a pipeline that do as they are told, and write down what is asked of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use tokio::time::sleep;

use crate::{
    AuditEvent, Batch, Checkpoint, Cursor, DeadLetters, Error, ErrorKind, EventId, Failure, Limit,
    MemoryCheckpoint, MemoryDeadLetters, Pipeline, Raw, Read, Result, Sink, Source, StreamId,
    Written,
};

#[derive(Clone, Default)]
pub(super) struct Log(pub(super) Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Hands out what it is given, and logs.
pub(super) struct Script {
    pub(super) log: Log,
    pub(super) reads: VecDeque<Result<Read>>,
}

#[async_trait]
impl Source for Script {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        self.log.push(format!("open {}", from.map_or("-".into(), position)));
        Ok(())
    }

    async fn read(&mut self, _: Limit) -> Result<Read> {
        self.log.push("read".into());
        self.reads.pop_front().unwrap_or(Ok(Read::End))
    }

    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        self.log.push(format!("committed {}", position(cursor)));
        Ok(())
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Answers each write as scripted, then accepts everything, and logs.
pub(super) struct Answers {
    pub(super) log: Log,
    pub(super) answers: Mutex<VecDeque<Answer>>,
    pub(super) closed: Mutex<bool>,
}

pub(super) enum Answer {
    Says(Result<Written>),
    Hangs(Duration),
}

#[async_trait]
impl Sink for Answers {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        let ids: Vec<_> = events.iter().map(|e| e.id.as_str()).collect();
        self.log.push(format!("write {}", ids.join(" ")));
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = match answer {
            Some(Answer::Says(answer)) => answer,
            Some(Answer::Hangs(time)) => {
                sleep(time).await;
                Ok(Written::all())
            }
            None => Ok(Written::all()),
        };
        self.log.push("written".into());
        answer
    }

    async fn close(&self) -> Result<()> {
        *self.closed.lock().unwrap() = true;
        Ok(())
    }
}

pub(super) fn position(cursor: &Cursor) -> String {
    cursor.decode::<u32>("script", 1).unwrap().to_string()
}

pub(super) fn event(id: &str) -> AuditEvent {
    let raw = Raw::parse(format!(r#"{{"id":"{id}"}}"#)).unwrap();
    AuditEvent::new(EventId::new(id), "script".into(), DateTime::UNIX_EPOCH, raw)
}

pub(super) fn batch(n: u32, ids: &str) -> Result<Read> {
    let cursor = Cursor::encode("script", 1, &n).unwrap();
    Ok(Read::Batch(Batch::new(ids.split_whitespace().map(event).collect(), cursor)))
}

pub(super) fn failing(index: usize, kind: ErrorKind) -> Failure {
    Failure { index, error: Error::new(kind, "scripted") }
}

pub(super) fn refuses(failures: Vec<Failure>) -> Answer {
    Answer::Says(Ok(Written { duplicates: vec![], failures }))
}

pub(super) fn fails(kind: ErrorKind) -> Answer {
    Answer::Says(Err(Error::new(kind, "scripted")))
}

pub(super) struct Bench {
    pub(super) log: Log,
    pub(super) sink: Arc<Answers>,
    pub(super) checkpoint: Arc<MemoryCheckpoint>,
    pub(super) letters: Arc<MemoryDeadLetters>,
}

impl Bench {
    pub(super) fn new(answers: Vec<Answer>) -> Self {
        let log = Log::default();
        let sink = Answers {
            log: log.clone(),
            answers: Mutex::new(answers.into()),
            closed: Mutex::default(),
        };
        Self { log, sink: Arc::new(sink), checkpoint: Arc::default(), letters: Arc::default() }
    }

    pub(super) fn stream() -> StreamId {
        "test".parse().unwrap()
    }

    pub(super) fn bare(&self, reads: Vec<Result<Read>>) -> Pipeline {
        let source = Box::new(Script { log: self.log.clone(), reads: reads.into() });
        let sink = Arc::clone(&self.sink) as Arc<dyn Sink>;
        let checkpoint = Arc::clone(&self.checkpoint) as Arc<dyn Checkpoint>;
        Pipeline::new(Self::stream(), source, sink, checkpoint)
    }

    pub(super) fn pipeline(&self, reads: Vec<Result<Read>>) -> Pipeline {
        self.bare(reads).dead_letters(Arc::clone(&self.letters) as Arc<dyn DeadLetters>)
    }

    pub(super) async fn saved(&self) -> Option<String> {
        let loaded = self.checkpoint.load(&Self::stream()).await.unwrap();
        loaded.map(|(cursor, _)| position(&cursor))
    }
}
