use std::time::Duration;

use audit_core::{Error, ErrorKind, Result, StreamId};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{CreateTopic, KafkaConfig, TransactionConfig};
use crate::properties::Properties;
use crate::record::Rules;
use crate::tls::TlsFiles;

/// The longest time that the client library takes, 24 days; what is longer is as long.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// A configuration that was found to make sense.
pub(crate) struct Settings {
    pub(crate) rules: Rules,
    pub(crate) create_topic: Option<CreateTopic>,
    pub(crate) delivery_timeout: Duration,
    pub(crate) transaction: Option<TransactionConfig>,
    pub(crate) tls: TlsFiles,
    pub(crate) brokers: String,
    properties: Properties,
}

impl Settings {
    /// # Errors
    /// [`ErrorKind::Config`], naming the option.
    pub(crate) fn parse(mut config: KafkaConfig) -> Result<Self> {
        let brokers = brokers(&config.brokers)?;
        topic_name(&config.topic, "topic")?;
        if let Some(transaction) = &mut config.transaction {
            topic_name(&transaction.checkpoint_topic, "transaction.checkpoint_topic")?;
            if transaction.checkpoint_topic == config.topic {
                return Err(bad("transaction.checkpoint_topic", "must not be the events' topic"));
            }
            at_least(transaction.timeout, Duration::from_secs(1), "transaction.timeout")?;
            transaction.timeout = transaction.timeout.min(LONGEST);
        }
        at_least(config.delivery_timeout, Duration::from_secs(1), "delivery_timeout")?;
        config.delivery_timeout = config.delivery_timeout.min(LONGEST);
        if !(1..=5).contains(&config.max_in_flight) {
            return Err(bad("max_in_flight", "must be 1 to 5, or order would be lost"));
        }
        if !(1000..=1_000_000_000).contains(&config.max_record_bytes) {
            return Err(bad("max_record_bytes", "must be 1000 to 1,000,000,000"));
        }
        if config.max_buffer_bytes < 1024 {
            return Err(bad("max_buffer_bytes", "must be at least 1024"));
        }
        if let Some(create) = &config.create_topic {
            if create.partitions == 0 {
                return Err(bad("create_topic.partitions", "must be at least 1"));
            }
            if create.replication == Some(0) {
                return Err(bad("create_topic.replication", "must be at least 1"));
            }
        }
        let tls = TlsFiles::of(config.tls.as_ref())?;
        let properties = Properties::of(&config, &brokers)?;
        Ok(Self {
            rules: Rules {
                topic: config.topic,
                key: config.key,
                format: config.format,
                timestamp: config.timestamp,
            },
            create_topic: config.create_topic,
            delivery_timeout: config.delivery_timeout,
            transaction: config.transaction,
            tls,
            brokers,
            properties,
        })
    }

