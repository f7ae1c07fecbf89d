use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result, Secret};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use reqwest::Url;
use serde::{Deserialize, Deserializer};

use crate::filter::Preset;
use crate::spelling::Keys;

/// What to read of OCI Audit, and as whom: the options of an [`OciSource`](crate::OciSource).
///
/// Nothing is required: without options it reads the tenancy's root compartment in the region of the
/// profile `DEFAULT`, as far back as OCI keeps events. Durations are written `30s` or `1d 12h`;
/// unknown names are errors.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct OciConfig {
    /// The events' `source`. Default `oci`.
    pub name: String,
    /// How requests are authorised. Default: a profile of the configuration file.
    pub auth: AuthMethod,
    /// The file with profiles. Default `~/.oci/config`.
    pub config_file: Option<PathBuf>,
    /// The profile. Default `DEFAULT`, from which the others inherit.
    pub profile: String,
    /// What a leading `~` in paths stands for. A library does not look at the environment: programs
    /// set this to the home directory of the user.
    pub home: Option<PathBuf>,
    /// The tenancy's OCID, instead of the profile's.
    pub tenancy: Option<String>,
    /// The user's OCID, instead of the profile's.
    pub user: Option<String>,
    /// The fingerprint of the user's API key, instead of the profile's.
    pub fingerprint: Option<String>,
    /// The private key (PEM), instead of the profile's.
    pub key_file: Option<PathBuf>,
    /// The private key itself (PEM), instead of a file.
    pub key: Option<Secret>,
    /// The pass phrase of the private key, instead of the profile's.
    pub pass_phrase: Option<Secret>,
    /// The file of a session token, instead of the profile's; it takes the user's place.
    pub security_token_file: Option<PathBuf>,
    /// The home region of the credentials, instead of the profile's. The only one that is read,
    /// unless `regions` or `all_regions` say otherwise.
    pub region: Option<String>,
    /// What the platform hands to a function or a container, for `auth = "resource_principal"`.
    pub resource_principal: Option<ResourcePrincipal>,
    /// The regions to read, by name or short name: `eu-frankfurt-1`, `fra`.
    pub regions: Vec<String>,
    /// Reads all regions the tenancy is subscribed to.
    pub all_regions: bool,
    /// The compartments to read, each without its children. Default: the tenancy's root.
    pub compartments: Vec<String>,
    /// Reads the whole tree of compartments, from the tenancy's root down.
    pub all_compartments: bool,
    /// The first instant to read, in time of processing; begins a minute. `2024-01-31` or
    /// `2024-01-31T12:00:00Z`. Default: 365 days ago, as long as OCI keeps events at most.
    #[serde(deserialize_with = "instant")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub start: Option<DateTime<Utc>>,
    /// The first instant not to read any more. Default: none; reading goes on as time does.
    #[serde(deserialize_with = "instant")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub end: Option<DateTime<Utc>>,
    /// The longest range of one request, in whole minutes. Default 14 days.
    #[serde(deserialize_with = "duration")]
    pub window: Duration,
    /// How many windows are fetched at once. Default 8.
    pub concurrency: usize,
    /// How far behind the server's time reading stays, until all that was processed shows. Default
    /// 10 minutes.
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
    /// How long to rest when everything settled was read. Default 1 minute.
    #[serde(deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// Delivers only events one of whose names matches one of these, whatever the case: `eventType`
    /// or `data.eventName`, with `*` for any text and `?` for any character.
    pub events: Vec<String>,
    /// Delivers the events of a named group, beside those of `events`.
    pub preset: Option<Preset>,
    /// Blanks credentials, tokens and signatures in the record. Default true; false keeps every
    /// byte as received.
    pub redact: bool,
    /// How the keys of records are spelled. Default: as received.
    pub keys: Keys,
    /// Goes on behind a window that cannot be read, and records it in the
    /// [`Report`](crate::Report). Default false: it ends the run.
    pub allow_gaps: bool,
    /// Records larger than this many bytes go to the dead letters, cut off. Default 8 MiB.
    pub max_event_bytes: usize,
    /// Where pages wait that were fetched ahead: a directory. Default: the system's for temporary
    /// files.
    pub spool_dir: Option<PathBuf>,
    /// How many bytes may wait there before fetching pauses; also the largest page. Default 1 GiB.
    pub spool_bytes: u64,
    /// The Audit service's address instead of `https://audit.{region}.{domain}`; may hold
    /// `{region}`.
    pub endpoint: Option<String>,
    /// The Identity service's address instead of `https://identity.{region}.oci.{domain}`.
    pub identity_endpoint: Option<String>,
    /// The address that exchanges an instance's certificate, instead of
    /// `https://auth.{region}.{domain}`.
    pub auth_endpoint: Option<String>,
    /// The address of the instance's metadata. Default `http://169.254.169.254/opc/v2`.
    pub metadata_url: Option<String>,
    /// The domain of a region that this version does not know: `oraclecloud99.com`.
    pub domain: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy to go through: `http://user:password@proxy.example:3128`. Default: none, whatever the
    /// environment says. An instance's metadata are always asked directly.
    pub proxy: Option<Secret>,
    /// What is asked directly all the same: domains and addresses with commas between, as in
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
    /// How long to wait for an answer to begin or to go on. Default 60 s.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// How often a request is tried before its window counts as unreadable. Default 8.
    pub max_attempts: u32,
    /// For how long a request is tried again after its first failure. Default 10 minutes.
    #[serde(deserialize_with = "duration")]
    pub retry_for: Duration,
}

