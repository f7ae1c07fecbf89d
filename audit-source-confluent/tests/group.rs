//! Instances that share the partitions of a topic as members of a group of a real Kafka.
#![expect(clippy::unwrap_used, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use audit_core::{
    AuditEvent, Cursor, ErrorKind, MemoryCheckpoint, Pipeline, Read, Result, Sink, Source as _,
    Written,
};
use audit_source_confluent::{ConfluentConfig, ConfluentSource, Report};
use common::{Live, drain, id, limit, produce, record};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The configuration of a member. Who is away is noticed soon.
fn member(live: &Live) -> ConfluentConfig {
    let mut config = live.config();
    config.group = Some(format!("{}-group", live.topic));
    for (name, value) in [("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "200")] {
        config.properties.insert(name.to_owned(), value.into());
    }
    config
}

fn fill(live: &Live, partitions: i32, numbers: std::ops::Range<usize>) {
    let now = audit_core::Clock::system().now().timestamp_millis();
    let records: Vec<_> = numbers.map(|n| (n as i32 % partitions, record(n), now)).collect();
    produce(&live.client(), &live.topic, &records);
}

fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(id).collect()
}

/// Reads until there are so many; the ids in order, and the cursor behind them.
async fn take(source: &mut ConfluentSource, count: usize) -> (Vec<String>, Cursor) {
    let (mut ids, mut cursor) = (Vec::new(), None);
    let began = Instant::now();
    while ids.len() < count {
        assert!(began.elapsed() < Duration::from_secs(30), "{} of {count} records", ids.len());
        if let Read::Batch(batch) = source.read(limit()).await.unwrap() {
            ids.extend(batch.events.iter().map(|event| event.id.as_str().to_owned()));
            cursor = Some(batch.cursor);
        }
    }
    ids.sort_unstable();
    (ids, cursor.unwrap())
}

/// Reads on until a condition holds; returns how many records came.
async fn until(source: &mut ConfluentSource, what: &str, holds: impl Fn(&Report) -> bool) -> usize {
    let (report, began, mut records) = (source.report(), Instant::now(), 0);
    while !holds(&report) {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        if let Read::Batch(batch) = source.read(limit()).await.unwrap() {
            records += batch.events.len();
        }
    }
    records
}

fn partitions(report: &Report) -> usize {
    report.counts().partitions.len()
}

/// What was delivered, by all members.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<Vec<String>>>);

impl Books {
    fn sorted(&self) -> Vec<String> {
        let mut ids = self.0.lock().unwrap().clone();
        ids.sort_unstable();
        ids
    }
}

#[async_trait]
impl Sink for Books {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn write(&self, events: &[AuditEvent]) -> Result<Written> {
        // Something is always on its way.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let ids = events.iter().map(|event| event.id.as_str().to_owned());
        self.0.lock().unwrap().extend(ids);
        Ok(Written::all())
    }
}

/// A pipeline that follows the topic, with a checkpoint of its own.
struct Member {
    report: Report,
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

impl Member {
    fn start(config: ConfluentConfig, books: &Books) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let source = ConfluentSource::new(config).unwrap();
        let report = source.report();
        let (stop, stopped) = oneshot::channel::<()>();
        let name = format!("member-{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
        let (sink, checkpoint) = (Arc::new(books.clone()), Arc::new(MemoryCheckpoint::new()));
        let pipeline = Pipeline::new(name, Box::new(source), sink, checkpoint)
            .limit(limit().events(100))
            .follow(true);
        let run = tokio::spawn(async move {
            let summary = pipeline.run(async { drop(stopped.await) }).await.unwrap();
            assert!(summary.interrupted);
        });
        Self { report, stop, run }
    }

