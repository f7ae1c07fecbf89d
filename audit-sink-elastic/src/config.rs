use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Format, Result, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Deserializer};

use crate::Host;
use crate::index::IndexName;
use crate::tls::TlsFiles;

/// Where to write and as whom: the options of an [`ElasticSink`](crate::ElasticSink).
///
/// Only `hosts` and `index` are needed. Durations are written `30s` or `1m 30s`; unknown names are
/// errors. The credentials are one of: user and password, an API key, a bearer token.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ElasticConfig {
    /// The nodes of one cluster; each request goes to the next, and around those that fail.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub hosts: Vec<Host>,
    /// The index, data stream or alias. `audit-{yyyy.MM.dd}` is one index a day, by the time of the
    /// event (UTC), not that of sending: so a repeat after midnight meets its first copy.
    pub index: String,
    /// The user, for HTTP basic authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// An Elasticsearch API key, as `id:key` or encoded as Elasticsearch shows it.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// A token sent as `Authorization: Bearer`.
    #[serde(default)]
    pub bearer: Option<Secret>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The client's certificate (PEM), with its chain. Read anew when the file changes.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// The key of the client's certificate (PEM, PKCS#8: `BEGIN PRIVATE KEY`).
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// What is written for an event. Default: the record as received.
    #[serde(default)]
    pub format: Format,
    /// The keys that lead to the record's own time, `["audit_event", "date_time"]`: its text becomes
    /// `@timestamp` as it stands, if that is a date which the field's default mapping takes. Default:
    /// none, and `@timestamp` is the event's time, in UTC. A `@timestamp` that is there always stays.
    #[serde(default)]
    pub timestamp_from: Vec<String>,
    /// What becomes the document's `_id`. Default: the event's id.
    #[serde(default)]
    pub id_from: IdFrom,
    /// Whether a document whose id is taken already is compared with the stored one, which needs the
    /// right to read. Otherwise an equal id counts as the same event. Default: yes, unless an ingest
    /// `pipeline` may change documents.
    #[serde(default)]
    pub verify_duplicates: Option<bool>,
    /// An ingest pipeline of the cluster for each document.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// The size at which a request's body is cut, in bytes before compression. Default 5 MiB.
    #[serde(default = "default_body_bytes")]
    pub max_body_bytes: usize,
    /// The number of documents at which a request's body is cut. Default 5000.
    #[serde(default = "default_body_events")]
    pub max_body_events: usize,
    /// How many requests may be in flight at once. Default 4.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Whether bodies are compressed. Default: yes, unless all hosts are this machine.
    #[serde(default)]
    pub gzip: Option<bool>,
    /// How long one request may take, from connecting to the end of the answer; connecting alone half
    /// of it, and 10 s at most. Default 60 s.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub request_timeout: Duration,
}

impl ElasticConfig {
    /// Creates a configuration with every default, for one host.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the host is not an address.
    pub fn new(host: &str, index: impl Into<String>) -> Result<Self> {
        Ok(Self {
            hosts: vec![host.parse()?],
            index: index.into(),
            username: None,
            password: None,
            api_key: None,
            bearer: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            format: Format::default(),
            timestamp_from: Vec::new(),
            id_from: IdFrom::default(),
            verify_duplicates: None,
            pipeline: None,
            max_body_bytes: default_body_bytes(),
            max_body_events: default_body_events(),
            concurrency: default_concurrency(),
            gzip: None,
            request_timeout: default_timeout(),
        })
    }

    pub(crate) fn parse(self) -> Result<Settings> {
        if self.hosts.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no host is given").with("option", "hosts"));
        }
        for (option, zero) in [
            ("max_body_bytes", self.max_body_bytes == 0),
            ("max_body_events", self.max_body_events == 0),
            ("concurrency", self.concurrency == 0),
            ("request_timeout", self.request_timeout.is_zero()),
        ] {
            if zero {
                return Err(Error::new(ErrorKind::Config, "must be more than nothing")
                    .with("option", option));
            }
        }
        let gzip = self.gzip.unwrap_or_else(|| !self.hosts.iter().all(Host::is_loopback));
        let authorization = self.authorization()?;
        let hosts = self.hosts.into_iter().map(|host| {
            let own = host.login().map(|(user, password)| basic(user, password)).transpose()?;
            Ok((host, authorization.clone().or(own)))
        });
        Ok(Settings {
            hosts: hosts.collect::<Result<_>>()?,
            index: IndexName::parse(&self.index)?,
            format: self.format,
            stamp: if self.format == Format::Raw { self.timestamp_from } else { Vec::new() },
            id_from: self.id_from,
            verify: self.verify_duplicates.unwrap_or(self.pipeline.is_none()),
            pipeline: self.pipeline.filter(|name| !name.is_empty()),
            max_body_bytes: self.max_body_bytes,
            max_body_events: self.max_body_events,
            concurrency: self.concurrency,
            gzip,
            timeout: self.request_timeout,
            tls: TlsFiles::new(self.ca_file, self.client_cert_file, self.client_key_file)?,
        })
    }

    /// Makes the `Authorization` header of the configured credentials.
    fn authorization(&self) -> Result<Option<HeaderValue>> {
        let config = |message| Err(Error::new(ErrorKind::Config, message));
        let user = self.username.as_deref().filter(|user| !user.is_empty());
        match (user, &self.password, &self.api_key, &self.bearer) {
            (None, None, None, None) => Ok(None),
            (Some(user), password, None, None) => {
                basic(user, password.as_ref().unwrap_or(&Secret::new(""))).map(Some)
            }
            (None, None, Some(key), None) => {
                let key = key.expose().trim();
                let encoded = if key.contains(':') { BASE64.encode(key) } else { key.to_owned() };
                sensitive(format!("ApiKey {encoded}"), "api_key").map(Some)
            }
            (None, None, None, Some(token)) => {
                sensitive(format!("Bearer {}", token.expose().trim()), "bearer").map(Some)
            }
            (None, Some(_), None, None) => config("a password without a username"),
            _ => config("more than one kind of credentials; give one of username, api_key, bearer"),
        }
    }
}

