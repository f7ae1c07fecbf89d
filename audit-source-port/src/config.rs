use std::path::PathBuf;
use std::time::Duration;

use audit_core::window::WindowConfig;
use audit_core::{Error, ErrorKind, Result, Secret};
use chrono::{DateTime, Utc};
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Deserializer};

use crate::PortFilter;
use crate::time::parse_time;

/// The smallest window. The answer for a window may reach one millisecond beyond each of its edges,
/// so that steps of one would not be told apart.
pub(crate) const GRANULE: Duration = Duration::from_millis(2);

/// The API refuses a longer time when it is to find deleted entities: a day, less the overlap.
const MAX_WINDOW_OF_DELETED: Duration = Duration::from_secs(23 * 60 * 60);

/// Where to read and as whom, which records, and how: the options of a
/// [`PortSource`](crate::PortSource).
///
/// Only the credentials are needed: a client id with its secret, or a token. Durations are written
/// `30s` or `1m 30s`, times as [`parse_time`] reads them; unknown names are errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PortConfig {
    /// The API: `eu` (`https://api.port.io`), `us` (`https://api.us.port.io`), or an address.
    /// Default `eu`.
    #[serde(default = "default_url")]
    pub url: String,
    /// Whether an address may be `http://` though it is not this machine. Default no.
    #[serde(default)]
    pub allow_http: bool,
    /// The id of a credential pair.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The secret of a credential pair.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// A token, with or without `Bearer ` before it. It is not renewed.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The proxy to go through: `http://user:password@proxy.example:3128`. Default: none, whatever the
    /// environment says.
    #[serde(default)]
    pub proxy: Option<Secret>,
    /// The events' `source`. Default `port`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where to begin when there is no checkpoint: `2025-01-31`, `2025-01-31T12:00:00Z`. Default: with
    /// the oldest record.
    #[serde(default, deserialize_with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub from: Option<DateTime<Utc>>,
    /// Where to end, likewise. Default: never.
    #[serde(default, deserialize_with = "time")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub to: Option<DateTime<Utc>>,
    /// Which records to ask for. Default: all.
    #[serde(default)]
    pub filter: PortFilter,
    /// The number of records to ask for in one answer; one that reaches it is asked for again in
    /// halves. Bounds the memory. Default 1000.
    #[serde(default = "default_limit")]
    pub limit: usize,
    /// How long after one pass began the next may. A tenth of it at most is added by chance, so that
    /// many instances do not ask at once. Default 1 min.
    #[serde(default = "default_poll", deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// How late a record may appear and still be found: what is younger is read again with each
    /// pass. Default 10 min.
    #[serde(default = "default_look_back", deserialize_with = "duration")]
    pub look_back: Duration,
    /// How far behind the server's time reading stays. Default 0 s.
    #[serde(default, deserialize_with = "duration")]
    pub settle: Duration,
    /// The longest time whose records are asked for at once. Of a longer one a single record is asked
    /// for, to see whether there is any. Default 30 days.
    #[serde(default = "default_max_window", deserialize_with = "duration")]
    pub max_window: Duration,
    /// How long one request may take, from connecting to the end of the answer. Default 90 s, more
    /// than the API's own limit, whose 504 is answered with smaller requests.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// The largest answer that is read, after decompression; a larger one is asked for again in
    /// halves. Default 64 MiB.
    #[serde(default = "default_answer_bytes")]
    pub max_answer_bytes: usize,
}

impl PortConfig {
    /// Creates a configuration with every default, for a credential pair. Its tokens are renewed.
    pub fn new(client_id: impl Into<String>, client_secret: Secret) -> Self {
        let (id, secret) = (Some(client_id.into()), Some(client_secret));
        Self { client_id: id, client_secret: secret, ..Self::without_credentials() }
    }

    /// Creates a configuration with every default, for a token that somebody else renews.
    pub fn with_token(token: Secret) -> Self {
        Self { token: Some(token), ..Self::without_credentials() }
    }

    fn without_credentials() -> Self {
        Self {
            url: default_url(),
            allow_http: false,
            client_id: None,
            client_secret: None,
            token: None,
            ca_file: None,
            proxy: None,
            name: default_name(),
            from: None,
            to: None,
            filter: PortFilter::default(),
            limit: default_limit(),
            poll_interval: default_poll(),
            look_back: default_look_back(),
            settle: Duration::ZERO,
            max_window: default_max_window(),
            request_timeout: default_timeout(),
            max_answer_bytes: default_answer_bytes(),
        }
    }

    /// The longest time whose records are asked for at once.
    pub(crate) fn longest_window(&self) -> Duration {
        if self.filter.include_deleted_entities {
            self.max_window.min(MAX_WINDOW_OF_DELETED)
        } else {
            self.max_window
        }
    }

