use std::borrow::Cow;
use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::text::append_quoted;
use crate::Secret;

const REDACTED: &str = "***";

/// What becomes of a value that must not be in a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mask {
    /// The value goes, and its name with it.
    Drop,
    /// The value becomes `hmac-sha256:` and 64 hexadecimal digits, made with this key: equal values
    /// can be found, but not guessed by who does not have the key.
    Hash(Secret),
    /// The value becomes `***`.
    Redact,
}

impl Mask {
    /// Returns what stands in the value's place; nothing when it is dropped.
    fn of(&self, value: &str) -> Option<Cow<'static, str>> {
        match self {
            Self::Drop => None,
            Self::Redact => Some(Cow::Borrowed(REDACTED)),
            Self::Hash(key) => {
                Some(match Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) {
                    Ok(mac) => Cow::Owned(hash(mac, value)),
                    Err(_) => Cow::Borrowed(REDACTED),
                })
            }
        }
    }
}

fn hash(mut mac: Hmac<Sha256>, value: &str) -> String {
    use fmt::Write;
    mac.update(value.as_bytes());
    let mut text = String::with_capacity(76);
    text.push_str("hmac-sha256:");
    for byte in mac.finalize().into_bytes() {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

/// Which values are masked: those of response headers, of URL parameters, and of JSON object keys at
/// any depth of the filter, the results and the changes.
///
/// A rule's name is compared with the end of a name, without regard to case and to what is neither a
/// letter nor a digit: `token` covers `token`, `X-Auth-Token`, `access_token` and `csrfToken`.
#[derive(Clone)]
pub struct Masking {
    rules: Vec<(Box<str>, Mask)>,
}

impl Masking {
    /// Masks nothing.
    pub fn none() -> Self {
        Self { rules: Vec::new() }
    }

    /// Adds a rule, which goes before those already there.
    #[must_use]
    pub fn with(mut self, name: &str, mask: Mask) -> Self {
        let name: String = significant(name.bytes()).map(char::from).collect();
        if !name.is_empty() {
            self.rules.insert(0, (name.into(), mask));
        }
        self
    }

    fn find(&self, name: &str) -> Option<&Mask> {
        let matches = |rule: &str| {
            let mut name = significant(name.bytes().rev());
            rule.bytes().rev().all(|b| name.next() == Some(b))
        };
        self.rules.iter().find(|(rule, _)| matches(rule)).map(|(_, mask)| mask)
    }

    /// As [`find`](Self::find), of a name or of names joined by dots, as [`Diff`](super::Diff) joins
    /// them: what is within a secret is one too.
    fn find_path(&self, path: &str) -> Option<&Mask> {
        self.find(path).or_else(|| path.split('.').find_map(|name| self.find(name)))
    }

    /// Returns the value of a header as it may be written, nothing when the header is dropped.
    pub(super) fn header<'a>(&self, name: &str, value: &'a str) -> Option<Cow<'a, str>> {
        match self.find(name) {
            Some(mask) => mask.of(value),
            None => Some(Cow::Borrowed(value)),
        }
    }

    /// Returns the URL as it may be written.
    pub(super) fn url<'a>(&self, url: &'a str) -> Cow<'a, str> {
        if self.rules.is_empty() {
            return Cow::Borrowed(url);
        }
        let (rest, fragment) = split_before(url, '#');
        let (base, query) = split_before(rest, '?');
        let mut out = self.user_info(base);
        self.pairs(query, &mut out);
        // Where sign-ins of browsers end: `#access_token=…`.
        self.pairs(fragment, &mut out);
        if out == url { Cow::Borrowed(url) } else { Cow::Owned(out) }
    }

    /// Adds a query or fragment, which begins with its mark or is empty.
    fn pairs(&self, text: &str, out: &mut String) {
        let mut rest = text.chars();
        let Some(mut separator) = rest.next() else { return };
        for pair in rest.as_str().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mask = (!value.is_empty()).then(|| self.find(&decoded(name))).flatten();
            let Some(value) = mask.map_or(Some(Cow::Borrowed(value)), |m| m.of(value)) else {
                continue;
            };
            out.push(separator);
            separator = '&';
            out.push_str(name);
            if pair.contains('=') {
                out.push('=');
                out.push_str(&value);
            }
        }
    }

    /// `https://user:password@host`, and `https://token@host`.
    fn user_info(&self, base: &str) -> String {
        let masked = || {
            let (scheme, rest) = base.split_once("://")?;
            let (authority, path) = split_before(rest, '/');
            let (user_info, host) = authority.rsplit_once('@')?;
            let (user, secret) = user_info.split_once(':').unwrap_or(("", user_info));
            let colon = if user_info.contains(':') { ":" } else { "" };
            let shown = match self.find("password")?.of(secret) {
                Some(secret) => format!("{user}{colon}{secret}@"),
                None if user.is_empty() => String::new(),
                None => format!("{user}@"),
            };
            Some(format!("{scheme}://{shown}{host}{path}"))
        };
        masked().unwrap_or_else(|| base.to_owned())
    }

    /// Returns JSON as it may be written; nothing when it is as it may be.
    pub(super) fn json(&self, text: &str) -> Option<String> {
        let bytes = text.as_bytes();
        if self.rules.is_empty() || !bytes.contains(&b'{') {
            return None;
        }
        let (mut out, mut copied, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            if bytes[at] != b'"' {
                at += 1;
                continue;
            }
            let key_end = string_end(bytes, at);
            let colon = skip_space(bytes, key_end);
            let mask = (bytes.get(colon) == Some(&b':'))
                .then(|| self.find_path(&string(&bytes[at..key_end])))
                .flatten();
            let Some(mask) = mask else {
                at = key_end;
                continue;
            };
            let value = skip_space(bytes, colon + 1);
            let value_end = value_end(bytes, value);
            match mask.of(&string(&bytes[value..value_end])) {
                Some(masked) => {
                    out.extend_from_slice(&bytes[copied..value]);
                    append_quoted(&mut out, &masked);
                    copied = value_end;
                }
                None => {
                    out.extend_from_slice(&bytes[copied..at]);
                    let next = skip_space(bytes, value_end);
                    if bytes.get(next) == Some(&b',') {
                        copied = skip_space(bytes, next + 1);
                    } else {
                        copied = value_end;
                        let separator = out.iter().rposition(|b| !b.is_ascii_whitespace());
                        if let Some(at) = separator.filter(|at| out[*at] == b',') {
                            out.truncate(at);
                        }
                    }
                }
            }
            at = copied;
        }
        if copied == 0 {
            return None;
        }
        out.extend_from_slice(&bytes[copied..]);
        String::from_utf8(out).ok()
    }
}

