use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Format, Secret};
use serde::de::{Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// Where to write and how: the options of a [`KafkaSink`](crate::KafkaSink) and of a
/// [`TransactionalSink`](crate::TransactionalSink).
///
/// Only `brokers` and `topic` are needed. Durations are written `30s` or `1m 30s`; unknown names are
/// errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// Some brokers of the cluster, `host:port`; the others are found through them. A list, or one
    /// text with commas.
    #[serde(deserialize_with = "brokers")]
    #[cfg_attr(feature = "schema", schemars(extend("type" = ["array", "string"])))]
    pub brokers: Vec<String>,
    /// The topic that events are written to.
    pub topic: String,
    /// What becomes the record's key, and so decides its partition. Default: the event's id.
    #[serde(default)]
    pub key: Key,
    /// What is written for an event. Default: the record as received.
    #[serde(default)]
    pub format: Format,
    /// What becomes the record's timestamp. Default: the time of sending, from which a topic's
    /// retention counts.
    #[serde(default)]
    pub timestamp: Timestamp,
    /// How batches of records are compressed. Default: not at all.
    #[serde(default)]
    pub compression: Compression,
    /// Encrypts the connection. An empty table trusts the authorities that the system trusts.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Who to log in as.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Makes the topic, and that of the checkpoints, when it is first written to and not there yet.
    #[serde(default)]
    pub create_topic: Option<CreateTopic>,
    /// How long a record may take to be stored, all tries of the client library included; then the
    /// write fails, to be tried again. Default 2 min, at least 1 s; in a transaction at most its own
    /// time.
    #[serde(default = "default_delivery", deserialize_with = "duration")]
    pub delivery_timeout: Duration,
    /// How many requests may be under way to one broker, 1 to 5. Order is kept all the same.
    /// Default 5.
    #[serde(default = "default_in_flight")]
    pub max_in_flight: u32,
    /// The largest record that is sent, in bytes with key and headers; a larger one is rejected.
    /// Default 1,000,000, which every broker takes that was not told otherwise.
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: u32,
    /// How much may wait in memory to be sent. Default 32 MiB.
    #[serde(default = "default_buffer_bytes")]
    pub max_buffer_bytes: u32,
    /// Keeps the checkpoint in Kafka, in the same transaction as the events. Only a
    /// [`TransactionalSink`](crate::TransactionalSink) can.
    #[serde(default)]
    pub transaction: Option<TransactionConfig>,
    /// Any property of librdkafka for the producer, by its own name. Values are taken for secrets.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

impl KafkaConfig {
    /// Creates a configuration with every default. `brokers` may be several, with commas.
    pub fn new(brokers: &str, topic: impl Into<String>) -> Self {
        Self {
            brokers: vec![brokers.to_owned()],
            topic: topic.into(),
            key: Key::default(),
            format: Format::default(),
            timestamp: Timestamp::default(),
            compression: Compression::default(),
            tls: None,
            sasl: None,
            create_topic: None,
            delivery_timeout: default_delivery(),
            max_in_flight: default_in_flight(),
            max_record_bytes: default_record_bytes(),
            max_buffer_bytes: default_buffer_bytes(),
            transaction: None,
            properties: BTreeMap::new(),
        }
    }
}

/// What becomes a record's key. Records of one key are in one partition, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Key {
    /// The event's id: spreads evenly, and lets a compacted topic drop repeats.
    #[default]
    #[serde(alias = "identifier")]
    Id,
    /// The id of what the event was done to: all that happened to one thing is in order.
    #[serde(alias = "entity")]
    Target,
    /// The id of who did it: all that one person did is in order.
    Actor,
    /// None: records go to any partition.
    None,
}

/// What becomes a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Timestamp {
    /// When the event happened, in milliseconds. A topic's retention counts from then: what is older
    /// than `retention.ms` when it is shipped is deleted by the broker within minutes.
    Event,
    /// When the record was sent. The time of the event is in the header `time`.
    #[default]
    Sent,
}

/// How batches of records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// gzip.
    Gzip,
    /// LZ4: fast.
    Lz4,
    /// Not at all.
    #[default]
    None,
    /// Snappy: fast.
    Snappy,
    /// Zstandard: small.
    Zstd,
}

impl Compression {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

/// The certificates of a connection. The broker's is always verified, and so is its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The authorities (PEM) to trust in place of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The client's certificate (PEM), with its chain. All files are read anew when they change.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// The password of that key.
    #[serde(default)]
    pub key_password: Option<Secret>,
}

/// Who to log in as.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SaslConfig {
    /// How the password is proved.
    pub mechanism: Mechanism,
    /// The user; an API key, for Confluent Cloud.
    pub user: String,
    /// The user's password; the API secret, for Confluent Cloud.
    pub password: Secret,
}

