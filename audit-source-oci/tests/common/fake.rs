//! The service: an HTTP server on a thread of its own.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_core::{Clock, Secret};
use audit_source_oci::OciConfig;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Response, Uri};
use axum::response::IntoResponse;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use openssl::pkey::{PKey, Public};

use super::records::Records;
use super::verify::{key, verify_get};

pub const TENANCY: &str = "ocid1.tenancy.oc1..t";
pub const USER: &str = "ocid1.user.oc1..ann";
pub const REGION: &str = "eu-frankfurt-1";

/// What the service does instead of answering.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Answers with a status, a code, and more headers.
    Status(u16, &'static str, Vec<(&'static str, String)>),
    /// Ends the connection after so many bytes of the body.
    Reset(usize),
    /// Sends so many bytes of the body, as if they were all.
    Truncate(usize),
    /// Answers 200 with another body.
    Body(&'static str),
    /// Waits this long, then answers as it should.
    Late(Duration),
    /// Answers as it should, with the token it was asked with.
    SameToken,
    /// Answers as it should, with the first token it ever gave.
    FirstToken,
    /// Forgets all tokens it gave, then answers.
    TokensEnd,
}

impl Fault {
    pub fn status(status: u16) -> Self {
        Self::Status(status, "InternalError", Vec::new())
    }
}

/// One request for events, and how it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    pub region: String,
    pub compartment: String,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub page: Option<String>,
    pub status: u16,
}

/// What the service knows and does.
pub struct Service {
    pub now: DateTime<Utc>,
    /// What the service's clock says beside ours, in seconds.
    pub ahead: i64,
    /// Takes the time from the system instead.
    pub real_time: bool,
    pub keys: HashMap<String, PKey<Public>>,
    pub records: Records,
    pub regions: Vec<(String, &'static str)>,
    pub compartments: Vec<(String, &'static str)>,
    pub page_events: usize,
    pub identity_page: usize,
    pub longest: TimeDelta,
    pub latency: Duration,
    /// Answers requests that are not signed.
    pub open: bool,
    /// Gives the first page without events.
    pub empty_pages: bool,
    /// What the next requests for events meet.
    pub faults: VecDeque<Fault>,
    /// What requests for the window that begins there meet, so many times.
    pub broken: Vec<(DateTime<Utc>, Fault, usize)>,
    /// The compartment in which they do; any, unless it is named.
    pub broken_in: Option<String>,
    pub identity_faults: VecDeque<Fault>,
    pub seen: Vec<Seen>,
    pub refusals: Vec<String>,
    pub in_flight: usize,
    pub most_in_flight: usize,
    /// Target, date, host and authorization of the last request.
    pub last_signed: [String; 4],
    token_epoch: usize,
}

/// A running service; ends with the process.
#[derive(Clone)]
pub struct Fake {
    pub service: Arc<Mutex<Service>>,
    pub address: SocketAddr,
}

impl Fake {
    /// Starts one that has one tenancy, one region and one user, and knows of no events. Its time is
    /// noon of 2024-03-01, and stands still.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    pub fn start_at(address: &str) -> Self {
        let now = "2024-03-01T12:00:00Z".parse().unwrap();
        let key_id = format!("{TENANCY}/{USER}/{}", key().fingerprint());
        let service = Arc::new(Mutex::new(Service {
            now,
            ahead: 0,
            real_time: false,
            keys: HashMap::from([(key_id, key().public.clone())]),
            records: Records::default(),
            regions: vec![(REGION.to_owned(), "READY")],
            compartments: vec![(TENANCY.to_owned(), "ACTIVE")],
            page_events: 100,
            identity_page: 1000,
            longest: TimeDelta::days(14),
            latency: Duration::ZERO,
            open: false,
            empty_pages: false,
            faults: VecDeque::new(),
            broken: Vec::new(),
            broken_in: None,
            identity_faults: VecDeque::new(),
            seen: Vec::new(),
            refusals: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
            last_signed: Default::default(),
            token_epoch: 0,
        }));
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&service));
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { service, address }
    }

    pub fn lock(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, processed at a time.
    pub fn add(&self, compartment: &str, processed: DateTime<Utc>, text: String) {
        self.lock().records.add(REGION, compartment, processed, text);
    }

    /// A clock that shows the service's time, without what it is ahead.
    pub fn clock(&self) -> Clock {
        let service = Arc::clone(&self.service);
        Clock::from_fn(move || service.lock().unwrap_or_else(PoisonError::into_inner).now)
    }

    /// A configuration that reads everything of this service, without waiting.
    pub fn config(&self) -> OciConfig {
        let mut config = OciConfig::new();
        config.tenancy = Some(TENANCY.to_owned());
        config.user = Some(USER.to_owned());
        config.fingerprint = Some(key().fingerprint());
        config.key = Some(Secret::new(key().pem()));
        config.region = Some(REGION.to_owned());
        config.endpoint = Some(format!("http://{}/{{region}}", self.address));
        config.identity_endpoint = Some(format!("http://{}/{{region}}", self.address));
        config.settle = Duration::ZERO;
        config.poll_interval = Duration::ZERO;
        config
    }

    /// The windows that were asked for, each once, in order.
    pub fn windows(&self) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let mut windows: Vec<_> =
            self.lock().seen.iter().map(|seen| (seen.from, seen.to)).collect();
        windows.sort();
        windows.dedup();
        windows
    }
}

