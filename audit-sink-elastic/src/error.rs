use std::error::Error as StdError;

use audit_core::{Error, ErrorKind, Retry};

use crate::answer::{Cause, shown};
use crate::client::Reply;
use crate::verdict::Verdict;

/// Turns a failure of the connection into the workspace's error.
pub(crate) fn of_transport(error: reqwest::Error, host: &str) -> Error {
    let error = error.without_url();
    let why = chain(&error);
    let certificate = why.contains("certificate");
    // A connection that was not made in time is none: another host may still take the request.
    let (kind, message) = if error.is_timeout() && !error.is_connect() {
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
        made.with_hint("give the authority's certificate as `ca_file`, and the name it is made for")
    } else if kind == ErrorKind::Unavailable && why.contains("wrong version number") {
        made.with_hint("the host speaks HTTP without TLS: write it as http://…")
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

/// Turns an answer that is a refusal of the whole request into the workspace's error.
pub(crate) fn of_reply(reply: &Reply) -> Error {
    let cause = Cause::of_body(&reply.body);
    let verdict = Verdict::of_request(reply.status, &cause);
    let retry = reply.retry_after.map(Retry::After);
    let cause = match cause.to_string().as_str() {
        "no reason given" => Cause { reason: plain(reply.status).to_owned(), ..cause },
        _ => cause,
    };
    verdict.error(reply.status, &cause, retry).with("host", &reply.host)
}

fn plain(status: u16) -> &'static str {
    match status {
        300..=399 => "the host sends elsewhere; configure the address it sends to",
        401 => "the credentials were refused",
        403 => "the credentials lack a right, or a proxy refused the request",
        404 => "there is no such address; is it Elasticsearch or OpenSearch?",
        407 => "a proxy asks for credentials",
        429 => "too many requests",
        500..=599 => "the server failed",
        _ => "the request was refused",
    }
}

/// The error for an answer with a good status that makes no sense.
pub(crate) fn of_nonsense(reply: &Reply, error: &serde_json::Error) -> Error {
    let begin = String::from_utf8_lossy(reply.body.get(..40).unwrap_or(&reply.body));
    let made = if error.is_eof() {
        Error::new(ErrorKind::Unavailable, "the answer is cut off")
    } else if begin.trim_start().starts_with('{') {
        Error::new(ErrorKind::Unexpected, "the answer is not understood").with("cause", error)
    } else {
        Error::new(ErrorKind::Unexpected, "the answer is not JSON")
            .with("begin", shown(begin.trim()))
            .with_hint("a proxy or another program may be listening there")
    };
    made.with("host", &reply.host).with_retry(Retry::Backoff)
}
