//! Records of an audit topic, the program in a directory of its own, and a real topic if there is a
//! broker.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::Ran;

/// The first second of the records: 2026-11-14.
const START: i64 = 1_794_614_400;

/// Makes a record. Of two generations, four methods, seven days; every eleventh is refused.
pub(crate) fn record(n: u64) -> String {
    let time = chrono::DateTime::from_timestamp(START + (n as i64 * 1613) % 604_800, 0).unwrap();
    let refused = n.is_multiple_of(11);
    let operation = ["Describe", "Alter", "Read"][n as usize % 3];
    let data = match n % 4 {
        0 => json!({
            "methodName": "mds.Authorize",
            "authenticationInfo": {"principal": format!("User:u-{}", n % 17)},
            "authorizationInfo": {"granted": !refused, "operation": operation},
            "requestMetadata": {"client_address": format!("/192.0.2.{}", n % 5)},
        }),
        1 => json!({
            "methodName": "SignIn",
            "authenticationInfo": {
                "principal": {"email": format!("p{}@example.com", n % 7), "confluentUser": {"resourceId": format!("u-{}", n % 7)}},
                "result": if refused { "FAILURE" } else { "SUCCESS" },
            },
            "result": if refused {
                json!({"status": "FAILURE", "data": {"errors": [{"status": "401", "detail": "no"}]}})
            } else {
                json!({"status": "SUCCESS"})
            },
            "requestMetadata": {"clientAddress": [{"ip": format!("198.51.100.{}", n % 3)}]},
        }),
        2 => json!({
            "methodName": "kafka.Authentication",
            "authenticationInfo": {"principal": format!("User:sa-{}", n % 5), "result": "SUCCESS"},
            "requestMetadata": {"client_address": "/203.0.113.7"},
        }),
        _ => json!({
            "methodName": "CreateAPIKey",
            "authenticationInfo": {"principal": {"confluentServiceAccount": {"resourceId": "sa-9"}}},
            "result": {"status": "SUCCESS"},
        }),
    };
    let time = time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    json!({
        "id": format!("id-{n}"), "source": "crn://confluent.cloud/", "specversion": "1.0",
        "type": "io.confluent.cloud/request", "time": time, "data": data,
    })
    .to_string()
}

/// A directory in which the program runs, with the login of the test broker.
pub(crate) struct Site {
    dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_confluent-report"));
        command.args(args).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Writes a file of lines.
    pub(crate) fn lines<T: AsRef<str>>(&self, name: &str, lines: impl IntoIterator<Item = T>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut text = String::new();
        for line in lines {
            text += line.as_ref();
            text.push('\n');
        }
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Returns the reports of a directory but for what the program keeps for itself, by name.
    pub(crate) fn reports(&self, name: &str) -> BTreeMap<PathBuf, String> {
        let root = self.path(name);
        let all = super::common::snapshot(&root).into_iter();
        let own = all.filter(|(path, _)| path.is_file() && !path.starts_with(root.join(".state")));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        own.map(|(p, bytes)| (p.strip_prefix(&root).unwrap().to_owned(), text(bytes))).collect()
    }

    /// Returns the counts in the JSON reports of a directory: day, section, label, hour.
    pub(crate) fn counts(&self, name: &str) -> BTreeMap<(String, String, String, u64), u64> {
        let mut counts = BTreeMap::new();
        for (path, text) in self.reports(name) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            for count in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
                let text = |key: &str| count[key].as_str().unwrap_or("").to_owned();
                let key =
                    (text("date"), text("section"), text("label"), count["hour"].as_u64().unwrap());
                counts.insert(key, count["count"].as_u64().unwrap());
            }
        }
        counts
    }

    /// Returns the sum of a section's counts over all days.
    pub(crate) fn total(&self, name: &str, section: &str) -> u64 {
        self.counts(name).iter().filter(|(key, _)| key.1 == section).map(|(_, n)| n).sum()
    }

    /// Returns the downloads, oldest first.
    pub(crate) fn downloads(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("data")) else { return Vec::new() };
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|n| !n.starts_with('.') && !n.contains("dead-letters")).collect();
        names.sort();
        names.iter().map(|name| format!("data/{name}")).collect()
    }
}

/// A topic of a real broker that nobody else uses. It is removed with it.
pub(crate) struct Topic {
    plain: String,
    tls: String,
    dir: String,
    login: [String; 2],
    pub(crate) name: String,
    partitions: i32,
}

impl Topic {
    /// Makes it. Without a broker the test is skipped, unless one was promised.
    pub(crate) fn new(partitions: i32) -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let topic = Self {
            plain: variable("AUDIT_TEST_KAFKA")?,
            tls: variable("AUDIT_TEST_KAFKA_SASL_SSL")?,
            dir: variable("AUDIT_TEST_TLS_DIR")?,
            login: [
                variable("AUDIT_TEST_KAFKA_SASL_USER")?,
                variable("AUDIT_TEST_KAFKA_SASL_PASSWORD")?,
            ],
            name: format!(
                "confluent-report-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ),
            partitions,
        };
        let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1))
            .set("retention.ms", "259200000")
            .set("message.timestamp.type", "LogAppendTime");
        topic.admin(async |admin| {
            let made = admin.create_topics(&[new], &AdminOptions::new()).await.unwrap();
            assert!(made.iter().all(Result::is_ok), "{made:?}");
        });
        Some(topic)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.plain);
        config
    }

    fn admin<T>(&self, ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> T) -> T {
        let admin = self.client().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask(&admin))
    }

    /// Writes records, in turn to each partition.
    pub(crate) fn produce<T: AsRef<[u8]>>(&self, records: impl IntoIterator<Item = T>) {
        let mut config = self.client();
        config.set("linger.ms", "20").set("queue.buffering.max.messages", "200000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        for (record, n) in records.into_iter().zip(0..) {
            let mut next = BaseRecord::<(), [u8]>::to(&self.name)
                .payload(record.as_ref())
                .partition(n % self.partitions);
            while let Err((_, again)) = producer.send(next) {
                next = again; // its queue is full
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Removes what is before an offset, as retention does.
    pub(crate) fn remove_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).unwrap();
        self.admin(async |admin| admin.delete_records(&list, &AdminOptions::new()).await.unwrap());
    }

    /// Returns a command with all that is needed to reach the topic, over TLS and with a login.
    pub(crate) fn command(&self, site: &Site, args: &[&str]) -> Command {
        let mut command = site.command(args);
        command
            .env("CONFLUENT_BOOTSTRAP_SERVERS", &self.tls)
            .env("CONFLUENT_API_KEY", &self.login[0])
            .env("CONFLUENT_API_SECRET", &self.login[1])
            .env("CONFLUENT_CA_FILE", format!("{}/ca.crt", self.dir))
            .env("CONFLUENT_TOPIC", &self.name);
        command
    }

    pub(crate) fn run(&self, site: &Site, args: &[&str]) -> Ran {
        Ran::of(self.command(site, args).output().unwrap())
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let _removed = self.admin(async |admin| {
            admin.delete_topics(&[self.name.as_str()], &AdminOptions::new()).await
        });
    }
}

/// Returns a server's address. It may be missing, unless `AUDIT_LIVE` promises it.
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    let promised = std::env::var("AUDIT_LIVE").is_ok_and(|live| live == "1");
    assert!(value.is_some() || !promised, "AUDIT_LIVE is set, but {name} is not");
    value
}