fn basic(user: &str, password: &Secret) -> Result<HeaderValue> {
    let encoded = BASE64.encode(format!("{user}:{}", password.expose()));
    sensitive(format!("Basic {encoded}"), "password")
}

fn sensitive(value: String, option: &'static str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Error::new(ErrorKind::Config, "cannot be sent in a header").with("option", option)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What becomes the `_id` of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum IdFrom {
    /// The id of the event, which no other event has; its SHA-256 when longer than 512 bytes.
    #[default]
    Event,
    /// The key of its row in the source (`42` of `audit_logs:42:…`), as programs did that wrote one
    /// table into one index. Two tables in one index collide: that is found and reported, if the
    /// stored documents may be read.
    Row,
}

/// A checked configuration.
pub(crate) struct Settings {
    pub(crate) hosts: Vec<(Host, Option<HeaderValue>)>,
    pub(crate) index: IndexName,
    pub(crate) format: Format,
    pub(crate) stamp: Vec<String>,
    pub(crate) id_from: IdFrom,
    pub(crate) verify: bool,
    pub(crate) pipeline: Option<String>,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_body_events: usize,
    pub(crate) concurrency: usize,
    pub(crate) gzip: bool,
    pub(crate) timeout: Duration,
    pub(crate) tls: TlsFiles,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn default_body_bytes() -> usize {
    5 << 20
}

fn default_body_events() -> usize {
    5000
}

fn default_concurrency() -> usize {
    4
}

fn default_timeout() -> Duration {
    Duration::from_secs(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Settings> {
        serde_json::from_str::<ElasticConfig>(json).unwrap().parse()
    }

    fn header(credentials: &str) -> Option<String> {
        let json = format!(r#"{{"hosts":["https://ann:p%3Aw@h"],"index":"a"{credentials}}}"#);
        let settings = parse(&json).unwrap();
        settings.hosts[0].1.as_ref().map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn credentials_of_every_kind_become_a_header() {
        let basic = |text| Some(format!("Basic {}", BASE64.encode(text)));
        assert_eq!(header(""), basic("ann:p:w"), "from the host");
        assert_eq!(header(r#","username":"bob","password":"x""#), basic("bob:x"));
        assert_eq!(header(r#","username":"","api_key":"i:k""#).unwrap(), "ApiKey aTpr");
        assert_eq!(header(r#","api_key":"aTpr\n""#).unwrap(), "ApiKey aTpr");
        assert_eq!(header(r#","bearer":"t.o.k""#).unwrap(), "Bearer t.o.k");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for json in [
            r#"{"hosts":[],"index":"a"}"#,
            r#"{"hosts":["h"],"index":"A"}"#,
            r#"{"hosts":["h"],"index":"a","password":"canary"}"#,
            r#"{"hosts":["h"],"index":"a","username":"u","bearer":"canary"}"#,
            r#"{"hosts":["h"],"index":"a","bearer":"canary\ncanary"}"#,
            r#"{"hosts":["h"],"index":"a","concurrency":0}"#,
            r#"{"hosts":["h"],"index":"a","request_timeout":"0s"}"#,
            r#"{"hosts":["h"],"index":"a","client_cert_file":"c.pem"}"#,
        ] {
            let error = parse(json).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{json}");
            assert!(!format!("{error:?}").contains("canary"));
        }
        for json in [
            r#"{"hosts":["h"],"index":"a","refresh":true}"#,
            r#"{"hosts":["ftp://u:canary@h"],"index":"a"}"#,
        ] {
            let error = serde_json::from_str::<ElasticConfig>(json).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_those_documented() {
        let local = parse(r#"{"hosts":["http://127.0.0.1:9200"],"index":"a"}"#).unwrap();
        assert_eq!((local.max_body_bytes, local.concurrency, local.gzip), (5 << 20, 4, false));
        assert!(local.verify && local.timeout == Duration::from_secs(60));
        let json =
            r#"{"hosts":["h","localhost"],"index":"a","pipeline":"p","request_timeout":"5s"}"#;
        let remote = parse(json).unwrap();
        assert!(remote.gzip && !remote.verify && remote.timeout == Duration::from_secs(5));
    }

    #[test]
    fn debug_shows_no_secret() {
        let json = r#"{"hosts":["https://u:canary@h"],"index":"a","password":"canary",
            "username":"u","api_key":"canary","bearer":"canary"}"#;
        let config = serde_json::from_str::<ElasticConfig>(json).unwrap();
        assert!(!format!("{config:?}{config:#?}").contains("canary"));
    }
}
