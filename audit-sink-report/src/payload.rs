//! What the classic sections need of a Confluent Cloud record, in both generations of its schema
//! and both spellings (`methodName`, `method_name`).
//!
//! Names are those of Confluent's documentation of the audit log schema. It promises nothing about
//! fields that come and go: each may be absent, or of another type. Of equal names the last counts, of
//! a list the first element. Fields are looked up one by one, as few events need any of them.

use std::borrow::Cow;
use std::net::IpAddr;

use audit_core::Raw;
use memchr::{memchr, memchr2};

/// A record, of which nothing was looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a>(Json<'a>);

impl<'a> Payload<'a> {
    pub(crate) fn of(raw: &'a Raw) -> Self {
        Self(Json(raw.get().as_bytes()))
    }

    pub(crate) fn method(self) -> Option<Cow<'a, str>> {
        self.data()?.field(&["methodName", "method_name"])?.text()
    }

    pub(crate) fn operation(self) -> Option<Cow<'a, str>> {
        self.authorization()?.field(&["operation"])?.text()
    }

    /// The principal: a text in the first generation, one of several objects in the second.
    pub(crate) fn principal(self) -> Option<Cow<'a, str>> {
        const KINDS: [&[&str]; 5] = [
            &["confluentUser", "confluent_user"],
            &["confluentServiceAccount", "confluent_service_account"],
            &["identityPool", "identity_pool"],
            &["group"],
            &["externalAccount", "external_account"],
        ];
        let principal = self.authentication()?.field(&["principal"])?;
        let resource = |kind: &&[&str]| {
            principal.field(kind)?.field(&["resourceId", "resource_id", "subject"])?.text()
        };
        let text = principal.first().unwrap_or(principal).text();
        let internal = || principal.field(&["confluentInternal", "confluent_internal"])?.text();
        text.or_else(|| KINDS.iter().find_map(resource)).or_else(internal).or_else(|| self.email())
    }

    pub(crate) fn email(self) -> Option<Cow<'a, str>> {
        self.authentication()?.field(&["principal"])?.field(&["email"])?.text()
    }

    /// Whether an identity was proved, as the record says.
    pub(crate) fn signed_in(self) -> Option<bool> {
        let result = self.authentication().and_then(|a| a.field(&["result"])?.text());
        Some(result.or_else(|| self.status())? == "SUCCESS")
    }

    /// Whether a permission was refused or a request failed.
    pub(crate) fn failed(self) -> bool {
        let verdict = |name: &str| self.authorization()?.field(&[name])?.text();
        verdict("granted").is_some_and(|granted| granted == "false")
            || verdict("result").is_some_and(|result| result == "DENY")
            || self.status().is_some_and(|status| status != "SUCCESS")
    }

    /// The status of the first error of a result.
    pub(crate) fn first_error(self) -> Option<Cow<'a, str>> {
        let errors = self.data()?.field(&["result"])?.field(&["data"])?.field(&["errors"])?;
        errors.field(&["status"])?.text()
    }

    /// The client's address: `"/192.0.2.1"` in the first generation, `[{"ip": …}]` in the second.
    pub(crate) fn client(self) -> Option<IpAddr> {
        const NAMES: &[&str] = &["clientAddress", "client_address"];
        let request = self.data()?.field(&["requestMetadata", "request_metadata"]);
        let address = request.and_then(|r| r.field(NAMES)).or_else(|| self.data()?.field(NAMES))?;
        let ip = address.first().unwrap_or(address);
        let text = ip.field(&["ip"]).unwrap_or(ip).text()?;
        text.trim_start_matches('/').parse().ok()
    }

    fn data(self) -> Option<Json<'a>> {
        // A list of records is no record.
        self.0.first().is_none().then(|| self.0.field(&["data"]))?
    }

    fn authentication(self) -> Option<Json<'a>> {
        self.data()?.field(&["authenticationInfo", "authentication_info"])
    }

    fn authorization(self) -> Option<Json<'a>> {
        self.data()?.field(&["authorizationInfo", "authorization_info"])
    }

    fn status(self) -> Option<Cow<'a, str>> {
        self.data()?.field(&["result"])?.field(&["status"])?.text()
    }
}

/// A JSON value at the beginning of a text, which is known to be valid JSON.
#[derive(Clone, Copy, Debug)]
struct Json<'a>(&'a [u8]);

impl<'a> Json<'a> {
    /// Returns the last field of an object that has one of the names; of a list, of the first element.
    fn field(self, names: &[&str]) -> Option<Self> {
        let object = self.first().unwrap_or(self);
        let mut rest = after(object.0, b'{')?;
        let mut found = None;
        while let Some(inner) = after(rest, b'"') {
            let end = string_end(inner)?;
            let name = unquoted(&inner[..end - 1]);
            let value = after(&inner[end..], b':')?;
            if name.is_some_and(|name| names.contains(&&*name)) {
                found = Some(Self(value));
            }
            let Some(next) = after(&value[value_end(value)?..], b',') else { break };
            rest = next;
        }
        found
    }

    /// Returns the first element of an array.
    fn first(self) -> Option<Self> {
        let inner = after(self.0, b'[')?;
        (trimmed(inner).first()? != &b']').then_some(Self(inner))
    }

    /// Returns the text of a text, a number or a truth value.
    fn text(self) -> Option<Cow<'a, str>> {
        let value = trimmed(self.0);
        let value = value.get(..value_end(value)?)?;
        let text = match value.first()? {
            b'"' => unquoted(value.get(1..value.len() - 1)?)?,
            b'{' | b'[' | b'n' => return None,
            _ => Cow::Borrowed(str::from_utf8(value).ok()?),
        };
        Some(text).filter(|text| !text.is_empty())
    }
}

