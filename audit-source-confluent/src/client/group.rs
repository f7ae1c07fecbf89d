//! What a client does as a member of a group.
//!
//! The library waits for an answer to each change, and fetches nothing until it has one. So a change
//! is only noted when it comes, and answered when the time has come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use audit_core::{Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::{Client, Context};
use crate::error;

/// How long to wait until the group knows the last offsets: its other members may take three seconds,
/// their usual heartbeat, to notice that it is shared out anew. Programs wait five for an end.
const LAST_WORD: Duration = Duration::from_secs(4);

/// When to tell the group again what it refused.
const AGAIN: Duration = Duration::from_millis(50);

/// What the group decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These partitions are ours from now.
    Given(Vec<i32>),
    /// These are to go to others. Lost ones may be with them already.
    Taken { partitions: Vec<i32>, lost: bool },
}

/// What is ours, and how far it is done. Seen by the reader, by the library's callbacks, and by the
/// thread that tells the group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Not answered yet, oldest first.
    changes: VecDeque<Change>,
    /// Before these offsets everything is delivered and saved; also of partitions that were ours.
    settled: BTreeMap<i32, i64>,
    /// What the group was told of the partitions that are ours; -1: nothing.
    told: BTreeMap<i32, i64>,
    /// Whether we were told that something is saved. Before that a run might be one without effects.
    saving: bool,
    /// Whether the group is being told just now.
    telling: bool,
    /// Whether nobody will answer any more.
    leaving: bool,
}

impl State {
    /// What the group does not know yet of the partitions that are ours. Never less than it knows.
    fn untold(&self) -> BTreeMap<i32, i64> {
        let settled = |p: &i32| self.settled.get(p).copied().filter(|_| self.saving);
        let new = self.told.iter().filter_map(|(p, told)| Some((*p, settled(p)?, *told)));
        new.filter(|(_, settled, told)| settled > told)
            .map(|(p, settled, _)| (p, settled))
            .collect()
    }

    fn settle(&mut self, next: &BTreeMap<i32, i64>) {
        self.saving = true;
        for (partition, offset) in next {
            let settled = self.settled.entry(*partition).or_insert(*offset);
            *settled = (*settled).max(*offset);
        }
    }
}

impl Membership {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until the group knows everything; false when that takes too long.
    fn wait_until_told(&self, bound: Duration) -> bool {
        let unknown = |state: &mut State| state.telling || !state.untold().is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), bound, unknown);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns what to tell the group as soon as there is something; nothing when that is over.
    fn next_untold(&self) -> Option<BTreeMap<i32, i64>> {
        let nothing = |state: &mut State| !state.leaving && state.untold().is_empty();
        let waited = self.changed.wait_while(self.lock(), nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.telling = !state.leaving;
        state.telling.then(|| state.untold())
    }

    fn has_told(&self, offsets: Option<BTreeMap<i32, i64>>) {
        self.update(|state| {
            state.telling = false;
            for (partition, offset) in offsets.into_iter().flatten() {
                if let Some(told) = state.told.get_mut(&partition) {
                    *told = offset.max(*told);
                }
            }
        });
    }
}

impl Client {
    /// Asks the group for a share of the topic. Its answers come while waiting for records.
    pub(crate) fn join(&mut self) -> Result<()> {
        self.consumer.subscribe(&[&self.topic]).map_err(|e| self.explain(&e))?;
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let thread = std::thread::Builder::new().name("group-offsets".to_owned());
        let teller = thread.spawn(move || tell(&consumer, &topic));
        self.teller = Some(teller.map_err(|e| {
            Error::new(ErrorKind::Unexpected, "no thread could be started").because(e)
        })?);
        Ok(())
    }

    /// Returns what the group decided and was not answered yet.
    pub(crate) fn change(&self) -> Option<Change> {
        self.membership().lock().changes.front().cloned()
    }

    pub(crate) fn has_change(&self) -> bool {
        self.grouped && !self.membership().lock().changes.is_empty()
    }

    /// Returns whether the partition is ours.
    pub(crate) fn holds(&self, partition: i32) -> bool {
        self.membership().lock().told.contains_key(&partition)
    }

    /// Returns the offset before which everything of a partition is delivered and saved.
    pub(crate) fn settled(&self, partition: i32) -> Option<i64> {
        self.membership().lock().settled.get(&partition).copied()
    }

    /// Asks which offsets were committed to the group.
    ///
    /// # Errors
    /// [`ErrorKind::Auth`] without a right on the group.
    pub(crate) fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>> {
        let list = self.unplaced(partitions);
        let list = self.ask(|time| self.consumer.committed_offsets(list.clone(), time))?;
        let mut committed = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(|e| self.explain(&e).with("partition", element.partition()))?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    }

    /// Begins to read partitions that were given, each from its position. `told` is what the group
    /// knows of them; `settled`, before which offset all is delivered.
    pub(crate) fn take(&self, given: &BTreeMap<i32, Start>) -> Result<()> {
        let starts = given.iter().map(|(p, start)| (*p, start.next)).collect();
        self.list(&starts)
            .and_then(|list| self.consumer.incremental_assign(&list))
            .map_err(|e| self.explain(&e))?;
        self.membership().update(|state| {
            state.changes.pop_front();
            for (partition, start) in given {
                state.settled.insert(*partition, start.settled);
                state.told.insert(*partition, start.told.unwrap_or(-1));
            }
        });
        Ok(())
    }