async fn answer(State(service): State<Arc<Mutex<Service>>>, request: Request) -> Response<Body> {
    let lock = || service.lock().unwrap_or_else(PoisonError::into_inner);
    let (parts, _) = request.into_parts();
    let (latency, now) = {
        let mut service = lock();
        if service.real_time {
            service.now = Utc::now();
        }
        service.in_flight += 1;
        service.most_in_flight = service.most_in_flight.max(service.in_flight);
        (service.latency, service.now + TimeDelta::seconds(service.ahead))
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let (mut response, late) = {
        let mut service = lock();
        service.in_flight -= 1;
        let header = |name| {
            parts.headers.get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned())
        };
        let target = parts.uri.path_and_query().unwrap().to_string();
        service.last_signed = [target, header("date"), header("host"), header("authorization")];
        let checked = match service.open {
            true => Ok(()),
            false => verify_get(&parts.uri, &parts.headers, &service.keys, now),
        };
        match checked {
            Err(why) => {
                service.refusals.push(why.clone());
                (refuse(401, "NotAuthenticated", &why), None)
            }
            Ok(()) if parts.uri.path().contains("/20160918/") => {
                (service.identity(&parts.uri), None)
            }
            Ok(()) => service.events(&parts.uri),
        }
    };
    if let Some(late) = late {
        tokio::time::sleep(late).await;
    }
    let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    response.headers_mut().insert("date", date.parse().unwrap());
    response.headers_mut().insert("opc-request-id", "fake/1".parse().unwrap());
    response
}

fn refuse(status: u16, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({ "code": code, "message": message }).to_string();
    let mut response = body.into_response();
    *response.status_mut() = status.try_into().unwrap();
    response
}

/// Takes a request apart: region, path, parameters.
fn parts(uri: &Uri) -> (String, String, Vec<(String, String)>) {
    let path = uri.path().trim_start_matches('/');
    let (region, path) = path.split_once('/').unwrap_or_default();
    let decode =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let query = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = query.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    (region.to_owned(), format!("/{path}"), pairs.map(|(n, v)| (decode(n), decode(v))).collect())
}