/// Returns the text of what is between quotes; none for half of a surrogate pair.
fn unquoted(content: &[u8]) -> Option<Cow<'_, str>> {
    let text = str::from_utf8(content).ok()?;
    if memchr(b'\\', content).is_none() {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Returns what follows a mark, if that comes next.
fn after(text: &[u8], mark: u8) -> Option<&[u8]> {
    let (first, rest) = trimmed(text).split_first()?;
    (*first == mark).then_some(rest)
}

/// Returns the place behind the quote that ends a string, of which the first quote is left out.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Returns the place behind the value that begins here, also after blanks.
fn value_end(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (text.len() - trimmed(text).len(), 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at += 1 + string_end(text.get(at + 1..)?)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            _ => {
                let rest = &text[at..];
                let ends = |b: &u8| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace();
                at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn raw(value: &Value) -> Raw {
        Raw::parse(value.to_string()).unwrap()
    }

    #[test]
    fn m03_both_generations_and_spellings_are_read() {
        let first = raw(&json!({"data": {
            "methodName": "mds.Authorize",
            "authenticationInfo": {"principal": "User:u-1"},
            "authorizationInfo": {"granted": false, "operation": "Alter\"Configs"},
            "requestMetadata": {"client_address": "/192.0.2.1"},
        }}));
        let payload = Payload::of(&first);
        assert_eq!(payload.method().unwrap(), "mds.Authorize");
        assert_eq!(payload.principal().unwrap(), "User:u-1");
        assert_eq!(payload.operation().unwrap(), "Alter\"Configs");
        assert_eq!(payload.client(), "192.0.2.1".parse().ok());
        assert!(payload.failed());

        let second = raw(&json!({"data": {
            "method_name": "SignIn",
            "authentication_info": {
                "principal": {"confluent_user": {"resource_id": "u-2"}, "email": "a@b.example"},
                "result": "FAILURE",
            },
            "request_metadata": {"clientAddress": [{"ip": "2001:db8::1", "port": 1}]},
            "result": {"status": "FAILURE", "data": {"errors": [{"status": 401}, {"status": 7}]}},
        }}));
        let payload = Payload::of(&second);
        assert_eq!(payload.principal().unwrap(), "u-2");
        assert_eq!(payload.email().unwrap(), "a@b.example");
        assert_eq!(payload.signed_in(), Some(false));
        assert_eq!(payload.first_error().unwrap(), "401");
        assert_eq!(payload.client(), "2001:db8::1".parse().ok());
        assert!(payload.failed());
    }

    #[test]
    fn m03_what_is_absent_or_of_another_type_is_absent() {
        for text in [
            "{}",
            "[]",
            "7",
            r#"{"data":7}"#,
            r#"{"data":{"methodName":null,"authenticationInfo":[],"result":"x"}}"#,
            r#"{"data":{"authenticationInfo":{"principal":{"group":{}}},"clientAddress":[]}}"#,
            r#"{"text":"\"data\":{\"methodName\":\"x\"}","data":{"x":{"methodName":"y"}}}"#,
        ] {
            let raw = Raw::parse(text).unwrap();
            let payload = Payload::of(&raw);
            let texts = [payload.method(), payload.operation(), payload.principal()];
            assert_eq!(texts, [None, None, None], "{text}");
            assert_eq!(
                (payload.client(), payload.signed_in(), payload.failed()),
                (None, None, false)
            );
        }
        let deep = format!(
            r#"{{"a":{0}{1},"data":{{"methodName":"m"}}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert_eq!(Payload::of(&Raw::parse(deep).unwrap()).method().unwrap(), "m");
    }

    #[test]
    fn of_equal_names_the_last_counts_of_a_list_the_first_and_escapes_are_read() {
        let text = r#"{"data":{"methodName":"no"},"data":[{"methodName":"no","method\u004eame":"y\u0065s",
            "authenticationInfo":{"principal":["User:u-1"]},"clientAddress":1.10}, {"methodName":"no"}]}"#;
        let raw = Raw::parse(text).unwrap();
        let payload = Payload::of(&raw);
        assert_eq!(payload.method().unwrap(), "yes");
        assert_eq!(payload.principal().unwrap(), "User:u-1");
        let list = Raw::parse(r#"[{"data":{"methodName":"no"}}]"#).unwrap();
        assert_eq!(Payload::of(&list).method(), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{},:\\[\\]é\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab\"]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn m06_a_field_is_what_a_full_parser_finds(value in any_json(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value).unwrap(),
                false => value.to_string(),
            };
            let json = Json(text.as_bytes());
            let value = if value[0].is_array() { &value } else { value.get(0).unwrap_or(&value) };
            for name in ["a", "b", "ab"] {
                let found = json.field(&[name]);
                prop_assert_eq!(found.is_some(), value.get(name).is_some());
                if let Some(found) = found {
                    let end = value_end(found.0).unwrap();
                    let parsed: Value = serde_json::from_slice(&found.0[..end]).unwrap();
                    prop_assert_eq!(&parsed, &value[name]);
                    let expected = match &value[name] {
                        Value::String(text) => Some(text.clone()),
                        Value::Bool(_) | Value::Number(_) => Some(value[name].to_string()),
                        _ => None,
                    };
                    prop_assert_eq!(found.text().map(Cow::into_owned), expected.filter(|t| !t.is_empty()));
                }
            }
            prop_assert_eq!(json.first().is_some(), text.starts_with('[') && text.len() > 2);
        }

        #[test]
        fn m06_no_text_makes_it_panic(text in "[a\"\\\\{},:\\[\\] 1]{0,40}") {
            let json = Json(text.as_bytes());
            let found = json.field(&["a"]).and_then(|value| value.first());
            drop((found.and_then(Json::text), json.text()));
        }
    }
}
