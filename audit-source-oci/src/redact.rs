use std::borrow::Cow;
use std::ops::Range;

use crate::tokens::{Place, Token, inner, splice, walk};

/// What stands in place of a secret.
const BLANK: &[u8] = b"\"REDACTED\"";

/// Parts of the names of headers that carry credentials or let them be guessed.
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "credential",
    "opc-principal",
    "opc-obo-principal",
    "password",
    "privateaccessmetadata",
    "secret",
    "signature",
    "token",
    "api-key",
    "apikey",
];

/// Blanks the secrets of a record: `data.identity.credentials`, and the values of headers of request
/// and response that carry credentials. Every other byte stays as it is; null and empty values too.
pub(crate) fn redact(record: &[u8]) -> Cow<'_, [u8]> {
    let mut secrets = Vec::new();
    walk(record, place, |token| {
        if let Token::Value { at, place: Place::Secret } = token
            && !matches!(record.get(at.clone()), None | Some(b"null" | b"\"\""))
        {
            secrets.push(at);
        }
    });
    blank(record, secrets)
}

/// Blanks what follows names that sound like secrets, wherever they stand: for a text that is not
/// whole JSON, in which neither paths nor the pairs of quotes can be relied on.
pub(crate) fn redact_broken(text: &[u8]) -> Cow<'_, [u8]> {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(quote) = memchr::memchr(b'"', text.get(at..).unwrap_or_default()) {
        let quote = at + quote;
        let name_begins = text.get(at..quote).unwrap_or_default();
        let name_begins = memchr::memrchr(b'"', name_begins).map_or(at, |n| at + n + 1);
        let name = text.get(name_begins..quote).unwrap_or_default();
        at = quote + 1;
        let behind = text.get(at..).unwrap_or_default();
        let value = behind.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let secret = name.ends_with(b"credentials") || is_secret_header(name);
        let Some(value) = value.filter(|_| secret) else { continue };
        let begin = text.len() - value.len();
        at = begin + broken_value(value);
        if !matches!(text.get(begin..at), None | Some(b"" | b"null" | b"\"\"" | b"[]")) {
            secrets.push(begin..at);
        }
    }
    blank(text, secrets)
}

/// Returns how many bytes at the beginning may belong to a value: rather too many.
fn broken_value(value: &[u8]) -> usize {
    let (mut depth, mut string, mut escaped) = (0_usize, false, false);
    for (n, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = string,
            b'"' => string = !string,
            _ if string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            b',' | b']' | b'}' if depth == 0 => return n,
            _ => {}
        }
    }
    value.len()
}

/// Puts the blank in place of ranges, which are in order.
fn blank(text: &[u8], secrets: Vec<Range<usize>>) -> Cow<'_, [u8]> {
    splice(text, secrets.into_iter().map(|at| (at, Cow::Borrowed(BLANK))).collect())
}

/// Returns where the value of a name stands.
fn place(of: Place, name: &[u8]) -> Place {
    match (of, name) {
        (Place::Secret, _) | (Place::Identity, b"credentials") => Place::Secret,
        (Place::Headers, name) if is_secret_header(name) => Place::Secret,
        (of, name) => inner(of, name),
    }
}

