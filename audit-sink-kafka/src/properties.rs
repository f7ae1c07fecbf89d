use std::collections::BTreeMap;

use audit_core::{Error, ErrorKind, Result, Secret};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::config::{KafkaConfig, Property};
use crate::settings::millis;

/// What the promises of this crate rest on, and the option to use instead if there is one.
const FIXED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use the option `brokers`"),
    ("metadata.broker.list", "use the option `brokers`"),
    ("enable.idempotence", "it is always on"),
    ("acks", "it is always `all`"),
    ("request.required.acks", "it is always `all`"),
    ("delivery.report.only.error", "every report is waited for"),
    ("delivery.timeout.ms", "use the option `delivery_timeout`"),
    ("message.timeout.ms", "use the option `delivery_timeout`"),
    ("max.in.flight", "use the option `max_in_flight`"),
    ("max.in.flight.requests.per.connection", "use the option `max_in_flight`"),
    ("message.max.bytes", "use the option `max_record_bytes`"),
    ("queue.buffering.max.kbytes", "use the option `max_buffer_bytes`"),
    ("compression.type", "use the option `compression`"),
    ("compression.codec", "use the option `compression`"),
    ("transactional.id", "it is `<checkpoint topic>/<stream>`"),
    ("transaction.timeout.ms", "use the option `transaction.timeout`"),
    ("isolation.level", "it is not a producer's"),
    ("log.queue", "logs go where the program's go"),
];

/// Properties of librdkafka, checked, and kept from sight.
pub(crate) struct Properties {
    connection: BTreeMap<&'static str, Secret>,
    producer: BTreeMap<&'static str, String>,
    given: BTreeMap<String, Property>,
}

impl Properties {
    pub(crate) fn of(config: &KafkaConfig, brokers: &str) -> Result<Self> {
        let connection = connection(config, brokers)?;
        let producer = BTreeMap::from([
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("delivery.timeout.ms", millis(config.delivery_timeout)),
            ("max.in.flight", config.max_in_flight.to_string()),
            ("message.max.bytes", config.max_record_bytes.to_string()),
            ("queue.buffering.max.kbytes", (config.max_buffer_bytes / 1024).to_string()),
            ("compression.type", config.compression.as_str().to_owned()),
            // A batch is handed over at once and waited for: what fills requests is there already.
            ("linger.ms", "2".to_owned()),
            ("sticky.partitioning.linger.ms", "2".to_owned()),
            // As the Java client does it, so that a key has one partition whoever writes.
            ("partitioner", "murmur2_random".to_owned()),
            ("retry.backoff.max.ms", "1000".to_owned()),
        ]);
        for (name, value) in &config.properties {
            check(name, value)?;
            if connection.contains_key(name.as_str()) {
                return Err(refused(name).with_hint("use the options `tls` and `sasl`"));
            }
        }
        Ok(Self { connection, producer, given: config.properties.clone() })
    }

    /// Returns what a producer is made with. What is given overrides what is only a default.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        for (name, value) in &self.producer {
            config.set(*name, value.as_str());
        }
        self.give(config)
    }

    /// Returns what any other client is made with.
    pub(crate) fn connection(&self) -> ClientConfig {
        self.give(self.base())
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "audit-sink-kafka");
        for (name, value) in &self.connection {
            config.set(*name, value.expose());
        }
        config
    }

    fn give(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.given {
            config.set(name.as_str(), value.expose());
        }
        config
    }
}

