//! What is packaged fits the programs: every example of a configuration wires, every unit starts what there is.

#![cfg(all(
    feature = "source-sql-postgres",
    feature = "source-sql-mysql",
    feature = "source-confluent",
    feature = "source-oci",
    feature = "source-port",
    feature = "sink-file",
    feature = "sink-elastic",
    feature = "sink-kafka",
    feature = "sink-report",
    feature = "metrics",
))]
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use audit_bins::config::Config;
use audit_bins::{cli, oci_export, port_to_kafka, sql_to_elastic, wire};
use clap::Parser;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// Returns name and text of each file of a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(packaging().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| endings.iter().any(|ending| path.extension().unwrap() == *ending))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// Puts something in the place of each `${VARIABLE}`.
fn filled_in(text: &str) -> String {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('}').unwrap();
        filled.push_str("dummy");
        filled.push_str(rest);
    }
    filled
}

#[tokio::test]
async fn every_example_of_a_configuration_makes_its_sources_and_sinks() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files("examples", &["toml"]) {
        let path = dir.path().join(&name);
        fs::write(&path, filled_in(&text)).unwrap();
        let config = Config::load(&path).unwrap();
        for (stream, pipeline) in &config.pipelines {
            let wired = wire::source(&pipeline.source)
                .and_then(|_| wire::sink_of(pipeline, stream).map(drop));
            wired.unwrap_or_else(|e| panic!("{name}: {stream}: {e} ({:?})", e.hint()));
        }
    }
}

#[test]
fn no_example_of_a_configuration_holds_a_credential() {
    for (name, text) in files("examples", &["toml"]) {
        for part in text.replace("{ ", "\n").split(['\n', ',']) {
            let Some((key, value)) = part.split_once('=') else { continue };
            if ["password", "api_key", "client_id", "client_secret", "token"].contains(&key.trim())
            {
                assert!(value.trim().starts_with("\"${"), "{name}: {part}");
            }
        }
    }
}

/// Returns the arguments a service starts its program with, the program first.
fn started(unit: &str) -> Vec<String> {
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let command = command.replace("$$", "$").replace("%%", "%").replace("%S", "/var/lib");
    let Some(script) = command.strip_prefix("/bin/sh -c '") else {
        return command.split(' ').map(str::to_owned).collect();
    };
    // The script is run, and prints what it would start.
    let (script, _) = script.rsplit_once('\'').unwrap();
    let script = script.replace("exec /usr", "exec printf '%s\\n' /usr");
    let ran = Command::new("/bin/sh")
        .args(["-c", &script, "orders"])
        .env("STATE_DIRECTORY", "/var/lib/audit")
        .output()
        .unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_service_starts_a_program_that_takes_its_options() {
    for (name, text) in files("systemd", &["service"]) {
        let arguments = started(&text);
        let parsed = match arguments[0].as_str() {
            "/usr/local/bin/audit" => cli::Cli::try_parse_from(&arguments).map(drop),
            "/usr/local/bin/oci-export" => oci_export::Cli::try_parse_from(&arguments).map(drop),
            "/usr/local/bin/port-to-kafka" => {
                port_to_kafka::Cli::try_parse_from(&arguments).map(drop)
            }
            "/usr/local/bin/sql-to-elastic" => {
                sql_to_elastic::Cli::try_parse_from(&arguments).map(drop)
            }
            other => panic!("{name} starts {other}"),
        };
        parsed.unwrap_or_else(|e| panic!("{name}: {arguments:?}: {e}"));
    }
}

#[test]
fn every_service_is_confined_alike() {
    let confinement = |text: &str| {
        let (_, rest) = text.split_once("# What it may not do").unwrap();
        rest.split("\n[").next().unwrap().trim_end().to_owned()
    };
    let services = files("systemd", &["service"]);
    let expected = confinement(&services[0].1);
    assert!(expected.contains("NoNewPrivileges=yes"));
    for (name, text) in &services {
        assert_eq!(confinement(text), expected, "{name}");
        assert!(text.contains("\nUser=audit\n"), "{name}");
    }
}

/// Exit code 9: all is delivered, but for what is in the dead letters.
#[test]
fn no_service_starts_again_because_of_dead_letters() {
    for (name, text) in files("systemd", &["service"]) {
        let has = |key: &str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(key));
            values.flat_map(|codes| codes.split(' ')).any(|code| code == "9")
        };
        let restarts = text.contains("\nRestart=on-failure\n");
        let ends = has("SuccessExitStatus=") || has("RestartPreventExitStatus=");
        assert!(!restarts || ends, "{name}");
    }
}

/// systemd's own opinion, where there is systemd.
#[test]
fn systemd_finds_nothing_wrong_with_a_unit() {
    let dir = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (name, text) in files("systemd", &["service", "timer"]) {
        // The programs are not installed here, and that is no fault of the unit.
        let text: Vec<_> = text
            .lines()
            .map(|line| match line.split_once("/usr/local/bin/") {
                Some(("ExecStart=", _)) => "ExecStart=/bin/true",
                _ => line,
            })
            .collect();
        fs::write(dir.path().join(&name), text.join("\n")).unwrap();
        names.push(name.replace('@', "@orders"));
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&names)
        .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
        .output();
    let Ok(ran) = verify else { return };
    let said = String::from_utf8_lossy(&ran.stderr);
    let ours: Vec<_> =
        said.lines().filter(|line| names.iter().any(|name| line.contains(name.as_str()))).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_image_is_built_with_the_oldest_rust_that_is_promised() {
    let text = fs::read_to_string(packaging().join("Containerfile")).unwrap();
    assert!(text.contains(&format!("ARG RUST_VERSION={}\n", env!("CARGO_PKG_RUST_VERSION"))));
}

#[test]
fn the_readme_names_every_file() {
    let readme = fs::read_to_string(packaging().join("README.md")).unwrap();
    let named = files("systemd", &["service", "timer", "conf"]);
    for (name, _) in named.into_iter().chain(files("examples", &["toml"])) {
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
    }
}
