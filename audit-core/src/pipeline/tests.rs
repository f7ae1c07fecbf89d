mod script;

use std::future::pending;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::sleep;

use self::script::*;
use super::*;
use crate::{DeadLetter, ErrorKind, EventId, MemoryCheckpoint, MemoryDeadLetters, Retry, Written};

#[tokio::test(start_paused = true)]
async fn saves_before_it_tells_the_source_and_reads_while_it_writes() {
    let bench = Bench::new(vec![]);
    let summary =
        bench.pipeline(vec![batch(1, "a b"), batch(2, "c")]).run(pending()).await.unwrap();
    assert_eq!(
        bench.log.lines(),
        [
            "open -",
            "read",
            "read",
            "write a b",
            "written",
            "committed 1",
            "read",
            "write c",
            "written",
            "committed 2",
        ]
    );
    assert_eq!((summary.read, summary.delivered, summary.batches), (3, 3, 2));
    assert!(summary.balances() && !summary.interrupted);
    assert_eq!(bench.saved().await.as_deref(), Some("2"));
    assert!(*bench.sink.closed.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_next_read_does_not_wait_for_a_slow_write() {
    let bench = Bench::new(vec![Answer::Hangs(Duration::from_secs(60))]);
    bench.pipeline(vec![batch(1, "a"), batch(2, "b")]).run(pending()).await.unwrap();
    let lines = bench.log.lines();
    let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap();
    let second_read = lines.iter().enumerate().filter(|(_, l)| *l == "read").nth(1).unwrap().0;
    assert!(second_read < at("written"), "{lines:?}");
}

/// Seven years of empty windows need no 84 saves.
#[tokio::test(start_paused = true)]
async fn progress_without_records_is_saved_along_with_the_next_or_before_anything_else() {
    let bench = Bench::new(vec![]);
    let empty = |n| batch(n, "");
    let reads = vec![empty(1), empty(2), batch(3, "a"), empty(4), empty(5)];
    let summary = bench.pipeline(reads).run(pending()).await.unwrap();
    assert_eq!((summary.read, summary.batches), (1, 2));
    let told = bench.log.lines().into_iter().filter(|line| line.starts_with("committed"));
    assert_eq!(told.collect::<Vec<_>>(), ["committed 3", "committed 5"]);
    assert_eq!(bench.saved().await.as_deref(), Some("5"), "before the end");

    let bench = Bench::new(vec![]);
    let failed = Err(Error::new(ErrorKind::Unavailable, "later"));
    bench.pipeline(vec![empty(1), empty(2), failed]).run(pending()).await.unwrap();
    let opened = bench.log.lines().into_iter().filter(|line| line.starts_with("open"));
    assert_eq!(opened.collect::<Vec<_>>(), ["open -", "open 2"], "before it is opened again");
}

/// A source without records, each read of which takes its time.
struct Slow(u32, Duration);

#[async_trait]
impl Source for Slow {
    async fn open(&mut self, _: Option<&Cursor>) -> Result<()> {
        Ok(())
    }

    async fn read(&mut self, _: Limit) -> Result<Read> {
        sleep(self.1).await;
        self.0 += 1;
        Ok(Read::Batch(Batch::new(vec![], Cursor::encode("script", 1, &self.0)?)))
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn progress_without_records_is_saved_every_second_while_there_are_none() {
    let bench = Bench::new(vec![]);
    let checkpoint = bench.checkpoint.clone();
    let source = Box::new(Slow(0, Duration::from_millis(100)));
    let pipeline = Pipeline::new(Bench::stream(), source, bench.sink.clone(), checkpoint);
    let stop = sleep(Duration::from_secs(60));
    let summary = pipeline.run(stop).await.unwrap();
    assert!((50..=60).contains(&summary.batches), "{summary:?}");
    assert!(summary.interrupted);
    let saved: u32 = bench.saved().await.unwrap().parse().unwrap();
    assert!(saved >= 598, "a stop loses no progress: {saved}");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_told_again_what_was_saved_before_a_crash() {
    let bench = Bench::new(vec![]);
    bench.pipeline(vec![batch(7, "a")]).run(pending()).await.unwrap();
    bench.log.0.lock().unwrap().clear();
    bench.pipeline(vec![]).run(pending()).await.unwrap();
    assert_eq!(bench.log.lines(), ["open 7", "committed 7", "read"]);
}

#[tokio::test(start_paused = true)]
async fn each_event_is_judged_alone_and_only_what_may_pass_is_sent_again() {
    let bench = Bench::new(vec![
        refuses(vec![
            failing(3, ErrorKind::Unavailable),
            failing(0, ErrorKind::Rejected),
            failing(1, ErrorKind::RateLimited),
        ]),
        refuses(vec![failing(0, ErrorKind::RateLimited)]),
    ]);
    let summary = bench.pipeline(vec![batch(1, "a b c d e")]).run(pending()).await.unwrap();
    let writes: Vec<_> =
        bench.log.lines().into_iter().filter(|l| l.starts_with("write ")).collect();
    assert_eq!(writes, ["write a b c d e", "write b d", "write b"]);
    assert_eq!((summary.delivered, summary.dead_lettered, summary.retries), (4, 1, 2));
    assert!(summary.balances());
    let letters = bench.letters.letters();
    assert_eq!(letters[0].id().as_str(), "a");
    assert_eq!((letters[0].kind, letters[0].attempts), (ErrorKind::Rejected, 1));
}

#[tokio::test(start_paused = true)]
async fn one_event_that_keeps_failing_makes_way_when_its_time_is_over() {
    let always = |_| refuses(vec![failing(0, ErrorKind::Unavailable)]);
    let bench = Bench::new((0..5).map(always).collect());
    let policy = RetryPolicy::default().max_attempts(5);
    let summary = bench
        .pipeline(vec![batch(1, "a b"), batch(2, "c")])
        .retry(policy)
        .run(pending())
        .await
        .unwrap();
    assert_eq!((summary.delivered, summary.dead_lettered), (2, 1));
    assert_eq!(bench.letters.letters()[0].attempts, 5);
    assert_eq!(bench.saved().await.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_stops_the_run_and_buries_nothing() {
    let bench = Bench::new((0..9).map(|_| fails(ErrorKind::Unavailable)).collect());
    let pipeline = bench.pipeline(vec![batch(1, "a")]);
    let policy = RetryPolicy::default().max_attempts(4);
    let stopped = pipeline.retry(policy).run(pending()).await.unwrap_err();
    assert_eq!(stopped.error.kind(), ErrorKind::Unavailable);
    assert_eq!((stopped.summary.read, bench.letters.letters().len()), (0, 0));
    assert_eq!(bench.saved().await, None);
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_sink_asks() {
    let after = Retry::After(Duration::from_secs(77));
    let limited = Error::new(ErrorKind::RateLimited, "scripted").with_retry(after);
    let bench = Bench::new(vec![Answer::Says(Err(limited))]);
    let summary = bench.pipeline(vec![batch(1, "a")]).run(pending()).await.unwrap();
    assert!(summary.elapsed >= Duration::from_secs(77), "{:?}", summary.elapsed);
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_the_first_bad_record_stops_the_run() {
    let bench = Bench::new(vec![refuses(vec![failing(1, ErrorKind::Rejected)])]);
    let stopped = bench.bare(vec![batch(1, "a b")]).run(pending()).await.unwrap_err();
    assert_eq!(stopped.error.kind(), ErrorKind::Rejected);
    assert!(stopped.error.to_string().contains("(id: b)"), "{}", stopped.error);
    assert_eq!(bench.saved().await, None);

    let error = Error::new(ErrorKind::InvalidData, "broken");
    let Ok(Read::Batch(mut bad)) = batch(1, "a") else { unreachable!() };
    bad.rejected.push(DeadLetter::record(EventId::new("x"), "{", &error));
    let bench = Bench::new(vec![]);
    let stopped = bench.bare(vec![Ok(Read::Batch(bad))]).run(pending()).await.unwrap_err();
    assert_eq!(stopped.error.kind(), ErrorKind::Rejected);
    assert_eq!(bench.saved().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_books_balance_with_every_fate_at_once() {
    let mut written = Written::all();
    written.duplicates.push(1);
    written.failures.push(failing(2, ErrorKind::Rejected));
    let bench = Bench::new(vec![Answer::Says(Ok(written))]);
    let error = Error::new(ErrorKind::InvalidData, "broken");
    let Ok(Read::Batch(mut batch)) = batch(1, "a b c skip") else { unreachable!() };
    batch.rejected.push(DeadLetter::record(EventId::new("x"), "{", &error));
    let summary = bench
        .pipeline(vec![Ok(Read::Batch(batch))])
        .filter(|event| event.id.as_str() != "skip")
        .run(pending())
        .await
        .unwrap();
    let Summary { read, delivered, duplicates, dead_lettered, filtered, .. } = summary;
    assert_eq!((read, delivered, duplicates, dead_lettered, filtered), (5, 1, 1, 2, 1));
    assert!(summary.balances());
}

#[tokio::test(start_paused = true)]
async fn m03_records_of_another_form_are_delivered_and_counted() {
    let drifted = |n, ids, field| {
        let Ok(Read::Batch(mut batch)) = batch(n, ids) else { unreachable!() };
        batch.events.iter_mut().for_each(|event| event.drift = field);
        Ok(Read::Batch(batch))
    };
    let reads = vec![drifted(1, "a b", Some("time")), drifted(2, "c", None), batch(3, "d")];
    let bench = Bench::new(vec![]);
    let summary = bench.pipeline(reads).run(pending()).await.unwrap();
    assert_eq!((summary.delivered, summary.drifted), (4, 2));
    assert!(summary.balances());
}

#[tokio::test(start_paused = true)]
async fn a_report_that_does_not_fit_stops_the_run() {
    let reports = [(vec![9], vec![]), (vec![0, 0], vec![]), (vec![0], vec![0]), (vec![], vec![2])];
    for (failures, duplicates) in reports {
        let failures = failures.into_iter().map(|i| failing(i, ErrorKind::Timeout)).collect();
        let report = Written { duplicates, failures };
        let bench = Bench::new(vec![Answer::Says(Ok(report))]);
        let stopped = bench.pipeline(vec![batch(1, "a b")]).run(pending()).await.unwrap_err();
        assert_eq!(stopped.error.kind(), ErrorKind::Unexpected);
        assert_eq!(bench.saved().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_opened_again_at_what_is_saved() {
    let bench = Bench::new(vec![]);
    let gone = || Err(Error::new(ErrorKind::Unavailable, "scripted"));
    let reads = vec![batch(1, "a"), gone(), gone(), batch(2, "b")];
    let summary = bench.pipeline(reads).run(pending()).await.unwrap();
    assert_eq!((summary.delivered, summary.retries), (2, 2));
    let opens: Vec<_> = bench.log.lines().into_iter().filter(|l| l.starts_with("open")).collect();
    assert_eq!(opens, ["open -", "open 1", "open 1"]);

    let refused = Err(Error::new(ErrorKind::Auth, "scripted"));
    let bench = Bench::new(vec![]);
    let stopped = bench.pipeline(vec![batch(1, "a"), refused]).run(pending()).await.unwrap_err();
    assert_eq!(stopped.error.kind(), ErrorKind::Auth);
    assert_eq!(stopped.summary.delivered, 1, "what was read before is delivered");
}

#[tokio::test(start_paused = true)]
async fn a_second_runner_is_fenced_by_the_revision() {
    let bench = Bench::new(vec![Answer::Hangs(Duration::from_secs(5))]);
    let checkpoint = Arc::clone(&bench.checkpoint);
    let rival = async move {
        sleep(Duration::from_secs(1)).await;
        let cursor = Cursor::encode("script", 1, &5).unwrap();
        checkpoint.save(&Bench::stream(), &cursor, None).await.unwrap();
    };
    let (result, ()) = tokio::join!(bench.pipeline(vec![batch(1, "a")]).run(pending()), rival);
    assert_eq!(result.unwrap_err().error.kind(), ErrorKind::Conflict);
    assert_eq!(bench.saved().await.as_deref(), Some("5"));
    assert!(!bench.log.lines().iter().any(|line| line.starts_with("committed")));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_waiting_and_abandons_what_could_not_be_finished() {
    let bench = Bench::new((0..99).map(|_| fails(ErrorKind::Unavailable)).collect());
    let stop = sleep(Duration::from_secs(3));
    let summary = bench.pipeline(vec![batch(1, "a")]).run(stop).await.unwrap();
    assert!(summary.interrupted && summary.read == 0 && summary.balances());
    assert!(summary.elapsed < Duration::from_secs(4), "{:?}", summary.elapsed);
    assert_eq!(bench.saved().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_write_in_flight_finish_but_not_for_ever() {
    let stop = || sleep(Duration::from_secs(1));
    let bench = Bench::new(vec![Answer::Hangs(Duration::from_secs(10))]);
    let reads = || vec![batch(1, "a"), batch(2, "b")];
    let summary = bench.pipeline(reads()).run(stop()).await.unwrap();
    assert_eq!((summary.delivered, summary.interrupted), (1, true));
    assert_eq!(bench.saved().await.as_deref(), Some("1"), "the second was never written");

    let bench = Bench::new(vec![Answer::Hangs(Duration::from_secs(1000))]);
    let summary = bench.pipeline(reads()).run(stop()).await.unwrap();
    assert_eq!((summary.delivered, summary.interrupted), (0, true));
    assert_eq!(summary.elapsed.as_secs(), 31);
    assert_eq!(bench.saved().await, None);
}

/// A place that does not answer.
struct Silent;

#[async_trait]
impl Source for Silent {
    async fn open(&mut self, _: Option<&Cursor>) -> Result<()> {
        pending().await
    }

    async fn read(&mut self, _: Limit) -> Result<Read> {
        pending().await
    }

    async fn check(&mut self) -> Result<()> {
        pending().await
    }
}

#[async_trait]
impl Checkpoint for Silent {
    async fn load(&self, _: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        pending().await
    }

    async fn save(&self, _: &StreamId, _: &Cursor, _: Option<Revision>) -> Result<Revision> {
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_nobody_who_does_not_answer_at_the_start() {
    let bench = Bench::new(vec![]);
    let memory: Arc<dyn Checkpoint> = Arc::clone(&bench.checkpoint) as _;
    for checkpoint in [memory, Arc::new(Silent)] {
        let sink = Arc::clone(&bench.sink) as Arc<dyn Sink>;
        let pipeline = Pipeline::new(Bench::stream(), Box::new(Silent), sink, checkpoint);
        let summary = pipeline.run(sleep(Duration::from_secs(1))).await.unwrap();
        assert!(summary.interrupted && summary.elapsed < Duration::from_secs(2), "{summary:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn follows_through_idle_times_until_stopped() {
    let idle = || Ok(Read::Idle(Duration::from_secs(5)));
    let bench = Bench::new(vec![]);
    let reads = || vec![batch(1, "a"), idle(), idle(), batch(2, "b"), idle(), idle(), idle()];
    let stop = sleep(Duration::from_secs(12));
    let summary = bench.pipeline(reads()).follow(true).run(stop).await.unwrap();
    assert_eq!((summary.delivered, summary.interrupted), (2, true));

    let bench = Bench::new(vec![]);
    let summary = bench.pipeline(reads()).run(pending()).await.unwrap();
    assert_eq!((summary.delivered, summary.interrupted), (1, false), "idle is the end of one run");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing_anywhere() {
    let bench = Bench::new(vec![]);
    let summary =
        bench.pipeline(vec![batch(1, "a b"), batch(2, "c")]).dry_run(true).run(pending()).await;
    assert_eq!(summary.unwrap().delivered, 3);
    assert_eq!(bench.log.lines(), ["open -", "read", "read", "read"]);
    assert_eq!(bench.saved().await, None);
    assert!(!*bench.sink.closed.lock().unwrap());
}

/// Fails the first puts, as a full disk does.
struct FullAtFirst(Mutex<u32>, MemoryDeadLetters);

#[async_trait]
impl DeadLetters for FullAtFirst {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        let full = {
            let mut left = self.0.lock().unwrap();
            let full = *left > 0;
            *left = left.saturating_sub(1);
            full
        };
        if full {
            return Err(Error::new(ErrorKind::Unavailable, "no space left on device"));
        }
        self.1.put(letters).await
    }
}

#[tokio::test(start_paused = true)]
async fn s09_a_full_dead_letter_disk_holds_everything_up_and_drops_nothing() {
    let bench = Bench::new(vec![refuses(vec![failing(0, ErrorKind::Rejected)])]);
    let store = Arc::new(FullAtFirst(Mutex::new(3), MemoryDeadLetters::new()));
    let pipeline = bench.bare(vec![batch(1, "a")]);
    let summary = pipeline.dead_letters(Arc::clone(&store) as _).run(pending()).await.unwrap();
    assert_eq!((summary.dead_lettered, summary.retries), (1, 3));
    assert_eq!(store.1.letters().len(), 1);
}

/// Saves, but loses the answer of the first save.
#[derive(Default)]
struct LostAnswer(MemoryCheckpoint, Mutex<bool>);

#[async_trait]
impl Checkpoint for LostAnswer {
    async fn load(&self, stream: &StreamId) -> Result<Option<(Cursor, Revision)>> {
        self.0.load(stream).await
    }

    async fn save(
        &self,
        stream: &StreamId,
        cursor: &Cursor,
        after: Option<Revision>,
    ) -> Result<Revision> {
        let saved = self.0.save(stream, cursor, after).await?;
        if std::mem::replace(&mut *self.1.lock().unwrap(), true) {
            return Ok(saved);
        }
        Err(Error::new(ErrorKind::Timeout, "scripted"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_whose_answer_was_lost_is_not_taken_for_a_rivals() {
    let bench = Bench::new(vec![]);
    let source = Box::new(Script {
        log: bench.log.clone(),
        reads: vec![batch(1, "a"), batch(2, "b")].into(),
    });
    let checkpoint = Arc::new(LostAnswer::default());
    let sink = Arc::clone(&bench.sink) as Arc<dyn Sink>;
    let pipeline = Pipeline::new(Bench::stream(), source, sink, checkpoint);
    let summary = pipeline.run(pending()).await.unwrap();
    assert_eq!((summary.delivered, summary.batches, summary.retries), (2, 2, 1));
}

/// Hands out numbered events for ever, as many at a time as asked for.
struct Counting {
    log: Log,
    next: u32,
}

#[async_trait]
impl Source for Counting {
    async fn open(&mut self, _: Option<&Cursor>) -> Result<()> {
        Ok(())
    }

    async fn read(&mut self, limit: Limit) -> Result<Read> {
        self.log.push(format!("read {}", limit.max_events));
        let first = self.next;
        self.next += limit.max_events as u32;
        let ids: Vec<_> = (first..self.next).map(|n| n.to_string()).collect();
        batch(self.next, &ids.join(" "))
    }

    async fn committed(&mut self, _: &Cursor) -> Result<()> {
        Ok(())
    }

    async fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_run_counts_what_is_in_the_sink_and_not_what_was_tried() {
    let refused = |n| failing(n, ErrorKind::Rejected);
    let duplicate = Written { duplicates: vec![0], failures: vec![] };
    let bench = Bench::new(vec![
        refuses(vec![refused(0), refused(1)]),
        refuses(vec![refused(0)]),
        Answer::Says(Ok(duplicate)),
    ]);
    let source = Box::new(Counting { log: bench.log.clone(), next: 0 });
    let sink = Arc::clone(&bench.sink) as Arc<dyn Sink>;
    let summary = Pipeline::new(Bench::stream(), source, sink, Arc::clone(&bench.checkpoint) as _)
        .dead_letters(Arc::clone(&bench.letters) as _)
        .limit(Limit::default().events(2))
        .max_events(3)
        .follow(true)
        .run(pending())
        .await
        .unwrap();
    // Two fail; one of the next one's fails; the last ones are read only when that is known.
    assert_eq!((summary.delivered, summary.duplicates, summary.dead_lettered), (2, 1, 3));
    assert!(summary.balances() && !summary.interrupted);
    let reads: Vec<_> = bench.log.lines().into_iter().filter(|l| l.starts_with("read")).collect();
    assert_eq!(reads, ["read 2", "read 1", "read 2", "read 1"]);
}
