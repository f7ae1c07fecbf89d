//! Against a real organisation, which only reads. `AUDIT_TEST_PORT_CLIENT_ID` and
//! `AUDIT_TEST_PORT_CLIENT_SECRET` name an admin's credential pair, `AUDIT_TEST_PORT_URL` the region (`eu`
//! unless set); without them this is skipped.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a step that fails is a failed test")]

mod common;

use std::collections::BTreeSet;

use audit_core::{Clock, ErrorKind, Secret, Source};
use audit_source_port::{PortConfig, PortSource};
use chrono::TimeDelta;
use common::{Got, drain};

fn config() -> Option<PortConfig> {
    let variable = |name: &str| std::env::var(format!("AUDIT_TEST_PORT_{name}")).ok();
    let (Some(id), Some(secret)) = (variable("CLIENT_ID"), variable("CLIENT_SECRET")) else {
        println!("skipped: no credentials");
        return None;
    };
    let mut config = PortConfig::new(id, Secret::new(secret));
    config.url = variable("URL").unwrap_or_else(|| "eu".to_owned());
    Some(config)
}

/// The same week with large and with small answers: the same records, each once.
#[tokio::test]
async fn a_week_is_the_same_however_it_is_asked_for() {
    let Some(mut config) = config() else { return };
    let now = Clock::system().now();
    config.from = Some(now - TimeDelta::days(8));
    config.to = Some(now - TimeDelta::days(1));
    let mut seen: Option<BTreeSet<String>> = None;
    for limit in [1000, 20] {
        config.limit = limit;
        let mut source = PortSource::new(config.clone()).unwrap();
        source.check().await.unwrap();
        source.open(None).await.unwrap();
        let mut got = Got::default();
        drain(&mut source, &mut got).await.unwrap();
        let ids: BTreeSet<_> = got.ids().into_iter().map(str::to_owned).collect();
        assert_eq!(ids.len(), got.events.len());
        assert_eq!(*seen.get_or_insert(ids.clone()), ids);
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let Some(mut config) = config() else { return };
    config.client_secret = Some(Secret::new("wrong"));
    let error = PortSource::new(config).unwrap().check().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false), "{error}");
}