impl Default for OciConfig {
    fn default() -> Self {
        Self {
            name: "oci".to_owned(),
            auth: AuthMethod::default(),
            config_file: None,
            profile: "DEFAULT".to_owned(),
            home: None,
            tenancy: None,
            user: None,
            fingerprint: None,
            key_file: None,
            key: None,
            pass_phrase: None,
            security_token_file: None,
            region: None,
            resource_principal: None,
            regions: Vec::new(),
            all_regions: false,
            compartments: Vec::new(),
            all_compartments: false,
            start: None,
            end: None,
            window: Duration::from_secs(14 * 24 * 3600),
            concurrency: 8,
            settle: Duration::from_secs(600),
            poll_interval: Duration::from_secs(60),
            events: Vec::new(),
            preset: None,
            redact: true,
            keys: Keys::default(),
            allow_gaps: false,
            max_event_bytes: 8 << 20,
            spool_dir: None,
            spool_bytes: 1 << 30,
            endpoint: None,
            identity_endpoint: None,
            auth_endpoint: None,
            metadata_url: None,
            domain: None,
            ca_file: None,
            proxy: None,
            no_proxy: None,
            request_timeout: Duration::from_secs(60),
            max_attempts: 8,
            retry_for: Duration::from_secs(600),
        }
    }
}

impl OciConfig {
    /// Creates a configuration with every default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finds what cannot be meant, without looking at anything outside.
    pub(crate) fn validate(&self) -> Result<()> {
        let minute = Duration::from_secs(60);
        for (option, zero) in [
            ("name", self.name.is_empty()),
            ("profile", self.profile.is_empty()),
            ("concurrency", self.concurrency == 0),
            ("max_event_bytes", self.max_event_bytes == 0),
            ("spool_bytes", self.spool_bytes == 0),
            ("request_timeout", self.request_timeout.is_zero()),
            ("max_attempts", self.max_attempts == 0),
        ] {
            if zero {
                return Err(wrong("must be more than nothing").with("option", option));
            }
        }
        if self.window < minute {
            return Err(wrong("must be at least a minute, as that is the service's granularity")
                .with("option", "window"));
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && start >= end
        {
            return Err(wrong("the range ends before it begins")
                .with("start", start)
                .with("end", end)
                .with_hint("`end` is the first instant that is not read any more"));
        }
        if self.all_regions && !self.regions.is_empty() {
            return Err(wrong("both `regions` and `all_regions`").with_hint("give one of them"));
        }
        if self.all_compartments && !self.compartments.is_empty() {
            return Err(
                wrong("both `compartments` and `all_compartments`").with_hint("give one of them")
            );
        }
        if self.auth == AuthMethod::ResourcePrincipal && self.resource_principal.is_none() {
            return Err(wrong("what the platform handed over is missing")
                .with("option", "resource_principal")
                .with_hint("the programs take it from OCI_RESOURCE_PRINCIPAL_…"));
        }
        self.proxy().map(drop)
    }

    /// Returns the proxy's address, which may hold a password.
    pub(crate) fn proxy(&self) -> Result<Option<Url>> {
        let proxy = self.proxy.as_ref().map(|proxy| proxy.expose().trim());
        let Some(text) = proxy.filter(|text| !text.is_empty()) else { return Ok(None) };
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Some).ok_or_else(|| {
            wrong("not the address of a proxy")
                .with("option", "proxy")
                .with_hint("give http://user:password@proxy.example:3128")
        })
    }
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// How requests are authorised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthMethod {
    /// A profile of the configuration file, with an API key or a session token; or the same as
    /// options.
    #[default]
    Profile,
    /// The instance this runs on, by the certificate in its metadata.
    InstancePrincipal,
    /// The function or container this runs in, by the token it was handed.
    ResourcePrincipal,
}

