use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// A result whose error is the workspace's own [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, apart from whether it may be tried again (that is [`Retry`]).
///
/// The command line programs map each kind to one documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The other side refused the credentials, or they lack a permission.
    Auth,
    /// The configuration is wrong: a person has to change something.
    Config,
    /// Somebody else holds or changed the same state: a second runner, a stale revision.
    Conflict,
    /// Data that cannot be understood: a broken record, a damaged or newer checkpoint file.
    InvalidData,
    /// The other side asks for fewer requests.
    RateLimited,
    /// The other side understood and refused for good: this record will never be accepted.
    Rejected,
    /// No answer within the time limit; whether it took effect is unknown.
    Timeout,
    /// Cannot be reached or used now: connection refused, server error, full disk.
    Unavailable,
    /// None of the others: most likely a defect of this program.
    Unexpected,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Auth,
        Self::Config,
        Self::Conflict,
        Self::InvalidData,
        Self::RateLimited,
        Self::Rejected,
        Self::Timeout,
        Self::Unavailable,
        Self::Unexpected,
    ];

    /// Returns the kind in lower-case words, as used in logs, metrics and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Config => "config",
            Self::Conflict => "conflict",
            Self::InvalidData => "invalid data",
            Self::RateLimited => "rate limited",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unexpected => "unexpected",
        }
    }

    /// Returns the kind of that name, as [`as_str`](Self::as_str) gives it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    fn default_retry(self) -> Retry {
        match self {
            Self::RateLimited | Self::Timeout | Self::Unavailable => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether, and when, the same call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before this much time has passed, as the other side asked (`Retry-After`).
    After(Duration),
    /// After a growing, jittered delay.
    Backoff,
    /// Never: the same call would fail the same way.
    Never,
}

/// The one error type of the workspace: a kind, whether to retry, and enough context to act on it.
///
/// `Display` gives one line that completes "failed to …": the operation, the message and the named
/// things. The underlying error is the [`source`](StdError::source), and [`Error::hint`] the way
/// out. One machine word in size.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: Option<&'static str>,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error; [`Retry`] follows from the kind until [`with_retry`](Self::with_retry).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: kind.default_retry(),
            operation: None,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// Names what was being done, as a verb phrase: "write the batch". The innermost name stays.
    #[must_use]
    pub fn while_doing(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Adds a named thing: the path, the table, the topic. Never a secret, never a payload.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Says what a person can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Overrides whether the call may be made again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Keeps the underlying error as the [`source`](StdError::source).
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether, and when, the same call may be made again.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns whether the same call may be made again at all.
    pub fn is_retryable(&self) -> bool {
        self.0.retry != Retry::Never
    }

    /// Returns what was being done.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Returns the bare message, without operation and context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the way out, if one is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.message)?;
        for (i, (name, value)) in inner.context.iter().enumerate() {
            f.write_str(if i == 0 { " (" } else { ", " })?;
            write!(f, "{name}: {value}")?;
        }
        if !inner.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("error", &format_args!("{self}"))
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_word_and_reads_as_a_sentence() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::new(ErrorKind::Unavailable, "no space left")
            .while_doing("write the batch")
            .while_doing("outer name that must not win")
            .with("path", "/var/audit.ndjson")
            .with("bytes", 12);
        assert_eq!(
            error.to_string(),
            "write the batch: no space left (path: /var/audit.ndjson, bytes: 12)"
        );
    }

    #[test]
    fn retry_follows_the_kind_until_overridden() {
        assert!(Error::new(ErrorKind::Timeout, "").is_retryable());
        assert!(!Error::new(ErrorKind::Rejected, "").is_retryable());
        let after = Retry::After(Duration::from_secs(3));
        let error = Error::new(ErrorKind::RateLimited, "").with_retry(after);
        assert_eq!(error.retry(), after);
    }
}
