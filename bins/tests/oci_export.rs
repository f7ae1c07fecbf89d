//! `oci-export` in the place of the script it replaces, against a strict stand-in for the service.

#![cfg(all(feature = "source-oci", feature = "sink-file"))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "common/oci.rs"]
mod oci;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::Ran;
use oci::fake::{Fake, Fault, REGION, TENANCY, USER};
use oci::records::record;
use oci::verify::key;
use serde_json::Value;
use tempfile::TempDir;

/// The first day of what is exported.
fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A service, and a directory with a profile to log in with.
struct Site {
    fake: Fake,
    dir: TempDir,
}

impl Site {
    /// A service with so many events, one an hour.
    fn new(events: i64) -> Self {
        let site = Self { fake: Fake::start(), dir: tempfile::tempdir().unwrap() };
        site.fake.lock().real_time = true;
        site.fake.lock().page_events = 10;
        for n in 0..events {
            let time = start() + TimeDelta::hours(n);
            site.fake.add(TENANCY, time, record(&format!("e{n}"), "GetInstance", time));
        }
        let profile = format!(
            "[DEFAULT]\ntenancy={TENANCY}\nregion={REGION}\n[AUDIT]\nuser={USER}\n\
             fingerprint={}\nkey_file={}\n",
            key().fingerprint(),
            site.path("key.pem").display()
        );
        fs::write(site.path("key.pem"), key().pem()).unwrap();
        fs::write(site.path("config"), profile).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command line of old: January, whole.
    fn command(&self, file: &str, more: &[&str]) -> Command {
        self.command_at(&self.fake.address.to_string(), file, more)
    }

    /// The same, with the service at another host.
    fn command_at(&self, host: &str, file: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oci-export"));
        command
            .args(["--startdate", "2026-01-01", "--enddate", "2026-01-31"])
            .args(["--profilename", "AUDIT", "--ociconfig", "config", "--outputfile", file])
            .args(["--eventfilter", TENANCY])
            .args(["--endpoint", &format!("http://{host}/{{region}}")])
            .args(["--identity-endpoint", &format!("http://{host}/{{region}}")])
            .args(more)
            .current_dir(self.dir.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn export(&self, file: &str, more: &[&str]) -> Ran {
        Ran::of(self.command(file, more).output().unwrap())
    }

    /// Returns the ids in an exported array, which has to be valid.
    fn ids(&self, file: &str) -> Vec<String> {
        let text = fs::read(self.path(file)).unwrap();
        let events: Vec<Value> = serde_json::from_slice(&text).unwrap();
        events.iter().map(|e| e["eventId"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn holds_each_once(&self, file: &str, events: i64) {
        let ids = self.ids(file);
        let distinct: BTreeSet<_> = ids.iter().cloned().collect();
        let expected: BTreeSet<_> = (0..events).map(|n| format!("e{n}")).collect();
        assert_eq!(distinct, expected);
        assert_eq!(ids.len(), distinct.len(), "an event is there twice");
    }
}

/// The script wrote two bytes, `[` and a line end, and ended with success.
#[test]
fn exports_every_event_of_the_days_as_received() {
    let site = Site::new(31 * 24 + 5);
    site.export("out.json", &[]).expect(0);
    // The last day is part of it, and the first hour behind it is not.
    site.holds_each_once("out.json", 31 * 24);
    let text = fs::read_to_string(site.path("out.json")).unwrap();
    assert!(text.contains(&record("e0", "GetInstance", start())), "not byte for byte");
    assert!(
        !site.path(".out.json.export").exists() && !site.path("out.json.manifest.json").exists()
    );
    assert!(site.fake.lock().refusals.is_empty(), "{:?}", site.fake.lock().refusals);

    // Again, and it is replaced by one that is as whole.
    site.export("out.json", &["--summary-json"]).expect(0);
    site.holds_each_once("out.json", 31 * 24);
}

#[test]
fn every_format_holds_the_same_events() {
    let site = Site::new(25);
    site.export("out.ndjson", &[]).expect(0);
    assert_eq!(fs::read_to_string(site.path("out.ndjson")).unwrap().lines().count(), 25);
    let ran = site.export("-", &[]).expect(0);
    assert_eq!(ran.out, fs::read_to_string(site.path("out.ndjson")).unwrap());
    site.export("out.csv", &[]).expect(0);
    let csv = fs::read_to_string(site.path("out.csv")).unwrap();
    assert_eq!(csv.lines().count(), 26);
    assert!(csv.starts_with("eventType,cloudEventsVersion,"), "{csv}");
    assert!(csv.contains("data.identity.principalName"));
    site.export("out.json.gz", &[]).expect(0);
    let mut text = String::new();
    let file = fs::File::open(site.path("out.json.gz")).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap().len(), 25);
    site.export("none.json", &["--event", "*.NoSuchName"]).expect(0);
    assert!(site.ids("none.json").is_empty());
    site.export("none.csv", &["--event", "*.NoSuchName"]).expect(0);
}

#[test]
fn events_are_chosen_by_name_and_group() {
    let site = Site::new(3);
    let time = start() + TimeDelta::minutes(1);
    let login = record("login", "LoginSuccess", time);
    let login = login.replace("com.oraclecloud.ComputeApi.", "com.oraclecloud.identitySignOn.");
    site.fake.add(TENANCY, time, login);
    site.export("login.json", &["--event", "*.LoginSuccess"]).expect(0);
    assert_eq!(site.ids("login.json"), ["login"]);
    site.export("iam.json", &["--preset", "iam"]).expect(0);
    assert_eq!(site.ids("iam.json"), ["login"]);
}

/// As the script wrote them that this program replaces, had it worked.
#[test]
fn keys_are_spelled_as_oracles_sdk_does_in_every_format() {
    let site = Site::new(3);
    let snake = ["--keys", "snake"];
    site.export("out.json", &snake).expect(0);
    let text = fs::read_to_string(site.path("out.json")).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(events[0]["event_id"], "e0");
    assert_eq!(events[0]["data"]["identity"]["principal_name"], "ann@example.com");
    assert_eq!(events[0]["data"]["request"]["headers"]["X-Real-IP"][0], "172.24.80.88");
    assert!(!text.contains("\"eventType\"") && text.contains(r#"{"n" : 1.10,"big""#), "{text}");
    site.export("out.ndjson", &snake).expect(0);
    let lines = fs::read_to_string(site.path("out.ndjson")).unwrap();
    assert!(lines.starts_with(r#"{"event_type":"#) && lines.lines().count() == 3, "{lines}");
    site.export("out.csv", &snake).expect(0);
    let csv = fs::read_to_string(site.path("out.csv")).unwrap();
    assert!(csv.starts_with("event_type,cloud_events_version,"), "{csv}");
    assert!(csv.contains(",data.identity.principal_name,"), "{csv}");
}

/// The service has a name that only the proxy knows, which is the stand-in itself.
#[test]
fn a_proxy_is_taken_from_the_option_or_the_environment() {
    let site = Site::new(3);
    let proxy = format!("http://u:canary@{}", site.fake.address);
    let ran = |proxy: &[(&str, &str)], more: &[&str]| {
        let mut command = site.command_at("audit.invalid", "out.json", more);
        Ran::of(command.envs(proxy.iter().copied()).output().unwrap())
    };
    ran(&[], &["--proxy", &proxy]).expect(0);
    site.holds_each_once("out.json", 3);
    ran(&[("HTTPS_PROXY", &proxy)], &[]).expect(0);
    assert!(site.fake.lock().last_signed[2].contains("audit.invalid"), "not by way of the proxy");
    ran(&[("HTTPS_PROXY", &proxy), ("NO_PROXY", "audit.invalid")], &["--check"]).expect(5);
    let wrong = ran(&[], &["--proxy", "u:canary@proxy"]).expect(3).says("proxy");
    assert!(!wrong.err.contains("canary"), "{}", wrong.err);
}

/// Paths start at the file they stand in; what it does not say comes from the variables of Oracle's
/// own tools.
#[test]
fn audit_run_finds_the_profile_by_path_or_by_variable() {
    let site = Site::new(3);
    let host = site.fake.address;
    let file = |name: &str, profile: &str| {
        let text = format!(
            "[pipelines.{name}.source]\ntype = \"oci\"\nprofile = \"AUDIT\"\n{profile}\n\
             start = \"2026-01-01\"\nend = \"2026-02-01\"\nall_compartments = true\n\
             endpoint = \"http://{host}/{{region}}\"\n\
             identity_endpoint = \"http://{host}/{{region}}\"\n\
             [pipelines.{name}.sink]\ntype = \"file\"\npath = \"{name}.ndjson\"\n"
        );
        fs::write(site.path(&format!("{name}.toml")), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_audit"));
        command.args(["run", "--config"]).arg(site.path(&format!("{name}.toml")));
        command.current_dir("/").env_clear();
        command
    };
    let lines = |name: &str| fs::read_to_string(site.path(name)).unwrap().lines().count();
    Ran::of(file("path", "config_file = \"config\"").output().unwrap()).expect(0);
    assert_eq!(lines("path.ndjson"), 3);
    let mut command = file("variable", "");
    command.env("OCI_CLI_CONFIG_FILE", site.path("config"));
    Ran::of(command.output().unwrap()).expect(0);
    assert_eq!(lines("variable.ndjson"), 3);
    let principal = "auth = \"resource_principal\"";
    let missing = Ran::of(file("principal", principal).output().unwrap());
    missing.expect(3).says("OCI_RESOURCE_PRINCIPAL_RPST");
}

/// A range that could not be read was left out, and the run was a success.
#[test]
fn what_cannot_be_read_fails_the_export_or_is_listed() {
    let site = Site::new(31 * 24);
    let broken = start() + TimeDelta::days(14);
    site.fake.lock().broken = vec![(broken, Fault::Status(400, "InvalidParameter", vec![]), 1000)];
    fs::write(site.path("out.json"), "[\n]\n").unwrap();
    let one = ["--concurrency", "1"];
    site.export("out.json", &one).expect(8).says("2026-01-15");
    assert_eq!(fs::read_to_string(site.path("out.json")).unwrap(), "[\n]\n", "not replaced");

    let allowed = [&one[..], &["--restart", "--allow-gaps"]].concat();
    site.export("out.json", &allowed).expect(10).says("missing:");
    let manifest: Value =
        serde_json::from_slice(&fs::read(site.path("out.json.manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["gaps"][0]["from"], "2026-01-15T00:00:00Z");
    assert_eq!(site.ids("out.json").len(), 31 * 24 - 14 * 24);

    // Whole again, and the manifest is gone.
    site.fake.lock().broken.clear();
    site.export("out.json", &[]).expect(0);
    site.holds_each_once("out.json", 31 * 24);
    assert!(!site.path("out.json.manifest.json").exists());
}

/// What was left out was known to the first process alone, and the second ended with success.
#[test]
fn what_was_left_out_is_listed_by_the_process_that_goes_on_too() {
    let site = Site::new(31 * 24);
    let broken = start() + TimeDelta::days(2);
    let fault = || Fault::Status(400, "InvalidParameter", vec![]);
    site.fake.lock().broken = vec![
        (broken, fault(), 1000),
        (start() + TimeDelta::days(20), Fault::Status(401, "NotAuthenticated", vec![]), 1000),
    ];
    let args = ["--allow-gaps", "--window", "1d", "--concurrency", "1"];
    site.export("out.json", &args).expect(4).says("not published");
    site.fake.lock().broken.clear();
    site.export("out.json", &args).expect(10).says("missing: [2026-01-03T00:00:00Z");
    let manifest = fs::read(site.path("out.json.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["gaps"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["gaps"][0]["from"], "2026-01-03T00:00:00Z");
    assert_eq!(site.ids("out.json").len(), 30 * 24);
}

/// Events show some time after they were processed, and the end was said to be there already.
#[test]
fn a_range_that_is_not_over_is_read_as_far_as_it_has_settled_and_says_so() {
    let site = Site::new(0);
    let now = audit_core::Clock::system().now();
    let at = |minutes| now + TimeDelta::minutes(minutes);
    let text = |minutes| at(minutes).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for minutes in [-50, -12, -1] {
        let event = record(&format!("e{minutes}"), "GetInstance", at(minutes));
        site.fake.add(TENANCY, at(minutes), event);
    }
    let export = |file: &str, from: i64, to: Option<i64>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oci-export"));
        let address = format!("http://{}/{{region}}", site.fake.address);
        command.args(["--profilename", "AUDIT", "--ociconfig", "config", "--outputfile", file]);
        command.args(["--endpoint", &address, "--identity-endpoint", &address]);
        command.args(["--startdate", &text(from)]);
        command.args(to.map(|to| format!("--enddate={}", text(to))));
        Ran::of(command.current_dir(site.path("")).env_clear().output().unwrap())
    };
    for (file, to) in [("future.json", Some(1500)), ("recent.json", Some(0)), ("now.json", None)] {
        let ran = export(file, -60, to).expect(0);
        assert_eq!(site.ids(file), ["e-50", "e-12"], "{file}");
        assert_eq!(ran.err.contains("read up to "), to.is_some(), "{file}: {}", ran.err);
    }
    export("over.json", -60, Some(-11)).expect(0);
    assert_eq!(site.ids("over.json"), ["e-50", "e-12"]);
    export("none.json", -5, None).expect(3).says("settled");
}

/// Every failure ended with exit code 0.
#[test]
fn the_exit_code_says_what_happened() {
    let site = Site::new(1);
    site.export("out.json", &["--profilename", "NONE"]).expect(2);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oci-export"));
        Ran::of(command.args(args).env_clear().current_dir(site.path("")).output().unwrap())
    };
    run(&["--startdate", "yesterday", "--outputfile", "x.json"]).expect(3).says("--startdate");
    run(&["--outputfile", "x.json"]).expect(3).says("--startdate");
    run(&["--startdate", "2026-01-01"]).expect(3).says("--outputfile");
    let login = ["--ociconfig", "config", "--startdate", "2026-01-01", "--outputfile", "x.json"];
    run(&[&login[..], &["--profilename", "NONE"]].concat()).expect(3).says("AUDIT");
    run(&["--startdate", "2026-02-01", "--enddate", "2026-01-01", "--outputfile", "x.json"])
        .expect(3);
    run(&[]).expect(2);
    run(&["--help"]).expect(0);
    let refused = "ocid1.compartment.oc1..unknown";
    let ran = site.export("out.json", &["--compartment", refused]);
    assert!(ran.code != 0 && !site.path("out.json").exists(), "{}", ran.err);
    assert!(!ran.err.contains("PRIVATE KEY"));
}

#[test]
fn an_export_that_was_cut_short_goes_on_and_only_as_it_was_begun() {
    let site = Site::new(31 * 24);
    site.fake.lock().latency = Duration::from_millis(20);
    let mut command = site.command("out.json", &["--window", "1d", "--concurrency", "1", "-q"]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    common::wait_for(|| site.fake.windows().len() > 8);
    child.kill().unwrap();
    child.wait().unwrap();
    site.fake.lock().latency = Duration::ZERO;
    let more = ["--window", "1d", "--concurrency", "1"];
    site.export("out.json", &[&more[..], &["--no-redact"]].concat()).expect(3).says("--restart");
    site.fake.lock().seen.clear();
    site.export("out.json", &more).expect(0).says("going on");
    site.holds_each_once("out.json", 31 * 24);
    let windows = site.fake.windows().len();
    assert!(windows <= 26, "{windows} windows of 31 were fetched again");
}

/// So many kills; more with the environment's `AUDIT_SOAK_ROUNDS`.
const KILLS: u32 = 100;

#[test]
fn killed_at_any_moment_the_array_is_whole_in_the_end() {
    const EVENTS: i64 = 31 * 24;
    let kills = random::rounds(KILLS);
    let site = Site::new(EVENTS);
    site.fake.lock().latency = Duration::from_micros(300);
    let (mut killed, mut exports, mut life) = (0, 0, 60_000);
    for moment in (0..).map(|n: u64| n * 37 % 100) {
        let mut command = site.command("out.json", &["--window", "2d", "--concurrency", "3", "-q"]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(life * moment / 100));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => {
                killed += 1;
                // Nothing comes to its end: on a slow machine lives have to be longer.
                life = if moment >= 50 { (life + life / 4).min(500_000) } else { life };
            }
            Some(code) => {
                assert_eq!(code, 0);
                exports += 1;
                life = (life - life / 10).max(5_000);
                site.holds_each_once("out.json", EVENTS);
            }
        }
        if killed >= kills {
            break;
        }
    }
    site.export("out.json", &["--window", "2d", "--concurrency", "3"]).expect(0);
    site.holds_each_once("out.json", EVENTS);
    println!("killed {killed} times, {exports} exports came to their end between");
    assert!(!site.path(".out.json.export").exists());
}