fn is_secret_header(name: &[u8]) -> bool {
    let contains = |part: &str| {
        name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    };
    SECRET_HEADERS.iter().any(|part| contains(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn redacted(text: &str) -> String {
        String::from_utf8(redact(text.as_bytes()).into_owned()).unwrap()
    }

    const SAMPLE: &str = include_str!("../tests/data/get_instance.json");

    #[test]
    fn only_the_secrets_change() {
        let text = r#"{"data" : {"identity":{"credentials" : "ST$canary", "principalName":"ann"},
            "request":{"headers":{"opc-Principal":[ "canary\"", "canary" ],"Accept":["*/*"],
            "X-OCI-LB-PrivateAccessMetadata":["canary"],"Authorization":"canary","cookie":[],
            "opc-obo-token":[null,7,{"canary":["canary"]}]},"parameters":{"token":["kept"]}},
            "response":{"headers":{"Set-Cookie":["canary"],"ETag":["1"]},"payload":{"credentials":"kept"}}}}"#;
        let expected = r#"{"data" : {"identity":{"credentials" : "REDACTED", "principalName":"ann"},
            "request":{"headers":{"opc-Principal":[ "REDACTED", "REDACTED" ],"Accept":["*/*"],
            "X-OCI-LB-PrivateAccessMetadata":["REDACTED"],"Authorization":"REDACTED","cookie":[],
            "opc-obo-token":[null,"REDACTED",{"canary":["REDACTED"]}]},"parameters":{"token":["kept"]}},
            "response":{"headers":{"Set-Cookie":["REDACTED"],"ETag":["1"]},"payload":{"credentials":"kept"}}}}"#;
        assert_eq!(redacted(text), expected);
        assert_eq!(redacted(expected), expected, "again");
    }

    #[test]
    fn oracles_own_example_loses_its_principal_and_nothing_else() {
        let mut expected: Value = serde_json::from_str(SAMPLE).unwrap();
        expected["data"]["request"]["headers"]["opc-principal"] = json!(["REDACTED"]);
        let found = redacted(SAMPLE);
        assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected);
        assert_eq!(found.lines().count(), SAMPLE.lines().count());
    }

    #[test]
    fn nothing_to_blank_is_nothing_copied() {
        for text in [
            r#"{"data":{"identity":{"credentials":null}}}"#,
            r#"{"data":{"identity":{"credentials":""}},"credentials":"kept"}"#,
            r#"{"identity":{"credentials":"not where it stands"}}"#,
            "[]",
        ] {
            assert!(matches!(redact(text.as_bytes()), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn hostile_spellings_do_not_hide_a_secret() {
        for text in [
            r#"{"d\u0061ta":{"identit\u0079":{"credential\u0073":"canary"}}}"#,
            r#"{"data":1,"data":{"identity":null,"identity":{"credentials":null,"credentials":"canary"}}}"#,
            r#"{"data":{"identity":{"x":[{"y":"z"}],"credentials":{"a":["canary"]}}}}"#,
        ] {
            assert!(!redacted(text).contains("canary"), "{}", redacted(text));
        }
        let deep = format!(
            r#"{{"x":{}{},"data":{{"identity":{{"credentials":"canary"}}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(!redacted(&deep).contains("canary"));
    }

    #[test]
    fn n04_a_broken_record_keeps_no_secret_either() {
        for text in [
            r#"{"data":{"identity":{"credentials":"canary","x":"#,
            r#"{"data":{"identity":{"credentials":"canary"#,
            r#"identity":{"credentials" : "canary"}}"#,
            r#"{"data":}}]{"Authorization":["canary", "canary"#,
            r#"{"a":"b,"credentials":"canary"}"#,
            r#"{"a":"b,"X-Auth-Token" :{"x":["canary"],"y":"canary"}}"#,
        ] {
            let found = String::from_utf8(redact_broken(text.as_bytes()).into_owned()).unwrap();
            assert!(!found.contains("canary"), "{found}");
        }
        let text = br#"{"a":"b,"credentials":null,"x-token":[],"c":"d","cookie":"canary","e":1"#;
        let found = redact_broken(text).into_owned();
        let expected =
            r#"{"a":"b,"credentials":null,"x-token":[],"c":"d","cookie":"REDACTED","e":1"#;
        assert_eq!(String::from_utf8(found).unwrap(), expected, "the rest stays");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (redact(&text), redact_broken(&text));
        }

        #[test]
        fn json_stays_json(keys in prop::collection::vec("credentials|token|[a-z]{0,3}", 1..5), n in 0..4) {
            let leaf = [json!("s"), json!(1.5), json!(["s", null]), json!({"k": [true]})][n as usize].clone();
            let object: Value = keys.into_iter().map(|k| (k, leaf.clone())).collect::<serde_json::Map<_, _>>().into();
            let text = format!(r#"{{"data":{{"identity":{object},"request":{{"headers":{object}}}}}}}"#);
            serde_json::from_str::<Value>(&redacted(&text)).unwrap();
        }
    }
}