impl Service {
    fn identity(&mut self, uri: &Uri) -> Response<Body> {
        if let Some(Fault::Status(status, code, _)) = self.identity_faults.pop_front() {
            return refuse(status, code, "injected");
        }
        let (region, path, query) = parts(uri);
        let get = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        if region != REGION {
            return refuse(404, "NotAuthorizedOrNotFound", "asked in another region than home");
        }
        let items: Vec<String> = match path.as_str() {
            "/20160918/compartments" => {
                let whole = get("compartmentIdInSubtree") == Some("true")
                    && get("accessLevel") == Some("ANY");
                if get("compartmentId") != Some(TENANCY) || !whole {
                    return refuse(400, "InvalidParameter", "not the whole tree of the tenancy");
                }
                let children = self.compartments.iter().filter(|(id, _)| id != TENANCY);
                let json = |(id, state): &(String, &str)| {
                    format!(r#"{{"id":"{id}","name":"x","lifecycleState":"{state}","new":[1]}}"#)
                };
                children.map(json).collect()
            }
            path if path == format!("/20160918/tenancies/{TENANCY}/regionSubscriptions") => {
                let json = |(name, status): &(String, &str)| {
                    format!(
                        r#"{{"regionKey":"X","regionName":"{name}","status":"{status}","isHomeRegion":false}}"#
                    )
                };
                self.regions.iter().map(json).collect()
            }
            _ => return refuse(404, "NotAuthorizedOrNotFound", "no such path"),
        };
        let from: usize = get("page").map_or(0, |page| page.parse().unwrap());
        let to = (from + self.identity_page).min(items.len());
        let mut response = format!("[{}]", items[from..to].join(",")).into_response();
        if to < items.len() {
            response.headers_mut().insert("opc-next-page", to.to_string().parse().unwrap());
        }
        response
    }

    fn events(&mut self, uri: &Uri) -> (Response<Body>, Option<Duration>) {
        let (region, path, query) = parts(uri);
        if path != "/20190901/auditEvents" {
            return (refuse(404, "", "no such path"), None);
        }
        let get = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let known = ["compartmentId", "startTime", "endTime", "page"];
        let odd = query.iter().any(|(name, _)| !known.contains(&name.as_str()));
        let time = |name| get(name).and_then(|t| t.parse::<DateTime<Utc>>().ok());
        let (Some(compartment), Some(from), Some(to), false) =
            (get("compartmentId"), time("startTime"), time("endTime"), odd)
        else {
            return (refuse(400, "InvalidParameter", "missing or unknown parameter"), None);
        };
        let page = get("page");
        let mut fault = None;
        let here = self.broken_in.as_ref().is_none_or(|name| *name == compartment);
        let mut broken = self.broken.iter_mut().filter(|_| here);
        if let Some(broken) = broken.find(|(at, _, left)| *at == from && *left > 0) {
            broken.2 -= 1;
            fault = Some(broken.1.clone());
        }
        let fault = fault.or_else(|| self.faults.pop_front());
        let response = self.page(&region, &compartment, from, to, page.clone(), fault.as_ref());
        let status = response.status().as_u16();
        self.seen.push(Seen { region, compartment, from, to, page, status });
        let late = if let Some(Fault::Late(late)) = fault { Some(late) } else { None };
        (response, late)
    }

    fn page(
        &mut self,
        region: &str,
        compartment: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        page: Option<String>,
        fault: Option<&Fault>,
    ) -> Response<Body> {
        if let Some(Fault::Status(status, code, headers)) = fault {
            let mut response = refuse(*status, code, "injected");
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            return response;
        }
        let whole =
            |time: DateTime<Utc>| time.timestamp_subsec_nanos() == 0 && time.timestamp() % 60 == 0;
        if !whole(from) || !whole(to) {
            return refuse(400, "InvalidParameter", "seconds must be 0");
        }
        if from >= to || to - from > self.longest {
            return refuse(400, "InvalidParameter", "the range is empty or too long");
        }
        let active = |(id, state): &(String, &str)| id == compartment && *state != "DELETED";
        if !self.regions.iter().any(|(name, _)| name == region)
            || !self.compartments.iter().any(active)
        {
            return refuse(
                404,
                "NotAuthorizedOrNotFound",
                "Authorization failed or requested resource not found",
            );
        }
        if fault == Some(&Fault::TokensEnd) {
            self.token_epoch += 1;
        }
        let prefix =
            format!("{}/{compartment}/{}/{}", self.token_epoch, from.timestamp(), to.timestamp());
        let mut begin = 0;
        if let Some(token) = &page {
            let own = token.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/'));
            let Some(at) = own.and_then(|at| at.parse().ok()) else {
                return refuse(400, "InvalidParameter", "unknown or ended page token");
            };
            begin = at;
        }
        let found = self.records.find(region, compartment, from, to);
        let mut end = (begin + self.page_events).min(found.len());
        let mut more = end < found.len();
        if self.empty_pages && page.is_none() {
            (end, more) = (0, true);
        }
        let body = match fault {
            Some(Fault::Body(body)) => (*body).to_owned(),
            _ => found.page(begin..end),
        };
        let token = match fault {
            Some(Fault::SameToken) => page.or_else(|| Some(format!("{prefix}/0"))),
            Some(Fault::FirstToken) => Some(format!("{prefix}/0")),
            _ => more.then(|| format!("{prefix}/{end}")),
        };
        let body = match fault {
            Some(Fault::Truncate(bytes)) => Body::from(Bytes::from(body).slice(..*bytes)),
            Some(Fault::Reset(bytes)) => {
                let piece = Bytes::from(body.into_bytes()).slice(..*bytes);
                let broken = std::io::Error::other("injected");
                Body::from_stream(stream::iter([Ok(piece), Err(broken)]))
            }
            _ => Body::from(body),
        };
        let mut response = Response::new(body);
        if let Some(token) = token {
            response.headers_mut().insert("opc-next-page", token.parse().unwrap());
        }
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }
}
