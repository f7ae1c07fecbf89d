//! What is read of a record, in both generations of the schema and both spellings.
//!
//! Names are those of Confluent's documentation of the audit log schema. It promises nothing about
//! fields that come and go, so each may be absent, or of another type: a value of another type counts
//! as absent, of a list the first element counts, of equal names the last; so that no odd field costs
//! its neighbours.

use std::fmt;
use std::ops::Range;

/// A text that is kept of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u8);

/// Names slots one after the other, so that those of a part are a range.
macro_rules! slots {
    ($($name:ident = $place:literal,)*) => {
        impl Slot { $(pub(crate) const $name: Self = Self($place);)* }
    };
}

slots! {
    ID = 0, SOURCE = 1, TIME = 2, TYPE = 3, SUBJECT = 4,
    SERVICE = 5, METHOD = 6, RESOURCE = 7,
    CLOUD_TYPE = 8, CLOUD_ID = 9, SCOPES = 10, SCOPES_END = 25,
    PRINCIPAL = 26, EMAIL = 27, INTERNAL = 28,
    USER = 29, SERVICE_ACCOUNT = 30, POOL = 31, GROUP = 32, EXTERNAL = 33,
    AUTHENTICATION = 34, AUTHENTICATION_ERROR = 35,
    GRANTED = 36, VERDICT = 37, OPERATION = 38, RESOURCE_TYPE = 39, RESOURCE_NAME = 40,
    ACCESS = 41, CORRELATION = 42,
    CLIENT = 43, REQUEST_ID = 44, CONNECTION = 45,
    DATA_CLIENT = 46,
    STATUS = 47, MESSAGE = 48, ERROR_TYPE = 49, ERROR_DETAIL = 50, ERROR_STATUS = 51,
    NONE = 63,
}

/// So many things of a scope are kept.
const SCOPES: u8 = 8;

impl Slot {
    /// The type of a thing of the scope; its identifier is in the next slot.
    pub(crate) fn scopes() -> impl Iterator<Item = (Self, Self)> {
        (0..SCOPES).map(|n| (Self(Self::SCOPES.0 + 2 * n), Self(Self::SCOPES.0 + 2 * n + 1)))
    }

    pub(crate) fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }

    /// The bits of these slots and all between them.
    fn to(self, last: Self) -> u64 {
        (last.bit() << 1).wrapping_sub(self.bit())
    }
}

/// An object of a record that has something of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Record,
    Data,
    Cloud,
    Scope,
    /// A thing, by the slot of its type; that of its identifier is the next.
    Thing(Slot),
    Authentication,
    Principal,
    /// Who is meant by one of the objects that a principal may be.
    Identity(Slot),
    Authorization,
    Request,
    Metadata,
    RequestId,
    /// `"/192.0.2.1"` in the first generation, `[{"ip": …}]` in the second.
    Client(Slot),
    Result,
    ResultData,
    Error,
}

/// What a field is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    Text(Slot),
    /// An object, or the first of a list.
    Part(Part),
    /// An object only: the record itself, and what is in a list.
    Object(Part),
    /// The first few of a list of things, or one.
    Things,
}

impl Part {
    /// Returns what the field of this name is read as.
    pub(crate) fn field(self, name: &str) -> Want {
        let slot = match (self, name) {
            (Self::Record, "id") => Slot::ID,
            (Self::Record, "source") => Slot::SOURCE,
            (Self::Record, "time") => Slot::TIME,
            (Self::Record, "type") => Slot::TYPE,
            (Self::Record, "subject") => Slot::SUBJECT,
            (Self::Data, "serviceName" | "service_name") => Slot::SERVICE,
            (Self::Data, "methodName" | "method_name") => Slot::METHOD,
            (Self::Data, "resourceName" | "resource_name") => Slot::RESOURCE,
            (Self::Thing(slot), "type") => slot,
            (Self::Thing(slot), "resourceId" | "resource_id") => Slot(slot.0 + 1),
            (Self::Authentication, "result") => Slot::AUTHENTICATION,
            (Self::Authentication, "errorMessage" | "error_message") => Slot::AUTHENTICATION_ERROR,
            (Self::Principal, "email") => Slot::EMAIL,
            (Self::Principal, "confluentInternal" | "confluent_internal") => Slot::INTERNAL,
            (Self::Identity(slot), "resourceId" | "resource_id" | "subject") => slot,
            (Self::Authorization, "granted") => Slot::GRANTED,
            (Self::Authorization, "result") => Slot::VERDICT,
            (Self::Authorization, "operation") => Slot::OPERATION,
            (Self::Authorization, "resourceType" | "resource_type") => Slot::RESOURCE_TYPE,
            (Self::Authorization, "resourceName" | "resource_name") => Slot::RESOURCE_NAME,
            (Self::Request, "accessType" | "access_type") => Slot::ACCESS,
            (Self::Request, "correlationId" | "correlation_id") => Slot::CORRELATION,
            (Self::Metadata, "connectionId" | "connection_id" | "connectionid") => Slot::CONNECTION,
            (Self::Client(slot), "ip") => slot,
            (Self::Result, "status") => Slot::STATUS,
            (Self::Result, "message") => Slot::MESSAGE,
            (Self::ResultData, "errorType" | "error_type") => Slot::ERROR_TYPE,
            (Self::Error, "detail") => Slot::ERROR_DETAIL,
            (Self::Error, "status") => Slot::ERROR_STATUS,
            _ => return self.part(name),
        };
        Want::Text(slot)
    }

