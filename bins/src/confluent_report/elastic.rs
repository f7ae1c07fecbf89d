use std::path::PathBuf;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result, Secret};
use audit_sink_report::{Aggregation, Day, Fields, Hour, Section};
use clap::{Args, ValueEnum};
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::report::{Look, ReportOptions};
use crate::ship::{self, given};

/// A longer answer is refused. A page of counts takes about 3 MB.
const MAX_ANSWER: usize = 64 << 20;
/// So often a request is sent before its error is final.
const TRIES: u32 = 5;

/// The options about events that are in Elasticsearch or OpenSearch.
#[derive(Args, Debug)]
#[command(next_help_heading = "Elasticsearch")]
pub(super) struct Elastic {
    /// Let this cluster count the events that are in it: one query a section
    #[arg(long, value_name = "URL", requires = "index", conflicts_with_all = ["files", "from_topic"])]
    from_elastic: Option<String>,
    /// The index, data stream, alias or pattern
    #[arg(long, value_name = "NAME")]
    index: Option<String>,
    /// How the events were indexed: as received, or in one of the formats of `audit run`
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "confluent")]
    fields: Indexed,
    /// The first day to count [default: that of the first event]
    #[arg(long, value_name = "DAY")]
    first_day: Option<Day>,
    /// The last day to count [default: that of the last event]
    #[arg(long, value_name = "DAY")]
    last_day: Option<Day>,
    /// The user
    #[arg(long, env = "ELASTICSEARCH_USERNAME", value_name = "NAME")]
    elasticsearch_username: Option<String>,
    /// A file with the user's password [env: ELASTICSEARCH_PASSWORD is the password itself]
    #[arg(long, env = "ELASTICSEARCH_PASSWORD_FILE", value_name = "FILE")]
    elasticsearch_password_file: Option<PathBuf>,
    /// A file with an API key [env: ELASTICSEARCH_API_KEY is the key itself]
    #[arg(long, env = "ELASTICSEARCH_API_KEY_FILE", value_name = "FILE")]
    elasticsearch_api_key_file: Option<PathBuf>,
    /// Certificates to trust beside the system's
    #[arg(long, env = "ELASTICSEARCH_CA", value_name = "FILE")]
    elasticsearch_ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Indexed {
    Confluent,
    Canonical,
    Ecs,
}

/// Where to ask, and as whom.
struct Index {
    http: Client,
    search: Url,
    username: Option<String>,
    password: Option<Secret>,
    api_key: Option<Secret>,
}

impl Elastic {
    pub(super) fn is_wanted(&self) -> bool {
        self.from_elastic.is_some()
    }

    /// Asks for every section that has counts of its own; the others are shown from these.
    pub(super) async fn look(&self, options: &ReportOptions) -> Result<Look> {
        let index = self.index()?;
        let fields = match self.fields {
            Indexed::Confluent => Fields::confluent(),
            Indexed::Canonical => Fields::canonical(),
            Indexed::Ecs => Fields::ecs(),
        };
        let mut look = Look { counts: options.crosstab(), ..Look::default() };
        let days = match (self.first_day, self.last_day) {
            (Some(first), Some(last)) => Some((first, last)),
            (first, last) => {
                let found = index.days(&fields.time).await?;
                found.map(|(min, max)| (first.unwrap_or(min), last.unwrap_or(max)))
            }
        };
        let Some((first, last)) = days else { return Ok(look) };
        let shown_from_others =
            |s: &Section| matches!(s, Section::NewPrincipals | Section::NewMethods);
        for section in Section::ALL.iter().filter(|section| !shown_from_others(section)) {
            let mut query = Aggregation::new(fields.clone(), *section, first, last);
            while let Some(request) = query.request() {
                index.ask(&request, |answer| query.read(answer, &mut look.counts)).await?;
            }
        }
        Ok(look)
    }

