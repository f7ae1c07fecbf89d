use std::error::Error as StdError;
use std::time::Duration;

use audit_core::{Error, ErrorKind, Retry};
use reqwest::StatusCode;
use serde::Deserialize;

/// How much of the service's own words is shown.
const SHOWN_CHARS: usize = 300;

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every request: credentials, addresses, the connection.
    All,
    /// This window of this compartment, as far as one can tell.
    Window,
    /// The page token: the window has to be read from its beginning.
    Page,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) scope: Scope,
}

impl Failure {
    pub(crate) fn all(error: Error) -> Self {
        Self { error, scope: Scope::All }
    }

    pub(crate) fn window(error: Error) -> Self {
        Self { error, scope: Scope::Window }
    }

    /// Returns whether the same request may be answered if it is sent again.
    pub(crate) fn may_pass(&self) -> bool {
        // A proxy's page in place of an answer may be gone the next time.
        self.error.is_retryable() || self.error.kind() == ErrorKind::InvalidData
    }
}

/// The body of an answer that is a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
    message: String,
}

/// A refusal, and what is known of the request it answers.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) status: StatusCode,
    pub(crate) body: &'a [u8],
    pub(crate) request_id: Option<&'a str>,
    pub(crate) retry_after: Option<Duration>,
    /// How far the service's clock is ahead of ours, in seconds, if it said.
    pub(crate) ahead: Option<i64>,
    /// The request asked for a page by its token.
    pub(crate) has_page: bool,
    /// What may be wrong with the credentials, if something is known to be odd.
    pub(crate) suspicion: Option<&'a str>,
}

/// The service refuses requests whose date is off by more than this, in seconds.
pub(crate) const MAX_SKEW: i64 = 300;

impl Refused<'_> {
    pub(crate) fn failure(self) -> Failure {
        let refusal: Refusal = serde_json::from_slice(self.body).unwrap_or_default();
        let (kind, scope, message) = match (self.status.as_u16(), refusal.code.as_str()) {
            (401, _) => {
                (ErrorKind::Auth, Scope::All, "the service does not accept the credentials")
            }
            (403, _) => (ErrorKind::Auth, Scope::Window, "the credentials lack a permission"),
            (404, "NotAuthorizedOrNotFound") => {
                (ErrorKind::Auth, Scope::Window, "no such compartment, or no permission to read it")
            }
            (404, "") => {
                (ErrorKind::Config, Scope::All, "there is no such service at this address")
            }
            (300..=399, _) => (ErrorKind::Config, Scope::All, "the service sends elsewhere"),
            // It says nothing about a window, and would make a gap of each.
            (429, _) => (ErrorKind::RateLimited, Scope::All, "too many requests"),
            (409, "IncorrectState" | "LockConflict") => {
                (ErrorKind::Unavailable, Scope::Window, "the service is busy with a change")
            }
            (501, _) => (ErrorKind::Rejected, Scope::Window, "the service cannot do this"),
            (408 | 500..=599, _) => (ErrorKind::Unavailable, Scope::Window, "the service failed"),
            _ => (ErrorKind::Rejected, Scope::Window, "the service refused the request"),
        };
        let expired = self.has_page && matches!(self.status.as_u16(), 400 | 404 | 410 | 412);
        let scope = if expired { Scope::Page } else { scope };
        let mut error = Error::new(kind, message).with("status", self.status.as_u16());
        for (name, value) in [("code", &refusal.code), ("message", &refusal.message)] {
            if !value.is_empty() {
                error = error.with(name, shown(value));
            }
        }
        if let Some(id) = self.request_id {
            error = error.with("opc_request_id", shown(id));
        }
        if let Some(after) = self.retry_after.filter(|_| error.is_retryable()) {
            error = error.with_retry(Retry::After(after));
        }
        let error = match (self.status.as_u16(), self.ahead) {
            (401, Some(ahead)) if ahead.abs() >= MAX_SKEW => {
                let way = if ahead > 0 { "behind" } else { "ahead of" };
                let by = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
                error.with_hint(format!(
                    "this machine's clock is {by} {way} the service's, which accepts 5 minutes: set it"
                ))
            }
            (401, _) => error.with_hint(self.suspicion.unwrap_or(
                "the key, its fingerprint, the user and the tenancy have to belong together; a new key \
                 takes minutes to work everywhere",
            )),
            (403 | 404, _) if kind == ErrorKind::Auth => error.with_hint(
                "a policy is needed: `Allow group … to read audit-events in tenancy`, and `to inspect \
                 compartments` for `all_compartments`",
            ),
            (300..=399, _) | (404, _) => error.with_hint("check `region`, `domain` and `endpoint`"),
            _ => error,
        };
        Failure { error, scope }
    }
}

