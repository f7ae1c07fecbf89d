//! A record as a line of JSON.

use std::collections::BTreeMap;

use audit_core::{Action, Actor, Error, ErrorKind, EventId, Outcome, Result, Target};
use audit_logger::{AuditLogger, Filter, HttpRequest, HttpResponse, Level, Provider, User};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::cli::set_action;

/// What a line may say: the keys of a record and those of an event, each optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    http_request: Option<Request>,
    http_response: Option<Response>,
    user: Option<Person>,
    filter: Option<Search>,
    results: Option<Value>,
    #[serde(rename = "type", alias = "level")]
    level: Option<String>,
    message: Option<String>,
    action: Option<Action>,
    actor: Option<Actor>,
    target: Option<Target>,
    outcome: Option<Outcome>,
    correlation_id: Option<String>,
    application: Option<String>,
    id: Option<EventId>,
    time: Option<DateTime<Utc>>,
}

/// A line as this program writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    audit: Line,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    user_agent: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    status_code: u16,
    #[serde(default)]
    reason: String,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    authenticated: Option<bool>,
    #[serde(default)]
    email: String,
    roles: Option<Vec<String>>,
    #[serde(default)]
    ip: String,
    provider: Option<Through>,
    realm: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Through {
    Name(String),
    Both {
        name: String,
        #[serde(default)]
        realm: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    object: String,
    #[serde(default)]
    kwargs: Value,
}

impl Line {
    /// Reads a line, with or without `{"audit": …}` around it.
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        let bare = match serde_json::from_slice(line) {
            Ok(bare) => return Ok(bare),
            Err(error) => error,
        };
        match serde_json::from_slice::<Wrapped>(line) {
            Ok(wrapped) => Ok(wrapped.audit),
            // Which of the two was meant shows in the text.
            Err(wrapped) if line.trim_ascii_start().starts_with(b"{\"audit\"") => {
                Err(no_record(wrapped))
            }
            Err(_) => Err(no_record(bare)),
        }
    }

    pub(super) fn apply(self, logger: &mut AuditLogger) -> Result<()> {
        if let Some(Request { method, url, user_agent }) = self.http_request {
            logger.http_request(HttpRequest::new(method, url).user_agent(user_agent));
        }
        if let Some(Response { status_code, reason, headers }) = self.http_response {
            let response = HttpResponse::new(status_code, reason);
            logger.http_response(match headers {
                Some(headers) => response.headers(headers),
                None => response,
            });
        }
        if let Some(person) = self.user {
            logger.user(person.into());
        }
        if let Some(Search { object, kwargs }) = self.filter {
            logger.filter(Filter::new(object, kwargs)?);
        }
        if let Some(results) = self.results {
            logger.set_results(results);
        }
        if let Some(action) = self.action {
            set_action(logger, action);
        }
        if let Some(actor) = self.actor {
            logger.actor(actor);
        }
        if let Some(target) = self.target {
            logger.target(target);
        }
        if let Some(outcome) = self.outcome {
            logger.outcome(outcome);
        }
        if let Some(id) = self.correlation_id {
            logger.correlation_id(id);
        }
        if let Some(application) = self.application {
            logger.application(application);
        }
        if let Some(id) = self.id {
            logger.id(id);
        }
        if let Some(time) = self.time {
            logger.time(time);
        }
        logger.log(level(self.level.as_deref())?, self.message.unwrap_or_default());
        Ok(())
    }
}

impl From<Person> for User {
    fn from(person: Person) -> Self {
        let Person { authenticated, email, roles, ip, provider, realm } = person;
        let known = authenticated.unwrap_or(!email.is_empty());
        let mut user = Self::authenticated(email).ip(ip);
        user.authenticated = known;
        let (name, own) = match provider {
            Some(Through::Name(name)) => (name, String::new()),
            Some(Through::Both { name, realm }) => (name, realm),
            None => Default::default(),
        };
        let user = user.provider(Provider::new(name).realm(realm.unwrap_or(own)));
        match roles {
            Some(roles) => user.roles(roles),
            None => user,
        }
    }
}

fn level(name: Option<&str>) -> Result<Level> {
    Ok(match name.map(str::to_ascii_uppercase).as_deref() {
        None | Some("INFO") => Level::Info,
        Some("DEBUG") => Level::Debug,
        Some("WARNING" | "WARN") => Level::Warning,
        Some("ERROR") => Level::Error,
        Some("CRITICAL") => Level::Critical,
        Some(_) => {
            return Err(Error::new(ErrorKind::Rejected, "unknown level")
                .with_hint("use debug, info, warning, error or critical"));
        }
    })
}

/// Says where a line is wrong, and never what it holds.
fn no_record(error: serde_json::Error) -> Error {
    let text = error.to_string();
    let what = match error.classify() {
        serde_json::error::Category::Data if text.starts_with("unknown field") => {
            text.split(", expected").next().unwrap_or_default().to_owned()
        }
        serde_json::error::Category::Data => "a field has another type than it should".to_owned(),
        _ => "not JSON".to_owned(),
    };
    Error::new(ErrorKind::Rejected, format!("the line is no record: {what}"))
        .with("column", error.column())
}
