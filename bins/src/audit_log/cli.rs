use std::path::PathBuf;

use audit_core::{
    Action, ActionKind, Actor, Error, ErrorKind, EventId, Outcome, Result, StreamId, Target,
};
use audit_logger::{AuditLogger, Filter, HttpRequest, HttpResponse, Level, Provider, Shape, User};
use chrono::{DateTime, Utc};
use clap::{ArgAction, Args, Parser, ValueEnum};
use clap_complete::Shell;
use humantime::Duration;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::Global;
use crate::{app, exit, ship};

/// Write one structured audit record, to stdout or to where audit records go.
///
/// It ends with 0 only when the record was written: in a script, `audit-log … || exit`.
#[derive(Debug, Parser)]
#[command(
    name = "audit-log",
    version,
    arg_required_else_help = true,
    after_help = exit::HELP,
    after_long_help = format!("{EXAMPLES}\n{}", exit::HELP),
)]
pub struct Cli {
    /// How much attention it asks for
    #[arg(value_enum, ignore_case = true)]
    pub level: Option<LevelName>,
    /// What happened, for people
    pub message: Option<String>,
    /// Where it goes: stdout, stderr, a file that it is appended to, or a configuration file
    /// (`.toml`) whose sink takes it
    #[arg(long, env = "AUDIT_LOG_TO", value_name = "WHERE", default_value = "stdout")]
    pub to: PathBuf,
    /// The pipeline of the configuration file whose sink takes it
    #[arg(short, long, value_name = "NAME")]
    pub pipeline: Option<StreamId>,
    /// How long to wait for that sink
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Duration,
    /// The form of the record
    #[arg(long, value_enum, value_name = "SHAPE", default_value = "audit")]
    pub shape: ShapeName,
    /// Read records from stdin, one JSON object a line, with the keys of a record or of an event
    #[arg(long, conflicts_with = "level")]
    pub stdin: bool,
    /// What the record says.
    #[command(flatten)]
    pub record: Record,
    /// Write a completion script for a shell to stdout
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub completions: Option<Shell>,
    /// Write the manual page to stdout
    #[arg(long, exclusive = true)]
    pub man: bool,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

const EXAMPLES: &str = "\
Examples:
  audit-log info 'backup restored' --user-email \"$USER@example.com\" --results-json '{\"files\": 12}'
  audit-log warning 'sign-in refused' --http-method POST --http-url https://shop.example/login \\
      --http-status 403 --http-reason Forbidden --outcome denied
  audit-log info 'key rotated' --action key.rotate --actor-id ci --target-id key-7 --to /var/log/audit.ndjson
  audit-log info 'deployed' --to audit.toml --pipeline events     into the sink of that pipeline
  jq -c '{message: .msg, user: {email: .who}}' app.log | audit-log --stdin
";

/// How much attention a record asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelName {
    /// Of interest when something is looked into
    Debug,
    /// Ordinary use
    Info,
    /// Unusual, but handled
    Warning,
    /// It went wrong
    Error,
    /// It went wrong and needs somebody now
    Critical,
}

impl From<LevelName> for Level {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::Debug => Self::Debug,
            LevelName::Info => Self::Info,
            LevelName::Warning => Self::Warning,
            LevelName::Error => Self::Error,
            LevelName::Critical => Self::Critical,
        }
    }
}

/// The form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShapeName {
    /// {"audit": {…}} with its seven keys
    Audit,
    /// The same, with provider and realm as texts of the user
    AuditFlat,
    /// {"audit_event": {…}}, the message of an audit_logs table
    AuditEvent,
    /// The event of this toolkit: id, time, actor, action, target, outcome
    Canonical,
}

impl From<ShapeName> for Shape {
    fn from(name: ShapeName) -> Self {
        match name {
            ShapeName::Audit => Self::Audit,
            ShapeName::AuditFlat => Self::AuditFlat,
            ShapeName::AuditEvent => Self::AuditEvent,
            ShapeName::Canonical => Self::Canonical,
        }
    }
}

/// What a record says.
#[derive(Args, Debug)]
#[command(next_help_heading = "The record")]
pub struct Record {
    #[arg(long, value_name = "METHOD", requires = "http_url")]
    http_method: Option<String>,
    #[arg(long, value_name = "URL")]
    http_url: Option<String>,
    #[arg(long, value_name = "TEXT")]
    http_user_agent: Option<String>,
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=999))]
    http_status: Option<u16>,
    #[arg(long, value_name = "TEXT", requires = "http_status")]
    http_reason: Option<String>,
    /// A header of the response; may be given more than once
    #[arg(long, value_name = "NAME: VALUE", requires = "http_status")]
    http_header: Vec<String>,
    #[arg(long, value_name = "EMAIL")]
    user_email: Option<String>,
    /// [default: whether an e-mail address is given]
    #[arg(long, value_name = "BOOL", value_parser = ship::parse_bool, action = ArgAction::Set)]
    user_authenticated: Option<bool>,
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    user_roles: Vec<String>,
    #[arg(long, value_name = "IP")]
    user_ip: Option<String>,
    #[arg(long, value_name = "NAME")]
    user_provider: Option<String>,
    #[arg(long, value_name = "NAME")]
    user_realm: Option<String>,
    /// The kind of object that was searched for
    #[arg(long, value_name = "KIND")]
    filter_object: Option<String>,
    /// The conditions
    #[arg(long, value_name = "JSON", requires = "filter_object")]
    filter_json: Option<String>,
    /// What came of it
    #[arg(long, value_name = "JSON")]
    results_json: Option<String>,
    /// What was done: key.rotate
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// authorize, create, delete, execute, login, other, read or update
    #[arg(long, value_name = "KIND")]
    action_kind: Option<String>,
    #[arg(long, value_name = "ID")]
    actor_id: Option<String>,
    #[arg(long, value_name = "NAME")]
    actor_name: Option<String>,
    /// user, service, system…
    #[arg(long, value_name = "TYPE")]
    actor_type: Option<String>,
    #[arg(long, value_name = "ID")]
    target_id: Option<String>,
    #[arg(long, value_name = "NAME")]
    target_name: Option<String>,
    #[arg(long, value_name = "TYPE")]
    target_type: Option<String>,
    /// success, failure, denied or unknown
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// The program or script that says so
    #[arg(long, env = "AUDIT_LOG_APPLICATION", value_name = "NAME")]
    application: Option<String>,
    /// [default: a new UUID]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// [default: now]
    #[arg(long, value_name = "TIME")]
    time: Option<DateTime<Utc>>,
}

