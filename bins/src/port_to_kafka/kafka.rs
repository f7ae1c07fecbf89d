use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Format, Result};
use audit_sink_kafka::{
    Compression, CreateTopic, KafkaConfig, Key, Mechanism, SaslConfig, Timestamp, TlsConfig,
    TransactionConfig,
};
use clap::{Args, ValueEnum};

use crate::ship::{self, given};

/// The options about Kafka and the messages.
#[derive(Args, Debug)]
#[command(next_help_heading = "Kafka")]
pub struct Kafka {
    /// Brokers of the cluster, with commas in between
    #[arg(long, global = true, env, value_name = "HOST:PORT", default_value = "localhost:9092")]
    kafka_server: String,
    /// The topic
    #[arg(long, global = true, env, value_name = "TOPIC", default_value = "port-logs")]
    kafka_topic: String,
    /// Speak TLS, which any of the files below means as well
    #[arg(long, global = true)]
    kafka_ssl: bool,
    /// The authority to verify the brokers with [default: those of the system]
    #[arg(long, global = true, env, value_name = "FILE")]
    kafka_ssl_ca_cert: Option<String>,
    /// The certificate to show to the brokers
    #[arg(long, global = true, env, value_name = "FILE")]
    kafka_ssl_client_cert: Option<String>,
    /// The key of that certificate [env: KAFKA_SSL_KEY_PASSWORD is its password]
    #[arg(long, global = true, env, value_name = "FILE")]
    kafka_ssl_client_key: Option<String>,
    /// How to log in
    #[arg(long, global = true, env, value_enum, value_name = "MECHANISM", ignore_case = true)]
    kafka_sasl_mechanism: Option<Login>,
    /// Who to log in as; for Confluent Cloud the API key
    #[arg(long, global = true, env, value_name = "NAME")]
    kafka_sasl_username: Option<String>,
    /// A file with the password [env: KAFKA_SASL_PASSWORD is the password itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    kafka_sasl_password_file: Option<PathBuf>,
    /// What is a message's key, and so decides its partition
    #[arg(long, global = true, env, value_enum, value_name = "WHAT", default_value = "identifier")]
    kafka_key: KeyOf,
    /// What is a message's timestamp: when it happened, or when it was sent. A topic's retention
    /// counts from then
    #[arg(long, global = true, env, value_enum, value_name = "WHEN", default_value = "event")]
    kafka_timestamp: When,
    /// What a message holds: the record as received, the envelope of this program, or ECS
    #[arg(long, global = true, env = "AUDIT_FORMAT", value_name = "FORMAT", default_value = "raw",
        value_parser = ship::parse_format)]
    format: Format,
    /// How large a record may be, with key and headers; larger ones go to the dead letters
    #[arg(long, global = true, env, value_name = "BYTES", default_value_t = 1_000_000)]
    kafka_max_record_bytes: u32,
    /// How messages are compressed
    #[arg(long, global = true, env, value_enum, value_name = "CODEC", default_value = "none")]
    kafka_compression: Codec,
    /// Make the topic if it is not there, with so many partitions
    #[arg(long, global = true, value_name = "PARTITIONS", num_args = 0..=1, require_equals = true,
        default_missing_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    create_topic: Option<u16>,
    /// Keep the progress in this compacted topic, in one transaction with the messages, so that
    /// readers of committed messages see each exactly once
    #[arg(long, global = true, env = "KAFKA_CHECKPOINT_TOPIC", value_name = "TOPIC")]
    checkpoint_topic: Option<String>,
    /// Any property of librdkafka: -X linger.ms=50
    #[arg(short = 'X', long = "kafka-property", global = true, value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Login {
    #[value(name = "PLAIN")]
    Plain,
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyOf {
    /// The identifier of the record
    Identifier,
    /// That of the entity it is about, whose records then stay in order
    Entity,
    /// That of the user who did it
    Actor,
    /// None, as before
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Event,
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Lz4,
    Snappy,
    Zstd,
}

