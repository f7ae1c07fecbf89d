use std::io::Write;

use axum::extract::Query;
use axum::http::request::Parts;
use chrono::{DateTime, TimeDelta, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Fault, Json, Record, Seen, State, sample};

/// The number of records in one answer unless asked otherwise.
const DEFAULT_LIMIT: usize = 10_000;

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.into() }
    }

    fn refusal(status: u16, error: &str, message: impl AsRef<str>) -> Self {
        let body = json!({ "ok": false, "error": error, "message": message.as_ref() });
        Self::new(status, body.to_string())
    }
}

/// Answers a request; a fault of its body is left to the caller.
pub fn answer(state: &mut State, request: &Parts, body: &[u8]) -> (Option<Fault>, Reply) {
    let now = state.clock.now();
    let token = request.uri.path() == "/v1/auth/access_token";
    let faults = if token { &mut state.token_faults } else { &mut state.faults };
    let fault = faults.pop_front();
    let mut reply = match &fault {
        Some(Fault::Status(status, headers, body)) => {
            note(state, request, 0);
            let mut reply = Reply::new(*status, body.clone());
            reply.headers.extend(headers.iter().cloned());
            reply
        }
        Some(Fault::Instead(body)) => {
            note(state, request, 0);
            Reply::new(200, body.clone())
        }
        _ => act(state, request, body, now),
    };
    // Without one the HTTP library would tell the real time.
    let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let date = if state.tells_date { date } else { "unknown".to_owned() };
    reply.headers.push(("date", date));
    reply.headers.push(("x-trace-id", "trace-1".to_owned()));
    let packs = request.headers.get("accept-encoding").is_some_and(|value| value == "gzip");
    if state.gzip && packs {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&reply.body).expect("memory does not fail");
        reply.body = encoder.finish().expect("memory does not fail");
        reply.headers.push(("content-encoding", "gzip".to_owned()));
    }
    (fault, reply)
}

fn act(state: &mut State, request: &Parts, body: &[u8], now: DateTime<Utc>) -> Reply {
    match (request.method.as_str(), request.uri.path()) {
        ("POST", "/v1/auth/access_token") => give_token(state, body, now),
        ("GET", "/v1/audit-log") => {
            if !is_allowed(state, &authorization(request), now) {
                note(state, request, 0);
                return Reply::refusal(401, "unauthorized", "the token is not valid");
            }
            let limited = count_request(state, now);
            let mut reply = match &limited {
                Some((_, true)) => Reply::refusal(429, "too_many_requests", "slow down"),
                _ => audit_log(state, request, now),
            };
            reply.headers.extend(limited.into_iter().flat_map(|(headers, _)| headers));
            reply
        }
        _ => Reply::refusal(404, "not_found", "no such route"),
    }
}

fn authorization(request: &Parts) -> String {
    let value = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// There is one valid token for a pair: whoever asks before its end gets the same one.
fn give_token(state: &mut State, body: &[u8], now: DateTime<Utc>) -> Reply {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        return Reply::refusal(422, "invalid_request", "the body is not JSON");
    };
    let pair = (asked["clientId"].as_str(), asked["clientSecret"].as_str());
    if pair != (Some(&state.pair.0), Some(&state.pair.1)) {
        return Reply::refusal(
            401,
            "invalid_credentials",
            format!("no {:?}", asked["clientSecret"]),
        );
    }
    state.tokens_given += 1;
    let (given, life) = (state.tokens_given, state.token_life);
    let valid = state.token.take().filter(|(_, end)| *end > now);
    let (token, end) =
        valid.unwrap_or_else(|| (format!("token-canary-{given}"), now + TimeDelta::seconds(life)));
    let left = (end - now).num_seconds();
    state.token = Some((token.clone(), end));
    let body =
        json!({ "ok": true, "accessToken": token, "expiresIn": left, "tokenType": "Bearer" });
    Reply::new(200, body.to_string())
}

fn is_allowed(state: &State, authorization: &str, now: DateTime<Utc>) -> bool {
    let Some(shown) = authorization.strip_prefix("Bearer ") else { return false };
    let of_pair = state.token.as_ref().is_some_and(|(token, end)| token == shown && *end > now);
    of_pair || state.fixed_token.as_deref() == Some(shown)
}