    /// Returns the properties of a producer; with `stream` of the transactional one of that stream, with
    /// `alone` of one that sends each record in a request of its own.
    pub(crate) fn producer(&self, stream: Option<&StreamId>, alone: bool) -> ClientConfig {
        let mut config = self.properties.producer();
        if alone {
            config.set("batch.num.messages", "1");
        }
        if let (Some(stream), Some(transaction)) = (stream, &self.transaction) {
            // Streams of one name that keep their progress in two topics are two streams.
            let id = format!("{}/{stream}", transaction.checkpoint_topic);
            config.set("transactional.id", id);
            config.set("transaction.timeout.ms", millis(transaction.timeout));
            // A record that comes later than that would find its transaction ended.
            let delivery = self.delivery_timeout.min(transaction.timeout);
            config.set("delivery.timeout.ms", millis(delivery));
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// Returns the properties of a client that looks at topics, or reads.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.properties.connection();
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn at_least(value: Duration, least: Duration, option: &'static str) -> Result<()> {
    if value < least {
        let why = format!("must be at least {}", humantime::format_duration(least));
        return Err(bad(option, why));
    }
    Ok(())
}

fn brokers(given: &[String]) -> Result<String> {
    let all = given.iter().flat_map(|text| text.split(','));
    let all: Vec<_> = all.map(str::trim).filter(|broker| !broker.is_empty()).collect();
    if all.is_empty() {
        return Err(bad("brokers", "no broker is given"));
    }
    for broker in &all {
        if broker.contains("://") || broker.contains(char::is_whitespace) || broker.contains('@') {
            return Err(bad("brokers", "a broker is written `host:port`"));
        }
    }
    Ok(all.join(","))
}

/// Holds a topic's name against Kafka's own rules.
fn topic_name(name: &str, option: &'static str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid = (1..=249).contains(&name.len()) && name.chars().all(legal);
    if !valid || matches!(name, "." | "..") {
        return Err(bad(option, "not a topic's name")
            .with("name", name.escape_debug())
            .with_hint("use 1 to 249 letters, digits, dots, underscores or hyphens"));
    }
    Ok(())
}

pub(crate) fn bad(option: &'static str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, why).with("option", option)
}

#[cfg(test)]
mod tests {
    use audit_core::Secret;

    use super::*;
    use crate::config::{Mechanism, SaslConfig, TlsConfig};

    fn error(change: impl FnOnce(&mut KafkaConfig)) -> Error {
        let mut config = KafkaConfig::new("k1:9092", "audit");
        change(&mut config);
        let error = Settings::parse(config).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_named() {
        assert_eq!(
            error(|c| c.brokers.clear()).to_string(),
            "no broker is given (option: brokers)"
        );
        error(|c| c.brokers = vec![" , ".to_owned()]);
        error(|c| c.brokers = vec!["https://k1:9092".to_owned()]);
        error(|c| c.topic = "no topic".to_owned());
        error(|c| c.topic = "x".repeat(250));
        error(|c| c.topic = "..".to_owned());
        error(|c| c.max_in_flight = 6);
        error(|c| c.max_in_flight = 0);
        error(|c| c.max_record_bytes = 10);
        error(|c| c.max_buffer_bytes = 0);
        error(|c| c.delivery_timeout = Duration::from_millis(10));
        error(|c| c.create_topic = Some(CreateTopic::new(0)));
        error(|c| c.transaction = Some(TransactionConfig::new("audit")));
    }

    #[test]
    fn the_security_protocol_follows_from_what_is_configured() {
        let protocol = |tls: bool, sasl: bool| {
            let mut config = KafkaConfig::new("a:1, b:2,", "audit");
            config.tls = tls.then(TlsConfig::default);
            config.sasl =
                sasl.then(|| SaslConfig::new(Mechanism::ScramSha512, "u", Secret::new("p")));
            let settings = Settings::parse(config).unwrap();
            let producer = settings.producer(None, false);
            assert_eq!(producer.get("bootstrap.servers"), Some("a:1,b:2"));
            assert_eq!(
                settings.reader().get("security.protocol"),
                producer.get("security.protocol")
            );
            producer.get("security.protocol").unwrap().to_owned()
        };
        assert_eq!(protocol(false, false), "plaintext");
        assert_eq!(protocol(true, false), "ssl");
        assert_eq!(protocol(false, true), "sasl_plaintext");
        assert_eq!(protocol(true, true), "sasl_ssl");
    }

    #[test]
    fn a_time_without_end_is_as_long_as_the_library_takes() {
        let mut config = KafkaConfig::new("k1:9092", "audit");
        config.delivery_timeout = Duration::MAX;
        config.transaction = Some(TransactionConfig::new("checkpoints"));
        config.transaction.as_mut().unwrap().timeout = Duration::MAX;
        let settings = Settings::parse(config).unwrap();
        // It is added to a point in time.
        assert_eq!(settings.delivery_timeout, LONGEST);
        let producer = settings.producer(Some(&"orders".parse().unwrap()), false);
        assert_eq!(producer.get("transaction.timeout.ms"), Some("2147483647"));
        assert!(producer.create_native_config().is_ok());
    }

    #[test]
    fn a_producer_never_gives_up_what_safety_rests_on() {
        let mut config = KafkaConfig::new("k1:9092", "audit");
        config.transaction = Some(TransactionConfig::new("checkpoints"));
        let producer =
            Settings::parse(config).unwrap().producer(Some(&"orders".parse().unwrap()), false);
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("transactional.id"), Some("checkpoints/orders"));
        assert_eq!(producer.get("transaction.timeout.ms"), Some("60000"));
        // The library would refuse more.
        assert_eq!(producer.get("delivery.timeout.ms"), Some("60000"));
    }
}
