use audit_core::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::key::PrivateKey;

/// What a request says of itself, as far as it is signed.
///
/// Source: draft-cavage-http-signatures-08 and "Request Signatures" of Oracle's documentation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// `get`, in lower case.
    pub(crate) method: &'a str,
    /// Path and query, exactly as they are sent.
    pub(crate) target: &'a str,
    /// Without the port if it is the scheme's own. Nothing: it is not signed.
    pub(crate) host: Option<&'a str>,
    /// As it is sent.
    pub(crate) date: &'a str,
    /// A body of type `application/json`.
    pub(crate) body: Option<&'a str>,
}

impl Request<'_> {
    /// Returns the headers that belong to the body, to be sent as they are.
    pub(crate) fn body_headers(&self) -> Vec<(&'static str, String)> {
        let of_body = |body: &str| {
            vec![
                ("content-length", body.len().to_string()),
                ("content-type", "application/json".to_owned()),
                ("x-content-sha256", BASE64.encode(Sha256::digest(body))),
            ]
        };
        self.body.map(of_body).unwrap_or_default()
    }

    /// Returns the value of the `Authorization` header.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](audit_core::ErrorKind::Config) for a key that cannot sign.
    pub(crate) fn authorization(&self, key_id: &str, key: &PrivateKey) -> Result<String> {
        let (names, text) = self.signing_text();
        let signature = key.sign(&text)?;
        Ok(format!(
            r#"Signature version="1",headers="{names}",keyId="{key_id}",algorithm="rsa-sha256",signature="{signature}""#
        ))
    }

    /// Returns the names of what is signed, and the text that is signed.
    fn signing_text(&self) -> (String, String) {
        let target = format!("{} {}", self.method, self.target);
        let mut parts = vec![("date", self.date.to_owned()), ("(request-target)", target)];
        parts.extend(self.host.map(|host| ("host", host.to_owned())));
        parts.extend(self.body_headers());
        let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
        let lines: Vec<_> = parts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        (names.join(" "), lines.join("\n"))
    }
}

/// Writes a time as the `date` header wants it.
pub(crate) fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n06_the_text_signed_is_the_one_of_the_draft() {
        let request = Request {
            method: "get",
            target: "/20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&limit=50",
            host: Some("iaas.us-phoenix-1.oraclecloud.com"),
            date: "Thu, 05 Jan 2014 21:31:40 GMT",
            body: None,
        };
        let (names, text) = request.signing_text();
        assert_eq!(names, "date (request-target) host");
        assert_eq!(
            text,
            "date: Thu, 05 Jan 2014 21:31:40 GMT\n\
             (request-target): get /20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&limit=50\n\
             host: iaas.us-phoenix-1.oraclecloud.com"
        );
        let post =
            Request { method: "post", target: "/v1/x509", host: None, body: Some("{}"), ..request };
        let (names, text) = post.signing_text();
        assert_eq!(names, "date (request-target) content-length content-type x-content-sha256");
        assert!(text.ends_with(
            "(request-target): post /v1/x509\ncontent-length: 2\ncontent-type: application/json\n\
             x-content-sha256: RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="
        ));
    }

    #[test]
    fn dates_are_those_of_http() {
        let time = DateTime::from_timestamp(784_111_777, 0).unwrap();
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
