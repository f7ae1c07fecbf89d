//! The rules of [`Checkpoint`], in every database.

use std::sync::Arc;

use async_trait::async_trait;
use audit_core::testkit::{CHECKPOINT_RULES, CheckpointHarness, Damage};
use audit_core::{Checkpoint, StreamId};
use audit_source_sql::SqlCheckpoint;

use crate::place::{Kind, Place};

/// A place, and whatever was made over it: that gives back what it holds when the next is made, as a
/// process does at its end. Dropping one does so too, but a little later.
struct Table {
    place: Place,
    made: Vec<Arc<SqlCheckpoint>>,
}

#[async_trait]
impl CheckpointHarness for Table {
    async fn checkpoint(&mut self) -> Arc<dyn Checkpoint> {
        for ended in self.made.drain(..) {
            ended.release().await.unwrap();
        }
        self.rival().await.unwrap()
    }

    async fn rival(&mut self) -> Option<Arc<dyn Checkpoint>> {
        let checkpoint = Arc::new(self.place.checkpoint());
        self.made.push(Arc::clone(&checkpoint));
        Some(checkpoint)
    }

    async fn damage(&mut self, stream: &StreamId, damage: Damage) -> bool {
        let change = match damage {
            Damage::Empty => "position = ''",
            Damage::Truncated => "position = substr(position, 1, length(position) / 2)",
            // '3' and '7' are one bit apart.
            Damage::BitFlip => "position = replace(position, '\"offset\":3', '\"offset\":7')",
            Damage::NewerVersion => "format = format + 1",
            _ => return false,
        };
        let place = &self.place;
        place.run(&format!("UPDATE {{t}} SET {change} WHERE stream = '{stream}'")).await == 1
    }

    async fn unwritable(&mut self) -> Option<Arc<dyn Checkpoint>> {
        let mut config = self.place.config();
        match self.place.kind {
            Kind::Sqlite => config.url = audit_core::Secret::new("/dev/null/state.db"),
            // There is no such schema, or database.
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            _ => config.table = "nowhere_at_all.progress".to_owned(),
        }
        Some(Arc::new(SqlCheckpoint::new(config).unwrap()))
    }
}

async fn keeps_the_contract(kind: Kind) {
    for rule in CHECKPOINT_RULES {
        // A statement takes effect as a whole or not at all: there is no step to be cut off.
        // `processes` kills at any time.
        if rule.name().starts_with("c05") {
            continue;
        }
        let Some(place) = Place::new(kind) else { return };
        let mut table = Table { place, made: Vec::new() };
        rule.judge(&mut table).await.unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        table.place.done().await;
    }
}

#[tokio::test]
async fn sqlite() {
    keeps_the_contract(Kind::Sqlite).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres() {
    keeps_the_contract(Kind::Postgres).await;
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mariadb() {
    keeps_the_contract(Kind::MariaDb).await;
}
