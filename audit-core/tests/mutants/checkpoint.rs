use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use audit_core::testkit::{CHECKPOINT_RULES, CheckpointHarness, Damage, Save};
use audit_core::{Checkpoint, Cursor, Error, ErrorKind, Result, Revision, StreamId};

use crate::{assert_caught, violations};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bug {
    None,
    ForgetsWithTheProcess,
    IgnoresAfter,
    LooksThenSaves,
    PretendsToSave,
    RewritesTheCursor,
    SharesStreams,
    SharesStreamsButForCase,
    StartsOverWhenDamaged,
    TrustsAnything,
    WritesInPlace,
}

/// One file a stream with a checksum, and a lock that only the bugs go round.
struct Mutant {
    dir: Arc<tempfile::TempDir>,
    lock: Arc<Mutex<()>>,
    memory: Mutex<HashMap<StreamId, (Cursor, Revision)>>,
    bug: Bug,
    writable: bool,
}

fn file_of(bug: Bug, stream: &StreamId) -> String {
    match bug {
        Bug::SharesStreams => "all".into(),
        Bug::SharesStreamsButForCase => stream.as_str().to_lowercase(),
        _ => stream.to_string(),
    }
}

fn encode(bug: Bug, cursor: &Cursor, revision: Revision) -> String {
    let mut text = serde_json::to_string(cursor).unwrap();
    if bug == Bug::RewritesTheCursor {
        text = serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string();
    }
    format!("v1\n{}\n{text}\n{}", revision.0, crc32fast::hash(text.as_bytes()))
}

fn decode(bug: Bug, text: &str) -> Option<(Cursor, Revision)> {
    let mut lines = text.split('\n');
    let version = lines.next()?;
    let revision = Revision(lines.next()?.parse().ok()?);
    let body = lines.next()?;
    let sum: Option<u32> = lines.next().and_then(|l| l.parse().ok());
    let whole = version == "v1" && sum == Some(crc32fast::hash(body.as_bytes()));
    (whole || bug == Bug::TrustsAnything).then_some(())?;
    Some((serde_json::from_str(body).ok()?, revision))
}

impl Mutant {
    fn load_now(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        let Ok(text) = fs::read_to_string(self.dir.path().join(file_of(self.bug, stream))) else {
            return Ok(None);
        };
        match decode(self.bug, &text) {
            None if self.bug == Bug::StartsOverWhenDamaged => Ok(None),
            None => Err(Error::new(ErrorKind::InvalidData, "the file is damaged")),
            found => Ok(found),
        }
    }

    fn save_now(&self, stream: &StreamId, cursor: &Cursor, revision: Revision) {
        let path = self.dir.path().join(file_of(self.bug, stream));
        fs::write(path, encode(self.bug, cursor, revision)).unwrap();
    }
}

#[async_trait]
impl Checkpoint for Mutant {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        match self.bug {
            Bug::ForgetsWithTheProcess => Ok(self.memory.lock().unwrap().get(stream).cloned()),
            _ => self.load_now(stream),
        }
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let found = self.load(stream).await?.map(|(_, revision)| revision);
        let next = Revision(found.map_or(1, |r| r.0 + 1));
        if !self.writable && self.bug != Bug::PretendsToSave {
            return Err(Error::new(ErrorKind::Config, "cannot write there"));
        }
        if found != after && self.bug != Bug::IgnoresAfter {
            return Err(Error::new(ErrorKind::Conflict, "another runner was here"));
        }
        match self.bug {
            Bug::PretendsToSave => return Ok(next),
            Bug::ForgetsWithTheProcess => {
                self.memory.lock().unwrap().insert(stream.clone(), (cursor.clone(), next));
                return Ok(next);
            }
            Bug::LooksThenSaves => tokio::task::yield_now().await,
            _ => {}
        }
        let _one = self.lock.lock().unwrap();
        self.save_now(stream, cursor, next);
        Ok(next)
    }
}

