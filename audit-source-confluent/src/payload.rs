//! What is read of a record, in both generations of the schema and both spellings.
//!
//! Names are those of Confluent's documentation of the audit log schema. It promises nothing about
//! fields that come and go, so each may be absent, or of another type.

use audit_core::Text;
use serde::de::MapAccess;

use crate::part::{Part, Parts, Wanted, wanted};

wanted! {
    /// The CloudEvents envelope.
    Payload {
        id: Text<'a> = "id",
        source: Text<'a> = "source",
        time: Text<'a> = "time",
        kind: Text<'a> = "type",
        subject: Text<'a> = "subject",
        data: Part<Data<'a>> = "data",
    }
    Data {
        service: Text<'a> = "serviceName" | "service_name",
        method: Text<'a> = "methodName" | "method_name",
        resource: Text<'a> = "resourceName" | "resource_name",
        cloud: Part<CloudResource<'a>> = "cloudResources" | "cloud_resources",
        authentication: Part<Authentication<'a>> = "authenticationInfo" | "authentication_info",
        authorization: Part<Authorization<'a>> = "authorizationInfo" | "authorization_info",
        request: Part<Request<'a>> = "request",
        metadata: Part<Metadata<'a>> = "requestMetadata" | "request_metadata",
        address: Part<Address<'a>> = "clientAddress" | "client_address",
        result: Part<Verdict<'a>> = "result",
    }
    Authentication {
        principal: Part<Principal<'a>> = "principal",
        result: Text<'a> = "result",
        error: Text<'a> = "errorMessage" | "error_message",
    }
    Authorization {
        granted: Text<'a> = "granted",
        result: Text<'a> = "result",
        resource_type: Text<'a> = "resourceType" | "resource_type",
        resource_name: Text<'a> = "resourceName" | "resource_name",
    }
    Request {
        access: Text<'a> = "accessType" | "access_type",
        correlation: Text<'a> = "correlationId" | "correlation_id",
    }
    Metadata {
        address: Part<Address<'a>> = "clientAddress" | "client_address",
        request: Part<Word<'a>> = "requestId" | "request_id",
        connection: Text<'a> = "connectionId" | "connection_id" | "connectionid",
    }
    Verdict {
        status: Text<'a> = "status",
        message: Text<'a> = "message",
        data: Part<VerdictData<'a>> = "data",
    }
    VerdictData {
        error: Text<'a> = "errorType" | "error_type",
        errors: Part<Fault<'a>> = "errors",
    }
    Fault {
        detail: Text<'a> = "detail",
    }
    CloudResource {
        scope: Part<Scope<'a>> = "scope",
        resource: Part<Resource<'a>> = "resource",
    }
    Scope {
        resources: Parts<Resource<'a>> = "resources",
    }
    Resource {
        kind: Text<'a> = "type",
        id: Text<'a> = "resourceId" | "resource_id",
    }
    /// Who is meant by one of the objects that a principal may be.
    Identity {
        id: Text<'a> = "resourceId" | "resource_id" | "subject",
    }
}

/// Who did it: a text in the first generation, one of several objects in the second.
#[derive(Debug, Default)]
pub(crate) struct Principal<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) email: Text<'a>,
    pub(crate) internal: Text<'a>,
    /// What kind of actor the object stands for, and its identifier.
    pub(crate) identity: Option<(&'static str, Text<'a>)>,
}

impl<'a> Wanted<'a> for Principal<'a> {
    fn field<A: MapAccess<'a>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let kind = match name {
            "email" => {
                self.email = map.next_value()?;
                return Ok(true);
            }
            "confluentInternal" | "confluent_internal" => {
                self.internal = map.next_value()?;
                return Ok(true);
            }
            "confluentUser" | "confluent_user" => "user",
            "confluentServiceAccount" | "confluent_service_account" => "service",
            "identityPool" | "identity_pool" => "pool",
            "group" => "group",
            "externalAccount" | "external_account" => "external",
            _ => return Ok(false),
        };
        let Part(Identity { id }) = map.next_value::<Part<Identity<'_>>>()?;
        if id.get().is_some() {
            self.identity = Some((kind, id));
        }
        Ok(true)
    }

    fn text(&mut self, text: Text<'a>) {
        self.text = text;
    }
}

/// A client's address: `"/192.0.2.1"` in the first generation, `[{"ip": …}]` in the second.
#[derive(Debug, Default)]
pub(crate) struct Address<'a>(pub(crate) Text<'a>);

impl<'a> Wanted<'a> for Address<'a> {
    fn field<A: MapAccess<'a>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name == "ip" {
            self.0 = map.next_value()?;
        }
        Ok(name == "ip")
    }

    fn text(&mut self, text: Text<'a>) {
        self.0 = text;
    }
}

/// A text, or the first of a list of texts.
#[derive(Debug, Default)]
pub(crate) struct Word<'a>(pub(crate) Text<'a>);

impl<'a> Wanted<'a> for Word<'a> {
    fn text(&mut self, text: Text<'a>) {
        self.0 = text;
    }
}
