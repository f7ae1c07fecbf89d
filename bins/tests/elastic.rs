//! SQLite to a real cluster through the whole program, killed on the way. The cluster is at
//! `AUDIT_TEST_OPENSEARCH_URL`; with `AUDIT_LIVE=1` it has to be there.

#![cfg(all(feature = "source-sql-sqlite", feature = "sink-elastic"))]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use common::Lab;
use serde_json::Value;

const ROWS_A_RUN: u32 = 200;

/// A cluster, and an index that nobody else uses.
struct Cluster {
    url: String,
    index: String,
}

impl Cluster {
    /// Finds the cluster. Without one the test is skipped, which it says, unless one was promised.
    fn find(test: &str) -> Option<Self> {
        let url = std::env::var("AUDIT_TEST_OPENSEARCH_URL").ok();
        if url.is_none() {
            assert!(
                std::env::var_os("AUDIT_LIVE").is_none(),
                "AUDIT_TEST_OPENSEARCH_URL is not set"
            );
            println!("{test}: skipped, AUDIT_TEST_OPENSEARCH_URL is not set");
        }
        Some(Self { url: url?, index: format!("audit-{test}-{}", std::process::id()) })
    }

    fn lab(&self, rows: u32) -> Lab {
        let lab = Lab::new(rows);
        lab.config(&format!(
            "[pipelines.orders.limits]\nmax_events = 50\n\
             [pipelines.orders.source]\ntype = \"sql\"\nurl = \"sqlite://app.db\"\n\
             [pipelines.orders.sink]\ntype = \"elastic\"\nhosts = [\"{}\"]\nindex = \"{}\"\n",
            self.url, self.index
        ));
        lab
    }

    /// Asks with plain HTTP, as any reader of the cluster would.
    fn ask(&self, method: &str, path: &str) -> Value {
        let host = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).unwrap();
        let index = &self.index;
        write!(stream, "{method} /{index}{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Returns how many documents a search finds now.
    fn count(&self) -> u64 {
        self.ask("POST", "/_refresh");
        self.ask("GET", "/_count")["count"].as_u64().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask("DELETE", "");
        }
    }
}

#[test]
fn each_row_is_one_document_and_sent_again_it_stays_one() {
    let Some(cluster) = Cluster::find("once") else { return };
    let lab = cluster.lab(500);
    lab.audit(&["check", "--config", "audit.toml"]).expect(0);
    lab.run().expect(0);
    assert_eq!((cluster.count(), lab.unsent()), (500, 0));

    // Flag and checkpoint both forgotten: everything is sent again.
    lab.db().execute("UPDATE audit_logs SET is_sent = 0", []).unwrap();
    std::fs::remove_dir_all(lab.path("state")).unwrap();
    let ran = lab.audit(&["run", "--config", "audit.toml", "--summary-json"]).expect(0);
    assert!(ran.out.contains("\"duplicates\":500"), "{}", ran.out);
    assert_eq!(cluster.count(), 500);
}

#[test]
fn killed_at_any_moment_it_leaves_each_row_as_one_document() {
    let Some(cluster) = Cluster::find("killed") else { return };
    let lab = cluster.lab(0);
    let (mut rows, mut killed, mut life) = (0, 0, 200_000);
    // Moments that are spread, and the same in each run.
    for moment in (0_u64..40).map(|n| n * 37 % 40) {
        lab.add(rows + 1, ROWS_A_RUN);
        rows += ROWS_A_RUN;
        let mut command = lab.command(&["run", "--config", "audit.toml", "--quiet"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(life * moment / 40));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => killed += 1,
            Some(code) => {
                assert_eq!(code, 0);
                life -= life / 10;
            }
        }
    }
    lab.run().expect(0);
    println!("killed in {killed} of 40 runs, {rows} rows");
    assert!(killed >= 10, "only {killed} of 40 runs were killed before their end");
    assert_eq!((cluster.count(), lab.unsent()), (u64::from(rows), 0));
}
