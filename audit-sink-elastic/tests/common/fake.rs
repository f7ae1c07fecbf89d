use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::http::{self, Request};
use super::store::{Store, filter};

/// Something that befalls one request to `_bulk`.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is refused with this status, these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection ends, before or after the request took effect.
    Reset { after: bool },
    /// Every document of it is refused like this.
    RefuseAll(u16, &'static str),
    /// No answer ever comes, before or after the request took effect.
    Silence { after: bool },
    /// It takes effect; half of the answer comes.
    Torn,
    /// It takes effect; the last item is missing in the answer.
    WrongCount,
    /// It takes effect; this comes instead of the answer.
    Instead(String),
    /// It takes effect; the answer takes so long.
    Slow(Duration),
}

impl Fault {
    /// A refusal as the products make it.
    pub fn status(status: u16, kind: &str) -> Self {
        let body = json!({ "error": { "type": kind, "reason": "so it is" }, "status": status });
        Self::Answer(status, Vec::new(), body.to_string())
    }
}

/// A node that speaks `_bulk`, with everything that can go wrong.
#[derive(Clone, Debug)]
pub struct Fake {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub struct State {
    pub store: Store,
    pub faults: VecDeque<Fault>,
    /// Every request but those for the product.
    pub seen: Vec<Request>,
    /// The `Authorization` that is asked for.
    pub authorization: Option<String>,
    /// Larger bodies get 413.
    pub max_body: Option<usize>,
    /// What `GET /` says is there.
    pub root: Option<Value>,
    pub auto_create_setting: Option<&'static str>,
    /// How many requests to `_bulk` were being answered at once, at most.
    pub most_at_once: usize,
    at_once: usize,
    /// How long each request takes.
    pub delay: Duration,
}

impl Fake {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let fake = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let here = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(here.clone().serve(stream));
            }
        });
        fake
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    pub fn refuse(&self, id: &str, refusal: (u16, &'static str, &'static str)) {
        self.lock().store.refuse.entry(id.to_owned()).or_default().push_back(refusal);
    }

    /// Returns index, id and source of each document, in the order of arrival.
    pub fn documents(&self) -> Vec<(String, String, String)> {
        self.lock().store.documents.clone()
    }

    /// Returns the ids in the order of arrival.
    pub fn ids(&self) -> Vec<String> {
        self.documents().into_iter().map(|(_, id, _)| id).collect()
    }

    pub fn count(&self, path_end: &str) -> usize {
        self.lock().seen.iter().filter(|r| r.path.ends_with(path_end)).count()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(request) = http::read(&mut stream, &mut buffer).await {
            let bulk = request.path.ends_with("/_bulk");
            let (fault, delay) = {
                let mut state = self.lock();
                let fault = if bulk { state.faults.pop_front() } else { None };
                state.at_once += usize::from(bulk);
                state.most_at_once = state.most_at_once.max(state.at_once);
                (fault, state.delay)
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let answered = self.answer(&mut stream, &request, fault).await;
            self.lock().at_once -= usize::from(bulk);
            if answered.is_none() {
                return;
            }
        }
    }

    /// None: the connection ends.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        fault: Option<Fault>,
    ) -> Option<()> {
        let act = || self.act(request);
        let json = |mut headers: Vec<(&'static str, String)>| {
            headers.push(("content-type", "application/json".to_owned()));
            headers
        };
        let (status, headers, body) = match fault {
            None => act(),
            Some(Fault::Answer(status, headers, body)) => {
                self.lock().seen.push(request.clone());
                (status, headers, body)
            }
            Some(Fault::RefuseAll(status, kind)) => {
                let documents = request.body.iter().filter(|b| **b == b'\n').count() / 2;
                let error = json!({ "type": kind, "reason": "so it is" });
                let item = json!({ "create": { "status": status, "error": error } });
                let answer = json!({ "errors": true, "items": vec![item; documents] });
                (200, Vec::new(), answer.to_string())
            }
            Some(Fault::Reset { after }) => {
                if after {
                    act();
                }
                return None;
            }
            Some(Fault::Silence { after }) => {
                if after {
                    act();
                }
                std::future::pending().await
            }
            Some(Fault::Torn) => {
                let (status, headers, body) = act();
                http::write(stream, status, &json(headers), &body, true).await.ok()?;
                return None;
            }
            Some(Fault::WrongCount) => {
                let (status, headers, body) = act();
                let mut body: Value = serde_json::from_str(&body).unwrap();
                body["items"].as_array_mut().unwrap().pop();
                (status, headers, body.to_string())
            }
            Some(Fault::Instead(body)) => {
                act();
                (200, Vec::new(), body)
            }
            Some(Fault::Slow(time)) => {
                let answer = act();
                tokio::time::sleep(time).await;
                answer
            }
        };
        let body = if request.method == "HEAD" { String::new() } else { body };
        http::write(stream, status, &json(headers), &body, false).await.ok()
    }

    fn act(&self, request: &Request) -> (u16, Vec<(&'static str, String)>, String) {
        let mut state = self.lock();
        let error = |status: u16, kind: &str, reason: &str| {
            let error = json!({ "type": kind, "reason": reason, "root_cause": [] });
            (status, Vec::new(), json!({ "error": error, "status": status }).to_string())
        };
        let allowed = request.header("authorization") == state.authorization.as_deref();
        if request.path != "/" {
            state.seen.push(request.clone());
        }
        if state.authorization.is_some() && !allowed {
            return error(401, "security_exception", "unable to authenticate user");
        }
        if state.max_body.is_some_and(|max| request.body.len() > max) {
            return (413, Vec::new(), "<html>413 Request Entity Too Large</html>".to_owned());
        }
        let parts: Vec<_> = request.path.split('/').filter(|part| !part.is_empty()).collect();
        let state = &mut *state;
        match (request.method.as_str(), &parts[..]) {
            ("POST", ["_bulk"] | [_, "_bulk"]) => {
                assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
                let index = parts.first().filter(|_| parts.len() == 2).copied();
                match state.store.bulk(index, &request.body) {
                    Err(reason) => error(400, "action_request_validation_exception", &reason),
                    Ok(answer) => (200, Vec::new(), filtered(request, &answer)),
                }
            }
            ("POST", ["_mget"]) if !state.store.readable => {
                error(403, "security_exception", "action [indices:data/read/mget] is unauthorized")
            }
            ("POST", ["_mget"]) => (200, Vec::new(), state.store.mget(&request.body)),
            ("GET", []) => {
                let root = json!({ "cluster_name": "fake", "version": { "number": "8.19.0" } });
                (200, Vec::new(), state.root.as_ref().unwrap_or(&root).to_string())
            }
            ("HEAD", [index]) => {
                let head = index.split('*').next().unwrap();
                let fits =
                    |name: &String| name == index || index.ends_with('*') && name.starts_with(head);
                let there = state.store.indices.iter().any(fits);
                (if there { 200 } else { 404 }, Vec::new(), String::new())
            }
            ("GET", ["_cluster", "settings"]) => {
                let setting = state.auto_create_setting.unwrap_or("true");
                let all = json!({ "persistent": {}, "transient": {},
                    "defaults": { "action.auto_create_index": setting } });
                (200, Vec::new(), filtered_all(&all))
            }
            ("PUT", ["_index_template", _]) => {
                (200, Vec::new(), r#"{"acknowledged":true}"#.to_owned())
            }
            _ => error(404, "resource_not_found_exception", "no such thing"),
        }
    }
}

fn filtered(request: &Request, answer: &Value) -> String {
    let Some(paths) = request.query("filter_path") else { return answer.to_string() };
    let paths: Vec<_> = paths.split(',').map(|path| path.split('.').collect()).collect();
    filter(answer, &paths).unwrap_or_else(|| json!({})).to_string()
}

/// Keys with dots are beyond what [`filter`] splits.
fn filtered_all(answer: &Value) -> String {
    answer.to_string()
}