    /// Lets go of partitions that were taken: others may read them from now. So first the group is
    /// told how far they are done.
    pub(crate) fn give(&self, taken: &[i32], lost: bool) -> Result<()> {
        if !lost && !self.membership().wait_until_told(self.last_word()) {
            warn!(
                topic = self.topic,
                "the group could not be told how far its partitions are done"
            );
        }
        let list = self.unplaced(taken);
        self.consumer.incremental_unassign(&list).map_err(|e| self.explain(&e))?;
        self.membership().update(|state| {
            state.changes.pop_front();
            state.told.retain(|partition, _| !taken.contains(partition));
        });
        Ok(())
    }

    /// Learns before which offsets everything is delivered and saved. The group is told so of the
    /// partitions that are ours; that is not waited for.
    pub(crate) fn settle(&self, next: &BTreeMap<i32, i64>) {
        self.membership().update(|state| state.settle(next));
    }

    /// Learns afresh before which offsets everything is delivered and saved.
    pub(crate) fn saved(&self, next: &BTreeMap<i32, i64>) {
        self.membership().update(|state| state.settled.clone_from(next));
    }

    pub(crate) fn all_settled(&self) -> BTreeMap<i32, i64> {
        self.membership().lock().settled.clone()
    }

    fn last_word(&self) -> Duration {
        self.timeout.min(LAST_WORD)
    }

    /// Serves the library until something holds; false when that takes too long.
    fn poll_until(&self, bound: Duration, holds: impl Fn() -> bool) -> bool {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() >= bound {
                return false;
            }
            drop(self.consumer.poll(Duration::from_millis(10)));
        }
        true
    }

    /// Names partitions, and no offsets.
    fn unplaced(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }

    fn membership(&self) -> &Membership {
        &self.consumer.context().membership
    }
}

/// Where to begin in a partition that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) next: i64,
    /// Less than `next` while records are on their way that were read when it was ours before.
    pub(crate) settled: i64,
    pub(crate) told: Option<i64>,
}

/// Tells the group how far its partitions are done, whenever there is news, until it is left.
///
/// On a thread of its own: while the group is shared out anew it gives no answer, and then refuses
/// what it was told, which has to be said again.
fn tell(consumer: &BaseConsumer<Context>, topic: &str) {
    let membership = &consumer.context().membership;
    while let Some(untold) = membership.next_untold() {
        let mut list = TopicPartitionList::with_capacity(untold.len());
        let told = untold
            .iter()
            .try_for_each(|(p, offset)| {
                list.add_partition_offset(topic, *p, Offset::Offset(*offset))
            })
            .and_then(|()| consumer.commit(&list, CommitMode::Sync));
        membership.has_told(told.is_ok().then_some(untold));
        let Err(error) = told else { continue };
        if error.rdkafka_error_code().is_some_and(error::is_of_rebalance) {
            debug!(topic, %error, "the group is being shared out anew");
            std::thread::sleep(AGAIN);
        } else {
            warn!(topic, %error, "the group could not be told how far its partitions are done");
            std::thread::sleep(AGAIN * 20);
        }
    }
}

impl Drop for Client {
    /// Leaves the group in order, so that others take over at once, from where this one ended.
    fn drop(&mut self) {
        let Some(teller) = self.teller.take() else { return };
        let told = self.membership().wait_until_told(self.last_word());
        let mut changes = VecDeque::new();
        self.membership().update(|state| {
            state.leaving = true;
            changes.append(&mut state.changes);
        });
        for change in changes {
            let (Change::Given(partitions) | Change::Taken { partitions, .. }) = &change;
            let list = self.unplaced(partitions);
            answer(&self.consumer, matches!(change, Change::Given(_)), &list);
        }
        self.consumer.unsubscribe();
        if told && self.poll_until(self.last_word(), || self.is_idle()) {
            drop(teller.join());
        } else {
            // The thread closes the connection when it has its answer, or the process does.
            warn!(topic = self.topic, "the group was left before it knew how far this member is");
        }
    }
}

/// Answers a change at once, where nothing is read any more.
fn answer(consumer: &BaseConsumer<Context>, given: bool, partitions: &TopicPartitionList) {
    let answered = if given {
        consumer.incremental_assign(partitions)
    } else {
        consumer.incremental_unassign(partitions)
    };
    if let Err(error) = answered {
        debug!(target: "librdkafka", %error, given, "a change of the group could not be answered");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let given = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let numbers = partitions.elements().iter().map(|e| e.partition()).collect();
        let change = if given {
            Change::Given(numbers)
        } else {
            Change::Taken { partitions: numbers, lost: consumer.assignment_lost() }
        };
        debug!(?change, "the group decided");
        let mut state = self.membership.lock();
        if state.leaving {
            drop(state);
            answer(consumer, given, partitions);
        } else {
            state.changes.push_back(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_told_of_what_is_ours_and_never_less_than_it_knows() {
        let mut state = State { told: BTreeMap::from([(0, -1), (1, 50)]), ..State::default() };
        state.settled = BTreeMap::from([(0, 3)]);
        assert!(state.untold().is_empty(), "nothing was saved");
        state.settle(&BTreeMap::from([(0, 0), (1, 40), (2, 7)]));
        assert_eq!(state.untold(), BTreeMap::from([(0, 3)]));
        state.settle(&BTreeMap::from([(0, 10), (1, 60)]));
        state.settle(&BTreeMap::from([(0, 5)]));
        assert_eq!(state.untold(), BTreeMap::from([(0, 10), (1, 60)]));
    }
}
