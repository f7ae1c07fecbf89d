use std::fs;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::lines::Lines;
use super::{DeadLetter, Record};
use crate::durable::{self, Lock};
use crate::{AuditEvent, Batch, Cursor, Limit, Raw, Read, Result, Source};

/// Reads dead letters back as events: the replay.
///
/// Letters of events come back as those events, with the same ids. Records that never were events
/// come back if their body is JSON (somebody mended it in the file) and are else rejected again.
/// The letters are removed from the disk when all are committed.
#[derive(Debug)]
pub struct DeadLetterSource {
    path: PathBuf,
    offset: u64,
    /// Where the last letter ends.
    end: u64,
    /// Tells this set of letters from later ones that get the same path.
    generation: u64,
    _lock: Lock,
}

#[derive(Serialize, Deserialize)]
struct Position {
    generation: u64,
    offset: u64,
}

const KIND: &str = "dead-letters";
const VERSION: u32 = 1;

impl DeadLetterSource {
    pub(super) fn new(path: PathBuf, lock: Lock) -> Self {
        Self { path, offset: 0, end: 0, generation: 0, _lock: lock }
    }
}

#[async_trait]
impl Source for DeadLetterSource {
    async fn open(&mut self, from: Option<&Cursor>) -> Result<()> {
        (self.generation, self.offset, self.end) = (0, 0, 0);
        for line in Lines::open(&self.path)?.into_iter().flatten() {
            let line = line?;
            if self.end == 0 {
                self.generation = xxh3_64(line.bytes());
            }
            self.end = line.end;
        }
        if let Some(cursor) = from {
            let position: Position = cursor.decode(KIND, VERSION)?;
            // A position behind the end is that of a file that somebody has shortened since.
            if position.generation == self.generation && position.offset <= self.end {
                self.offset = position.offset;
            }
        }
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        let Some(mut lines) = Lines::open(&self.path)? else { return Ok(Read::End) };
        lines.seek(self.offset)?;
        let (mut events, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut offset = self.offset;
        while events.len() + rejected.len() < limit.max_events && bytes < limit.max_bytes {
            let Some(line) = lines.next().transpose()? else { break };
            if bytes > 0 && bytes + line.bytes().len() > limit.max_bytes {
                break;
            }
            bytes += line.bytes().len();
            offset = line.end;
            match revive(line.parse()?) {
                Ok(event) => events.push(event),
                Err(letter) => rejected.push(letter),
            }
        }
        if events.is_empty() && rejected.is_empty() {
            return Ok(Read::End);
        }
        self.offset = offset;
        let position = Position { generation: self.generation, offset };
        let cursor = Cursor::encode(KIND, VERSION, &position)?;
        Ok(Read::Batch(Batch { events, rejected, cursor }))
    }

    /// Removes the letters once the last of them is committed.
    async fn committed(&mut self, cursor: &Cursor) -> Result<()> {
        let position: Position = cursor.decode(KIND, VERSION)?;
        if position.generation != self.generation || position.offset != self.end {
            return Ok(());
        }
        let removed = match fs::remove_file(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.and_then(|()| durable::sync_directory(&self.path)),
        };
        removed
            .map_err(|e| durable::io_error(&e, &self.path).while_doing("remove replayed letters"))
    }

    async fn check(&mut self) -> Result<()> {
        Lines::open(&self.path).map(|_| ())
    }
}

/// Makes a letter an event again, if it is one.
fn revive(letter: DeadLetter) -> Result<AuditEvent, DeadLetter> {
    match letter.record {
        Record::Event(event) => Ok(*event),
        Record::Bytes { ref id, ref body } => {
            let text = String::from_utf8(body.clone()).ok();
            match text.and_then(|text| Raw::parse(text).ok()) {
                Some(raw) => {
                    let source = "dead-letters".into();
                    Ok(AuditEvent::new(id.clone(), source, letter.first_at, raw))
                }
                None => Err(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        DeadLetters, Error, ErrorKind, EventId, FileCheckpoint, FileDeadLetters, Pipeline, Sink,
        Written,
    };

    /// Accepts everything and remembers nothing.
    struct Accepting;

    #[async_trait]
    impl Sink for Accepting {
        async fn check(&self) -> Result<()> {
            Ok(())
        }

        async fn write(&self, _: &[AuditEvent]) -> Result<Written> {
            Ok(Written::all())
        }
    }

    fn letters(bodies: &[&str]) -> Vec<DeadLetter> {
        let error = Error::new(ErrorKind::InvalidData, "broken");
        let letter = |(i, body): (usize, &&str)| {
            DeadLetter::record(EventId::new(format!("t/{i}")), *body, &error)
        };
        bodies.iter().enumerate().map(letter).collect()
    }

    #[tokio::test]
    async fn delivers_what_was_mended_and_keeps_the_rest_and_new_letters() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(FileDeadLetters::open(dir.path().join("dead.ndjson")));
        store.put(&letters(&[r#"{"mended": true}"#, "{", "[1]"])).await.unwrap();

        let source = Box::new(store.replay().unwrap());
        assert_eq!(store.replay().unwrap_err().kind(), ErrorKind::Conflict, "one replay at a time");
        store.put(&letters(&["{new"])[..1]).await.unwrap();

        let checkpoint = Arc::new(FileCheckpoint::open(dir.path()));
        let summary =
            Pipeline::new("x.replay".parse().unwrap(), source, Arc::new(Accepting), checkpoint)
                .dead_letters(Arc::clone(&store) as Arc<dyn DeadLetters>)
                .limit(Limit::default().events(1))
                .run(std::future::pending())
                .await
                .unwrap();
        assert_eq!((summary.delivered, summary.dead_lettered, summary.read), (2, 1, 3));
        assert!(!durable::sibling(store.path(), ".replaying").exists());
        let waiting: Vec<_> = store.letters().unwrap().map(|l| l.unwrap()).collect();
        assert_eq!(waiting.len(), 2);
        assert_eq!((waiting[0].body(), waiting[1].body()), (&b"{new"[..], &b"{"[..]));
    }

    #[tokio::test]
    async fn a_cut_off_replay_goes_on_and_a_later_one_starts_at_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileDeadLetters::open(dir.path().join("dead.ndjson"));
        store.put(&letters(&["1", "2", "3"])).await.unwrap();
        let mut source = store.replay().unwrap();
        source.open(None).await.unwrap();
        let Read::Batch(first) = source.read(Limit::default().events(2)).await.unwrap() else {
            panic!("no batch");
        };
        drop(source);

        let mut source = store.replay().unwrap();
        source.open(Some(&first.cursor)).await.unwrap();
        source.committed(&first.cursor).await.unwrap();
        let Read::Batch(rest) = source.read(Limit::default()).await.unwrap() else {
            panic!("no batch");
        };
        assert_eq!(rest.events[0].raw.get(), "3");
        source.committed(&rest.cursor).await.unwrap();
        drop(source);

        store.put(&letters(&["7"])).await.unwrap();
        let mut source = store.replay().unwrap();
        source.open(Some(&rest.cursor)).await.unwrap();
        source.committed(&rest.cursor).await.unwrap();
        let Read::Batch(later) = source.read(Limit::default()).await.unwrap() else {
            panic!("an old cursor must not hide new letters");
        };
        assert_eq!(later.events[0].raw.get(), "7");
    }
    #[tokio::test]
    async fn a_file_that_was_shortened_is_replayed_anew_and_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileDeadLetters::open(dir.path().join("dead.ndjson"));
        store.put(&letters(&["1", "2", "3", "4"])).await.unwrap();
        let mut source = store.replay().unwrap();
        source.open(None).await.unwrap();
        let Read::Batch(first) = source.read(Limit::default().events(3)).await.unwrap() else {
            panic!("no batch");
        };
        drop(source);
        // Somebody takes out two letters that are dealt with.
        let path = durable::sibling(store.path(), ".replaying");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        fs::write(&path, format!("{}\n{}\n", lines[0], lines[3])).unwrap();

        let mut source = store.replay().unwrap();
        source.open(Some(&first.cursor)).await.unwrap();
        source.committed(&first.cursor).await.unwrap();
        let Read::Batch(rest) = source.read(Limit::default()).await.unwrap() else {
            panic!("no batch");
        };
        assert_eq!(rest.events.last().unwrap().raw.get(), "4");
    }
}
