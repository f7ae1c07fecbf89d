use audit_core::{Error, ErrorKind, Retry};

use crate::answer::Cause;

/// What a status and an error type mean for a document, or for a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is stored.
    Stored,
    /// A document with this id is stored already.
    Exists,
    /// This document will never be taken.
    Rejected,
    /// The server asks for fewer requests.
    Throttled,
    /// The cluster, the index or its shard cannot be written now; the document is good.
    Unavailable,
    /// Something failed that may be this document's fault or not.
    Failed,
    /// The credentials or their rights do not suffice.
    Auth,
    /// Nothing can be written until a person changes something.
    Config,
}

impl Verdict {
    /// Judges one document of a bulk answer.
    pub(crate) fn of_item(status: u16, cause: &Cause) -> Self {
        let kind = cause.kind.as_str();
        // A block (read-only, disk full, being moved) comes with 403, 429 or 503, and passes.
        if kind.ends_with("block_exception") {
            return Self::Unavailable;
        }
        match status {
            200..=299 => Self::Stored,
            409 if kind == "version_conflict_engine_exception" => Self::Exists,
            409 => Self::Unavailable,
            429 => Self::Throttled,
            401 | 403 => Self::Auth,
            404 if kind == "index_not_found_exception" => Self::Config,
            404 | 408 | 502..=504 => Self::Unavailable,
            400 => Self::of_bad_request(cause),
            402..=499 => Self::Rejected,
            _ => Self::Failed,
        }
    }

    /// Most of what is a bad request is a bad document. Some is not: taking that for the document's
    /// fault would send everything to the dead letters.
    fn of_bad_request(cause: &Cause) -> Self {
        let reason = cause.reason.as_str();
        let says = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
        match cause.kind.as_str() {
            "index_closed_exception" => Self::Unavailable,
            // The next index cannot be made, as the cluster has no room for its shards.
            "validation_exception" if says(&["maximum normal shards", "maximum shards"]) => {
                Self::Unavailable
            }
            "invalid_index_name_exception" => Self::Config,
            "illegal_argument_exception"
                if reason.starts_with("pipeline with id [")
                    || says(&["no write index is defined for alias", "more than one index"]) =>
            {
                Self::Config
            }
            _ => Self::Rejected,
        }
    }

    /// Judges a request that was refused as a whole, other than for its size.
    pub(crate) fn of_request(status: u16, cause: &Cause) -> Self {
        if cause.kind.ends_with("block_exception") {
            return Self::Unavailable;
        }
        match status {
            200..=299 => Self::Stored,
            401 | 403 | 407 => Self::Auth,
            429 => Self::Throttled,
            408 | 500..=599 => Self::Unavailable,
            _ => Self::Config,
        }
    }

    /// Returns whether the document, or the request, will be taken when sent again later, with
    /// nothing of it changed: it is held back by the state of the cluster.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }

    /// Makes the error that tells of it. `retry` is what the server asked for, if it did.
    pub(crate) fn error(self, status: u16, cause: &Cause, retry: Option<Retry>) -> Error {
        let kind = match self {
            Self::Throttled => ErrorKind::RateLimited,
            Self::Unavailable => ErrorKind::Unavailable,
            Self::Auth => ErrorKind::Auth,
            Self::Config => ErrorKind::Config,
            Self::Rejected | Self::Exists => ErrorKind::Rejected,
            Self::Stored | Self::Failed => ErrorKind::Unexpected,
        };
        let mut error = Error::new(kind, cause.to_string()).with("status", status);
        if let Some(index) = &cause.index {
            error = error.with("index", crate::answer::shown(index));
        }
        error = match (status, self.hint(cause)) {
            (401, _) => error.with_hint("are `api_key`, or `username` and `password`, right?"),
            (_, Some(hint)) => error.with_hint(hint),
            (_, None) => error,
        };
        match (self, retry) {
            (Self::Throttled | Self::Unavailable, Some(asked)) => error.with_retry(asked),
            (Self::Failed, _) => error.with_retry(Retry::Backoff),
            _ => error,
        }
    }