impl Record {
    /// Returns the program or script that says so.
    pub(super) fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }

    /// Says it all to a logger.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] that names the option.
    pub fn apply(&self, logger: &mut AuditLogger) -> Result<()> {
        if let Some(url) = &self.http_url {
            let method = self.http_method.as_deref().unwrap_or("GET");
            let request = HttpRequest::new(method, url);
            logger
                .http_request(request.user_agent(self.http_user_agent.clone().unwrap_or_default()));
        }
        if let Some(status) = self.http_status {
            let mut response =
                HttpResponse::new(status, self.http_reason.clone().unwrap_or_default());
            for header in &self.http_header {
                let (name, value) = header
                    .split_once(':')
                    .ok_or_else(|| wrong("--http-header", "write it as 'Name: value'"))?;
                response = response.header(name.trim(), value.trim());
            }
            logger.http_response(response);
        }
        self.user(logger);
        if let Some(object) = &self.filter_object {
            let kwargs: Value = json("--filter-json", self.filter_json.as_deref().unwrap_or("{}"))?;
            logger.filter(Filter::new(object, kwargs)?);
        }
        if let Some(results) = &self.results_json {
            logger.set_results(json::<Value>("--results-json", results)?);
        }
        self.event(logger)
    }

    fn user(&self, logger: &mut AuditLogger) {
        let given = self.user_email.is_some()
            || self.user_authenticated.is_some()
            || !self.user_roles.is_empty()
            || self.user_ip.is_some()
            || self.user_provider.is_some()
            || self.user_realm.is_some();
        if !given {
            return;
        }
        let mut user = match &self.user_email {
            Some(email) => User::authenticated(email),
            None => User::anonymous(),
        };
        if let Some(authenticated) = self.user_authenticated {
            user.authenticated = authenticated;
        }
        if !self.user_roles.is_empty() {
            user = user.roles(&self.user_roles);
        }
        if let Some(ip) = &self.user_ip {
            user = user.ip(ip);
        }
        let provider = Provider::new(self.user_provider.clone().unwrap_or_default());
        logger.user(user.provider(provider.realm(self.user_realm.clone().unwrap_or_default())));
    }

    fn event(&self, logger: &mut AuditLogger) -> Result<()> {
        let kind: Option<ActionKind> = word("--action-kind", self.action_kind.as_deref())?;
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let action = Action { name: text(&self.action), kind: kind.unwrap_or_default() };
        if action.name.is_some() || kind.is_some() {
            set_action(logger, action);
        }
        let actor = Actor {
            id: text(&self.actor_id),
            name: text(&self.actor_name),
            kind: text(&self.actor_type),
            email: None,
        };
        if actor != Actor::default() {
            logger.actor(actor);
        }
        let target = Target {
            id: text(&self.target_id),
            name: text(&self.target_name),
            kind: text(&self.target_type),
            scope: None,
        };
        if target != Target::default() {
            logger.target(target);
        }
        if let Some(outcome) = word::<Outcome>("--outcome", self.outcome.as_deref())? {
            logger.outcome(outcome);
        }
        if let Some(id) = &self.correlation_id {
            logger.correlation_id(id.as_str());
        }
        if let Some(application) = &self.application {
            logger.application(application.as_str());
        }
        if let Some(id) = &self.id {
            logger.id(EventId::new(id.as_str()));
        }
        if let Some(time) = self.time {
            logger.time(time);
        }
        Ok(())
    }
}

fn wrong(option: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Config, "not understood").with("option", option).with_hint(hint)
}

fn json<T: DeserializeOwned>(option: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| wrong(option, "write JSON, as in '{\"key\": 1}'"))
}

/// Reads one word of a fixed set.
fn word<T: DeserializeOwned>(option: &str, word: Option<&str>) -> Result<Option<T>> {
    let Some(word) = word else { return Ok(None) };
    serde_json::from_value(Value::from(word.to_ascii_lowercase()))
        .map(Some)
        .map_err(|_| wrong(option, "`audit-log --help` lists the words"))
}

/// Keeps the action's own name and kind together.
pub(super) fn set_action(logger: &mut AuditLogger, action: Action) {
    match action.name {
        Some(name) => logger.named_action(name, action.kind),
        None => logger.action(action.kind),
    };
}

impl app::Options for Cli {
    fn global(&self) -> &Global {
        &self.global
    }
}
