use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use audit_core::Secret;
use serde::de::{Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// Which topic to read and how: the options of a [`ConfluentSource`](crate::ConfluentSource).
///
/// Only `brokers` is needed. Durations are written `30s` or `1m 30s`; unknown names are errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConfluentConfig {
    /// Some brokers of the audit log cluster, `host:port`; the others are found through them. A list,
    /// or one text with commas.
    #[serde(deserialize_with = "brokers")]
    #[cfg_attr(feature = "schema", schemars(extend("type" = ["array", "string"])))]
    pub brokers: Vec<String>,
    /// The topic. Default `confluent-audit-log-events`.
    #[serde(default = "default_topic")]
    pub topic: String,
    /// The source's name in its events. Default `confluent`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Shares the topic's partitions with the other instances that name the same consumer group.
    /// Default: no group, every partition is read.
    #[serde(default)]
    pub group: Option<String>,
    /// Encrypts the connection. An empty table trusts the authorities that the system trusts.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Who to log in as.
    #[serde(default)]
    pub sasl: Option<SaslConfig>,
    /// Goes on when records were removed before they were read. They are lost all the same: what is
    /// missing is logged and counted. Default: that is an error.
    #[serde(default)]
    pub allow_gaps: bool,
    /// How long the topic keeps its records. Default: as its settings say, if they may be read;
    /// else 7 days, which is what Confluent Cloud keeps its audit log for.
    #[serde(default, deserialize_with = "some_duration")]
    pub retention: Option<Duration>,
    /// Warns when the oldest unread record will be removed in less than this. Default 1 day.
    #[serde(default = "default_warning", deserialize_with = "duration")]
    pub loss_warning: Duration,
    /// A larger record is rejected, with its bytes. Default 8 MiB.
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: u32,
    /// How much is fetched ahead. Default 16 MiB, at least 1 MiB.
    #[serde(default = "default_buffer_bytes")]
    pub max_buffer_bytes: u32,
    /// Among how many of the last records repeats are recognised; 0: not at all. Default 100,000,
    /// which takes about 10 MB.
    #[serde(default = "default_repeats")]
    pub repeat_window: usize,
    /// How long the cluster may take for an answer. Default 30 s.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// How long to rest when there is nothing new. Default 1 s.
    #[serde(default = "default_poll", deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// How often to look for new partitions. Default 1 min.
    #[serde(default = "default_refresh", deserialize_with = "duration")]
    pub refresh_interval: Duration,
    /// Any property of librdkafka for the consumer, by its own name. Values are taken for secrets.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

impl ConfluentConfig {
    /// Creates a configuration with every default. `brokers` may be several, with commas.
    pub fn new(brokers: &str) -> Self {
        Self {
            brokers: vec![brokers.to_owned()],
            topic: default_topic(),
            name: default_name(),
            group: None,
            tls: None,
            sasl: None,
            allow_gaps: false,
            retention: None,
            loss_warning: default_warning(),
            max_record_bytes: default_record_bytes(),
            max_buffer_bytes: default_buffer_bytes(),
            repeat_window: default_repeats(),
            timeout: default_timeout(),
            poll_interval: default_poll(),
            refresh_interval: default_refresh(),
            properties: BTreeMap::new(),
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
    /// The client's certificate (PEM), with its chain.
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
    /// The user; an API key of the audit log cluster, for Confluent Cloud.
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

fn default_topic() -> String {
    "confluent-audit-log-events".to_owned()
}

fn default_name() -> String {
    "confluent".to_owned()
}

fn default_warning() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

fn default_record_bytes() -> u32 {
    8 << 20
}

fn default_buffer_bytes() -> u32 {
    16 << 20
}

fn default_repeats() -> usize {
    100_000
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_poll() -> Duration {
    Duration::from_secs(1)
}

fn default_refresh() -> Duration {
    Duration::from_secs(60)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| D::Error::custom(format!("{e} (as in `30s`)")))
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
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

    fn parse(text: &str) -> Result<ConfluentConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn every_option_is_read_and_the_rest_has_its_default() {
        let least = parse("brokers = 'a:1,b:2'").unwrap();
        assert_eq!(format!("{least:?}"), format!("{:?}", ConfluentConfig::new("a:1,b:2")));
        let all = parse(
            r#"
            brokers = ["a:1", "b:2"]
            topic = "t"
            name = "audit"
            group = "shippers"
            allow_gaps = true
            retention = "3days"
            loss_warning = "2h"
            max_record_bytes = 2000
            max_buffer_bytes = 2000000
            repeat_window = 10
            timeout = "1m 30s"
            poll_interval = "100ms"
            refresh_interval = "10s"
            tls = { ca_file = "ca", client_cert_file = "c", client_key_file = "k", key_password = "canary" }
            sasl = { mechanism = "SCRAM-SHA-512", user = "u", password = "canary" }
            properties = { "fetch.wait.max.ms" = 20, "log.connection.close" = false, "client.id" = "canary" }
            "#,
        )
        .unwrap();
        assert_eq!(all.retention, Some(Duration::from_secs(3 * 24 * 60 * 60)));
        assert_eq!(all.timeout, Duration::from_secs(90));
        assert!(!format!("{all:?} {all:#?}").contains("canary"));
        assert!(crate::settings::Settings::parse(all).is_ok());
    }

    #[test]
    fn a_slip_of_the_pen_is_an_error_without_the_secret() {
        for text in [
            "topic = 't'",
            "brokers = 'a:1'\nfollow = true",
            "brokers = 7",
            "brokers = 'a:1'\ntimeout = 3",
            "brokers = 'a:1'\nretention = 'long'",
            "brokers = 'a:1'\nsasl = { mechanism = 'MD5', user = 'u', password = 'p' }",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let text = "brokers = 'a:1'\nproperties = { x = ['canary'] }";
        assert!(!parse(text).unwrap_err().message().contains("canary"));
    }
}
