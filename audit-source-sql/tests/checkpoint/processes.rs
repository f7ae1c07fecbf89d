//! Processes of their own, which are killed, stopped and set against each other. Each is this test
//! program, started again for one test, `runner`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use audit_core::{Checkpoint, Cursor, ErrorKind, StreamId};
use audit_source_sql::{SqlCheckpoint, SqlCheckpointConfig};

use crate::place::{Kind, Place};

const PLACE: &str = "AUDIT_TEST_CHECKPOINT_PLACE";

fn orders() -> StreamId {
    "orders".parse().unwrap()
}

fn cursor(n: u64) -> Cursor {
    Cursor::encode("test", 1, &n).unwrap()
}

/// Counts on from where the stream stands, and says each number before and after it is saved.
#[tokio::test]
#[ignore = "started by the others"]
#[allow(clippy::print_stdout, reason = "the other process reads it")]
async fn runner() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let (url, table) = place.split_once('\n').unwrap();
    let mut config = SqlCheckpointConfig::new(url);
    (config.table, config.lease) = (table.to_owned(), Duration::from_secs(2));
    let checkpoint = SqlCheckpoint::new(config).unwrap();
    let saved = match checkpoint.load(&orders()).await {
        Err(e) if e.kind() == ErrorKind::Conflict => return println!("\nconflict"),
        saved => saved.unwrap(),
    };
    let (mut n, mut revision) = match saved {
        Some((cursor, revision)) => (cursor.decode("test", 1).unwrap(), Some(revision)),
        None => (0, None),
    };
    println!("\nloaded {n}");
    loop {
        n += 1;
        match checkpoint.save(&orders(), &cursor(n), revision).await {
            Ok(next) => revision = Some(next),
            Err(e) if e.kind() == ErrorKind::Conflict => return println!("\nconflict"),
            // SQLite makes a second writer wait, perhaps for too long.
            Err(e) if e.is_retryable() => {
                n -= 1;
                continue;
            }
            Err(e) => panic!("{e:?}"),
        }
        println!("\nsaved {n}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Runner {
    child: Child,
    says: Receiver<String>,
    /// The last number that it said was saved.
    saved: u64,
}

impl Runner {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::runner", "--ignored", "--nocapture"])
            .env(PLACE, format!("{}\n{}", place.url, place.table))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, says) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let of_ours = ["loaded ", "saved ", "conflict"];
                if of_ours.iter().any(|word| line.starts_with(word)) && send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, says, saved: 0 }
    }

    /// Returns what it says next.
    fn next(&mut self) -> String {
        let line = self.says.recv_timeout(Duration::from_secs(30)).unwrap();
        self.note(&line);
        line
    }

    fn note(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("saved ") {
            self.saved = number.parse().unwrap();
        }
    }

    /// Waits until it has saved so many more from now on.
    fn saves(&mut self, more: u64) {
        while let Ok(line) = self.says.try_recv() {
            self.note(&line);
        }
        let until = self.saved + more;
        while self.saved < until {
            let line = self.next();
            assert!(line.starts_with("saved "), "{line}");
        }
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Kills it, and returns the last number that it said was saved.
    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Ok(line) = self.says.recv() {
            self.note(&line);
        }
        self.saved
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs a test in these places at once.
fn at_each(places: impl Iterator<Item = Place>, test: impl Fn(&Place) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for place in places {
            scope.spawn(move || {
                test(&place);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(place.done());
            });
        }
    });
}

#[test]
fn whoever_follows_a_killed_process_goes_on_from_its_last_save() {
    at_each(Place::all(), |place| {
        let mut least = 0;
        for saves in [1, 20] {
            // This waits for the lease of the one before.
            let mut runner = Runner::start(place);
            let loaded = runner.next();
            let loaded: u64 = loaded.strip_prefix("loaded ").unwrap().parse().unwrap();
            assert!((least..=least + 1).contains(&loaded), "{loaded} after {least}");
            runner.saves(saves);
            least = runner.kill();
        }
    });
}

#[test]
fn of_two_processes_on_one_stream_one_ends_and_the_other_goes_on() {
    at_each(Place::all(), |place| {
        let mut first = Runner::start(place);
        assert_eq!(first.next(), "loaded 0");
        let mut second = Runner::start(place);
        assert_eq!(second.next(), "conflict");
        first.saves(2);
    });
}

#[cfg(unix)]
#[test]
fn a_process_that_slept_through_its_lease_is_fenced() {
    // One that sleeps while it writes keeps the lock of an SQLite file.
    let places = Place::all().filter(|place| place.kind != Kind::Sqlite);
    at_each(places, |place| {
        let mut sleeper = Runner::start(place);
        assert_eq!(sleeper.next(), "loaded 0");
        sleeper.saves(1);
        sleeper.signal("-STOP");
        let mut second = Runner::start(place);
        assert!(second.next().starts_with("loaded "));
        second.saves(1);
        sleeper.signal("-CONT");
        loop {
            let says = sleeper.next();
            if says == "conflict" {
                break;
            }
            // What it had said before it slept.
            assert!(says.starts_with("saved "), "{says}");
        }
        second.saves(2);
    });
}
