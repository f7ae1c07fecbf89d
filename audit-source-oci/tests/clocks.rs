//! Whose clock counts, and what a wrong one may do.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use audit_core::{ErrorKind, Limit, Source};
use chrono::TimeDelta;

use common::{TENANCY, drain, ids, january, record, source, time};

#[tokio::test]
async fn d16_an_event_dated_in_the_future_moves_nothing() {
    let (fake, config) = january(3);
    let odd = time("2024-01-05T00:00:00Z");
    fake.add(TENANCY, odd, record("future", "X", odd + TimeDelta::days(3650)));
    let (batches, end) = drain(&mut source(&fake, &config), None).await;
    end.unwrap();
    assert_eq!(ids(&batches).len(), 4);
}

#[tokio::test]
async fn d18_settling_goes_by_the_services_clock() {
    let (fake, mut config) = january(0);
    config.start = Some(time("2024-03-01T11:00:00Z"));
    config.end = None;
    config.settle = Duration::from_secs(600);
    config.concurrency = 1;
    // The service is four minutes behind: what it will have processed by then is not all there.
    fake.lock().ahead = -240;
    let mut source = source(&fake, &config);
    let (_, end) = drain(&mut source, None).await;
    end.unwrap();
    fake.lock().now += TimeDelta::minutes(10);
    drop(source.read(Limit::default()).await.unwrap());
    let last = fake.windows().last().unwrap().1;
    assert_eq!(last, time("2024-03-01T11:56:00Z"), "12:10, less 4 and 10 minutes");
}

/// A date that is not the service's own, such as a proxy's, would close time that is still to come.
#[tokio::test]
async fn d18_a_date_that_cannot_be_the_services_is_not_believed() {
    for ahead in [-86_400, 86_400, 100 * 366 * 86_400] {
        let (fake, mut config) = january(0);
        config.start = Some(time("2024-03-01T11:00:00Z"));
        config.end = None;
        fake.lock().open = true;
        fake.lock().ahead = ahead;
        let mut source = source(&fake, &config);
        let (_, end) = drain(&mut source, None).await;
        end.unwrap();
        fake.lock().now += TimeDelta::minutes(1);
        drop(source.read(Limit::default()).await.unwrap());
        let last = fake.windows().last().unwrap().1;
        assert_eq!(last, time("2024-03-01T12:01:00Z"), "{ahead}");
    }
}

#[tokio::test]
async fn n06_a_clock_that_is_wrong_is_explained() {
    let (fake, config) = january(1);
    fake.lock().ahead = 754;
    let (_, end) = drain(&mut source(&fake, &config), None).await;
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(error.hint().unwrap().contains("12m 34s behind"), "{:?}", error.hint());
}