    fn part(self, name: &str) -> Want {
        Want::Part(match (self, name) {
            (Self::Record, "data") => Self::Data,
            (Self::Data, "cloudResources" | "cloud_resources") => Self::Cloud,
            (Self::Data, "authenticationInfo" | "authentication_info") => Self::Authentication,
            (Self::Data, "authorizationInfo" | "authorization_info") => Self::Authorization,
            (Self::Data, "request") => Self::Request,
            (Self::Data, "requestMetadata" | "request_metadata") => Self::Metadata,
            (Self::Data, "clientAddress" | "client_address") => Self::Client(Slot::DATA_CLIENT),
            (Self::Data, "result") => Self::Result,
            (Self::Cloud, "scope") => Self::Scope,
            (Self::Cloud, "resource") => Self::Thing(Slot::CLOUD_TYPE),
            (Self::Scope, "resources") => return Want::Things,
            (Self::Authentication, "principal") => Self::Principal,
            (Self::Principal, "confluentUser" | "confluent_user") => Self::Identity(Slot::USER),
            (Self::Principal, "confluentServiceAccount" | "confluent_service_account") => {
                Self::Identity(Slot::SERVICE_ACCOUNT)
            }
            (Self::Principal, "identityPool" | "identity_pool") => Self::Identity(Slot::POOL),
            (Self::Principal, "group") => Self::Identity(Slot::GROUP),
            (Self::Principal, "externalAccount" | "external_account") => {
                Self::Identity(Slot::EXTERNAL)
            }
            (Self::Metadata, "clientAddress" | "client_address") => Self::Client(Slot::CLIENT),
            (Self::Metadata, "requestId" | "request_id") => Self::RequestId,
            (Self::Result, "data") => Self::ResultData,
            (Self::ResultData, "errors") => Self::Error,
            _ => return Want::Nothing,
        })
    }

    /// Returns the thing at a place of a scope.
    pub(crate) fn of_scope(place: u8) -> Option<Self> {
        (place < SCOPES).then(|| Self::Thing(Slot(Slot::SCOPES.0 + 2 * place)))
    }

    /// Returns where the text goes that may be in place of the object.
    pub(crate) fn text(self) -> Slot {
        match self {
            Self::Principal => Slot::PRINCIPAL,
            Self::Client(slot) => slot,
            Self::RequestId => Slot::REQUEST_ID,
            _ => Slot::NONE,
        }
    }

    /// Returns the bits of all slots in it.
    fn slots(self) -> u64 {
        match self {
            Self::Record => Slot::ID.to(Slot::ERROR_STATUS),
            Self::Data => Slot::SERVICE.to(Slot::ERROR_STATUS),
            Self::Cloud => Slot::CLOUD_TYPE.to(Slot::SCOPES_END),
            Self::Scope => Slot::SCOPES.to(Slot::SCOPES_END),
            Self::Thing(slot) => slot.to(Slot(slot.0 + 1)),
            Self::Authentication => Slot::PRINCIPAL.to(Slot::AUTHENTICATION_ERROR),
            Self::Principal => Slot::PRINCIPAL.to(Slot::EXTERNAL),
            Self::Identity(slot) | Self::Client(slot) => slot.bit(),
            Self::Authorization => Slot::GRANTED.to(Slot::RESOURCE_NAME),
            Self::Request => Slot::ACCESS.to(Slot::CORRELATION),
            Self::Metadata => Slot::CLIENT.to(Slot::CONNECTION),
            Self::RequestId => Slot::REQUEST_ID.bit(),
            Self::Result => Slot::STATUS.to(Slot::ERROR_STATUS),
            Self::ResultData => Slot::ERROR_TYPE.to(Slot::ERROR_STATUS),
            Self::Error => Slot::ERROR_DETAIL.to(Slot::ERROR_STATUS),
        }
    }
}

impl Want {
    /// Returns the bits of the slots that are empty again when such a field begins.
    pub(crate) fn slots(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Text(slot) => slot.bit(),
            Self::Part(part) | Self::Object(part) => part.slots(),
            Self::Things => Part::Scope.slots(),
        }
    }

    /// Returns where a text or number goes that is found here.
    pub(crate) fn text(self) -> Slot {
        match self {
            Self::Text(slot) => slot,
            Self::Part(part) | Self::Object(part) => part.text(),
            Self::Nothing | Self::Things => Slot::NONE,
        }
    }
}

/// Where the texts of a record are in its line.
#[derive(Clone)]
pub(crate) struct Fields {
    present: u64,
    /// Of these, which have escapes.
    escaped: u64,
    spans: [(u32, u32); 64],
}

impl Default for Fields {
    fn default() -> Self {
        Self { present: 0, escaped: 0, spans: [(0, 0); 64] }
    }
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        (self.present, self.escaped) = (0, 0);
    }

    /// Returns where a text is, and whether it has escapes; none if it is absent or null.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<(Range<usize>, bool)> {
        if self.present & slot.bit() == 0 {
            return None;
        }
        let (start, end) = self.spans[usize::from(slot.0 % 64)];
        Some((start as usize..end as usize, self.escaped & slot.bit() != 0))
    }

    /// Puts a value's place into its slot, after clearing those that are read anew.
    #[inline]
    pub(crate) fn put(
        &mut self,
        clear: u64,
        slot: Slot,
        (start, end): (usize, usize),
        escaped: bool,
    ) {
        let bit = slot.bit();
        // No line is longer than `u32` says.
        self.spans[usize::from(slot.0 % 64)] = (start as u32, end as u32);
        self.present = self.present & !clear | bit;
        self.escaped = self.escaped & !bit | if escaped { bit } else { 0 };
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").field("present", &self.present).finish_non_exhaustive()
    }
}
