use audit_core::{Error, ErrorKind};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

/// What librdkafka last said about its connections: an error of a request says only that it timed
/// out, this says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    code: Code,
    reason: String,
}

impl Trouble {
    pub(crate) fn new(code: Code, reason: &str) -> Self {
        // Told as a broken connection; it is one that cannot work.
        let code = if reason.contains("PLAINTEXT broker listener") { Code::SSL } else { code };
        Self { code, reason: reason.to_owned() }
    }

    /// Whether waiting cannot help.
    pub(crate) fn is_final(&self) -> bool {
        self.is_alert() || matches!(kind(self.code), ErrorKind::Auth | ErrorKind::Config)
    }

    /// Whether it says more than the other. That all brokers are down follows from their own errors.
    pub(crate) fn outweighs(&self, other: &Self) -> bool {
        self.is_final() || !other.is_final() && self.code != Code::AllBrokersDown
    }

    /// Whether the broker ended TLS over the client's certificate. In TLS 1.3 that is told only
    /// after the handshake, and librdkafka takes it for a broken connection.
    fn is_alert(&self) -> bool {
        let says = |part: &str| self.reason.contains(part);
        says("alert") && (says("certificate") || says("unknown ca") || says("access denied"))
    }

    /// Makes the error that tells of it.
    pub(crate) fn error(&self) -> Error {
        let (kind, message) = match kind(self.code) {
            _ if self.is_alert() => {
                (ErrorKind::Auth, "the broker did not accept the client's certificate")
            }
            ErrorKind::Auth => (ErrorKind::Auth, "the broker refused the credentials"),
            ErrorKind::Config if self.code == Code::SSL => {
                (ErrorKind::Config, "no trusted connection could be made")
            }
            ErrorKind::Config => (ErrorKind::Config, "the broker does not take what is configured"),
            _ => (ErrorKind::Unavailable, "the brokers cannot be reached"),
        };
        hinted(Error::new(kind, message).with("reason", shown(&self.reason)), self.hint())
    }

    fn hint(&self) -> Option<&'static str> {
        let says = |part: &str| self.reason.contains(part);
        Some(match self.code {
            _ if self.is_alert() => {
                "the listener asks for a client certificate that it trusts: see \
                 `tls.client_cert_file` and `tls.client_key_file`"
            }
            Code::Authentication if says("not supported") || says("Unsupported") => {
                "the broker does not offer this SASL mechanism: see `sasl.mechanism`"
            }
            Code::Authentication => {
                "compare `sasl.user`, `sasl.password` and `sasl.mechanism`; for Confluent Cloud it \
                 takes an API key of the audit log cluster (`confluent audit-log describe`)"
            }
            Code::SSL if says("PLAINTEXT") || says("wrong version number") => {
                "is the listener one without TLS? Then leave out `tls`, or use its other port"
            }
            Code::SSL if says("verify failed") || says("could not be verified") => {
                "give the authority that signed the broker's certificate as `tls.ca_file`"
            }
            Code::SSL => "compare the broker's name and the files under `tls`",
            Code::Resolve => "is the broker's name right, and can this machine resolve it?",
            Code::BrokerTransportFailure if says("APIVERSION_QUERY") => {
                "the broker closed the connection: is the listener one with TLS or a login? Then \
                 give `tls` or `sasl`"
            }
            Code::BrokerTransportFailure if says("refused") => {
                "nothing listens there: are host and port right, and is the broker up?"
            }
            _ => return None,
        })
    }
}

/// Turns an error of the client library into the workspace's. Values of properties are left out.
pub(crate) fn of_kafka(error: &KafkaError, trouble: Option<&Trouble>) -> Error {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => {
            Error::new(ErrorKind::Config, "librdkafka does not take this value")
                .with("property", name.escape_debug())
        }
        // It names files and properties that do not go together, and no values.
        KafkaError::ClientCreation(why) => {
            Error::new(ErrorKind::Config, "the client cannot be made").with("reason", shown(why))
        }
        other => match other.rdkafka_error_code() {
            Some(code) => of_code(code, trouble),
            None => Error::new(ErrorKind::Unexpected, "the client library failed")
                .with("reason", shown(&other.to_string())),
        },
    }
}

