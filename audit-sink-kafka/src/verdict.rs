use rdkafka::types::RDKafkaErrorCode as Code;

/// What an error code means for a record, or for the sink as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This record will never be taken. The broker says so of the whole batch that holds it.
    Rejected,
    /// Nothing is wrong with the record: it was not stored in time.
    TimedOut,
    /// The credentials or their rights do not suffice.
    Auth,
    /// Nothing can be written until a person changes something.
    Config,
    /// A newer producer of the same transactional id has taken over.
    Fenced,
    /// The cluster cannot take it now.
    Unavailable,
}

impl Verdict {
    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::ValueSerialization => Self::Rejected,
            Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::TimedOutQueue => Self::TimedOut,
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::DelegationTokenAuthorizationFailed
            | Code::DelegationTokenExpired => Self::Auth,
            Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::InvalidConfig
            | Code::InvalidArgument
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidRequiredAcks
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
            | Code::UnsupportedSASLMechanism
            | Code::SSL => Self::Config,
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Self::Fenced,
            _ => Self::Unavailable,
        }
    }
}