    fn holds(&self) -> usize {
        partitions(&self.report)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.run.await.unwrap();
    }
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the group was told, by partition.
fn told(live: &Live, partitions: i32) -> Vec<Option<i64>> {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::{Offset, TopicPartitionList};
    let group = format!("{}-group", live.topic);
    let consumer: BaseConsumer = live.client().set("group.id", &group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(&live.topic, partition);
    }
    let list = consumer.committed_offsets(list, Duration::from_secs(10)).unwrap();
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    list.elements().iter().map(|element| offset(element.offset())).collect()
}

async fn wait_for_told(live: &Live, expected: &[Option<i64>]) {
    let began = Instant::now();
    loop {
        let told = told(live, expected.len() as i32);
        if told == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{told:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes one record after another, to each partition in turn, until it is stopped.
struct Writer {
    going: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Writer {
    fn start(live: &Live, partitions: i32) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let (more, topic) = (Arc::clone(&going), live.topic.clone());
        let mut config = live.client();
        config.set("linger.ms", "0");
        let thread = std::thread::spawn(move || {
            let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
            let mut written = 0;
            while more.load(Ordering::Relaxed) {
                let text = record(written);
                let next = BaseRecord::<(), String>::to(&topic).payload(&text);
                producer.send(next.partition(written as i32 % partitions)).unwrap();
                written += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.flush(Duration::from_secs(20)).unwrap();
            written
        });
        Self { going, thread }
    }

    fn stop(self) -> usize {
        self.going.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_deliver_each_record_once() {
    let Some(live) = Live::with_topic("come and go", 6) else { return };
    let books = Books::default();
    let writer = Writer::start(&live, 6);
    let first = Member::start(member(&live), &books);
    let second = Member::start(member(&live), &books);
    wait_for("three each", || first.holds() == 3 && second.holds() == 3).await;
    let third = Member::start(member(&live), &books);
    wait_for("two each", || [&first, &second, &third].iter().all(|m| m.holds() == 2)).await;
    third.stop().await;
    wait_for("three each again", || first.holds() == 3 && second.holds() == 3).await;
    second.stop().await;
    wait_for("all for one", || first.holds() == 6).await;
    let written = writer.stop();
    wait_for("every record", || books.sorted().len() >= written).await;
    first.stop().await;
    assert_eq!(books.sorted(), ids(0..written), "each exactly once");
}

#[tokio::test]
async fn the_share_of_a_member_that_is_stuck_goes_to_the_others_and_nothing_is_lost() {
    let Some(live) = Live::with_topic("stuck", 4) else { return };
    fill(&live, 4, 0..40);
    let mut stuck = member(&live);
    stuck.properties.insert("max.poll.interval.ms".to_owned(), "2000".into());
    let mut stuck = ConfluentSource::new(stuck).unwrap();
    stuck.open(None).await.unwrap();
    let (_, cursor) = take(&mut stuck, 40).await;
    stuck.committed(&cursor).await.unwrap();
    wait_for_told(&live, &[Some(10); 4]).await;
    fill(&live, 4, 40..60);
    // Read, and never delivered.
    let (lost, cursor) = take(&mut stuck, 20).await;
    assert_eq!(lost, ids(40..60));
    let mut other = ConfluentSource::new(member(&live)).unwrap();
    other.open(None).await.unwrap();
    assert_eq!(take(&mut other, 20).await.0, ids(40..60));
    // Back again, it has lost what it held, and what it says of it changes nothing.
    stuck.committed(&cursor).await.unwrap();
    let _none = until(&mut stuck, "a loss", |report| partitions(report) == 0).await;
    assert_eq!(told(&live, 4), [Some(10); 4]);
}

#[tokio::test]
async fn a_member_that_was_too_slow_is_back_at_once_and_reads_nothing_again() {
    let Some(live) = Live::with_topic("too slow", 2) else { return };
    fill(&live, 2, 0..10);
    let mut slow = member(&live);
    slow.timeout = Duration::from_secs(20);
    slow.properties.insert("max.poll.interval.ms".to_owned(), "2000".into());
    let mut slow = ConfluentSource::new(slow).unwrap();
    slow.open(None).await.unwrap();
    assert_eq!(take(&mut slow, 10).await.0, ids(0..10));
    // They are on their way to a sink that takes its time. Lost partitions do not wait for it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fill(&live, 2, 10..20);
    let began = Instant::now();
    let (rest, cursor) = take(&mut slow, 10).await;
    assert_eq!(rest, ids(10..20));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(told(&live, 2), [None; 2], "nothing is delivered yet");
    slow.committed(&cursor).await.unwrap();
    wait_for_told(&live, &[Some(10); 2]).await;
}

#[tokio::test]
async fn a_new_member_waits_for_what_is_on_its_way() {
    let Some(live) = Live::with_topic("on its way", 2) else { return };
    fill(&live, 2, 0..10);
    let mut config = member(&live);
    config.timeout = Duration::from_secs(20);
    let mut old = ConfluentSource::new(config).unwrap();
    old.open(None).await.unwrap();
    let (_, cursor) = take(&mut old, 10).await;
    let books = Books::default();
    let new = Member::start(member(&live), &books);
    // It is asked to hand over, and does not while nothing is settled.
    let began = Instant::now();
    let second = Duration::from_secs(1);
    assert_eq!(until(&mut old, "a second", |_| began.elapsed() > second).await, 0);
    assert_eq!((partitions(&old.report()), new.holds()), (2, 0));
    old.committed(&cursor).await.unwrap();
    let _none = until(&mut old, "the hand-over", |_| new.holds() == 1).await;
    assert_eq!(partitions(&old.report()), 1);
    assert_eq!(books.sorted().len(), 0, "nothing again");
    new.stop().await;
}

#[tokio::test]
async fn a_new_member_does_not_wait_for_ever_for_what_is_never_settled() {
    let Some(live) = Live::with_topic("never settled", 2) else { return };
    fill(&live, 2, 0..10);
    let mut config = member(&live);
    config.timeout = Duration::from_secs(2);
    let mut old = ConfluentSource::new(config).unwrap();
    old.open(None).await.unwrap();
    let (_, cursor) = take(&mut old, 10).await;
    let (books, began) = (Books::default(), Instant::now());
    let new = Member::start(member(&live), &books);
    let more = until(&mut old, "a loss", |_| books.sorted().len() == 5).await;
    assert_eq!((more, partitions(&old.report())), (0, 1));
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    // Too late, but true: it is what the new one tells the group too.
    old.committed(&cursor).await.unwrap();
    wait_for_told(&live, &[Some(5); 2]).await;
    new.stop().await;
}

#[tokio::test]
async fn what_the_group_knows_never_goes_backwards() {
    let Some(live) = Live::with_topic("backwards", 2) else { return };
    fill(&live, 2, 0..10);
    let mut first = ConfluentSource::new(member(&live)).unwrap();
    first.open(None).await.unwrap();
    let (_, early) = take(&mut first, 10).await;
    first.committed(&early).await.unwrap();
    drop(first);
    wait_for_told(&live, &[Some(5); 2]).await;
    fill(&live, 2, 10..20);
    let mut second = ConfluentSource::new(member(&live)).unwrap();
    second.open(None).await.unwrap();
    let (ids_of_second, late) = take(&mut second, 10).await;
    assert_eq!(ids_of_second, ids(10..20), "goes on where the first one ended");
    second.committed(&late).await.unwrap();
    drop(second);
    wait_for_told(&live, &[Some(10); 2]).await;

    // The first one again, with its old checkpoint, which the pipeline tells it again.
    let mut first = ConfluentSource::new(member(&live)).unwrap();
    first.open(Some(&early)).await.unwrap();
    first.committed(&early).await.unwrap();
    let all = until(&mut first, "a share", |report| partitions(report) == 2).await;
    assert_eq!(all, 0, "nothing again");
    first.committed(&early).await.unwrap();
    let rest = drain(&mut first).await.unwrap();
    assert!(rest.events.is_empty(), "{rest:?}");
    drop(first);
    assert_eq!(told(&live, 2), [Some(10); 2]);
}

#[tokio::test]
async fn the_one_that_knows_more_is_believed_the_group_or_the_checkpoint() {
    let Some(live) = Live::with_topic("knows more", 2) else { return };
    fill(&live, 2, 0..10);
    let mut source = ConfluentSource::new(member(&live)).unwrap();
    source.open(None).await.unwrap();
    let (_, early) = take(&mut source, 10).await;
    source.committed(&early).await.unwrap();
    fill(&live, 2, 10..20);
    // Saved, and killed before the group was told.
    let (_, ahead) = take(&mut source, 10).await;
    drop(source);
    wait_for_told(&live, &[Some(5); 2]).await;

    fill(&live, 2, 20..30);
    let mut source = ConfluentSource::new(member(&live)).unwrap();
    source.open(Some(&ahead)).await.unwrap();
    source.committed(&ahead).await.unwrap();
    let rest = drain(&mut source).await.unwrap();
    assert_eq!(rest.ids(), ids(20..30));
    drop(source);
    // It was told now what the checkpoint said, and no more.
    wait_for_told(&live, &[Some(10); 2]).await;

    let mut source = ConfluentSource::new(member(&live)).unwrap();
    source.open(None).await.unwrap();
    assert_eq!(drain(&mut source).await.unwrap().ids(), ids(20..30), "where the group is");
    drop(source);
    assert_eq!(told(&live, 2), [Some(10); 2], "to read tells the group nothing");
}

#[tokio::test]
async fn what_was_removed_before_the_group_read_it_is_a_gap() {
    let Some(live) = Live::with_topic("gap", 2) else { return };
    fill(&live, 2, 0..20);
    let mut source = ConfluentSource::new(member(&live)).unwrap();
    source.open(None).await.unwrap();
    let (_, cursor) = take(&mut source, 20).await;
    source.committed(&cursor).await.unwrap();
    drop(source);
    wait_for_told(&live, &[Some(10); 2]).await;
    fill(&live, 2, 20..40);
    live.remove_before(1, 15);

    let mut source = ConfluentSource::new(member(&live)).unwrap();
    source.open(None).await.unwrap();
    let error = drain(&mut source).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidData, false));
    let text = error.to_string();
    for part in ["partition: 1", "lost from offset: 10", "up to offset: 14"] {
        assert!(text.contains(part), "{text}");
    }
    drop(source);

    let mut config = member(&live);
    config.allow_gaps = true;
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    // More is removed when the share is known, before anything is fetched.
    assert_eq!(drain(&mut source).await.unwrap().events.len(), 10 + 5);
    let gaps = source.report().counts().gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].partition, gaps[0].from, gaps[0].to), (1, 10, 15));
}

#[tokio::test]
async fn an_instance_that_is_given_nothing_ends_after_a_while() {
    let Some(live) = Live::with_topic("nothing left", 1) else { return };
    fill(&live, 1, 0..3);
    let books = Books::default();
    let first = Member::start(member(&live), &books);
    wait_for("the only partition", || first.holds() == 1).await;
    let mut config = member(&live);
    config.timeout = Duration::from_secs(1);
    let mut second = ConfluentSource::new(config).unwrap();
    second.open(None).await.unwrap();
    let began = Instant::now();
    assert!(drain(&mut second).await.unwrap().events.is_empty());
    assert!((1..10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // Following, it takes over when the first one goes.
    wait_for("what was there", || books.sorted().len() == 3).await;
    first.stop().await;
    fill(&live, 1, 3..6);
    assert_eq!(take(&mut second, 3).await.0, ids(3..6));
}

#[tokio::test]
async fn two_instances_with_the_same_name_are_told_so() {
    let Some(live) = Live::with_topic("same name", 1) else { return };
    let mut config = member(&live);
    config.properties.insert("group.instance.id".to_owned(), "one".into());
    let mut first = ConfluentSource::new(config.clone()).unwrap();
    first.open(None).await.unwrap();
    until(&mut first, "the first", |report| partitions(report) == 1).await;
    let mut second = ConfluentSource::new(config).unwrap();
    second.open(None).await.unwrap();
    until(&mut second, "the second", |report| partitions(report) == 1).await;
    let began = Instant::now();
    let error = loop {
        assert!(began.elapsed() < Duration::from_secs(30), "both go on");
        if let Err(error) = first.read(limit()).await {
            break error;
        }
    };
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Conflict, false), "{error:?}");
    assert!(error.hint().unwrap().contains("group.instance.id"), "{error:?}");
}

#[tokio::test]
async fn a_new_partition_is_shared_too() {
    let Some(live) = Live::with_topic("new partition", 1) else { return };
    let mut config = member(&live);
    config.refresh_interval = Duration::from_millis(100);
    let mut source = ConfluentSource::new(config).unwrap();
    source.open(None).await.unwrap();
    until(&mut source, "the first", |report| partitions(report) == 1).await;
    live.grow_to(2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    fill(&live, 2, 0..10);
    assert_eq!(take(&mut source, 10).await.0, ids(0..10));
    let all: BTreeSet<_> = source.report().counts().partitions;
    assert_eq!(all, BTreeSet::from([0, 1]));
}
