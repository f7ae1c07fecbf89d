//! A stand-in for the API of Port: `GET /v1/audit-log` with all its parameters, tokens, rate limits,
//! and everything that can go wrong. It needs nothing but this folder.
//!
//! What the real API does not document (order, whether `from` and `to` are counted in, caps) can be
//! set either way.

mod api;
mod sample;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use audit_core::Clock;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures_util::stream;
use tokio::net::TcpListener;

pub use sample::{sample, sample_id};

/// A record as the API has it.
#[derive(Clone, Debug)]
pub struct Record {
    /// What `from` and `to` are compared with, in milliseconds.
    pub at: i64,
    /// When the API begins to show it.
    pub appears: i64,
    pub json: Json,
}

/// The text of a record: kept, or made of a number each time, to serve millions.
#[derive(Clone, Debug)]
pub enum Json {
    Kept(String),
    Sample(u64),
}

/// Something that befalls one request for records.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is refused with this status, these headers and this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// This comes with status 200 instead of the answer.
    Instead(String),
    /// Half of the answer comes, then the connection ends.
    Torn,
    /// Half of the answer comes, as if it were all.
    CutOff,
    /// Nothing: it is another one's turn.
    Pass,
    /// No answer ever comes.
    Silence,
    /// So many bytes of the answer come, then a pause, again and again.
    Slow(usize, Duration),
}

impl Fault {
    /// A refusal as the API makes it.
    pub fn status(status: u16) -> Self {
        let body = r#"{"ok":false,"error":"so_it_is","message":"for no reason"}"#;
        Self::Status(status, Vec::new(), body.to_owned())
    }

    /// A refusal that says when to come back.
    pub fn status_with(status: u16, name: &'static str, value: impl ToString) -> Self {
        Self::Status(status, vec![(name, value.to_string())], String::new())
    }
}

/// A request for records, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub query: String,
    pub parameters: Vec<(String, String)>,
    pub authorization: String,
    /// How many records were in the answer.
    pub records: usize,
}

/// How the API behaves, and what it holds.
pub struct State {
    /// Sorted by [`Record::at`].
    records: Vec<Record>,
    pub clock: Clock,
    /// Whether answers say what time it is.
    pub tells_date: bool,
    pub newest_first: bool,
    pub from_inclusive: bool,
    pub to_inclusive: bool,
    /// `from` and `to` are cut to whole seconds.
    pub whole_seconds: bool,
    /// No answer has more records than this, whatever `limit` asks for.
    pub cap: usize,
    /// More records than this in the time asked for cannot be had in time: 504.
    pub slow_above: Option<usize>,
    pub gzip: bool,
    /// How long each answer takes.
    pub delay: Duration,
    /// So many requests in so many seconds.
    pub rate: Option<(u32, i64)>,
    /// `clientId` and `clientSecret`.
    pub pair: (String, String),
    /// How long a token lives, in seconds.
    pub token_life: i64,
    /// A token that does not come from the pair.
    pub fixed_token: Option<String>,
    /// What befalls the next requests for records.
    pub faults: VecDeque<Fault>,
    /// What befalls the next requests for a token.
    pub token_faults: VecDeque<Fault>,
    pub seen: Vec<Seen>,
    /// Whether requests are kept in `seen`.
    pub notes: bool,
    pub tokens_given: usize,
    token: Option<(String, DateTime<Utc>)>,
    period: (i64, u32),
}

impl State {
    /// Adds a record in its place.
    pub fn add(&mut self, record: Record) {
        let place = self.records.partition_point(|other| other.at <= record.at);
        self.records.insert(place, record);
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the text of the record with this identifier.
    pub fn text_of(&self, identifier: &str) -> Option<String> {
        self.records.iter().map(api::text).find(|text| text.contains(identifier))
    }

    /// Makes the present token worthless.
    pub fn revoke(&mut self) {
        self.token = None;
    }
}

/// The API, as long as the runtime lives.
#[derive(Clone)]
pub struct FakePort {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl FakePort {
    /// Starts one on this machine, with no records.
    pub async fn start(clock: Clock) -> Self {
        Self::start_at("127.0.0.1:0", clock).await
    }

    /// Starts one at an address.
    pub async fn start_at(address: &str, clock: Clock) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let state = State {
            records: Vec::new(),
            clock,
            tells_date: true,
            newest_first: true,
            from_inclusive: true,
            to_inclusive: true,
            whole_seconds: false,
            cap: usize::MAX,
            slow_above: None,
            gzip: false,
            delay: Duration::ZERO,
            rate: None,
            pair: ("client".to_owned(), "s3cret-canary".to_owned()),
            token_life: 10_800,
            fixed_token: None,
            faults: VecDeque::new(),
            token_faults: VecDeque::new(),
            seen: Vec::new(),
            notes: true,
            tokens_given: 0,
            token: None,
            period: (0, 0),
        };
        let fake = Self {
            address: listener.local_addr().expect("it is bound"),
            state: Arc::new(Mutex::new(state)),
        };
        let app = Router::new().fallback(serve).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test has failed while it held the state")
    }

    /// Adds samples, one for each time.
    pub fn add_samples(&self, first: u64, times: impl IntoIterator<Item = i64>) {
        let mut state = self.lock();
        for (n, at) in (first..).zip(times) {
            state.add(Record { at, appears: at, json: Json::Kept(sample(n, at)) });
        }
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }
}

async fn serve(Shared(fake): Shared<FakePort>, request: Request) -> Response {
    let delay = fake.lock().delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let (fault, answer) = api::answer(&mut fake.lock(), &parts, &body);
    let api::Reply { status, headers, body } = answer;
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let half = body.len() / 2;
    let body = match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::CutOff) => Body::from(body[..half].to_vec()),
        Some(Fault::Torn) => {
            response = response.header("content-length", body.len());
            let broken = std::io::Error::other("torn");
            Body::from_stream(stream::iter([Ok(body[..half].to_vec()), Err(broken)]))
        }
        Some(Fault::Slow(size, pause)) => {
            let pieces: Vec<_> = body.chunks(size).map(<[u8]>::to_vec).collect();
            Body::from_stream(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
                tokio::time::sleep(pause).await;
                pieces.next().map(|piece| (Ok::<_, std::io::Error>(piece), pieces))
            }))
        }
        _ => Body::from(body),
    };
    response.body(body).expect("the parts are those of an answer")
}