    fn hint(self, cause: &Cause) -> Option<&'static str> {
        let reason = cause.reason.as_str();
        Some(match (self, cause.kind.as_str()) {
            (Self::Auth, _) => {
                "the credentials need the index privileges `create_doc` (`create`) and, for indices \
                 that are not there yet, `auto_configure` (`create_index`)"
            }
            (Self::Config, "index_not_found_exception") => {
                "create the index, or allow `action.auto_create_index` in the cluster"
            }
            (Self::Unavailable, "index_closed_exception") => "open the index",
            (Self::Unavailable, kind) if kind.ends_with("block_exception") => {
                "the index does not take writes: look at the disks of the cluster, and at `index.blocks.*`"
            }
            (Self::Unavailable, "validation_exception") => {
                "the cluster holds as many shards as it may: remove old indices, or raise \
                 `cluster.max_shards_per_node`"
            }
            (Self::Rejected, _) if reason.contains("Limit of total fields") => {
                "map what has ever new fields as `flattened` (`flat_object`), as the index template does"
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(kind: &str, reason: &str) -> Cause {
        Cause { kind: kind.to_owned(), reason: reason.to_owned(), index: None }
    }

    #[test]
    fn s01_s05_s08_each_document_is_judged_by_status_and_type() {
        use Verdict::*;
        for (status, kind, reason, verdict) in [
            (201, "", "", Stored),
            (200, "", "", Stored),
            (409, "version_conflict_engine_exception", "[1]: version conflict", Exists),
            (409, "resource_already_exists_exception", "", Unavailable),
            (429, "es_rejected_execution_exception", "", Throttled),
            (429, "rejected_execution_exception", "", Throttled),
            (429, "circuit_breaking_exception", "", Throttled),
            (429, "cluster_block_exception", "TOO_MANY_REQUESTS/12/disk usage", Unavailable),
            (403, "cluster_block_exception", "FORBIDDEN/8/index write", Unavailable),
            (403, "index_create_block_exception", "", Unavailable),
            (403, "security_exception", "", Auth),
            (401, "security_exception", "", Auth),
            (404, "index_not_found_exception", "no such index", Config),
            (404, "shard_not_found_exception", "", Unavailable),
            (400, "mapper_parsing_exception", "failed to parse", Rejected),
            (400, "document_parsing_exception", "", Rejected),
            (400, "strict_dynamic_mapping_exception", "", Rejected),
            (400, "illegal_argument_exception", "Limit of total fields [1000]", Rejected),
            (400, "illegal_argument_exception", "pipeline with id [p] does not exist", Config),
            (400, "illegal_argument_exception", "no write index is defined for alias [a]", Config),
            (400, "invalid_index_name_exception", "", Config),
            (400, "index_closed_exception", "closed", Unavailable),
            (
                400,
                "validation_exception",
                "this action would add [2] shards, but this cluster \
                currently has [1000]/[1000] maximum normal shards open",
                Unavailable,
            ),
            (400, "", "", Rejected),
            (413, "", "", Rejected),
            (500, "null_pointer_exception", "", Failed),
            (502, "", "", Unavailable),
            (503, "unavailable_shards_exception", "", Unavailable),
            (504, "", "", Unavailable),
            (0, "", "", Failed),
            (302, "", "", Failed),
        ] {
            assert_eq!(Verdict::of_item(status, &cause(kind, reason)), verdict, "{status} {kind}");
        }
    }

    #[test]
    fn a_refused_request_is_judged_as_a_whole() {
        use Verdict::*;
        for (status, kind, verdict) in [
            (401, "security_exception", Auth),
            (403, "", Auth),
            (403, "cluster_block_exception", Unavailable),
            (429, "", Throttled),
            (500, "", Unavailable),
            (503, "", Unavailable),
            (400, "parse_exception", Config),
            (301, "", Config),
            (404, "", Config),
            (406, "", Config),
        ] {
            assert_eq!(Verdict::of_request(status, &cause(kind, "")), verdict, "{status} {kind}");
        }
    }

    #[test]
    fn errors_have_the_kind_and_the_retry_that_fit() {
        let after = Retry::After(std::time::Duration::from_secs(7));
        let made = |verdict: Verdict| verdict.error(400, &cause("t", "r"), Some(after));
        assert_eq!(made(Verdict::Rejected).to_string(), "t: r (status: 400)");
        assert_eq!(made(Verdict::Rejected).retry(), Retry::Never);
        assert_eq!(made(Verdict::Throttled).retry(), after);
        assert_eq!(made(Verdict::Failed).retry(), Retry::Backoff);
        assert_eq!(made(Verdict::Auth).retry(), Retry::Never);
        assert_eq!(made(Verdict::Config).retry(), Retry::Never);
    }
}