    pub(crate) fn windows(&self) -> WindowConfig {
        // Of a longer time one record is asked for, to see whether there is any.
        let longest =
            if self.filter.include_deleted_entities { Duration::ZERO } else { Duration::MAX };
        WindowConfig::new(GRANULE)
            .max_span(self.longest_window())
            .max_empty_span(longest)
            .answer_limit(self.limit)
            .look_back(self.look_back)
            .settle(self.settle)
            .poll(self.poll_interval)
    }

    /// Checks what can be wrong without asking the API.
    pub(crate) fn check(&self) -> Result<Checked> {
        for (option, zero) in [
            ("limit", self.limit == 0),
            ("max_answer_bytes", self.max_answer_bytes == 0),
            ("max_window", self.max_window < GRANULE),
            ("name", self.name.is_empty()),
            ("request_timeout", self.request_timeout.is_zero()),
        ] {
            if zero {
                return Err(Error::new(ErrorKind::Config, "must be more than nothing")
                    .with("option", option));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Error::new(ErrorKind::Config, "ends before it begins")
                .with("from", from.to_rfc3339())
                .with("to", to.to_rfc3339()));
        }
        self.filter.pairs()?;
        self.proxy()?;
        Ok(Checked { url: self.base()?, credentials: self.credentials()? })
    }

    /// Returns the proxy's address, which may hold a password.
    pub(crate) fn proxy(&self) -> Result<Option<Url>> {
        let proxy = self.proxy.as_ref().map(|proxy| proxy.expose().trim());
        let Some(text) = proxy.filter(|text| !text.is_empty()) else { return Ok(None) };
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Config, "not the address of a proxy")
                .with("option", "proxy")
                .with_hint("give http://user:password@proxy.example:3128")
        })
    }

    fn base(&self) -> Result<Url> {
        let invalid = |why: &str| {
            Error::new(ErrorKind::Config, format!("invalid address: {why}"))
                .with("option", "url")
                .with_hint("give `eu`, `us`, or an address like https://api.port.io")
        };
        let text = match self.url.trim() {
            region if region.eq_ignore_ascii_case("eu") => "https://api.port.io",
            region if region.eq_ignore_ascii_case("us") => "https://api.us.port.io",
            text => text,
        };
        let mut url = Url::parse(text).map_err(|e| invalid("not a URL").with("cause", e))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it holds a name or password, which the API does not know"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a query or fragment has no meaning here"));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http || is_loopback(&url) => {}
            "http" => {
                return Err(invalid("http sends the credentials in the open")
                    .with_hint("write it as https://…, or set allow_http"));
            }
            scheme => return Err(invalid("neither http nor https").with("scheme", scheme)),
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/').to_owned();
        url.set_path(&(path + "/"));
        Ok(url)
    }

    fn credentials(&self) -> Result<Credentials> {
        let config = |message: &str| {
            Error::new(ErrorKind::Config, message)
                .with_hint("give client_id and client_secret, or a token")
        };
        let id = self.client_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
        // Files that hold secrets tend to end in a line break.
        let given = |secret: &'_ Option<Secret>| {
            let text = secret.as_ref().map(|secret| secret.expose().trim());
            text.filter(|text| !text.is_empty()).map(Secret::new)
        };
        match (id, given(&self.client_secret), given(&self.token)) {
            (Some(id), Some(secret), None) => Ok(Credentials::Pair { id: id.to_owned(), secret }),
            (None, None, Some(token)) => bearer(token.expose()).map(Credentials::Token),
            (None, None, None) => Err(config("no credentials are given")),
            (_, _, Some(_)) => Err(config("two kinds of credentials are given")),
            (Some(_), None, None) => Err(config("a client_id without its client_secret")),
            (None, Some(_), None) => Err(config("a client_secret without its client_id")),
        }
    }
}

/// Makes the `Authorization` header of a token, which may have `Bearer ` before it already.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue> {
    let token = token.trim();
    let bare = match token.split_once(char::is_whitespace) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => token,
    };
    let mut value = HeaderValue::try_from(format!("Bearer {bare}"))
        .ok()
        .filter(|_| !bare.contains(char::is_whitespace))
        .ok_or_else(|| {
            Error::new(ErrorKind::Config, "the token cannot be sent in a header")
                .with_hint("it must be one word; look for quotes or line breaks in it")
        })?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// What a configuration means.
pub(crate) struct Checked {
    /// Ends with a slash.
    pub(crate) url: Url,
    pub(crate) credentials: Credentials,
}

/// As whom to ask.
#[derive(Debug)]
pub(crate) enum Credentials {
    Pair { id: String, secret: Secret },
    Token(HeaderValue),
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref().map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => parse_time(text).map(Some).map_err(serde::de::Error::custom),
    }
}

