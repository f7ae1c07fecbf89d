use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use audit_core::{Clock, Error, ErrorKind, Result};
use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{NoProxy, Proxy, Response, StatusCode, Url};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::config::OciConfig;
use crate::credentials::{Credentials, Signer};
use crate::error::{Failure, MAX_SKEW, Refused, Scope, of_transport};
use crate::principal::METADATA_HOST;
use crate::region;
use crate::sign::{Request, http_date};
use crate::tls;

/// The largest refusal that is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// A longer `Retry-After` is cut to this: the next try asks again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What may stand in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The services that are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Audit,
    Identity,
}

/// Sends signed requests.
pub(crate) struct Client {
    config: Arc<OciConfig>,
    http: reqwest::Client,
    credentials: Credentials,
    clock: Clock,
    /// How far the service's clock is ahead of ours, in seconds.
    ahead: AtomicI64,
    signing: Semaphore,
}

/// How many signatures are made at once: each on a thread, which holds memory of its own.
const SIGNERS: usize = 2;

/// A good answer, before its body is read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// The token of the next page.
    pub(crate) next: Option<String>,
}

impl Client {
    /// Prepares requests; reads the certificates to trust, if some are configured.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when they cannot be read.
    pub(crate) fn new(config: Arc<OciConfig>, clock: Clock) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::connector(&config)?)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(config.request_timeout.min(Duration::from_secs(10)))
            .read_timeout(config.request_timeout)
            .pool_max_idle_per_host(config.concurrency)
            .user_agent(concat!("audit-source-oci/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = config.proxy()? {
            let direct = [METADATA_HOST, config.no_proxy.as_deref().unwrap_or_default()].join(",");
            let proxy = Proxy::all(proxy).map_err(|e| {
                Error::new(ErrorKind::Config, "the proxy cannot be used").because(e.without_url())
            })?;
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&direct)));
        }
        let http = builder.build().map_err(|e| {
            Error::new(ErrorKind::Config, "cannot prepare requests").because(e.without_url())
        })?;
        let credentials = Credentials::new(Arc::clone(&config));
        let (ahead, signing) = (AtomicI64::new(0), Semaphore::new(SIGNERS));
        Ok(Self { config, http, credentials, clock, ahead, signing })
    }

    /// Returns as whom requests are signed.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>> {
        self.credentials.signer(&self.http, &self.clock).await
    }

    /// Returns the service's time, as far as it is known; else that of the clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let ahead = TimeDelta::try_seconds(self.ahead.load(Ordering::Relaxed)).unwrap_or_default();
        self.clock.now().checked_add_signed(ahead).unwrap_or_else(|| self.clock.now())
    }

    /// Sends one GET request. Credentials that have ended are renewed once.
    pub(crate) async fn get(
        &self,
        service: Service,
        region: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let url = self.url(service, region, path, query).map_err(Failure::all)?;
        let signer = self.signer().await.map_err(Failure::all)?;
        let has_page = query.iter().any(|(name, _)| *name == "page");
        match self.send(&url, &signer, has_page).await {
            // Not for a permission that is missing: other credentials of the same user lack it too.
            Err(failure)
                if failure.scope == Scope::All && failure.error.kind() == ErrorKind::Auth =>
            {
                let renewed = self.credentials.renew(&signer, &self.http, &self.clock).await;
                match renewed.map_err(Failure::all)? {
                    Some(signer) => self.send(&url, &signer, has_page).await,
                    None => Err(failure),
                }
            }
            answer => answer,
        }
    }

    fn url(
        &self,
        service: Service,
        region: &str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Url> {
        let domain = self.config.domain.as_deref().unwrap_or_else(|| region::domain(region));
        let (endpoint, default) = match service {
            Service::Audit => (&self.config.endpoint, format!("https://audit.{region}.{domain}")),
            Service::Identity => {
                (&self.config.identity_endpoint, format!("https://identity.{region}.oci.{domain}"))
            }
        };
        let base = endpoint.as_ref().map_or(default, |base| base.replace("{region}", region));
        let mut text = format!("{}{path}", base.trim_end_matches('/'));
        for (n, (name, value)) in query.iter().enumerate() {
            text.push(if n == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, PLAIN));
        }
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.filter(Url::has_host).ok_or_else(|| {
            Error::new(ErrorKind::Config, "not an address")
                .with("address", crate::error::shown(&base))
                .with_hint("give `https://audit.{region}.oraclecloud.com`")
        })
    }

    async fn send(
        &self,
        url: &Url,
        signer: &Arc<Signer>,
        has_page: bool,
    ) -> Result<Answer, Failure> {
        let host = match (url.host_str().unwrap_or_default(), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let date = http_date(self.clock.now());
        let turn = self.signing.acquire().await;
        let authorization = authorize(signer, &target, &host, &date).await.map_err(Failure::all)?;
        drop(turn);
        let request = self
            .http
            .get(url.clone())
            .header(HOST, &host)
            .header(DATE, date)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, authorization);
        let response = request.send().await.map_err(|e| of_transport(e, &host))?;
        let ahead = date_of(response.headers()).map(|date| (date - self.clock.now()).num_seconds());
        if response.status() == StatusCode::OK {
            // What is within a second is the way here; and a service whose clock is off by more than
            // it accepts would not have answered, so that the date is somebody else's.
            let ahead = ahead.filter(|s| (2..MAX_SKEW).contains(&s.abs()));
            self.ahead.store(ahead.unwrap_or(0), Ordering::Relaxed);
            let next = response.headers().get("opc-next-page").map(HeaderValue::to_str);
            let next = next.transpose().map_err(|_| {
                Failure::window(Error::new(ErrorKind::InvalidData, "the page token is not text"))
            })?;
            let next = next.filter(|token| !token.is_empty()).map(str::to_owned);
            return Ok(Answer { response, next });
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let refused = Refused {
            status,
            body: &body,
            request_id: headers.get("opc-request-id").and_then(|id| id.to_str().ok()),
            retry_after: retry_after(&headers),
            ahead,
            has_page,
            suspicion: signer.suspicion.as_deref(),
        };
        let mut failure = refused.failure();
        failure.error = failure.error.with("host", host);
        Err(failure)
    }
}