/// What the platform hands to a function or a container (version 2.2): each is the value itself, or
/// the absolute path of a file with it, which is read anew when it is needed.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ResourcePrincipal {
    /// The session token (`OCI_RESOURCE_PRINCIPAL_RPST`).
    pub token: Secret,
    /// The private key (`OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM`).
    pub private_key: Secret,
    /// Its pass phrase (`OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE`).
    #[serde(default)]
    pub pass_phrase: Option<Secret>,
    /// The region (`OCI_RESOURCE_PRINCIPAL_REGION`).
    pub region: String,
}

impl ResourcePrincipal {
    /// Takes what every platform hands over.
    pub fn new(token: Secret, private_key: Secret, region: impl Into<String>) -> Self {
        Self { token, private_key, pass_phrase: None, region: region.into() }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let day = text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    day.or_else(|_| DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc()))
        .map(Some)
        .map_err(|_| serde::de::Error::custom("give `2024-01-31` or `2024-01-31T12:00:00Z`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<OciConfig, String> {
        let config: OciConfig = serde_json::from_str(json).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn dates_and_durations_are_read_as_people_write_them() {
        let json = r#"{"start":"2024-01-31","end":"2024-02-01T12:30:00+02:00","window":"1d 12h"}"#;
        let config = parse(json).unwrap();
        assert_eq!(config.start.unwrap().to_rfc3339(), "2024-01-31T00:00:00+00:00");
        assert_eq!(config.end.unwrap().to_rfc3339(), "2024-02-01T10:30:00+00:00");
        assert_eq!(config.window, Duration::from_secs(36 * 3600));
        assert_eq!(parse("{}").unwrap().concurrency, 8);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for json in [
            r#"{"start":"31.01.2024"}"#,
            r#"{"start":"2024-02-01","end":"2024-01-01"}"#,
            r#"{"start":"2024-02-01","end":"2024-02-01"}"#,
            r#"{"window":"59s"}"#,
            r#"{"concurrency":0}"#,
            r#"{"all_regions":true,"regions":["fra"]}"#,
            r#"{"all_compartments":true,"compartments":["ocid1.compartment.oc1..x"]}"#,
            r#"{"auth":"resource_principal"}"#,
            r#"{"compartment":"ocid1.tenancy.oc1..x"}"#,
            r#"{"preset":"everything"}"#,
            r#"{"keys":"kebab"}"#,
            r#"{"proxy":"proxy.example:3128"}"#,
            r#"{"proxy":"socks5://proxy.example"}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let json = r#"{"key":"canary","pass_phrase":"canary","proxy":"http://u:canary@p","auth":"resource_principal",
            "resource_principal":{"token":"canary","private_key":"canary","region":"fra"}}"#;
        let config = parse(json).unwrap();
        assert!(!format!("{config:?}{config:#?}").contains("canary"));
    }
}