/// Makes the error for a code that a request or the consumer came back with.
pub(crate) fn of_code(code: Code, trouble: Option<&Trouble>) -> Error {
    let kind = kind(code);
    if let Some(trouble) = trouble
        && matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable)
    {
        return trouble.error();
    }
    let message = match kind {
        ErrorKind::Auth => "the right to read is missing",
        ErrorKind::Config if is_missing(code) => "the topic is not there",
        ErrorKind::Config | ErrorKind::Conflict if is_of_membership(code) => {
            "the group does not take this member"
        }
        ErrorKind::Config => "the broker does not take what is configured",
        ErrorKind::InvalidData => "what the broker sent cannot be read",
        ErrorKind::Timeout => "the brokers did not answer in time",
        _ => "the brokers cannot be read from now",
    };
    let hint = match code {
        Code::TopicAuthorizationFailed => Some("grant READ and DESCRIBE on the topic"),
        Code::GroupAuthorizationFailed => Some("grant READ on the consumer group: see `group`"),
        Code::InconsistentGroupProtocol => {
            Some("its other members share in another way: give `group` a name of its own")
        }
        Code::InvalidSessionTimeout => Some("the broker bounds `session.timeout.ms`"),
        Code::FencedInstanceId => {
            Some("another instance runs with the same `group.instance.id`: each needs its own")
        }
        code if is_missing(code) => Some("is `topic` right, and are these its cluster's brokers?"),
        _ => None,
    };
    hinted(Error::new(kind, message).with("code", format!("{code:?}")), hint)
}

fn is_missing(code: Code) -> bool {
    let missing = [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition];
    missing.contains(&code)
}

/// Whether the group will not have a member like this.
fn is_of_membership(code: Code) -> bool {
    matches!(
        code,
        Code::FencedInstanceId
            | Code::GroupMaxSizeReached
            | Code::InconsistentGroupProtocol
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
    )
}

/// Whether it only says that the group is being, or was, shared out anew.
pub(crate) fn is_of_rebalance(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::NoOffset
            | Code::NotCoordinator
            | Code::RebalanceInProgress
            | Code::UnknownMemberId
    )
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => ErrorKind::Auth,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic
        | Code::InvalidConfig
        | Code::InvalidArgument
        | Code::UnsupportedFeature
        | Code::UnsupportedVersion
        | Code::UnsupportedSASLMechanism
        | Code::GroupMaxSizeReached
        | Code::InconsistentGroupProtocol
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::SSL => ErrorKind::Config,
        Code::FencedInstanceId => ErrorKind::Conflict,
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => ErrorKind::InvalidData,
        Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::OperationTimedOut
        | Code::TimedOutQueue => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    }
}

fn hinted(error: Error, hint: Option<&'static str>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Makes foreign text fit for a line: escaped and bounded.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 400;
    let mut line: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX).is_some() {
        line.push('…');
    }
    line.replace("\\'", "'").replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_kind_and_retry() {
        for (code, kind, retry) in [
            (Code::TopicAuthorizationFailed, ErrorKind::Auth, false),
            (Code::UnknownTopicOrPartition, ErrorKind::Config, false),
            (Code::BadMessage, ErrorKind::InvalidData, false),
            (Code::GroupAuthorizationFailed, ErrorKind::Auth, false),
            (Code::InconsistentGroupProtocol, ErrorKind::Config, false),
            (Code::FencedInstanceId, ErrorKind::Conflict, false),
            (Code::RebalanceInProgress, ErrorKind::Unavailable, true),
            (Code::OperationTimedOut, ErrorKind::Timeout, true),
            (Code::NotLeaderForPartition, ErrorKind::Unavailable, true),
        ] {
            let error = of_code(code, None);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retry), "{code:?}");
        }
    }

    #[test]
    fn a_time_out_is_explained_by_what_the_connections_said() {
        let refused = Trouble::new(Code::Authentication, "SASL authentication error: invalid");
        let error = of_code(Code::OperationTimedOut, Some(&refused));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false));
        assert!(error.hint().unwrap().contains("audit log cluster"));
        let down = Trouble::new(Code::BrokerTransportFailure, "Connect failed: refused\u{1b}[m");
        let error = of_code(Code::OperationTimedOut, Some(&down));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        assert!(error.to_string().contains("\\u{1b}"), "escapes of a terminal are shown as text");
        let all = Trouble::new(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(!all.outweighs(&down) && down.outweighs(&all) && refused.outweighs(&down));
    }
}