fn default_url() -> String {
    "eu".to_owned()
}

fn default_name() -> String {
    "port".to_owned()
}

fn default_limit() -> usize {
    1000
}

fn default_poll() -> Duration {
    Duration::from_secs(60)
}

fn default_look_back() -> Duration {
    Duration::from_secs(10 * 60)
}

fn default_max_window() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

fn default_timeout() -> Duration {
    Duration::from_secs(90)
}

fn default_answer_bytes() -> usize {
    64 << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PortConfig {
        PortConfig::with_token(Secret::new("t"))
    }

    fn base(url: &str) -> Result<String> {
        let mut config = config();
        config.url = url.to_owned();
        config.base().map(|url| url.to_string())
    }

    #[test]
    fn regions_and_addresses_are_understood() {
        for (text, url) in [
            ("eu", "https://api.port.io/"),
            (" US ", "https://api.us.port.io/"),
            ("https://api.getport.io", "https://api.getport.io/"),
            ("https://api.getport.io//", "https://api.getport.io/"),
            ("https://api.port.io/v1/", "https://api.port.io/"),
            ("https://gateway.example/port/v1", "https://gateway.example/port/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            ("http://localhost:80/x", "http://localhost/x/"),
        ] {
            assert_eq!(base(text).unwrap(), url, "{text}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_meant_are_refused_without_their_secrets() {
        for url in [
            "",
            "api.port.io",
            "http://api.port.io",
            "ftp://api.port.io",
            "https://",
            "https://u:canary@api.port.io",
            "https://api.port.io/?token=canary",
            "https://h:99999",
        ] {
            let error = base(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        let mut config = config();
        config.url = "http://proxy.example".to_owned();
        config.allow_http = true;
        assert!(config.base().is_ok());
    }

    #[test]
    fn fault_12_a_token_may_have_bearer_before_it_or_not() {
        for token in ["a.b.c", "Bearer a.b.c", "bearer  a.b.c\n", " a.b.c "] {
            let header = bearer(token).unwrap();
            assert_eq!(header.to_str().unwrap(), "Bearer a.b.c", "{token:?}");
            assert!(header.is_sensitive());
        }
        for token in ["s3\ncret", "s3 cret", "Bearer s3 cret"] {
            let error = bearer(token).unwrap_err();
            assert!(!format!("{error:?}").contains("s3"), "{error:?}");
        }
    }

    #[test]
    fn credentials_are_one_kind_and_whole() {
        let parse = |json: &str| serde_json::from_str::<PortConfig>(json).unwrap().check();
        for json in [
            r#"{}"#,
            r#"{"token":""}"#,
            r#"{"client_id":"a"}"#,
            r#"{"client_secret":"canary"}"#,
            r#"{"client_id":"a","client_secret":"canary","token":"canary"}"#,
        ] {
            let error = parse(json).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{json}");
            assert!(!format!("{error:?}").contains("canary"));
        }
        let pair = parse(r#"{"client_id":" a","client_secret":"b\n","token":" "}"#).unwrap();
        let Credentials::Pair { id, secret } = pair.credentials else { panic!() };
        assert_eq!((id.as_str(), secret.expose()), ("a", "b"));
        assert!(parse(r#"{"client_id":"","client_secret":"","token":"t"}"#).is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for json in [
            r#"{"token":"t","limit":0}"#,
            r#"{"token":"t","name":""}"#,
            r#"{"token":"t","request_timeout":"0s"}"#,
            r#"{"token":"t","max_window":"1ms"}"#,
            r#"{"token":"t","proxy":"socks://canary"}"#,
            r#"{"token":"t","proxy":"proxy.example:3128"}"#,
            r#"{"token":"t","from":"2025-02","to":"2025-01"}"#,
            r#"{"token":"t","filter":{"include_deleted_entities":true}}"#,
        ] {
            let config = serde_json::from_str::<PortConfig>(json).unwrap();
            assert_eq!(config.check().map(|_| ()).unwrap_err().kind(), ErrorKind::Config, "{json}");
        }
        for json in [
            r#"{"token":"t","limits":5}"#,
            r#"{"token":"t","limit":"5&x=1"}"#,
            r#"{"token":"t","from":"2025-1-1"}"#,
            r#"{"token":"t","poll_interval":"soon"}"#,
        ] {
            assert!(serde_json::from_str::<PortConfig>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let json = r#"{"client_id":"a","client_secret":"canary","token":"canary",
            "proxy":"http://u:canary@p:1"}"#;
        let config = serde_json::from_str::<PortConfig>(json).unwrap();
        assert!(!format!("{config:?}{config:#?}").contains("canary"));
        let credentials = Credentials::Token(bearer("canary").unwrap());
        assert!(!format!("{credentials:?}").contains("canary"));
    }
}
