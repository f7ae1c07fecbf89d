//! A stand-in for OCI Audit, for measuring: it checks every signature and makes events as they are asked
//! for.
//!
//! `cargo run --release -p audit-source-oci --example fake_oci -- 127.0.0.1:8123 20000 304 100 20`
//!
//! The arguments: address, number of events, the days over which they are spread (back from now),
//! events a page, milliseconds a request, and `open` if nothing needs a signature. It writes the options
//! of a source to stdout.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example shows what it does")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Duration;

use chrono::TimeDelta;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8123".to_owned());
    let mut number = |default: i64| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (events, days, page, latency) = (number(20_000), number(304), number(100), number(0));
    let open = arguments.next().is_some_and(|word| word == "open");
    common::KEY_BITS.store(2048, std::sync::atomic::Ordering::SeqCst);
    let fake = common::Fake::start_at(&address);
    let to = {
        let mut service = fake.lock();
        service.real_time = true;
        service.now = audit_core::Clock::system().now();
        let to = service.now - TimeDelta::hours(1);
        service.records.make(to - TimeDelta::days(days), to, events, 1700);
        service.open = open;
        service.longest = TimeDelta::days(400);
        service.page_events = page.try_into().unwrap();
        service.latency = Duration::from_millis(latency.try_into().unwrap());
        to
    };
    let from = to - TimeDelta::days(days);
    let config = fake.config();
    println!("type = \"oci\"");
    for (name, value) in [
        ("tenancy", config.tenancy),
        ("user", config.user),
        ("fingerprint", config.fingerprint),
        ("region", config.region),
        ("endpoint", config.endpoint),
        ("identity_endpoint", config.identity_endpoint),
        ("start", Some(from.to_rfc3339())),
        ("end", Some(to.to_rfc3339())),
        ("settle", Some("0s".to_owned())),
    ] {
        println!("{name} = \"{}\"", value.unwrap());
    }
    println!("key = '''\n{}'''", common::key().pem());
    loop {
        std::thread::park();
    }
}
