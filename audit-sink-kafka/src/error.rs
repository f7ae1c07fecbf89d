use audit_core::{Error, ErrorKind, Retry};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaConfRes, RDKafkaErrorCode as Code};

use crate::verdict::Verdict;

/// What librdkafka last said about its connections: an error of a record says only that it timed
/// out, this says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl Trouble {
    pub(crate) fn new(code: Code, reason: &str) -> Self {
        // Told as a broken connection; it is one that cannot work.
        let code = if reason.contains("PLAINTEXT broker listener") { Code::SSL } else { code };
        Self { code, reason: reason.to_owned() }
    }

    /// Whether waiting cannot help, if no connection has worked so far.
    pub(crate) fn is_final(&self) -> bool {
        matches!(Verdict::of(self.code), Verdict::Auth | Verdict::Config) || self.is_alert()
    }

    /// Whether the broker ended TLS over the client's certificate. In TLS 1.3 that is told only
    /// after the handshake, and librdkafka takes it for a broken connection.
    fn is_alert(&self) -> bool {
        let says = |part: &str| self.reason.contains(part);
        says("alert") && (says("certificate") || says("unknown ca") || says("access denied"))
    }

    /// Whether it says more than the other. That all brokers are down follows from their own errors.
    pub(crate) fn outweighs(&self, other: &Self) -> bool {
        self.is_final() || !other.is_final() && self.code != Code::AllBrokersDown
    }

    /// Makes the error that tells of it.
    pub(crate) fn error(&self) -> Error {
        let (kind, message) = match Verdict::of(self.code) {
            _ if self.is_alert() => {
                (ErrorKind::Auth, "the broker did not accept the client's certificate")
            }
            Verdict::Auth => (ErrorKind::Auth, "the broker refused the credentials"),
            Verdict::Config if self.code == Code::SSL => {
                (ErrorKind::Config, "no trusted connection could be made")
            }
            Verdict::Config => (ErrorKind::Config, "the broker does not take what is configured"),
            _ => (ErrorKind::Unavailable, "the brokers cannot be reached"),
        };
        let error = Error::new(kind, message).with("reason", shown(&self.reason));
        match self.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        let says = |part: &str| self.reason.contains(part);
        Some(match self.code {
            _ if self.is_alert() && says("expired") => "renew the client's certificate",
            _ if self.is_alert() => {
                "the listener asks for a client certificate that it trusts: see \
                 `tls.client_cert_file` and `tls.client_key_file`"
            }
            Code::Authentication if says("not supported") || says("Unsupported") => {
                "the broker does not offer this SASL mechanism: see `sasl.mechanism`"
            }
            Code::Authentication => "compare `sasl.user`, `sasl.password` and `sasl.mechanism`",
            Code::SSL if says("PLAINTEXT") || says("wrong version number") => {
                "is the listener one without TLS? Then leave out `tls`, or use its other port"
            }
            Code::SSL if says("expired") => {
                "a certificate has expired: renew it; files that change are read anew"
            }
            Code::SSL if says("hostname mismatch") || says("host name") => {
                "write the broker as its certificate names it"
            }
            Code::SSL if says("verify failed") || says("could not be verified") => {
                "give the authority that signed the broker's certificate as `tls.ca_file`"
            }
            Code::SSL => "compare the files and the password under `tls`",
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

/// Makes the error for a code that a record, a request or the producer came back with.
pub(crate) fn of_code(code: Code, trouble: Option<&Trouble>) -> Error {
    let verdict = Verdict::of(code);
    let purged = matches!(code, Code::PurgeQueue | Code::PurgeInflight);
    if let Some(trouble) = trouble
        && (purged || matches!(verdict, Verdict::TimedOut | Verdict::Unavailable))
    {
        let error = trouble.error();
        // It did not come through within the time that was set; what is known is why.
        return if trouble.is_final() { error } else { error.with_retry(Retry::Backoff) };
    }
    let (kind, message) = match verdict {
        Verdict::Rejected => (ErrorKind::Rejected, "the record was refused"),
        Verdict::TimedOut => (ErrorKind::Timeout, "not stored in time"),
        Verdict::Auth => (ErrorKind::Auth, "the right to write is missing"),
        Verdict::Config => (ErrorKind::Config, "the broker does not take what is configured"),
        Verdict::Fenced => (ErrorKind::Conflict, "another runner of this stream has taken over"),
        Verdict::Unavailable => (ErrorKind::Unavailable, "the brokers do not take records now"),
    };
    let error = Error::new(kind, message).with("code", format!("{code:?}"));
    match hint(code) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn hint(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::MessageSizeTooLarge => {
            "the record is larger than `max_record_bytes` or than the topic's `max.message.bytes`"
        }
        Code::InvalidTimestamp => {
            "its time is outside what the topic accepts (`message.timestamp.before.max.ms`, \
             `message.timestamp.after.max.ms`); `timestamp = \"sent\"`, the default, avoids that"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition => {
            "create the topic, or let it be created with `create_topic`"
        }
        Code::TopicAuthorizationFailed => "grant WRITE and DESCRIBE on the topic",
        Code::TransactionalIdAuthorizationFailed => {
            "grant WRITE and DESCRIBE on the transactional id, `<checkpoint topic>/<stream>`"
        }
        Code::ClusterAuthorizationFailed => {
            "grant WRITE on the topic (before Kafka 3.0 also IDEMPOTENT_WRITE on the cluster), and \
             CREATE if topics are to be created"
        }
        Code::InvalidTransactionTimeout => {
            "`transaction.timeout` is longer than the brokers' `transaction.max.timeout.ms`"
        }
        Code::InvalidReplicationFactor => {
            "there are fewer brokers than `create_topic.replication` asks for"
        }
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => {
            "run only one pipeline a stream; start this one again to go on from where the other is"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "too few copies of the partition are in step (`min.insync.replicas`)"
        }
        _ => return None,
    })
}

/// Turns an error of the client library into the workspace's. Values of properties are left out.
pub(crate) fn of_kafka(error: &KafkaError, trouble: Option<&Trouble>) -> Error {
    match error {
        KafkaError::ClientConfig(res, _, name, _) => {
            let unknown = *res == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
            let message = if unknown { "unknown property" } else { "the value is not taken" };
            Error::new(ErrorKind::Config, message).with("property", name.escape_debug())
        }
        // It names files and properties that do not go together, and no values.
        KafkaError::ClientCreation(why) => {
            let error = Error::new(ErrorKind::Config, "the client cannot be made")
                .with("reason", shown(why));
            match why {
                why if why.contains("ssl.key.location") || why.contains("private key") => {
                    error.with_hint("is it the right key, and `tls.key_password` its password?")
                }
                why if why.contains("ssl.") => error.with_hint("the file has to hold PEM"),
                _ => error,
            }
        }
        KafkaError::Transaction(inner) => of_code(inner.code(), trouble).with(
            "reason",
            // It may be long, and names the request, the code and the broker.
            shown(&inner.string()),
        ),
        other => match other.rdkafka_error_code() {
            Some(code) => of_code(code, trouble),
            None => Error::new(ErrorKind::Unexpected, "the client library failed")
                .with("reason", shown(&other.to_string())),
        },
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
    fn s11_each_code_has_its_kind_and_retry() {
        for (code, kind, retry) in [
            (Code::MessageSizeTooLarge, ErrorKind::Rejected, false),
            (Code::PolicyViolation, ErrorKind::Rejected, false),
            (Code::InvalidTimestamp, ErrorKind::Rejected, false),
            (Code::MessageTimedOut, ErrorKind::Timeout, true),
            (Code::NotEnoughReplicas, ErrorKind::Unavailable, true),
            (Code::KafkaStorageError, ErrorKind::Unavailable, true),
            (Code::OutOfOrderSequenceNumber, ErrorKind::Unavailable, true),
            (Code::TopicAuthorizationFailed, ErrorKind::Auth, false),
            (Code::UnknownTopic, ErrorKind::Config, false),
            (Code::Fenced, ErrorKind::Conflict, false),
            (Code::PurgeQueue, ErrorKind::Unavailable, true),
        ] {
            let error = of_code(code, None);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retry), "{code:?}");
        }
    }

    #[test]
    fn a_time_out_is_explained_by_what_the_connections_said() {
        let trouble = Trouble::new;
        let refused = trouble(Code::Authentication, "SASL authentication error: invalid");
        let error = of_code(Code::MessageTimedOut, Some(&refused));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Auth, false));
        let down = trouble(Code::BrokerTransportFailure, "Connect failed: Connection refused");
        let error = of_code(Code::MessageTimedOut, Some(&down));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
        assert!(error.hint().unwrap().contains("nothing listens there"));
        let error = of_code(Code::MessageSizeTooLarge, Some(&down));
        assert_eq!(error.kind(), ErrorKind::Rejected, "it has a reason of its own");
        let all = trouble(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(!all.outweighs(&down) && down.outweighs(&all) && refused.outweighs(&down));
    }

    #[test]
    fn k10_values_of_properties_stay_out_of_errors() {
        let error = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "canary".to_owned(),
            "sasl.password".to_owned(),
            "canary".to_owned(),
        );
        let error = of_kafka(&error, None);
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert_eq!(shown("a\u{1b}[31m'\n"), "a\\u{1b}[31m'\\n");
    }
}
