//! What a record says, found the slow way: by `serde_json`, along a path from the root. Tests and the
//! fuzz target hold the reader against it.
#![allow(clippy::panic, reason = "that is how it tells that the reader is wrong")]

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::fields::{Fields, Slot};
use crate::json::Reader;
use crate::view::View;

/// The names that a field may have.
type Names = &'static [&'static str];

const DATA: Names = &["data"];
const CLOUD: Names = &["cloudResources", "cloud_resources"];
const AUTHENTICATION: Names = &["authenticationInfo", "authentication_info"];
const AUTHORIZATION: Names = &["authorizationInfo", "authorization_info"];
const PRINCIPAL: Names = &["principal"];
const METADATA: Names = &["requestMetadata", "request_metadata"];
const ADDRESS: Names = &["clientAddress", "client_address"];
const RESULT: Names = &["result"];
const ID: Names = &["resourceId", "resource_id", "subject"];

/// Where texts are that the reader keeps.
const PATHS: [(Slot, &[Names]); 24] = [
    (Slot::ID, &[&["id"]]),
    (Slot::SOURCE, &[&["source"]]),
    (Slot::TIME, &[&["time"]]),
    (Slot::TYPE, &[&["type"]]),
    (Slot::SUBJECT, &[&["subject"]]),
    (Slot::SERVICE, &[DATA, &["serviceName", "service_name"]]),
    (Slot::METHOD, &[DATA, &["methodName", "method_name"]]),
    (Slot::RESOURCE, &[DATA, &["resourceName", "resource_name"]]),
    (Slot::CLOUD_TYPE, &[DATA, CLOUD, &["resource"], &["type"]]),
    (Slot::PRINCIPAL, &[DATA, AUTHENTICATION, PRINCIPAL, &[]]),
    (Slot::EMAIL, &[DATA, AUTHENTICATION, PRINCIPAL, &["email"]]),
    (Slot::USER, &[DATA, AUTHENTICATION, PRINCIPAL, &["confluentUser", "confluent_user"], ID]),
    (Slot::POOL, &[DATA, AUTHENTICATION, PRINCIPAL, &["identityPool", "identity_pool"], ID]),
    (Slot::AUTHENTICATION, &[DATA, AUTHENTICATION, RESULT]),
    (Slot::GRANTED, &[DATA, AUTHORIZATION, &["granted"]]),
    (Slot::VERDICT, &[DATA, AUTHORIZATION, RESULT]),
    (Slot::OPERATION, &[DATA, AUTHORIZATION, &["operation"]]),
    (Slot::ACCESS, &[DATA, &["request"], &["accessType", "access_type"]]),
    (Slot::CLIENT, &[DATA, METADATA, ADDRESS, &["ip"]]),
    (Slot::REQUEST_ID, &[DATA, METADATA, &["requestId", "request_id"], &[]]),
    (Slot::DATA_CLIENT, &[DATA, ADDRESS, &["ip"]]),
    (Slot::STATUS, &[DATA, RESULT, &["status"]]),
    (Slot::MESSAGE, &[DATA, RESULT, &["message"]]),
    (Slot::ERROR_STATUS, &[DATA, RESULT, DATA, &["errors"], &["status"]]),
];

/// Reads a line with a reader that has seen others, and with one that has not, twice each, as then its
/// shape is known; whether it is JSON.
///
/// # Panics
/// When the reader and `serde_json` do not find the same.
pub(crate) fn check(reader: &mut Reader, line: &[u8]) -> bool {
    let text = str::from_utf8(line).ok();
    let text = text.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let root = text.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let found = |root| PATHS.map(|(slot, path)| (slot, path, expected(root, path, slot)));
    let found = root.map(found);
    let shown = String::from_utf8_lossy(line);
    for reader in [reader, &mut Reader::default()] {
        for _ in 0..2 {
            let mut fields = Fields::default();
            assert_eq!(reader.read(line, &mut fields), text.is_some(), "{shown}");
            let view = View::new(line, &fields);
            for (slot, path, expected) in found.iter().flatten() {
                let Ok(expected) = expected else { continue };
                assert_eq!(view.text(*slot), *expected, "{path:?} in {shown}");
            }
        }
    }
    text.is_some()
}

/// Follows a path. An error: there is a name that `serde_json` has no text for.
fn expected<'a>(
    root: &'a RawValue,
    path: &[Names],
    slot: Slot,
) -> serde_json::Result<Option<Cow<'a, str>>> {
    let mut value = root;
    for (depth, names) in path.iter().enumerate() {
        if let (Some(first), 1..) = (first(value), depth) {
            // Of a list the first element counts, if that is no list.
            if first.get().starts_with('[') {
                return Ok(None);
            }
            value = first;
        }
        let is_text = match slot {
            Slot::CLIENT | Slot::DATA_CLIENT => !value.get().starts_with('{'),
            _ => names.is_empty(),
        };
        if is_text && depth + 1 == path.len() {
            break;
        }
        match last(value, names)? {
            Some(found) => value = found,
            None => return Ok(None),
        }
    }
    Ok(text(value))
}

/// Returns the text of a text, a number or a truth value.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = match value.get().as_bytes().first()? {
        b'"' => Cow::Owned(serde_json::from_str(value.get()).ok()?),
        b'{' | b'[' | b'n' => return None,
        _ => Cow::Borrowed(value.get()),
    };
    Some(text).filter(|text| !text.is_empty())
}

fn first(list: &RawValue) -> Option<&RawValue> {
    serde_json::from_str::<Vec<&RawValue>>(list.get()).ok()?.first().copied()
}

/// Returns the last field of an object that has one of the names.
fn last(object: &RawValue, names: Names) -> serde_json::Result<Option<&RawValue>> {
    struct Fields(Names);

    impl<'de> Visitor<'de> for Fields {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                if self.0.contains(&&*name) {
                    found = Some(value);
                }
            }
            Ok(found)
        }
    }

    match object.get().starts_with('{') {
        true => serde_json::Deserializer::from_str(object.get()).deserialize_map(Fields(names)),
        false => Ok(None),
    }
}