impl SaslConfig {
    /// Creates one.
    pub fn new(mechanism: Mechanism, user: impl Into<String>, password: Secret) -> Self {
        Self { mechanism, user: user.into(), password }
    }
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[non_exhaustive]
pub enum Mechanism {
    /// It is sent as it is; only for connections with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How a topic is made that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CreateTopic {
    /// How many partitions it gets. The topic of the checkpoints always gets one.
    pub partitions: u16,
    /// On how many brokers each partition is kept. Default: as the cluster says.
    #[serde(default)]
    pub replication: Option<u16>,
}

impl CreateTopic {
    /// Creates one, with the cluster's own replication.
    pub fn new(partitions: u16) -> Self {
        Self { partitions, replication: None }
    }
}

/// How events and checkpoint are written together.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TransactionConfig {
    /// The compacted topic that keeps the checkpoints, one key a stream.
    pub checkpoint_topic: String,
    /// How long the cluster keeps a transaction open whose writer is gone; readers wait that long for
    /// it. Default 60 s.
    #[serde(default = "default_transaction", deserialize_with = "duration")]
    pub timeout: Duration,
}

impl TransactionConfig {
    /// Creates one with every default.
    pub fn new(checkpoint_topic: impl Into<String>) -> Self {
        Self { checkpoint_topic: checkpoint_topic.into(), timeout: default_transaction() }
    }
}

/// The value of a librdkafka property: a text, a number or a boolean.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(extend("type" = ["string", "integer", "boolean"]))
)]
pub struct Property(Secret);

impl Property {
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl<T: Into<String>> From<T> for Property {
    fn from(value: T) -> Self {
        Self(Secret::new(value))
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Switch(bool),
            Whole(i64),
            Text(String),
        }
        // What was given is left out of the message: it may be a secret.
        Ok(match Value::deserialize(deserializer) {
            Ok(Value::Switch(value)) => value.to_string().into(),
            Ok(Value::Whole(value)) => value.to_string().into(),
            Ok(Value::Text(value)) => value.into(),
            Err(_) => return Err(D::Error::custom("a property is a text, a number or a boolean")),
        })
    }
}

fn default_delivery() -> Duration {
    Duration::from_secs(120)
}

fn default_in_flight() -> u32 {
    5
}

fn default_record_bytes() -> u32 {
    1_000_000
}

fn default_buffer_bytes() -> u32 {
    32 << 20
}

fn default_transaction() -> Duration {
    Duration::from_secs(60)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| D::Error::custom(format!("{e} (as in `30s`)")))
}

fn brokers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Brokers;

    impl<'de> Visitor<'de> for Brokers {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`host:port`, or a list of them")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }

    deserializer.deserialize_any(Brokers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KafkaConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn every_option_is_read_and_the_rest_has_its_default() {
        let least = parse("brokers = 'a:1,b:2'\ntopic = 't'").unwrap();
        let made = KafkaConfig::new("a:1,b:2", "t");
        assert_eq!(format!("{least:?}"), format!("{made:?}"));
        let all = parse(
            r#"
            brokers = ["a:1", "b:2"]
            topic = "t"
            key = "entity"
            format = "canonical"
            timestamp = "event"
            compression = "zstd"
            delivery_timeout = "1m 30s"
            max_in_flight = 1
            max_record_bytes = 2000
            max_buffer_bytes = 4096
            tls = { ca_file = "ca", client_cert_file = "c", client_key_file = "k", key_password = "canary" }
            sasl = { mechanism = "SCRAM-SHA-512", user = "u", password = "canary" }
            create_topic = { partitions = 6, replication = 3 }
            transaction = { checkpoint_topic = "c", timeout = "30s" }
            properties = { "linger.ms" = 20, "log.connection.close" = false, "client.id" = "canary" }
            "#,
        )
        .unwrap();
        assert_eq!((all.key, all.delivery_timeout), (Key::Target, Duration::from_secs(90)));
        assert_eq!(all.properties["linger.ms"].expose(), "20");
        assert_eq!(all.properties["log.connection.close"].expose(), "false");
        assert!(!format!("{all:?} {all:#?}").contains("canary"));
        assert!(crate::settings::Settings::parse(all).is_ok());
    }

    #[test]
    fn a_slip_of_the_pen_is_an_error_without_the_secret() {
        for text in [
            "topic = 't'",
            "brokers = 'a:1'\ntopic = 't'\nkeys = 'id'",
            "brokers = 7\ntopic = 't'",
            "brokers = 'a:1'\ntopic = 't'\ndelivery_timeout = 3",
            "brokers = 'a:1'\ntopic = 't'\ndelivery_timeout = 'soon'",
            "brokers = 'a:1'\ntopic = 't'\nsasl = { mechanism = 'MD5', user = 'u', password = 'p' }",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let text = "brokers = 'a:1'\ntopic = 't'\nproperties = { x = ['canary'] }";
        assert!(!parse(text).unwrap_err().message().contains("canary"));
    }
}
