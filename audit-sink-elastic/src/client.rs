use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use audit_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use chrono::DateTime;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER,
};
use reqwest::{Method, Response};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::config::Settings;
use crate::error;
use crate::node::{Node, Nodes};
use crate::tls::{Stamp, TlsFiles};

/// How often the files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Bodies smaller than this are not compressed.
const MIN_GZIP_BYTES: usize = 1024;

/// A longer `Retry-After` is cut to this: the next try asks again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Speaks HTTP with the hosts of one cluster.
pub(crate) struct Client {
    nodes: Nodes,
    http: Mutex<Http>,
    tls: TlsFiles,
    /// No host speaks TLS.
    plain: bool,
    timeout: Duration,
    connections: usize,
    gzip: bool,
}

struct Http {
    client: reqwest::Client,
    stamp: Stamp,
    looked: Option<Instant>,
}

/// A request, as it goes to whichever host takes it.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// The parts of the path, not yet encoded for a URL.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<Bytes>,
    /// The largest answer that is read.
    pub(crate) max_answer: usize,
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
    /// The answer is longer than was allowed, and the body is only its beginning.
    pub(crate) is_cut: bool,
    pub(crate) host: String,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..=299).contains(&self.status)
    }
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let tls = settings.tls.clone();
        let stamp = tls.stamp();
        let plain = settings.hosts.iter().all(|(host, _)| host.url().scheme() == "http");
        let client = tls.client(settings.timeout, settings.concurrency, plain)?;
        Ok(Self {
            nodes: Nodes::new(&settings.hosts),
            http: Mutex::new(Http { client, stamp, looked: None }),
            tls,
            plain,
            timeout: settings.timeout,
            connections: settings.concurrency,
            gzip: settings.gzip,
        })
    }

    /// Sends a request to the next host, and to the others if that one cannot be reached or answers
    /// as a host does that is out of order. Sent twice, it must have the effect of once.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Reply> {
        let http = self.http();
        let body = match request.body.clone() {
            Some(body) => Some(self.encode(body).await?),
            None => None,
        };
        let mut last = None;
        let nodes = self.nodes.in_turn();
        for (n, node) in nodes.iter().enumerate() {
            let answer = exchange(&http, node, &request, body.clone()).await;
            let goes_on = n + 1 < nodes.len();
            match &answer {
                Ok(reply) if !matches!(reply.status, 502..=504) => {
                    node.works();
                    return answer;
                }
                Ok(reply) => debug!(host = node.name, reply.status, goes_on, "host out of order"),
                Err(error) => debug!(host = node.name, %error, goes_on, "host cannot be used"),
            }
            node.failed();
            let late = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout);
            last = Some(answer);
            if late {
                // The time of this request is over.
                break;
            }
        }
        last.unwrap_or_else(|| Err(Error::new(ErrorKind::Config, "no host is given")))
    }

    /// Returns the HTTP client, a new one if the certificates on disk have changed.
    fn http(&self) -> reqwest::Client {
        let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if !http.stamp.is_empty() && http.looked.is_none_or(|looked| now - looked >= LOOK_EVERY) {
            http.looked = Some(now);
            let stamp = self.tls.stamp();
            if stamp != http.stamp {
                match self.tls.client(self.timeout, self.connections, self.plain) {
                    Ok(client) => {
                        info!("the certificates have changed and were read anew");
                        (http.client, http.stamp) = (client, stamp);
                    }
                    Err(error) => warn!(%error, "changed certificates cannot be used yet"),
                }
            }
        }
        http.client.clone()
    }

    async fn encode(&self, body: Bytes) -> Result<(Bytes, bool)> {
        if !self.gzip || body.len() < MIN_GZIP_BYTES {
            return Ok((body, false));
        }
        let failed = || Error::new(ErrorKind::Unexpected, "cannot compress the request");
        let packed = tokio::task::spawn_blocking(move || gzip(&body)).await;
        let packed = packed.map_err(|e| failed().because(e))?.map_err(|e| failed().because(e))?;
        Ok((packed, true))
    }
}

/// Compresses with the fastest level: audit records are so alike that higher ones win little.
fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

async fn exchange(
    http: &reqwest::Client,
    node: &Node,
    request: &Request<'_>,
    body: Option<(Bytes, bool)>,
) -> Result<Reply> {
    let mut url = node.url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(request.path);
    }
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(request.query);
    }
    let mut builder = http.request(request.method.clone(), url).header(ACCEPT, "application/json");
    if let Some(authorization) = &node.authorization {
        builder = builder.header(AUTHORIZATION, authorization.clone());
    }
    if let Some((body, packed)) = body {
        // Newlines between JSON values are JSON as well: one type for every body would do, but
        // `_bulk` wants to be told.
        let bulk = request.path.last() == Some(&"_bulk");
        let kind = if bulk { "application/x-ndjson" } else { "application/json" };
        builder = builder.header(CONTENT_TYPE, kind).body(body);
        if packed {
            builder = builder.header(CONTENT_ENCODING, "gzip");
        }
    }
    let response = builder.send().await.map_err(|e| error::of_transport(e, &node.name))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let (body, is_cut) =
        read(response, request.max_answer).await.map_err(|e| error::of_transport(e, &node.name))?;
    Ok(Reply { status, retry_after, body, is_cut, host: node.name.clone() })
}

async fn read(mut response: Response, limit: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let told = response.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(told.min(limit));
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > limit {
            body.extend_from_slice(piece.get(..limit - body.len()).unwrap_or_default());
            return Ok((body, true));
        }
        body.extend_from_slice(&piece);
    }
    Ok((body, false))
}

/// Reads `Retry-After`: seconds, or a time, which is compared with the server's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            let date = headers.get(DATE)?.to_str().ok()?;
            (at - DateTime::parse_from_rfc2822(date).ok()?).to_std().unwrap_or_default()
        }
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let headers = |after: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(headers("3"), Some(Duration::from_secs(3)));
        assert_eq!(headers("Sun, 06 Nov 1994 08:49:40 GMT"), Some(Duration::from_secs(3)));
        assert_eq!(headers("Sun, 06 Nov 1994 08:49:30 GMT"), Some(Duration::ZERO));
        assert_eq!(headers("99999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(headers("soon"), None);
    }
}
