//! Whose a stream is, within one process.

use std::time::Duration;

use audit_core::{Checkpoint, Cursor, ErrorKind, Revision, StreamId};
use audit_source_sql::SqlCheckpoint;

use crate::place::{Kind, Place};

fn orders() -> StreamId {
    "orders".parse().unwrap()
}

fn cursor(n: u32) -> Cursor {
    Cursor::encode("test", 1, &n).unwrap()
}

fn with_lease(place: &Place, seconds: u64) -> SqlCheckpoint {
    let mut config = place.config();
    config.lease = Duration::from_secs(seconds);
    SqlCheckpoint::new(config).unwrap()
}

#[tokio::test]
async fn of_two_that_live_the_second_ends_as_soon_as_it_sees_the_first_renew() {
    for place in Place::all() {
        let [first, second] = [3, 3].map(|seconds| with_lease(&place, seconds));
        assert_eq!(first.load(&orders()).await.unwrap(), None);
        let error = second.load(&orders()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{:?}: {error:?}", place.kind);
        assert!(!error.is_retryable());
        let error = second.save(&orders(), &cursor(1), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        // And the first is not disturbed, nor is another stream.
        first.save(&orders(), &cursor(1), None).await.unwrap();
        assert_eq!(second.load(&"other".parse().unwrap()).await.unwrap(), None);
        assert_eq!(second.peek(&orders()).await.unwrap(), Some((cursor(1), Revision(1))));
        first.release().await.unwrap();
        second.release().await.unwrap();
        place.done().await;
    }
}

#[tokio::test]
async fn what_is_given_back_is_taken_at_once() {
    for place in Place::all() {
        let checkpoint = || with_lease(&place, 600);
        let first = checkpoint();
        let revision = first.save(&orders(), &cursor(1), None).await.unwrap();
        first.release().await.unwrap();
        let second = checkpoint();
        assert_eq!(second.load(&orders()).await.unwrap(), Some((cursor(1), revision)));
        // Whoever gave it back takes it again only when it is free.
        let error = first.save(&orders(), &cursor(2), Some(revision)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{:?}", place.kind);
        // Dropping it gives it back too, soon.
        drop(second);
        let third = checkpoint();
        let load = tokio::time::timeout(Duration::from_secs(60), async {
            third.load(&orders()).await.unwrap()
        });
        let (_, revision) = load.await.unwrap().unwrap();
        third.save(&orders(), &cursor(2), Some(revision)).await.unwrap();
        third.release().await.unwrap();
        place.done().await;
    }
}

#[tokio::test]
async fn a_save_that_is_dropped_took_effect_or_did_not() {
    for place in Place::all() {
        let checkpoint = place.checkpoint();
        let mut revision = checkpoint.save(&orders(), &cursor(0), None).await.unwrap();
        for n in 1..20 {
            let (stream, next) = (orders(), cursor(n));
            let save = checkpoint.save(&stream, &next, Some(revision));
            _ = tokio::time::timeout(Duration::from_micros(u64::from(n) * 100), save).await;
            revision = match checkpoint.save(&orders(), &next, Some(revision)).await {
                Ok(revision) => revision,
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Conflict, "{:?}: {e:?}", place.kind);
                    let (found, revision) = checkpoint.load(&orders()).await.unwrap().unwrap();
                    assert_eq!(found, next);
                    revision
                }
            };
        }
        assert_eq!(revision, Revision(20));
        checkpoint.release().await.unwrap();
        place.done().await;
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_lost_connection_costs_neither_lease_nor_revision() {
    let Some(place) = Place::new(Kind::Postgres) else { return };
    let checkpoint = place.checkpoint();
    let revision = checkpoint.save(&orders(), &cursor(1), None).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE query LIKE '%{t}%' AND pid <> pg_backend_pid()";
    place.run(cut).await;
    let error = checkpoint.save(&orders(), &cursor(2), Some(revision)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let saved = checkpoint.save(&orders(), &cursor(2), Some(revision)).await.unwrap();
    assert_eq!(saved, Revision(2));
    checkpoint.release().await.unwrap();
    place.done().await;
}

#[tokio::test]
async fn a_damaged_row_is_set_by_hand_when_nobody_holds_it() {
    for place in Place::all() {
        let (runner, person) = (with_lease(&place, 600), with_lease(&place, 600));
        runner.save(&orders(), &cursor(1), None).await.unwrap();
        let error = person.set(&orders(), &cursor(7)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        runner.release().await.unwrap();
        place.run("UPDATE {t} SET position = '{', format = 9").await;
        assert_eq!(person.peek(&orders()).await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(person.set(&orders(), &cursor(7)).await.unwrap(), Revision(2));
        person.release().await.unwrap();
        assert_eq!(runner.load(&orders()).await.unwrap(), Some((cursor(7), Revision(2))));
        runner.release().await.unwrap();
        place.done().await;
    }
}

#[tokio::test]
async fn a_look_makes_neither_table_nor_file() {
    for place in Place::all() {
        let checkpoint = place.checkpoint();
        for _ in 0..2 {
            checkpoint.check().await.unwrap();
            assert_eq!(checkpoint.peek(&orders()).await.unwrap(), None);
        }
        if place.kind == Kind::Sqlite {
            assert!(!std::path::Path::new(&place.url).exists());
        } else {
            place.run("CREATE TABLE {t} (n int)").await; // there was none
        }
        place.done().await;
    }
}

#[tokio::test]
async fn several_that_start_at_once_make_one_table() {
    for place in Place::all() {
        let all = [(); 4].map(|()| place.checkpoint());
        let [a, b, c, d] = &all;
        let [w, x, y, z] = ["w", "x", "y", "z"].map(|name| name.parse::<StreamId>().unwrap());
        let loads = tokio::try_join!(a.load(&w), b.load(&x), c.load(&y), d.load(&z));
        loads.unwrap_or_else(|e| panic!("{:?}: {e:?}", place.kind));
        place.done().await;
    }
}

#[tokio::test]
async fn wrong_places_are_named_without_their_password() {
    for place in Place::all() {
        let mut config = place.config();
        match place.kind {
            Kind::Sqlite => config.url = audit_core::Secret::new("/nowhere/at/all/state.db"),
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            _ => config.password = Some(audit_core::Secret::new("canary")),
        }
        let checkpoint = SqlCheckpoint::new(config).unwrap();
        let error = checkpoint.check().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Auth), "{error:?}");
        assert!(!format!("{error} {error:?} {checkpoint:?}").contains("canary"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_of_sqlite_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new(Kind::Sqlite).unwrap();
    place.checkpoint().save(&orders(), &cursor(1), None).await.unwrap();
    assert_eq!(std::fs::metadata(&place.url).unwrap().permissions().mode() & 0o777, 0o600);
}