pub(crate) struct Harness {
    dir: Arc<tempfile::TempDir>,
    lock: Arc<Mutex<()>>,
    bug: Bug,
}

impl Harness {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { dir: Arc::new(tempfile::tempdir().unwrap()), lock: Arc::default(), bug }
    }

    fn make(&self, writable: bool) -> Mutant {
        let (dir, lock) = (self.dir.clone(), self.lock.clone());
        Mutant { dir, lock, memory: Mutex::default(), bug: self.bug, writable }
    }
}

#[async_trait]
impl CheckpointHarness for Harness {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        Arc::new(self.make(true))
    }

    async fn damage(&mut self, stream: &StreamId, damage: Damage) -> bool {
        let path = self.dir.path().join(file_of(self.bug, stream));
        let Ok(text) = fs::read_to_string(&path) else {
            return true; // nothing was ever saved there
        };
        let damaged = match damage {
            Damage::Empty => String::new(),
            Damage::Truncated => text.chars().take(text.len() / 2).collect(),
            Damage::BitFlip => text.replacen(r#""offset":3"#, r#""offset":7"#, 1),
            Damage::NewerVersion => text.replacen("v1", "v2", 1),
            _ => return false,
        };
        fs::write(path, damaged).unwrap();
        true
    }

    async fn crash(&mut self, save: &Save, step: usize) -> bool {
        let path = self.dir.path().join(file_of(self.bug, &save.stream));
        let new = encode(self.bug, &save.cursor, Revision(save.after.map_or(1, |r| r.0 + 1)));
        let (torn, _) = new.split_at(new.len() / 2);
        match (self.bug, step) {
            (Bug::WritesInPlace, 0) => fs::write(path, torn).unwrap(),
            (Bug::WritesInPlace, _) => return false,
            (_, 0) => fs::write(path.with_extension("tmp"), torn).unwrap(),
            (_, 1) => {
                fs::write(path.with_extension("tmp"), &new).unwrap();
                fs::rename(path.with_extension("tmp"), path).unwrap();
            }
            _ => return false,
        }
        true
    }

    async fn unwritable(&mut self) -> Option<Arc<dyn Checkpoint>> {
        Some(Arc::new(self.make(false)))
    }
}

#[tokio::test(start_paused = true)]
async fn each_defect_of_a_checkpoint_is_caught_by_its_rule() {
    let judge = async |bug| {
        let start = async || Box::new(Harness::new(bug)) as Box<dyn CheckpointHarness>;
        violations(CHECKPOINT_RULES, start).await
    };
    assert_eq!(judge(Bug::None).await, []);
    for (bug, rule) in [
        (Bug::ForgetsWithTheProcess, "c02_loads_what_was_saved"),
        (Bug::IgnoresAfter, "c03_refuses_a_stale_or_missing_revision"),
        (Bug::IgnoresAfter, "c04_lets_one_of_two_racing_saves_win"),
        (Bug::LooksThenSaves, "c04_lets_one_of_two_racing_saves_win"),
        (Bug::PretendsToSave, "c02_loads_what_was_saved"),
        (Bug::PretendsToSave, "c08_fails_where_it_cannot_write"),
        (Bug::RewritesTheCursor, "c02_loads_what_was_saved"),
        (Bug::SharesStreams, "c01_knows_no_unknown_stream"),
        (Bug::SharesStreams, "c07_keeps_streams_apart"),
        (Bug::SharesStreamsButForCase, "c07_keeps_streams_apart"),
        (Bug::StartsOverWhenDamaged, "c06_refuses_a_cut_off_value"),
        (Bug::StartsOverWhenDamaged, "c06_refuses_an_empty_value"),
        (Bug::TrustsAnything, "c06_refuses_a_newer_value"),
        (Bug::TrustsAnything, "c06_refuses_a_value_with_a_flipped_bit"),
        (Bug::WritesInPlace, "c05_keeps_the_old_or_the_new_value_when_killed"),
    ] {
        assert_caught(&format!("{bug:?}"), rule, &judge(bug).await);
    }
}