    fn index(&self) -> Result<Index> {
        let wrong =
            |message| Error::new(ErrorKind::Config, message).with("option", "--from-elastic");
        let url = given(&self.from_elastic).unwrap_or_default();
        // The text is left out of errors: it may hold a password.
        let mut search = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| wrong("not an address").with_hint("write https://es.example:9200"))?;
        if !search.username().is_empty() || search.password().is_some() {
            return Err(wrong(
                "an address with a login, which every user of the machine could see",
            )
            .with_hint("set ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD"));
        }
        if let (Ok(mut path), Some(index)) = (search.path_segments_mut(), given(&self.index)) {
            path.pop_if_empty().extend([index, "_search"]);
        }
        search.query_pairs_mut().append_pair("allow_partial_search_results", "false");
        let failed = |e| wrong("cannot set up the connection").because(e);
        let mut http = Client::builder().timeout(Duration::from_secs(120));
        if let Some(file) = &self.elasticsearch_ca {
            let unread = |e: std::io::Error| {
                Error::new(ErrorKind::Config, "cannot read the certificates")
                    .with("path", file.display())
                    .because(e)
            };
            let pem = std::fs::read(file).map_err(unread)?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(failed)? {
                http = http.add_root_certificate(certificate);
            }
        }
        Ok(Index {
            http: http.build().map_err(failed)?,
            search,
            username: given(&self.elasticsearch_username).map(str::to_owned),
            password: ship::secret(
                "ELASTICSEARCH_PASSWORD",
                self.elasticsearch_password_file.as_deref(),
            )?,
            api_key: ship::secret(
                "ELASTICSEARCH_API_KEY",
                self.elasticsearch_api_key_file.as_deref(),
            )?,
        })
    }
}

impl Index {
    /// Finds the days of the first and of the last event.
    async fn days(&self, time: &str) -> Result<Option<(Day, Day)>> {
        #[derive(Deserialize)]
        struct Answer {
            aggregations: Ends,
        }
        #[derive(Deserialize)]
        struct Ends {
            first: End,
            last: End,
        }
        #[derive(Deserialize)]
        struct End {
            value: Option<f64>,
        }
        let request = json!({
            "size": 0,
            "track_total_hits": false,
            "aggs": {"first": {"min": {"field": time}}, "last": {"max": {"field": time}}},
        });
        let read = |answer: &[u8]| {
            serde_json::from_slice::<Answer>(answer).map_err(|e| {
                Error::new(ErrorKind::InvalidData, "not the answer of a search").because(e)
            })
        };
        let Ends { first, last } = self.ask(&request, read).await?.aggregations;
        let day = |end: End| {
            let hour = Hour::of_unix_seconds((end.value? / 1000.0).floor() as i64);
            hour.map(Hour::day)
        };
        Ok(day(first).zip(day(last)))
    }

    /// Sends a request and reads the answer, again if that may help.
    async fn ask<T>(&self, request: &Value, mut read: impl FnMut(&[u8]) -> Result<T>) -> Result<T> {
        let mut delay = Duration::from_millis(200);
        for _ in 1..TRIES {
            match self.send(request).await.and_then(|answer| read(&answer)) {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, ?delay, "the cluster did not answer, trying again");
                    tokio::time::sleep(delay).await;
                    delay *= 2;
                }
                result => return result,
            }
        }
        read(&self.send(request).await?)
    }

    async fn send(&self, request: &Value) -> Result<Vec<u8>> {
        let mut builder = self.http.post(self.search.clone());
        builder = builder.header("content-type", "application/json").body(request.to_string());
        builder = match (&self.api_key, &self.username) {
            (Some(key), _) => builder.header("authorization", format!("ApiKey {}", key.expose())),
            (None, Some(user)) => {
                builder.basic_auth(user, self.password.as_ref().map(Secret::expose))
            }
            (None, None) => builder,
        };
        let unreachable = |e: reqwest::Error| {
            Error::new(ErrorKind::Unavailable, "the cluster cannot be reached")
                .while_doing("count events of an index")
                .because(e.without_url())
        };
        let mut answer = builder.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(Error::new(ErrorKind::InvalidData, "the answer is too long"));
            }
            body.extend_from_slice(&part);
        }
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Answer {
        error: Reason,
    }
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }
    let (kind, message) = match status.as_u16() {
        401 | 403 => (ErrorKind::Auth, "the cluster refused the login, or a right is missing"),
        404 => (ErrorKind::Config, "there is no such index"),
        429 => (ErrorKind::RateLimited, "the cluster has too much to do"),
        500..=599 => (ErrorKind::Unavailable, "the cluster cannot answer"),
        _ => (ErrorKind::Config, "the cluster did not understand the question"),
    };
    let error = Error::new(kind, message)
        .while_doing("count events of an index")
        .with("status", status.as_u16());
    match serde_json::from_slice::<Answer>(body) {
        Ok(Answer { error: Reason { reason } }) => {
            let reason: String = reason.chars().take(500).collect();
            error.with("reason", reason.escape_debug())
        }
        Err(_) => error,
    }
}
