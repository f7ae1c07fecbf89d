use std::fmt;

use serde::Serialize;

use super::json::Json;
use crate::{Error, ErrorKind, Result};

/// How much attention a record asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Of interest when something is looked into.
    Debug,
    /// Ordinary use.
    #[default]
    Info,
    /// Unusual, but handled.
    Warning,
    /// It went wrong.
    Error,
    /// It went wrong and needs somebody now.
    Critical,
}

impl Level {
    /// Returns the name as it stands in a record: `INFO`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request that led to the action.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method as given: `GET`.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// The client's program; empty when unknown.
    pub user_agent: String,
}

impl HttpRequest {
    /// Creates a request by an unknown client program.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), user_agent: String::new() }
    }

    /// Sets the client's program.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }
}

impl<M: Into<String>, U: Into<String>> From<(M, U)> for HttpRequest {
    fn from((method, url): (M, U)) -> Self {
        Self::new(method, url)
    }
}

impl fmt::Debug for HttpRequest {
    // The URL may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The answer that was given.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code: 200.
    pub status_code: u16,
    /// The reason phrase: `OK`.
    pub reason: String,
    /// Names and values in order, each name once; none when they were not given.
    #[serde(serialize_with = "as_object")]
    pub headers: Option<Vec<(String, String)>>,
}

impl HttpResponse {
    /// Creates a response whose headers are not known.
    pub fn new(status_code: u16, reason: impl Into<String>) -> Self {
        Self { status_code, reason: reason.into(), headers: None }
    }

    /// Adds a header. A name given before, in whatever case, keeps its place and gets `, ` and the
    /// value appended.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        let headers = self.headers.get_or_insert_default();
        match headers.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            Some((_, before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            None => headers.push((name, value)),
        }
        self
    }

    /// Adds headers, each as [`header`](Self::header) does. None at all is an empty object in the
    /// record, not `null`.
    #[must_use]
    pub fn headers<N, V>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.headers.get_or_insert_default();
        headers.into_iter().fold(self, |response, (name, value)| response.header(name, value))
    }
}

impl<R: Into<String>> From<(u16, R)> for HttpResponse {
    fn from((status_code, reason): (u16, R)) -> Self {
        Self::new(status_code, reason)
    }
}

impl fmt::Debug for HttpResponse {
    // Headers hold cookies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status_code", &self.status_code)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

fn as_object<S: serde::Serializer>(
    headers: &Option<Vec<(String, String)>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match headers {
        Some(headers) => serializer.collect_map(headers.iter().map(|(name, value)| (name, value))),
        None => serializer.serialize_none(),
    }
}

/// Who it was, as the application knows them.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct User {
    /// Whether their identity was proved.
    pub authenticated: bool,
    /// Their e-mail address; empty when unknown.
    pub email: String,
    /// The roles or groups they have; none when that is not known.
    pub roles: Option<Vec<String>>,
    /// The address they came from, as the application took it from the request; may be anything.
    pub ip: String,
    /// What proved their identity.
    pub provider: Provider,
}

impl User {
    /// Creates a user whose identity was proved.
    pub fn authenticated(email: impl Into<String>) -> Self {
        Self { authenticated: true, email: email.into(), ..Self::anonymous() }
    }

    /// Creates a user about whom nothing is known.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Sets the roles.
    #[must_use]
    pub fn roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.roles = Some(roles.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the address they came from.
    #[must_use]
    pub fn ip(mut self, ip: impl Into<String>) -> Self {
        self.ip = ip.into();
        self
    }

    /// Sets what proved their identity.
    #[must_use]
    pub fn provider(mut self, provider: impl Into<Provider>) -> Self {
        self.provider = provider.into();
        self
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("authenticated", &self.authenticated).finish_non_exhaustive()
    }
}

/// What proved a user's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Provider {
    /// Its name, often a class path: `django.contrib.auth.backends.ModelBackend`.
    pub name: String,
    /// The realm within it (Keycloak has such); empty when there is none.
    pub realm: String,
}

impl Provider {
    /// Creates a provider without realms.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), realm: String::new() }
    }

    /// Sets the realm.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }
}

impl From<&str> for Provider {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Provider {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl<N: Into<String>, R: Into<String>> From<(N, R)> for Provider {
    fn from((name, realm): (N, R)) -> Self {
        Self::new(name).realm(realm)
    }
}

/// What was searched for or selected: the kind of object, and the conditions.
#[derive(Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Filter {
    /// The kind of object: `Book`.
    pub object: String,
    pub(super) kwargs: Json,
}

impl Filter {
    /// Creates a filter; the conditions are usually a map of field to value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the conditions cannot be written as JSON.
    pub fn new(object: impl Into<String>, kwargs: impl Serialize) -> Result<Self> {
        let kwargs = Json::of(&kwargs).map_err(|e| {
            Error::new(ErrorKind::InvalidData, "cannot be written as JSON")
                .with("part", "filter")
                .because(e)
        })?;
        Ok(Self { object: object.into(), kwargs })
    }

    /// Returns the conditions as JSON.
    pub fn kwargs_json(&self) -> &str {
        self.kwargs.get()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("object", &self.object).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_given_twice_are_joined_and_none_is_lost() {
        let response = HttpResponse::new(200, "OK").headers([
            ("Vary", "a"),
            ("Set-Cookie", "b"),
            ("vary", "c"),
        ]);
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"status_code":200,"reason":"OK","headers":{"Vary":"a, c","Set-Cookie":"b"}}"#
        );
    }

    #[test]
    fn debug_shows_neither_tokens_nor_cookies_nor_people() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            HttpRequest::from(("GET", "https://x/?token=canary")),
            HttpResponse::from((200, "OK")).header("Set-Cookie", "canary"),
            User::authenticated("canary@x").ip("canary"),
            Filter::new("Book", ["canary"]).unwrap(),
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
}
