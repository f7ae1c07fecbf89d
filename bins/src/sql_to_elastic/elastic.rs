use std::path::PathBuf;
use std::str::FromStr;

use audit_core::{Error, ErrorKind, Format, Result};
use audit_sink_elastic::{ElasticConfig, ElasticSink, Host, IdFrom, IndexTemplate};
use clap::{Args, ValueEnum};

use super::cli::InstallTemplate;
use super::database::Database;
use crate::ship::{self, given};
use crate::{exit, terminal};

/// The options about Elasticsearch and the documents.
#[derive(Args, Debug)]
#[command(next_help_heading = "Elasticsearch")]
pub struct Elastic {
    /// The nodes: es.example, es.example:9200, [::1]:9200 or a whole URL; several
    /// of one cluster with commas in between
    #[arg(long, global = true, env, hide_env_values = true, value_name = "HOST")]
    elasticsearch_host: Option<String>,
    /// The port, where the host does not say it; 0 means that it does
    #[arg(long, global = true, env, value_name = "PORT")]
    elasticsearch_port: Option<String>,
    /// http or https, where the host does not say it
    #[arg(long, global = true, env, value_name = "SCHEME", default_value = "https")]
    elasticsearch_scheme: String,
    /// The user
    #[arg(long, global = true, env, value_name = "NAME")]
    elasticsearch_username: Option<String>,
    /// A file with the user's password [env: ELASTICSEARCH_PASSWORD is the password itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    elasticsearch_password_file: Option<PathBuf>,
    /// A file with an API key [env: ELASTICSEARCH_API_KEY is the key itself]
    #[arg(long, global = true, env, value_name = "FILE")]
    elasticsearch_api_key_file: Option<PathBuf>,
    /// Certificates to trust beside the system's
    #[arg(long, global = true, env, value_name = "FILE")]
    elasticsearch_ca: Option<String>,
    /// The certificate to show to the cluster
    #[arg(long, global = true, env, value_name = "FILE")]
    elasticsearch_cert: Option<String>,
    /// The key of that certificate
    #[arg(long, global = true, env, value_name = "FILE")]
    elasticsearch_key: Option<String>,
    /// The index, data stream or alias; `audit-{yyyy.MM.dd}` is one index a day, by the events' time
    #[arg(
        long = "elasticsearch-index",
        visible_alias = "index",
        global = true,
        env = "ELASTICSEARCH_APP_AUDIT_LOG_INDEX",
        value_name = "NAME",
        default_value = "app_audit_log"
    )]
    index: String,
    /// An ingest pipeline of the cluster for each document
    #[arg(long, global = true, env = "ELASTICSEARCH_PIPELINE", value_name = "NAME")]
    elasticsearch_pipeline: Option<String>,
    /// What a document holds: the record as it is, the envelope of this program, or ECS
    #[arg(long, global = true, env = "AUDIT_FORMAT", value_name = "FORMAT",
        default_value = "raw", value_parser = ship::parse_format)]
    format: Format,
    /// What is a document's _id: the event's own, or as before the row's, which two tables in one
    /// index may share
    #[arg(
        long,
        global = true,
        env = "AUDIT_ID_FROM",
        value_enum,
        value_name = "WHAT",
        default_value = "event"
    )]
    id_from: IdOf,
    /// How many requests are in flight at once
    #[arg(long, global = true, env = "ELASTICSEARCH_CONCURRENCY", value_name = "N",
        default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    elasticsearch_concurrency: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IdOf {
    Event,
    Row,
}