impl Default for Masking {
    /// Redacts `authorization`, `cookie`, `password`, `passwd`, `passphrase`, `secret`, `token`,
    /// `api_key`, `private_key`, `credential` and `credentials`.
    fn default() -> Self {
        const NAMES: [&str; 11] = [
            "authorization",
            "cookie",
            "password",
            "passwd",
            "passphrase",
            "secret",
            "token",
            "apikey",
            "privatekey",
            "credential",
            "credentials",
        ];
        NAMES.iter().fold(Self::none(), |masking, name| masking.with(name, Mask::Redact))
    }
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.rules.iter().map(|(name, mask)| (name, mask))).finish()
    }
}

fn significant(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    bytes.filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase())
}

/// Splits before the first `at`; the second part is empty when there is none.
fn split_before(text: &str, at: char) -> (&str, &str) {
    text.find(at).map_or((text, ""), |n| text.split_at(n))
}

/// A name of a query with its `%70` read.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut bytes = name.bytes();
    let mut out = Vec::with_capacity(name.len());
    while let Some(b) = bytes.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match b {
            b'%' => {
                let byte = digit(bytes.next()).unwrap_or(0) * 16 + digit(bytes.next()).unwrap_or(0);
                out.push(byte as u8);
            }
            b => out.push(b),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The text a JSON string stands for; other JSON as it is.
fn string(json: &[u8]) -> Cow<'_, str> {
    let inner = json.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    match inner {
        Some(inner) if !inner.contains(&b'\\') => String::from_utf8_lossy(inner),
        Some(_) => match serde_json::from_slice::<String>(json) {
            Ok(text) => Cow::Owned(text),
            Err(_) => String::from_utf8_lossy(json),
        },
        None => String::from_utf8_lossy(json),
    }
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at + depth,
            b'}' | b']' => depth -= 1,
            b',' | b' ' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn json_of(masking: &Masking, text: &str) -> String {
        masking.json(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn a_rule_covers_the_names_that_end_in_it() {
        let masking = Masking::default();
        for name in ["token", "X-Auth-Token", "access_token", "csrfToken", "SET-COOKIE", "api-key"]
        {
            assert!(masking.find(name).is_some(), "{name}");
        }
        for name in ["tokens_left", "cookies", "password_hint", "", "user"] {
            assert!(masking.find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn json_values_are_redacted_dropped_and_hashed_at_any_depth() {
        let masking =
            Masking::default().with("pin", Mask::Drop).with("ssn", Mask::Hash(Secret::new("k")));
        for (text, expected) in [
            (
                r#"{"password": "x", "a": [{"token": {"k": [1, "]"]}}]}"#,
                r#"{"password": "***", "a": [{"token": "***"}]}"#,
            ),
            (r#"{"pin": 1, "a": 2}"#, r#"{"a": 2}"#),
            (r#"{"a": 2, "pin": {"b": 1}}"#, r#"{"a": 2}"#),
            (r#"{"a": 1, "pin": 2, "pin": [], "b": 3}"#, r#"{"a": 1, "b": 3}"#),
            (r#"{"pin": 2, "pin": []}"#, "{}"),
            (
                r#"{"pass\u0077ord": "a\"b", "x": "token", "y": "\"token\": 1"}"#,
                r#"{"pass\u0077ord": "***", "x": "token", "y": "\"token\": 1"}"#,
            ),
            (
                r#"{"ssn": "Hi There"}"#,
                r#"{"ssn": "hmac-sha256:661f283339dd56bae838c4159e90f85dc7a00ea5b46d382fe0d51a7034bf8ac4"}"#,
            ),
            (r#"["token", 1]"#, r#"["token", 1]"#),
            (
                r#"{"credentials.key": ["a", "b"], "a.key": ["a", "b"]}"#,
                r#"{"credentials.key": "***", "a.key": ["a", "b"]}"#,
            ),
        ] {
            assert_eq!(json_of(&masking, text), expected);
        }
    }

    #[test]
    fn urls_lose_their_secrets_only() {
        let masking = Masking::default().with("sid", Mask::Drop);
        for (url, expected) in [
            ("https://x/a?q=1&token=abc&r=2#f", "https://x/a?q=1&token=***&r=2#f"),
            ("https://x/a?sid=abc&r=2", "https://x/a?r=2"),
            ("https://x/a?sid=abc", "https://x/a"),
            ("/a?p%61ssword=abc&&b", "/a?p%61ssword=***&&b"),
            ("https://ann:pw@x/a", "https://ann:***@x/a"),
            ("https://ghp_abc@x/a", "https://***@x/a"),
            ("https://x/a#access_token=abc&state=1", "https://x/a#access_token=***&state=1"),
            ("https://x/#/in?token=abc", "https://x/#/in?token=***"),
            ("https://x/?sid=abc#sid=abc", "https://x/"),
            ("https://x/a?", "https://x/a?"),
            ("/users/@ann?x", "/users/@ann?x"),
        ] {
            assert_eq!(masking.url(url), expected);
        }
    }

    proptest! {
        #[test]
        fn masked_json_is_json_without_the_values(
            keys in prop::collection::vec(prop_oneof!["pin", "password", "[a-c\"\\\\é]{0,3}"], 0..5),
            leaf in any::<String>(), number in any::<i32>(),
        ) {
            let mut value = json!({ "leaf": leaf, "n": [number, {}] });
            for key in keys {
                value = json!({ "a": 1, key: value, "z": [value] });
            }
            let masking = Masking::none().with("pin", Mask::Drop).with("password", Mask::Redact);
            let text = value.to_string();
            let masked: Value = serde_json::from_str(&json_of(&masking, &text)).unwrap();
            fn expected(value: &Value) -> Value {
                match value {
                    Value::Object(map) => map.iter().filter(|(k, _)| !k.ends_with("pin")).map(|(k, v)| {
                        (k.clone(), if k.ends_with("password") { json!("***") } else { expected(v) })
                    }).collect(),
                    Value::Array(items) => items.iter().map(expected).collect(),
                    other => other.clone(),
                }
            }
            prop_assert_eq!(masked, expected(&value));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let masking = Masking::default();
            masking.json(&text);
            masking.url(&text);
        }
    }
}
