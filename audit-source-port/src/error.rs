use std::error::Error as StdError;

use audit_core::{Error, ErrorKind, Retry};
use serde::Deserialize;

use crate::client::Reply;

/// How much of a text that somebody else wrote is shown.
const MAX_SHOWN: usize = 200;

/// What is said of the wrong host, wherever it shows.
const HOSTS: &str = "the API is https://api.port.io (EU) or https://api.us.port.io (US); \
                     an organisation is in one of the two";

/// Turns a failure of the connection into the workspace's error.
pub(crate) fn of_transport(error: reqwest::Error, host: &str) -> Error {
    let error = error.without_url();
    let why = chain(&error);
    let certificate = why.contains("certificate");
    let (kind, message) = if error.is_timeout() {
        (ErrorKind::Timeout, "no answer in time")
    } else if error.is_builder() {
        (ErrorKind::Unexpected, "the request could not be made")
    } else if certificate {
        (ErrorKind::Config, "the connection is not trusted")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "cannot connect")
    } else {
        (ErrorKind::Unavailable, "the connection broke")
    };
    let made = Error::new(kind, message).with("host", host).because(error);
    if certificate {
        made.with_hint("give the authority's certificate, or the proxy's, as `ca_file`")
    } else {
        made
    }
}

fn chain(error: &dyn StdError) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&error.to_string());
        text.push(' ');
        next = error.source();
    }
    text
}

/// Turns an answer with a status that is no success into the workspace's error.
pub(crate) fn of_status(reply: &Reply) -> Error {
    let (kind, message) = match reply.status {
        300..=399 => (ErrorKind::Config, "the host sends elsewhere"),
        400 | 422 => (ErrorKind::Config, "the request was refused"),
        401 => (ErrorKind::Auth, "the credentials were refused"),
        402 | 403 => (ErrorKind::Auth, "the credentials lack a right"),
        404 => (ErrorKind::Config, "there is no such address"),
        407 => (ErrorKind::Auth, "the proxy asks for credentials"),
        408 | 504 => (ErrorKind::Timeout, "the API did not answer its gateway in time"),
        429 => (ErrorKind::RateLimited, "too many requests"),
        500..=599 => (ErrorKind::Unavailable, "the server failed"),
        _ => (ErrorKind::Unexpected, "an answer that the API does not document"),
    };
    let hint = match reply.status {
        300..=399 | 404 => Some(HOSTS),
        400 | 422 => Some("look at the filter, its names and values"),
        401 => Some(
            "the token has expired, or belongs to the other region; use client_id and client_secret, which renew it",
        ),
        403 => Some(
            "the audit log is for admins: use the credentials of one, or a filter for one entity or run",
        ),
        _ => None,
    };
    let mut error = Error::new(kind, message).with("status", reply.status);
    if let Some(wait) = reply.retry_after.filter(|_| error.is_retryable()) {
        error = error.with_retry(Retry::After(wait));
    }
    if let Some(cause) = reply.cause() {
        error = error.with("cause", cause);
    }
    if let Some(hint) = hint {
        error = error.with_hint(hint);
    }
    reply.locate(error)
}

/// The answer ends too early, though its length was right.
pub(crate) fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the answer is cut off")
}

/// The answer is not this API's.
pub(crate) fn not_json(body: &[u8]) -> Error {
    if body.trim_ascii().is_empty() {
        return Error::new(ErrorKind::Unavailable, "the answer is empty");
    }
    let begin = String::from_utf8_lossy(body.get(..60).unwrap_or(body));
    Error::new(ErrorKind::Unavailable, "the answer is not JSON as the API sends it")
        .with("begin", shown(begin.trim()))
        .with_hint(format!("a proxy or another program may be answering; {HOSTS}"))
}

/// The answer has a good status, and says that it is none.
pub(crate) fn refused(body: &[u8]) -> Error {
    let cause = cause(body).unwrap_or_else(|| "no reason given".to_owned());
    Error::new(ErrorKind::Unavailable, "the API says that it failed").with("cause", shown(&cause))
}

/// The answer is JSON without the list of records.
pub(crate) fn no_records() -> Error {
    Error::new(ErrorKind::InvalidData, "the answer has no list of `audits`").with_hint(HOSTS)
}

/// Returns the reason that the API gives in an answer that is no success.
pub(crate) fn cause(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: String,
        #[serde(default)]
        message: String,
    }
    let Refusal { error, message } = serde_json::from_slice(body).ok()?;
    match (error.is_empty(), message.is_empty()) {
        (true, true) => None,
        (false, false) if error != message => Some(format!("{error}: {message}")),
        (true, _) => Some(message),
        (false, _) => Some(error),
    }
}

/// Makes a text that somebody else wrote fit to be read: short, and on one line.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect::<String>();
    shown = shown.escape_debug().to_string();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