impl Kafka {
    /// Makes the sink's configuration.
    pub(super) fn config(&self) -> Result<KafkaConfig> {
        for (variable, text) in
            [("KAFKA_SERVER", &self.kafka_server), ("KAFKA_TOPIC", &self.kafka_topic)]
        {
            if text.trim().is_empty() {
                return Err(Error::new(ErrorKind::Config, "it is empty").with("variable", variable));
            }
        }
        let mut config = KafkaConfig::new(self.kafka_server.trim(), self.kafka_topic.trim());
        config.key = match self.kafka_key {
            KeyOf::Identifier => Key::Id,
            KeyOf::Entity => Key::Target,
            KeyOf::Actor => Key::Actor,
            KeyOf::None => Key::None,
        };
        config.timestamp = match self.kafka_timestamp {
            When::Event => Timestamp::Event,
            When::Sent => Timestamp::Sent,
        };
        config.format = self.format;
        config.max_record_bytes = self.kafka_max_record_bytes;
        config.compression = match self.kafka_compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Lz4 => Compression::Lz4,
            Codec::Snappy => Compression::Snappy,
            Codec::Zstd => Compression::Zstd,
        };
        config.tls = self.tls()?;
        config.sasl = self.sasl()?;
        config.create_topic = self.create_topic.map(CreateTopic::new);
        config.transaction = given(&self.checkpoint_topic).map(TransactionConfig::new);
        for property in &self.properties {
            let (key, value) = property.split_once('=').ok_or_else(|| {
                Error::new(ErrorKind::Config, "a property without a value")
                    .with("option", "-X")
                    .with_hint("write it as -X key=value")
            })?;
            config.properties.insert(key.trim().to_owned(), value.into());
        }
        Ok(config)
    }

    fn tls(&self) -> Result<Option<TlsConfig>> {
        let files =
            [&self.kafka_ssl_ca_cert, &self.kafka_ssl_client_cert, &self.kafka_ssl_client_key];
        let [ca, cert, key] = files.map(|file| given(file).map(PathBuf::from));
        if !self.kafka_ssl && ca.is_none() && cert.is_none() && key.is_none() {
            return Ok(None);
        }
        if cert.is_some() != key.is_some() {
            let missing = match cert {
                Some(_) => "KAFKA_SSL_CLIENT_KEY",
                None => "KAFKA_SSL_CLIENT_CERT",
            };
            return Err(Error::new(ErrorKind::Config, "a client's certificate needs its key")
                .with("variable", missing)
                .with_hint("set both, or neither"));
        }
        let mut tls = TlsConfig::default();
        (tls.ca_file, tls.client_cert_file, tls.client_key_file) = (ca, cert, key);
        tls.key_password = ship::secret("KAFKA_SSL_KEY_PASSWORD", None)?;
        Ok(Some(tls))
    }

    fn sasl(&self) -> Result<Option<SaslConfig>> {
        let user = given(&self.kafka_sasl_username);
        let password =
            ship::secret("KAFKA_SASL_PASSWORD", self.kafka_sasl_password_file.as_deref())?;
        let mechanism = self.kafka_sasl_mechanism.map(|mechanism| match mechanism {
            Login::Plain => Mechanism::Plain,
            Login::ScramSha256 => Mechanism::ScramSha256,
            Login::ScramSha512 => Mechanism::ScramSha512,
        });
        let missing = match (user, password, mechanism) {
            (None, None, None) => return Ok(None),
            (Some(user), Some(password), mechanism) => {
                let mechanism = mechanism.unwrap_or(Mechanism::Plain);
                return Ok(Some(SaslConfig::new(mechanism, user, password)));
            }
            (None, ..) => "KAFKA_SASL_USERNAME",
            (_, None, _) => "KAFKA_SASL_PASSWORD",
        };
        Err(Error::new(ErrorKind::Config, "a login that is not whole")
            .with("variable", missing)
            .with_hint("set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, or none of them"))
    }
}