/// Signs a request, on a thread that may compute: a signature takes longer than all else that a
/// request needs, and others would have to wait for it.
async fn authorize(
    signer: &Arc<Signer>,
    target: &str,
    host: &str,
    date: &str,
) -> Result<HeaderValue> {
    let [target, host, date] = [target, host, date].map(str::to_owned);
    let signer = Arc::clone(signer);
    let sign = move || {
        Request { method: "get", target: &target, host: Some(&host), date: &date, body: None }
            .authorization(signer.key_id.expose(), &signer.key)
    };
    let signed = spawn_blocking(sign).await.map_err(|e| {
        Error::new(ErrorKind::Unexpected, "signing a request was interrupted").because(e)
    })?;
    let mut authorization = HeaderValue::try_from(signed?)
        .map_err(|_| Error::new(ErrorKind::Config, "the credentials cannot be sent in a header"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// Reads a body to its end, or up to a limit.
pub(crate) async fn read(mut response: Response, limit: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = limit.saturating_sub(body.len()).min(piece.len());
        body.extend_from_slice(piece.get(..room).unwrap_or_default());
        if room < piece.len() {
            break;
        }
    }
    Ok(body)
}

fn date_of(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = headers.get(DATE)?.to_str().ok()?;
    DateTime::parse_from_rfc2822(date).ok().map(|date| date.to_utc())
}

/// Reads `Retry-After`: seconds, or a time, which is compared with the server's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?.to_utc();
            (at - date_of(headers)?).to_std().unwrap_or_default()
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

    #[test]
    fn addresses_follow_the_realm_and_the_options() {
        let url = |config: OciConfig, service, region| {
            let client = Client::new(Arc::new(config), Clock::system()).unwrap();
            client
                .url(service, region, "/x", &[("t", "a:b/c=ü"), ("p", "1")])
                .map(|u| u.to_string())
        };
        let plain = OciConfig::new();
        assert_eq!(
            url(plain.clone(), Service::Audit, "eu-frankfurt-1").unwrap(),
            "https://audit.eu-frankfurt-1.oraclecloud.com/x?t=a%3Ab%2Fc%3D%C3%BC&p=1"
        );
        assert!(
            url(plain.clone(), Service::Identity, "eu-madrid-2")
                .unwrap()
                .starts_with("https://identity.eu-madrid-2.oci.oraclecloud.eu/x?")
        );
        let own = |endpoint: &str| OciConfig { endpoint: Some(endpoint.into()), ..plain.clone() };
        let found = url(own("http://[::1]:8080/{region}/"), Service::Audit, "r").unwrap();
        assert!(found.starts_with("http://[::1]:8080/r/x?"), "{found}");
        for bad in ["audit.example", "ftp://audit.example", "http://[", ""] {
            assert_eq!(url(own(bad), Service::Audit, "r").unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
