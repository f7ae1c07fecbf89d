use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::config::{ConfluentConfig, Property, TlsConfig};

/// What the promises of this crate rest on, and the option to use instead if there is one.
const FIXED: &[(&str, &str)] = &[
    ("auto.offset.reset", "a position that is gone is a gap: see the option `allow_gaps`"),
    ("bootstrap.servers", "use the option `brokers`"),
    ("enable.auto.commit", "progress is in the checkpoint"),
    ("enable.auto.offset.store", "progress is in the checkpoint"),
    ("enable.partition.eof", "it is always on"),
    ("group.id", "use the option `group`"),
    ("group.protocol", "partitions are handed over by the classic protocol"),
    ("log.queue", "logs go where the program's go"),
    ("metadata.broker.list", "use the option `brokers`"),
    ("partition.assignment.strategy", "partitions are handed over one by one"),
    ("queued.max.messages.kbytes", "use the option `max_buffer_bytes`"),
];

/// A configuration that was found to make sense.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: ConfluentConfig,
    brokers: String,
}

impl Settings {
    /// # Errors
    /// [`ErrorKind::Config`], naming the option.
    pub(crate) fn parse(config: ConfluentConfig) -> Result<Self> {
        let brokers = brokers(&config.brokers)?;
        topic_name(&config.topic)?;
        if config.name.is_empty() {
            return Err(bad("name", "must not be empty"));
        }
        if config.group.as_ref().is_some_and(|g| g.is_empty() || g.contains(char::is_control)) {
            return Err(bad("group", "not a group's name"));
        }
        at_least(config.timeout, Duration::from_millis(100), "timeout")?;
        at_least(config.refresh_interval, Duration::from_millis(1), "refresh_interval")?;
        if config.max_record_bytes < 1000 {
            return Err(bad("max_record_bytes", "must be at least 1000"));
        }
        if !(1 << 20..=1 << 30).contains(&config.max_buffer_bytes) {
            return Err(bad("max_buffer_bytes", "must be 1 MiB to 1 GiB"));
        }
        if config.repeat_window > 100_000_000 {
            return Err(bad("repeat_window", "must be at most 100,000,000"));
        }
        if config.sasl.as_ref().is_some_and(|sasl| sasl.user.is_empty()) {
            return Err(bad("sasl.user", "no user is given"));
        }
        if let Some(tls) = &config.tls
            && tls.client_cert_file.is_some() != tls.client_key_file.is_some()
        {
            return Err(bad("tls", "a certificate needs its key")
                .with_hint("give both `client_cert_file` and `client_key_file`"));
        }
        let settings = Self { config, brokers };
        let connection = settings.connection()?;
        for (name, value) in &settings.config.properties {
            check(name, value)?;
            if connection.get(name).is_some() {
                return Err(refused(name).with_hint("use the options `tls` and `sasl`"));
            }
        }
        Ok(settings)
    }