impl Elastic {
    /// Makes the sink's configuration.
    pub(super) fn config(&self, database: &Database) -> Result<ElasticConfig> {
        let hosts = given(&self.elasticsearch_host).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no Elasticsearch host is given")
                .with("variable", "ELASTICSEARCH_HOST")
                .with_hint(
                    "set it, or --elasticsearch-host, to `es.example:9200` or \
                            `https://es.example:9200`",
                )
        })?;
        let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
        let hosts = hosts.map(|host| self.host(host)).collect::<Result<Vec<_>>>()?;
        let index = self.index.trim();
        if index.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no index is given")
                .with("variable", "ELASTICSEARCH_APP_AUDIT_LOG_INDEX"));
        }
        let mut config = ElasticConfig::new("localhost", index)?;
        config.hosts = hosts;
        let password =
            ship::secret("ELASTICSEARCH_PASSWORD", self.elasticsearch_password_file.as_deref())?;
        config.api_key =
            ship::secret("ELASTICSEARCH_API_KEY", self.elasticsearch_api_key_file.as_deref())?;
        config.username = given(&self.elasticsearch_username).map(str::to_owned);
        config.password = password;
        let file = |file| given(file).map(PathBuf::from);
        config.ca_file = file(&self.elasticsearch_ca);
        config.client_cert_file = file(&self.elasticsearch_cert);
        config.client_key_file = file(&self.elasticsearch_key);
        config.pipeline = given(&self.elasticsearch_pipeline).map(str::to_owned);
        config.format = self.format;
        config.timestamp_from = database.time_keys();
        config.id_from = match self.id_from {
            IdOf::Event => IdFrom::Event,
            IdOf::Row => IdFrom::Row,
        };
        config.concurrency = self.elasticsearch_concurrency.into();
        Ok(config)
    }

    /// Installs an index template.
    pub(super) async fn install(&self, database: &Database, args: &InstallTemplate) -> Result<u8> {
        let sink = ElasticSink::new(self.config(database)?)?;
        let index = self.index.trim();
        let stem = index.split('{').next().unwrap_or(index).trim_end_matches(['-', '_', '.']);
        let name = args.name.as_deref().unwrap_or(if stem.is_empty() { "audit" } else { stem });
        let template = IndexTemplate::new(name).priority(args.priority);
        sink.install_template(&template.data_stream(args.data_stream)).await?;
        terminal::say(&format!("the index template {} is installed", terminal::neutral(name)));
        Ok(exit::OK)
    }

    fn host(&self, host: &str) -> Result<Host> {
        let port = match given(&self.elasticsearch_port) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Error::new(ErrorKind::Config, "not a port")
                    .with("variable", "ELASTICSEARCH_PORT")
                    .with_hint("write a number up to 65535, or 0 if the host says it")
            })?,
        };
        let url = address(host, port, self.elasticsearch_scheme.trim())?;
        Host::from_str(&url).map_err(|e| e.with("variable", "ELASTICSEARCH_HOST"))
    }
}

/// Puts scheme, host and port together, where each may be said twice but not differently.
fn address(host: &str, port: u16, scheme: &str) -> Result<String> {
    let wrong = |what: &str, variable: &'static str| {
        Error::new(ErrorKind::Config, what.to_owned()).with("variable", variable)
    };
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("neither http nor https", "ELASTICSEARCH_SCHEME"));
    }
    let is_url = host.contains("://");
    let (scheme, rest) = host.split_once("://").unwrap_or((scheme, host));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (format!("{login}@"), place),
        None => (String::new(), authority),
    };
    // A lone IPv6 address has colons too, and no brackets.
    let place = match place.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => place.to_owned(),
    };
    let own = place.rsplit_once(':').filter(|(_, tail)| !tail.ends_with(']')).map(|(_, p)| p);
    let port = match (own, port) {
        (Some(own), port) if port != 0 && own != port.to_string() => {
            return Err(wrong("the host has another port", "ELASTICSEARCH_PORT")
                .with("port", port)
                .with_hint("leave ELASTICSEARCH_PORT out, or the port in ELASTICSEARCH_HOST"));
        }
        (Some(_), _) => String::new(),
        (None, 0) if is_url => String::new(),
        (None, 0) => {
            return Err(wrong("no port is given", "ELASTICSEARCH_PORT")
                .with_hint("set it, or write it in ELASTICSEARCH_HOST: `es.example:9200`"));
        }
        (None, port) => format!(":{port}"),
    };
    Ok(format!("{scheme}://{login}{place}{port}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_scheme_may_be_said_in_every_way() {
        for (host, port, expected) in [
            ("es", 9200, "https://es:9200"),
            ("es:9200", 0, "https://es:9200"),
            ("es:9200", 9200, "https://es:9200"),
            ("[::1]:9200", 0, "https://[::1]:9200"),
            ("[::1]", 9200, "https://[::1]:9200"),
            ("2001:db8::1", 9200, "https://[2001:db8::1]:9200"),
            ("https://h:443", 0, "https://h:443"),
            ("http://h", 9200, "http://h:9200"),
            ("https://h/es", 0, "https://h/es"),
            ("https://u:p@h/es", 9243, "https://u:p@h:9243/es"),
        ] {
            assert_eq!(address(host, port, "https").unwrap(), expected, "{host} {port}");
        }
        for (host, port, variable) in [
            ("h:443", 9200, "ELASTICSEARCH_PORT"),
            ("h", 0, "ELASTICSEARCH_PORT"),
            ("::1", 0, "ELASTICSEARCH_PORT"),
        ] {
            let error = address(host, port, "https").unwrap_err();
            assert!(error.to_string().contains(variable), "{error}");
        }
        assert!(address("h", 1, "ftp").is_err());
    }
}