/// Makes foreign text fit to be shown: bounded, without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Turns a failure of the connection into the workspace's error.
pub(crate) fn of_transport(error: reqwest::Error, host: &str) -> Failure {
    let error = error.without_url();
    let why = chain(&error);
    let certificate = why.contains("certificate");
    let (kind, scope, message) = if error.is_timeout() && error.is_connect() {
        (ErrorKind::Timeout, Scope::All, "cannot connect in time")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, Scope::Window, "no answer in time")
    } else if error.is_builder() {
        (ErrorKind::Unexpected, Scope::All, "the request could not be made")
    } else if certificate {
        (ErrorKind::Config, Scope::All, "the connection is not trusted")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, Scope::All, "cannot connect")
    } else {
        (ErrorKind::Unavailable, Scope::Window, "the connection broke")
    };
    let made = Error::new(kind, message).with("host", host).because(error);
    let error = match () {
        () if certificate => made.with_hint("give the authority's certificate as `ca_file`"),
        () if why.contains("dns error") => {
            made.with_hint("check `region`, `domain` and `endpoint`")
        }
        () => made,
    };
    Failure { error, scope }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Refused<'_> {
        Refused {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.as_bytes(),
            request_id: None,
            retry_after: None,
            ahead: None,
            has_page: false,
            suspicion: None,
        }
    }

    #[test]
    fn each_refusal_has_its_kind() {
        let not_found = r#"{"code":"NotAuthorizedOrNotFound","message":"x"}"#;
        for (status, body, kind, scope) in [
            (400, "{}", ErrorKind::Rejected, Scope::Window),
            (401, "{}", ErrorKind::Auth, Scope::All),
            (404, not_found, ErrorKind::Auth, Scope::Window),
            (404, "<html>", ErrorKind::Config, Scope::All),
            (302, "", ErrorKind::Config, Scope::All),
            (429, "{}", ErrorKind::RateLimited, Scope::All),
            (500, "", ErrorKind::Unavailable, Scope::Window),
            (501, "", ErrorKind::Rejected, Scope::Window),
        ] {
            let failure = refused(status, body).failure();
            assert_eq!((failure.error.kind(), failure.scope), (kind, scope), "{status}");
        }
        let expired = Refused { has_page: true, ..refused(400, "{}") }.failure();
        assert_eq!(expired.scope, Scope::Page);
        let later = Refused { retry_after: Some(Duration::from_secs(9)), ..refused(503, "") };
        assert_eq!(later.failure().error.retry(), Retry::After(Duration::from_secs(9)));
    }

    #[test]
    fn n06_a_wrong_clock_is_explained() {
        let hint = |ahead| {
            let failure = Refused { ahead, ..refused(401, "{}") }.failure();
            failure.error.hint().unwrap().to_owned()
        };
        assert_eq!(
            hint(Some(754)),
            "this machine's clock is 12m 34s behind the service's, which accepts 5 minutes: set it"
        );
        assert!(hint(Some(-3600)).contains("1h ahead of"));
        assert!(hint(Some(20)).contains("fingerprint"));
    }

    #[test]
    fn foreign_text_is_bounded_and_tame() {
        let text = format!("\u{1b}[31m{}", "x".repeat(1000));
        let body = serde_json::json!({ "code": "A\nB", "message": text }).to_string();
        let error = refused(400, &body).failure().error.to_string();
        assert!(error.len() < 500 && !error.contains(['\u{1b}', '\n']), "{error}");
    }
}
