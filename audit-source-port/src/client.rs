use std::time::Duration;

use audit_core::{Clock, Error, ErrorKind, Result, Retry};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Url};
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::body::{self, Body};
use crate::config::{Checked, Credentials, PortConfig, is_loopback};
use crate::error;
use crate::http;
use crate::pace::{Pace, ServerClock};
use crate::time::format_time;
use crate::token::{Token, without_secrets};

/// The largest answer that is read where no records are expected.
const MAX_SMALL: usize = 64 << 10;

const READING: &str = "read the audit log";

/// All but what a URL may hold as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Speaks with the API: credentials, pace, and one question.
pub(crate) struct Client {
    url: Url,
    host: String,
    credentials: Credentials,
    config: PortConfig,
    /// The filter as part of a query.
    filter: String,
    pub(crate) clock: ServerClock,
    http: Option<reqwest::Client>,
    token: Option<Token>,
    not_before: Option<Instant>,
}

/// What came of a question for records.
#[derive(Debug)]
pub(crate) enum Answer {
    Page(Vec<u8>),
    /// There is no record, and the API says so by a status.
    Nothing,
    /// It is larger than allowed.
    TooLarge,
    /// The API could not make it in time.
    TooSlow(Error),
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    body: Body,
    host: String,
    trace: Option<String>,
    /// The API's reason, if it is a refusal.
    cause: Option<String>,
}

impl Reply {
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Adds to an error where it comes from.
    pub(crate) fn locate(&self, error: Error) -> Error {
        let error = error.with("host", &self.host);
        match &self.trace {
            Some(trace) => error.with("trace", trace),
            None => error,
        }
    }
}

impl Client {
    pub(crate) fn new(config: PortConfig, checked: Checked) -> Result<Self> {
        let Checked { url, credentials } = checked;
        let mut filter = String::new();
        for (name, value) in config.filter.pairs()? {
            filter.push('&');
            filter.push_str(name);
            filter.push('=');
            filter.extend(utf8_percent_encode(value, ENCODED));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let clock = ServerClock::new(Clock::system());
        let (http, token, not_before) = (None, None, None);
        Ok(Self { url, host, credentials, config, filter, clock, http, token, not_before })
    }

    pub(crate) fn config(&self) -> &PortConfig {
        &self.config
    }

    /// Asks for at most `limit` records between two times. Whether the API counts the times
    /// themselves in, and in which order it answers, is not documented.
    pub(crate) async fn audit_log(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: usize,
    ) -> Result<Answer> {
        self.audit_log_between(from, to, limit).await.map_err(|e| e.while_doing(READING))
    }

    async fn audit_log_between(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: usize,
    ) -> Result<Answer> {
        let mut url = self.address("v1/audit-log")?;
        let encode = |time| format_time(time).replace(':', "%3A");
        let (from, to) = (encode(from), encode(to));
        url.set_query(Some(&format!("limit={limit}&from={from}&to={to}{}", self.filter)));
        let max = self.config.max_answer_bytes;
        let mut reply = self.get(url.clone(), max).await?;
        if reply.status == 401 && self.token.take().is_some() {
            debug!(host = self.host, "the token was refused; asking for another one");
            reply = self.get(url, max).await?;
        }
        match (reply.status, reply.body) {
            (200..=299, Body::Whole(body)) => Ok(Answer::Page(body)),
            (200..=299, Body::TooLarge(_)) => Ok(Answer::TooLarge),
            (404, _) if self.config.filter.is_for_one() && reply.cause.is_some() => {
                Ok(Answer::Nothing)
            }
            (504, body) => {
                let error = error::of_status(&Reply { body, ..reply });
                Ok(Answer::TooSlow(error.while_doing(READING)))
            }
            (_, body) => Err(error::of_status(&Reply { body, ..reply })),
        }
    }

    async fn get(&mut self, url: Url, max: usize) -> Result<Reply> {
        let authorization = self.authorization().await?;
        let mut request = self.http()?.get(url).header(AUTHORIZATION, authorization);
        if !is_loopback(&self.url) {
            request = request.header(ACCEPT_ENCODING, "gzip");
        }
        self.send(request, max).await
    }

    /// Returns the header of a token that is still good for a while.
    async fn authorization(&mut self) -> Result<HeaderValue> {
        let (id, secret) = match &self.credentials {
            Credentials::Token(header) => return Ok(header.clone()),
            Credentials::Pair { id, secret } => (id, secret),
        };
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_due()) {
            return Ok(token.header.clone());
        }
        let body = json!({ "clientId": id, "clientSecret": secret.expose() }).to_string();
        let url = self.address("v1/auth/access_token")?;
        let request = self.http()?.post(url).header(CONTENT_TYPE, "application/json").body(body);
        let reply = self.send(request, MAX_SMALL).await.map_err(of_token)?;
        let token = match reply.status {
            200..=299 => Token::read(reply.body.bytes()).map_err(|e| of_token(reply.locate(e)))?,
            // Which of the two is wrong the API does not always tell alike.
            400 | 401 | 403 | 404 | 422 => {
                let error = Error::new(ErrorKind::Auth, "the credential pair was refused")
                    .with("status", reply.status)
                    .with_hint(
                        "check client_id and client_secret, and whether the organisation is in \
                         this region (`url`: eu or us)",
                    );
                return Err(of_token(reply.locate(match reply.cause() {
                    Some(cause) => error.with("cause", cause),
                    None => error,
                })));
            }
            _ => return Err(of_token(error::of_status(&reply))),
        };
        let header = token.header.clone();
        self.token = Some(token);
        Ok(header)
    }

    /// Sends a request, unless the API has asked for patience.
    async fn send(&mut self, request: RequestBuilder, max: usize) -> Result<Reply> {
        if let Some(at) = self.not_before.filter(|at| *at > Instant::now()) {
            return Err(Error::new(ErrorKind::RateLimited, "the API's rate limit is used up")
                .with("host", &self.host)
                .with_retry(Retry::After(at - Instant::now())));
        }
        let response = request
            .header(ACCEPT, "application/json")
            .send()
            .await
            .map_err(|e| error::of_transport(e, &self.host))?;
        let status = response.status().as_u16();
        let pace = Pace::of(response.headers(), self.clock.local());
        self.clock.learn(pace.date);
        let pause = pace.pause(status);
        if let Some(pause) = pause {
            warn!(host = self.host, ?pause, "the API's rate limit is used up");
            self.not_before = Some(Instant::now() + pause);
        }
        let trace = response.headers().get("x-trace-id").and_then(|value| value.to_str().ok());
        let trace = trace.map(error::shown);
        let refused = !(200..=299).contains(&status);
        let max = if refused { MAX_SMALL } else { max };
        let body = body::read(response, max, &self.host).await?;
        let cause = refused.then(|| error::cause(body.bytes())).flatten().map(|cause| {
            error::shown(&without_secrets(&cause, &self.credentials, self.token.as_ref()))
        });
        let host = self.host.clone();
        Ok(Reply { status, retry_after: pause.or(pace.retry_after), body, host, trace, cause })
    }

    fn address(&self, path: &str) -> Result<Url> {
        self.url.join(path).map_err(|e| {
            Error::new(ErrorKind::Config, "no request can be made of this address")
                .with("option", "url")
                .because(e)
        })
    }

    fn http(&mut self) -> Result<reqwest::Client> {
        match &self.http {
            Some(http) => Ok(http.clone()),
            None => Ok(self.http.insert(http::client(&self.config)?).clone()),
        }
    }
}

fn of_token(error: Error) -> Error {
    error.while_doing("ask for an access token")
}
