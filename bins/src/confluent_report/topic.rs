use std::path::PathBuf;

use audit_core::{Error, ErrorKind, Result};
use audit_source_confluent::{ConfluentConfig, Mechanism, SaslConfig, TlsConfig};
use clap::{Args, ValueEnum};
use humantime::Duration;

use crate::ship::{self, given};

/// The options about the audit topic.
#[derive(Args, Debug)]
#[command(next_help_heading = "Topic")]
pub struct Topic {
    /// Brokers of the audit log cluster, with commas in between
    #[arg(long, env = "CONFLUENT_BOOTSTRAP_SERVERS", value_name = "HOST:PORT")]
    bootstrap_servers: Option<String>,
    /// An API key of the audit log cluster
    #[arg(long, env = "CONFLUENT_API_KEY", value_name = "KEY")]
    api_key: Option<String>,
    /// A file with the API secret [env: CONFLUENT_API_SECRET is the secret itself]
    #[arg(long, env = "CONFLUENT_API_SECRET_FILE", value_name = "FILE")]
    api_secret_file: Option<PathBuf>,
    /// The topic
    #[arg(
        long,
        env = "CONFLUENT_TOPIC",
        value_name = "TOPIC",
        default_value = "confluent-audit-log-events"
    )]
    topic: String,
    /// How to connect
    #[arg(
        long,
        env = "CONFLUENT_SECURITY_PROTOCOL",
        value_enum,
        value_name = "PROTOCOL",
        default_value = "SASL_SSL",
        ignore_case = true
    )]
    security_protocol: Protocol,
    /// How to log in
    #[arg(
        long,
        env = "CONFLUENT_SASL_MECHANISM",
        value_enum,
        value_name = "MECHANISM",
        default_value = "PLAIN",
        ignore_case = true
    )]
    sasl_mechanism: Login,
    /// The authority to verify the brokers with [default: those of the system]
    #[arg(long, env = "CONFLUENT_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to show to the brokers
    #[arg(long, env = "CONFLUENT_CLIENT_CERT_FILE", value_name = "FILE")]
    client_cert_file: Option<PathBuf>,
    /// The key of that certificate [env: CONFLUENT_CLIENT_KEY_PASSWORD is its password]
    #[arg(long, env = "CONFLUENT_CLIENT_KEY_FILE", value_name = "FILE")]
    client_key_file: Option<PathBuf>,
    /// How long the topic keeps records [default: as its settings say, else 7 days]
    #[arg(long, env = "CONFLUENT_RETENTION", value_name = "TIME")]
    retention: Option<Duration>,
    /// Go on when records were removed before they were read, and end with exit code 10
    #[arg(long)]
    pub(super) allow_gaps: bool,
    /// Any property of librdkafka: -X fetch.wait.max.ms=50
    #[arg(short = 'X', long = "kafka-property", value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[value(name = "SASL_SSL")]
    SaslSsl,
    #[value(name = "SASL_PLAINTEXT")]
    SaslPlaintext,
    #[value(name = "SSL")]
    Ssl,
    #[value(name = "PLAINTEXT")]
    Plaintext,
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

impl Topic {
    /// Makes the source's configuration.
    pub(super) fn config(&self) -> Result<ConfluentConfig> {
        let brokers = given(&self.bootstrap_servers).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no brokers are given")
                .with("variable", "CONFLUENT_BOOTSTRAP_SERVERS")
                .with_hint("`confluent audit-log describe` names the cluster, and `confluent kafka cluster describe` its endpoint")
        })?;
        let mut config = ConfluentConfig::new(brokers);
        config.topic = self.topic.trim().to_owned();
        config.retention = self.retention.map(Into::into);
        config.allow_gaps = self.allow_gaps;
        use Protocol::{SaslPlaintext, SaslSsl, Ssl};
        if matches!(self.security_protocol, SaslSsl | Ssl) {
            config.tls = Some(self.tls()?);
        }
        if matches!(self.security_protocol, SaslSsl | SaslPlaintext) {
            config.sasl = Some(self.sasl()?);
        }
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

    fn tls(&self) -> Result<TlsConfig> {
        let mut tls = TlsConfig::default();
        tls.ca_file.clone_from(&self.ca_file);
        tls.client_cert_file.clone_from(&self.client_cert_file);
        tls.client_key_file.clone_from(&self.client_key_file);
        tls.key_password = ship::secret("CONFLUENT_CLIENT_KEY_PASSWORD", None)?;
        Ok(tls)
    }

    fn sasl(&self) -> Result<SaslConfig> {
        let missing = |variable: &str| {
            Error::new(ErrorKind::Config, "the login is not given")
                .with("variable", variable)
                .with_hint("make a key of the audit log cluster: `confluent api-key create --resource lkc-…`")
        };
        let key = given(&self.api_key).ok_or_else(|| missing("CONFLUENT_API_KEY"))?;
        let secret = ship::secret("CONFLUENT_API_SECRET", self.api_secret_file.as_deref())?
            .ok_or_else(|| missing("CONFLUENT_API_SECRET"))?;
        let mechanism = match self.sasl_mechanism {
            Login::Plain => Mechanism::Plain,
            Login::ScramSha256 => Mechanism::ScramSha256,
            Login::ScramSha512 => Mechanism::ScramSha512,
        };
        Ok(SaslConfig::new(mechanism, key, secret))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        topic: Topic,
    }

    fn config(args: &[&str]) -> Result<ConfluentConfig> {
        let first = ["x", "--bootstrap-servers", "broker:9092"];
        Program::parse_from(first.iter().chain(args)).topic.config()
    }

    #[test]
    fn a_login_over_tls_is_the_default_and_shows_no_secret() {
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "canary").unwrap();
        let file = secret.path().to_str().unwrap();
        let login = ["--api-key", "KEY", "--api-secret-file", file];
        let found = config(&login).unwrap();
        assert!(found.tls.is_some());
        assert_eq!(found.topic, "confluent-audit-log-events");
        let sasl = found.sasl.as_ref().unwrap();
        assert_eq!((sasl.mechanism, &*sasl.user), (Mechanism::Plain, "KEY"));
        assert_eq!(sasl.password.expose(), "canary");
        let more = ["-X", "client.id=canary", "--sasl-mechanism", "scram-sha-512"];
        let found = config(&[&login[..], &more].concat()).unwrap();
        assert_eq!(found.sasl.as_ref().unwrap().mechanism, Mechanism::ScramSha512);
        assert!(!format!("{found:?}").contains("canary"));
    }

    #[test]
    fn the_protocol_says_what_is_needed() {
        let plain = config(&["--security-protocol", "plaintext"]).unwrap();
        assert!(plain.tls.is_none() && plain.sasl.is_none());
        let certificate = ["--client-cert-file", "c", "--client-key-file", "k"];
        let tls = config(&[&["--security-protocol", "SSL"], &certificate[..]].concat()).unwrap();
        assert!(tls.tls.is_some_and(|tls| tls.client_key_file.is_some()) && tls.sasl.is_none());
        let error = config(&["--security-protocol", "SASL_PLAINTEXT"]).unwrap_err();
        assert!(error.to_string().contains("CONFLUENT_API_KEY"), "{error}");
        assert!(config(&["--security-protocol", "PLAINTEXT", "-X", "linger"]).is_err());
    }
}