fn connection(config: &KafkaConfig, brokers: &str) -> Result<BTreeMap<&'static str, Secret>> {
    let mut all = BTreeMap::from([("bootstrap.servers", Secret::new(brokers))]);
    let given = config.properties.contains_key("security.protocol");
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    if !given || protocol != "plaintext" {
        all.insert("security.protocol", Secret::new(protocol));
    }
    if let Some(tls) = &config.tls {
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.client_cert_file),
            ("ssl.key.location", &tls.client_key_file),
        ];
        for (name, path) in files {
            let Some(path) = path else { continue };
            let text = path.to_str().ok_or_else(|| {
                Error::new(ErrorKind::Config, "the path is not UTF-8").with("path", path.display())
            })?;
            all.insert(name, Secret::new(text));
        }
        if let Some(password) = &tls.key_password {
            all.insert("ssl.key.password", password.clone());
        }
    }
    if let Some(sasl) = &config.sasl {
        if sasl.user.is_empty() {
            return Err(crate::settings::bad("sasl.user", "no user is given"));
        }
        all.insert("sasl.mechanism", Secret::new(sasl.mechanism.as_str()));
        all.insert("sasl.username", Secret::new(sasl.user.as_str()));
        all.insert("sasl.password", sasl.password.clone());
    }
    Ok(all)
}

/// Finds out whether librdkafka takes a property, without showing what it was given.
fn check(name: &str, value: &Property) -> Result<()> {
    if let Some((_, instead)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
        return Err(refused(name).with_hint(*instead));
    }
    let mut alone = ClientConfig::new();
    alone.set(name, value.expose());
    let (unknown, why) = match alone.create_native_config() {
        Ok(_) => return Ok(()),
        Err(KafkaError::ClientConfig(res, why, ..)) => {
            (res == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, why)
        }
        Err(_) => (false, "it holds a NUL".to_owned()),
    };
    let error = if unknown {
        Error::new(ErrorKind::Config, "librdkafka has no such property")
            .with_hint("they are listed in librdkafka's CONFIGURATION.md, with dots: `linger.ms`")
    } else if is_secret(name) {
        Error::new(ErrorKind::Config, "librdkafka does not take this value")
    } else {
        Error::new(ErrorKind::Config, "librdkafka does not take this value").with("reason", why)
    };
    Err(error.with("property", name.escape_debug()))
}

fn refused(name: &str) -> Error {
    Error::new(ErrorKind::Config, "this property cannot be set")
        .with("property", name.escape_debug())
}

/// Whether what librdkafka says of a value may quote a secret.
fn is_secret(name: &str) -> bool {
    ["password", "secret", "pem", "key", "token", "sasl"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Properties> {
        let mut config = KafkaConfig::new("k:1", "t");
        config.properties.insert(name.to_owned(), value.into());
        Properties::of(&config, "k:1")
    }

    #[test]
    fn a_property_that_is_none_is_named_with_a_way_out() {
        let error = with("linger", "1").map(drop).unwrap_err();
        assert_eq!(error.to_string(), "librdkafka has no such property (property: linger)");
        assert!(error.hint().unwrap().contains("CONFIGURATION.md"));
        let text = with("linger.ms", "much").map(drop).unwrap_err().to_string();
        assert!(text.contains("linger.ms"), "{text}");
    }

    #[test]
    fn what_safety_rests_on_cannot_be_taken_away() {
        for (name, _) in FIXED {
            let error = with(name, "1").map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn every_property_that_is_named_here_exists() {
        for (name, _) in FIXED {
            let mut alone = ClientConfig::new();
            let unknown = match alone.set(*name, "1").create_native_config().map(drop) {
                Err(KafkaError::ClientConfig(res, ..)) => {
                    res == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN
                }
                _ => false,
            };
            assert!(!unknown, "{name}");
        }
        let config = with("linger.ms", "20").unwrap().producer();
        assert!(config.create_native_config().is_ok());
        assert_eq!(config.get("linger.ms"), Some("20"));
    }

    #[test]
    fn k10_a_value_that_is_refused_is_not_shown_where_it_may_be_a_secret() {
        let error = with("sasl.oauthbearer.method", "canary").map(drop).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        let property = Property::from("canary");
        assert!(!format!("{property:?}").contains("canary"));
        let error = with("a\0b", "canary").map(drop).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }

    #[test]
    fn other_ways_to_log_in_are_open_to_properties() {
        assert!(with("sasl.oauthbearer.config", "x").is_ok());
        let config = with("security.protocol", "sasl_ssl").unwrap().producer();
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
    }
}