/// Returns the headers of the rate limit, and whether this request is one too many.
fn count_request(
    state: &mut State,
    now: DateTime<Utc>,
) -> Option<(Vec<(&'static str, String)>, bool)> {
    let (limit, period) = state.rate?;
    let number = now.timestamp() / period;
    if state.period.0 != number {
        state.period = (number, 0);
    }
    state.period.1 += 1;
    let headers = vec![
        ("x-ratelimit-period", period.to_string()),
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", limit.saturating_sub(state.period.1).to_string()),
        ("x-ratelimit-reset", ((number + 1) * period).to_string()),
    ];
    Some((headers, state.period.1 > limit))
}

fn note(state: &mut State, request: &Parts, records: usize) {
    if !state.notes {
        return;
    }
    let query = request.uri.query().unwrap_or_default().to_owned();
    let parameters = parameters(request).unwrap_or_default();
    let authorization = authorization(request);
    if request.uri.path() == "/v1/audit-log" {
        state.seen.push(Seen { query, parameters, authorization, records });
    }
}

fn parameters(request: &Parts) -> Option<Vec<(String, String)>> {
    Query::try_from_uri(&request.uri).ok().map(|Query(parameters)| parameters)
}

fn audit_log(state: &mut State, request: &Parts, now: DateTime<Utc>) -> Reply {
    let parameters = parameters(request).unwrap_or_default();
    let question = match Question::read(&parameters, state.whole_seconds) {
        Ok(question) => question,
        Err(message) => {
            note(state, request, 0);
            return Reply::refusal(422, "invalid_request", message);
        }
    };
    let found = question.find(state, now.timestamp_millis());
    if state.slow_above.is_some_and(|most| found.len() > most) {
        note(state, request, 0);
        return Reply::new(504, "<html>504 Gateway Time-out</html>");
    }
    let limit = question.limit.min(state.cap);
    let first = if state.newest_first { found.len().saturating_sub(limit) } else { 0 };
    let mut chosen: Vec<_> = found.into_iter().skip(first).take(limit).collect();
    if state.newest_first {
        chosen.reverse();
    }
    let count = chosen.len();
    let mut body = String::from(r#"{"ok":true,"audits":["#);
    for (n, record) in chosen.into_iter().enumerate() {
        if n > 0 {
            body.push(',');
        }
        body.push_str(&question.shown(record));
    }
    body.push_str("]}");
    note(state, request, count);
    if count == 0 && question.filters.iter().any(|(name, _)| name == "identifier") {
        return Reply::refusal(404, "not_found", "no such audit log");
    }
    Reply::new(200, body)
}

struct Question {
    from: i64,
    to: i64,
    limit: usize,
    deleted: bool,
    includes: Vec<String>,
    filters: Vec<(String, String)>,
}

/// Where in a record the API looks for a parameter, and whether several values may be given.
fn place(parameter: &str) -> Option<(&'static str, bool)> {
    Some(match parameter {
        "identifier" => ("/identifier", false),
        "entity" => ("/context/entity", false),
        "blueprint" => ("/context/blueprint", false),
        "run_id" => ("/context/runId", false),
        "webhookId" => ("/context/webhookId", false),
        "webhookEventId" => ("/context/webhookEventId", false),
        "InstallationId" => ("/context/installationId", false),
        "origin" => ("/trigger/origin", true),
        "resources" => ("/resourceType", true),
        "action" => ("/action", false),
        "status" => ("/status", false),
        "actionType" => ("/additionalData/actionType", false),
        _ => return None,
    })
}

impl Question {
    fn read(parameters: &[(String, String)], whole_seconds: bool) -> Result<Self, String> {
        let mut question = Self {
            from: i64::MIN,
            to: i64::MAX,
            limit: DEFAULT_LIMIT,
            deleted: false,
            includes: Vec::new(),
            filters: Vec::new(),
        };
        let time = |value: &str| {
            let time = DateTime::parse_from_rfc3339(value)
                .map_err(|e| format!("not a date-time: {value:?}: {e}"))?;
            let millis = time.timestamp_millis();
            Ok::<_, String>(if whole_seconds { millis - millis.rem_euclid(1000) } else { millis })
        };
        for (name, value) in parameters {
            match name.as_str() {
                "from" => question.from = time(value)?,
                "to" => question.to = time(value)?,
                "limit" => {
                    question.limit = value.parse().map_err(|_| format!("limit {value:?}"))?
                }
                "include_deleted_entities" => question.deleted = value == "true",
                "includes" => question.includes.push(value.clone()),
                _ => {
                    let (_, several) = place(name).ok_or_else(|| format!("unknown: {name:?}"))?;
                    if !several && question.filters.iter().any(|(other, _)| other == name) {
                        return Err(format!("{name} is there twice"));
                    }
                    question.filters.push((name.clone(), value.clone()));
                }
            }
        }
        if question.limit == 0 {
            return Err("limit must be positive".to_owned());
        }
        if question.deleted {
            let given = |name: &&str| question.filters.iter().any(|(other, _)| other == name);
            let day = question.to.saturating_sub(question.from) <= 86_400_000;
            if !["entity", "blueprint", "status"].iter().all(given) || !day {
                return Err("deleted entities need entity, blueprint, status, and a day".to_owned());
            }
        }
        Ok(question)
    }

    fn find<'a>(&self, state: &'a State, now: i64) -> Vec<&'a Record> {
        let records = &state.records;
        let before = |at: i64, inclusive: bool| {
            records.partition_point(|r| if inclusive { r.at < at } else { r.at <= at })
        };
        let first = before(self.from, state.from_inclusive);
        let end = before(self.to, !state.to_inclusive).max(first);
        let shown = |record: &&Record| record.appears <= now && self.fits(record);
        records[first..end].iter().filter(shown).collect()
    }

    fn fits(&self, record: &Record) -> bool {
        if self.filters.is_empty() {
            return true;
        }
        let Ok(value) = serde_json::from_str::<Value>(&text(record)) else { return false };
        let found = |name: &str| place(name).and_then(|(place, _)| value.pointer(place));
        self.filters.iter().all(|(name, _)| {
            let same = self.filters.iter().filter(|(other, _)| other == name);
            let mut wanted = same.map(|(_, wanted)| wanted.as_str());
            wanted.any(|wanted| found(name).and_then(Value::as_str) == Some(wanted))
        })
    }

    /// Returns a record with only the fields that are wanted.
    fn shown(&self, record: &Record) -> String {
        let text = text(record);
        if self.includes.is_empty() {
            return text;
        }
        let Ok(Value::Object(mut record)) = serde_json::from_str(&text) else { return text };
        record.retain(|name, _| self.includes.iter().any(|wanted| wanted == name));
        Value::Object(record).to_string()
    }
}

pub fn text(record: &Record) -> String {
    match &record.json {
        Json::Kept(text) => text.clone(),
        Json::Sample(n) => sample(*n, record.at),
    }
}