    /// Returns the properties of a client.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a certificate's file that cannot be read, which librdkafka would not
    /// name.
    pub(crate) fn client(&self) -> Result<ClientConfig> {
        for (option, path) in self.config.tls.iter().flat_map(files) {
            let Some(path) = path else { continue };
            std::fs::File::open(path).map_err(|e| {
                bad(option, "cannot read the file").with("path", path.display()).because(e)
            })?;
        }
        let mut client = self.connection()?;
        let buffer = self.config.max_buffer_bytes;
        for (name, value) in [
            ("client.id", "audit-source-confluent".to_owned()),
            // A consumer has to be given one, also if it joins none.
            (
                "group.id",
                self.config.group.as_deref().unwrap_or("audit-source-confluent").to_owned(),
            ),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            ("queued.max.messages.kbytes", (buffer / 1024).to_string()),
            ("fetch.message.max.bytes", (1 << 20).to_string()),
            ("fetch.max.bytes", buffer.min(8 << 20).to_string()),
            ("fetch.wait.max.ms", "250".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
        ] {
            client.set(name, value);
        }
        if self.config.group.is_some() {
            client.set("partition.assignment.strategy", "cooperative-sticky");
            // Who leads the group looks for new partitions.
            let refresh = self.config.refresh_interval.as_millis().clamp(10, 3_600_000);
            client.set("topic.metadata.refresh.interval.ms", refresh.to_string());
        }
        for (name, value) in &self.config.properties {
            client.set(name.as_str(), value.expose());
        }
        client.set_log_level(RDKafkaLogLevel::Info);
        Ok(client)
    }

    fn connection(&self) -> Result<ClientConfig> {
        let (config, mut client) = (&self.config, ClientConfig::new());
        client.set("bootstrap.servers", &self.brokers);
        let protocol = match (&config.tls, &config.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        if protocol != "plaintext" || !config.properties.contains_key("security.protocol") {
            client.set("security.protocol", protocol);
        }
        if let Some(tls) = &config.tls {
            let names = ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"];
            for (name, (option, path)) in names.into_iter().zip(files(tls)) {
                let Some(path) = path else { continue };
                let text = path.to_str().ok_or_else(|| bad(option, "the path is not UTF-8"))?;
                client.set(name, text);
            }
            if let Some(password) = &tls.key_password {
                client.set("ssl.key.password", password.expose());
            }
        }
        if let Some(sasl) = &config.sasl {
            client.set("sasl.mechanism", sasl.mechanism.as_str());
            client.set("sasl.username", &sasl.user);
            client.set("sasl.password", sasl.password.expose());
        }
        Ok(client)
    }
}

fn files(tls: &TlsConfig) -> [(&'static str, Option<&PathBuf>); 3] {
    [
        ("tls.ca_file", tls.ca_file.as_ref()),
        ("tls.client_cert_file", tls.client_cert_file.as_ref()),
        ("tls.client_key_file", tls.client_key_file.as_ref()),
    ]
}

/// Finds out whether librdkafka takes a property, without showing what it was given.
fn check(name: &str, value: &Property) -> Result<()> {
    if let Some((_, instead)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
        return Err(refused(name).with_hint(*instead));
    }
    let mut alone = ClientConfig::new();
    alone.set(name, value.expose());
    let unknown = match alone.create_native_config() {
        Ok(_) => return Ok(()),
        Err(KafkaError::ClientConfig(res, ..)) => res == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
        Err(_) => false,
    };
    let error = if unknown {
        Error::new(ErrorKind::Config, "librdkafka has no such property")
            .with_hint("they are listed in librdkafka's CONFIGURATION.md, with dots: `client.id`")
    } else {
        Error::new(ErrorKind::Config, "librdkafka does not take this value")
    };
    Err(error.with("property", name.escape_debug()))
}

fn refused(name: &str) -> Error {
    Error::new(ErrorKind::Config, "this property cannot be set")
        .with("property", name.escape_debug())
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
fn topic_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let valid = (1..=249).contains(&name.len()) && name.chars().all(legal);
    if !valid || matches!(name, "." | "..") {
        return Err(bad("topic", "not a topic's name")
            .with("name", name.escape_debug())
            .with_hint("use 1 to 249 letters, digits, dots, underscores or hyphens"));
    }
    Ok(())
}

fn bad(option: &'static str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, why).with("option", option)
}

#[cfg(test)]
mod tests {
    use audit_core::Secret;

    use super::*;
    use crate::config::{Mechanism, SaslConfig};

    fn error(change: impl FnOnce(&mut ConfluentConfig)) -> Error {
        let mut config = ConfluentConfig::new("k1:9092");
        change(&mut config);
        let error = Settings::parse(config).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error
    }

    fn property(name: &str, value: &str) -> Error {
        error(|c| drop(c.properties.insert(name.to_owned(), value.into())))
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_named() {
        let text = error(|c| c.brokers.clear()).to_string();
        assert_eq!(text, "no broker is given (option: brokers)");
        error(|c| c.brokers = vec!["https://k1:9092".to_owned()]);
        error(|c| c.topic = "no topic".to_owned());
        error(|c| c.topic = "..".to_owned());
        error(|c| c.name.clear());
        error(|c| c.group = Some(String::new()));
        error(|c| c.group = Some("a\nb".to_owned()));
        error(|c| c.timeout = Duration::ZERO);
        error(|c| c.max_record_bytes = 10);
        error(|c| c.max_buffer_bytes = 10);
        error(|c| c.repeat_window = usize::MAX);
        error(|c| c.sasl = Some(SaslConfig::new(Mechanism::Plain, "", Secret::new("p"))));
        let one = TlsConfig { client_key_file: Some("k".into()), ..TlsConfig::default() };
        error(|c| c.tls = Some(one));
    }

    #[test]
    fn a_property_that_would_break_a_promise_or_is_none_is_refused() {
        for (name, _) in FIXED {
            assert!(property(name, "1").hint().is_some(), "{name}");
        }
        let text = property("linger", "1").to_string();
        assert_eq!(text, "librdkafka has no such property (property: linger)");
        let error = property("sasl.oauthbearer.method", "canary");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        property("a\0b", "x");
        property("bootstrap.servers", "x");
    }

    #[test]
    fn the_security_protocol_follows_from_what_is_configured() {
        for (tls, sasl, expected) in [
            (false, false, "plaintext"),
            (true, false, "ssl"),
            (false, true, "sasl_plaintext"),
            (true, true, "sasl_ssl"),
        ] {
            let mut config = ConfluentConfig::new("a:1, b:2,");
            config.tls = tls.then(TlsConfig::default);
            config.sasl = sasl.then(|| SaslConfig::new(Mechanism::Plain, "u", Secret::new("p")));
            let client = Settings::parse(config).unwrap().client().unwrap();
            assert_eq!(client.get("bootstrap.servers"), Some("a:1,b:2"));
            assert_eq!(client.get("security.protocol"), Some(expected));
            assert!(client.create_native_config().is_ok());
        }
    }

    #[test]
    fn a_group_is_joined_only_if_it_is_named() {
        let mut config = ConfluentConfig::new("a:1");
        let client = Settings::parse(config.clone()).unwrap().client().unwrap();
        assert_eq!(client.get("partition.assignment.strategy"), None);
        config.group = Some("shippers".to_owned());
        config.refresh_interval = Duration::from_millis(1);
        config.properties.insert("group.instance.id".to_owned(), "one".into());
        let client = Settings::parse(config).unwrap().client().unwrap();
        for (name, value) in [
            ("group.id", "shippers"),
            ("group.instance.id", "one"),
            ("enable.auto.commit", "false"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ] {
            assert_eq!(client.get(name), Some(value));
        }
        assert!(client.create_native_config().is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let tls = TlsConfig { ca_file: Some("/nowhere/ca.pem".into()), ..TlsConfig::default() };
        let mut config = ConfluentConfig::new("a:1");
        config.tls = Some(tls);
        let error = Settings::parse(config).unwrap().client().unwrap_err();
        let expected = "cannot read the file (option: tls.ca_file, path: /nowhere/ca.pem)";
        assert_eq!(error.to_string(), expected);
    }
}
