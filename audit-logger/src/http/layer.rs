use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use audit_core::logger::{AuditLogger, Emitter, User};
use audit_core::{Error, ErrorKind, Result};
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Uri};
use ipnet::IpNet;
use regex::Regex;
use tower_layer::Layer;

use super::client::{client_ip, is_trusted};
use super::exchange::{Exchange, Open};
use super::service::AuditService;

type FindUser = dyn Fn(&Exchange<'_>) -> Option<User> + Send + Sync;
type FindPeer = dyn Fn(&Exchange<'_>) -> Option<IpAddr> + Send + Sync;

/// A middleware that sends one record a request, for all that speaks `tower`: axum, hyper, tonic.
///
/// The record has the request, the response with its headers (secrets masked), the user, the client's
/// address, and as its results the time to the response's head, unless the handler set others. A
/// handler adds to it through [`Audit`](super::Audit) in the request's extensions.
///
/// Also a request whose handler panics, or whose client goes away, has its record. When a record is
/// not taken, the response is `503 Service Unavailable`: no answer without a record. Who prefers
/// answers puts [`BestEffort`](crate::BestEffort) over the emitter, or a queue with another policy
/// than [`FailClosed`](crate::Policy::FailClosed).
#[derive(Clone)]
pub struct AuditLayer {
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) struct Shared {
    logger: AuditLogger,
    pub(super) emitter: Arc<dyn Emitter>,
    user: Option<Arc<FindUser>>,
    peer: Option<Arc<FindPeer>>,
    trusted: Vec<IpNet>,
    exempt: Vec<Regex>,
    base_url: Option<String>,
}

impl AuditLayer {
    /// Sends records to an emitter.
    pub fn new(emitter: Arc<dyn Emitter>) -> Self {
        let shared = Shared {
            logger: AuditLogger::new().with_emitter(emitter.clone()),
            emitter,
            user: None,
            peer: None,
            trusted: Vec::new(),
            exempt: Vec::new(),
            base_url: None,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins each record as a copy of this logger: application, masking, limits.
    #[must_use]
    pub fn logger(mut self, logger: AuditLogger) -> Self {
        let shared = Arc::make_mut(&mut self.shared);
        shared.logger = logger.with_emitter(shared.emitter.clone());
        self
    }

    /// Finds out who a request is from, before it is handled. A handler that knows better sets the
    /// user itself.
    #[must_use]
    pub fn user(
        mut self,
        find: impl Fn(&Exchange<'_>) -> Option<User> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.shared).user = Some(Arc::new(find));
        self
    }

    /// Finds the address at the other end of the connection, usually in the extensions: axum has it
    /// there as `ConnectInfo<SocketAddr>`, tonic as `TcpConnectInfo`. Without it records have no
    /// address but the user's own.
    #[must_use]
    pub fn peer(
        mut self,
        find: impl Fn(&Exchange<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.shared).peer = Some(Arc::new(find));
        self
    }

    /// Believes these networks what they say in `X-Forwarded-For` and `X-Forwarded-Proto`; by default
    /// nobody is believed.
    #[must_use]
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        Arc::make_mut(&mut self.shared).trusted = networks.into_iter().collect();
        self
    }

    /// Sends no record for paths in which the pattern is found; the path is without its first slash:
    /// `^health$`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is not a regular expression.
    pub fn exempt(mut self, pattern: &str) -> Result<Self> {
        let pattern = Regex::new(pattern).map_err(|e| {
            Error::new(ErrorKind::Config, "not a regular expression")
                .with("pattern", pattern.escape_debug())
                .because(e)
        })?;
        Arc::make_mut(&mut self.shared).exempt.push(pattern);
        Ok(self)
    }

    /// Puts this before the path to make the URL of a record, instead of what the request says of
    /// itself: `https://shop.example`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        let url = url.into();
        Arc::make_mut(&mut self.shared).base_url = Some(url.trim_end_matches('/').to_owned());
        self
    }
}

impl Shared {
    /// Begins the record of a request, unless it is exempt.
    pub(super) fn begin(&self, exchange: &Exchange<'_>) -> Option<Open> {
        let path = exchange.uri.path();
        let bare = path.strip_prefix('/').unwrap_or(path);
        if self.exempt.iter().any(|pattern| pattern.is_match(bare)) {
            return None;
        }
        let peer = self.peer.as_ref().and_then(|find| find(exchange));
        let text = |name| exchange.headers.get(name).and_then(|v| v.to_str().ok());
        let url = self.url(exchange.uri, exchange.headers, is_trusted(peer, &self.trusted));
        let user_agent = text(USER_AGENT).unwrap_or_default();
        let mut logger = self.logger.clone();
        logger.set_http_request(exchange.method.as_str(), &url, user_agent);
        let ip = client_ip(peer, exchange.headers, &self.trusted);
        let mut user = self.user.as_ref().and_then(|find| find(exchange));
        if let Some(ip) = ip {
            user.get_or_insert_with(User::anonymous).ip = ip.to_string();
        }
        if let Some(user) = user {
            logger.user(user);
        }
        Some(Open::new(logger, format!("{} {path}", exchange.method)))
    }

    fn url(&self, uri: &Uri, headers: &HeaderMap, trusted: bool) -> String {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if let Some(base) = &self.base_url {
            return format!("{base}{path}");
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let proto = header("x-forwarded-proto").filter(|_| trusted);
        let scheme = proto.or(uri.scheme_str()).unwrap_or("http");
        match uri.authority().map(|a| a.as_str()).or(header(HOST.as_str())) {
            Some(host) => format!("{scheme}://{host}{path}"),
            None => path.to_owned(),
        }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService { inner, shared: self.shared.clone() }
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer")
            .field("trusted", &self.shared.trusted)
            .field("exempt", &self.shared.exempt)
            .field("base_url", &self.shared.base_url)
            .finish_non_exhaustive()
    }
}
