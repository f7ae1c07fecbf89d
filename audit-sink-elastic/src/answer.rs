use std::borrow::Cow;
use std::fmt;

use audit_core::Text;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How much of a text of the server is repeated in an error, in characters.
const MAX_REASON_CHARS: usize = 400;

/// The answer to a `_bulk` request, borrowed from its bytes.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<'a> {
    #[serde(borrow)]
    pub(crate) items: Vec<Outcome<'a>>,
}

/// What became of one document.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// An HTTP status.
    pub(crate) status: u16,
    /// Its `error`, if it failed.
    pub(crate) error: Option<&'a RawValue>,
    /// It was not stored where it should be, but in the failure store of the data stream.
    pub(crate) in_failure_store: bool,
}

impl Outcome<'_> {
    /// Returns what the server says about the failure.
    pub(crate) fn cause(&self) -> Cause {
        self.error.map(Cause::of).unwrap_or_default()
    }
}

/// An item is an object with one field, named after the action (`create`).
impl<'de: 'a, 'a> Deserialize<'de> for Outcome<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            status: u16,
            #[serde(borrow, default)]
            error: Option<&'a RawValue>,
            #[serde(borrow, default)]
            failure_store: Option<Cow<'a, str>>,
        }
        struct Item;
        impl<'de> Visitor<'de> for Item {
            type Value = Outcome<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item of a bulk answer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let Some((IgnoredAny, fields)) = map.next_entry::<_, Fields<'de>>()? else {
                    return Err(serde::de::Error::missing_field("create"));
                };
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Outcome {
                    status: fields.status,
                    error: fields.error,
                    in_failure_store: fields.failure_store.as_deref() == Some("used"),
                })
            }
        }
        deserializer.deserialize_map(Item)
    }
}

/// What a server says about a failure; bounded and fit to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `mapper_parsing_exception`; empty if there is none.
    pub(crate) kind: String,
    /// The sentence for people; may be empty.
    pub(crate) reason: String,
    /// The concrete index.
    pub(crate) index: Option<String>,
}

impl Cause {
    /// Reads an `error`: an object, or a text with old versions and some proxies.
    fn of(error: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default, rename = "type")]
            kind: Text<'a>,
            #[serde(borrow, default)]
            reason: Text<'a>,
            #[serde(borrow, default)]
            index: Text<'a>,
            #[serde(borrow, default)]
            caused_by: Option<Deeper<'a>>,
        }
        #[derive(Deserialize)]
        struct Deeper<'a> {
            #[serde(borrow, default)]
            reason: Text<'a>,
        }
        let text = error.get();
        if let Ok(fields) = serde_json::from_str::<Fields<'_>>(text) {
            let reason = fields.reason.get().unwrap_or_default();
            // "failed to parse" alone says nothing.
            let deeper = fields.caused_by.as_ref().and_then(|cause| cause.reason.get());
            let reason = match deeper.filter(|deeper| !reason.contains(deeper)) {
                Some(deeper) => Cow::Owned(format!("{reason}: {deeper}")),
                None => Cow::Borrowed(reason),
            };
            return Self {
                kind: shown(fields.kind.get().unwrap_or_default()),
                reason: shown(&reason),
                // As it is: it goes back to the server.
                index: fields.index.get().map(str::to_owned),
            };
        }
        let reason = serde_json::from_str::<Cow<'_, str>>(text).unwrap_or(Cow::Borrowed(text));
        Self { reason: shown(&reason), ..Self::default() }
    }

    /// Reads the body of an answer that is an error as a whole.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        match serde_json::from_slice::<Whole<'_>>(body) {
            Ok(whole) => Self::of(whole.error),
            Err(_) => Self::default(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => f.write_str("no reason given"),
            ("", text) | (text, "") => f.write_str(text),
            (kind, reason) => write!(f, "{kind}: {reason}"),
        }
    }
}

/// Returns a text of somebody else for people to read: not too long, without control characters
/// and without marks that turn the direction of writing.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == MAX_REASON_CHARS {
            out.push('…');
            break;
        }
        match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [&str; 2] = [
        include_str!("../tests/data/bulk_response_example1.json"),
        include_str!("../tests/data/bulk_response_example2.json"),
    ];

    #[test]
    fn published_answers_are_read() {
        let statuses = |text| {
            let answer: Answer<'_> = serde_json::from_str(text).unwrap();
            answer.items.iter().map(|i| (i.status, i.cause().kind)).collect::<Vec<_>>()
        };
        let plain = |status| (status, String::new());
        let missing = || (404, "document_missing_exception".to_owned());
        assert_eq!(statuses(SAMPLES[0]), [plain(201), plain(404), plain(201), plain(200)]);
        assert_eq!(statuses(SAMPLES[1]), [missing(), missing(), plain(201)]);
        // Its `filter_path` left out the status: nothing can be said of such items.
        let filtered = include_str!("../tests/data/bulk_response_example3.json");
        assert!(serde_json::from_str::<Answer<'_>>(filtered).is_err());
    }

    #[test]
    fn an_error_is_read_in_every_form() {
        let cause = |error: &str| {
            let text = format!(r#"{{"items":[{{"create":{{"status":400,"error":{error}}}}}]}}"#);
            let answer: Answer<'_> = serde_json::from_str(&text).unwrap();
            answer.items[0].cause().to_string()
        };
        assert_eq!(cause(r#"{"type":"t","reason":"r","x":[1]}"#), "t: r");
        assert_eq!(cause(r#"{"type":"t","reason":null}"#), "t");
        assert_eq!(cause(r#""Timeout[1m]""#), "Timeout[1m]");
        assert_eq!(cause("{}"), "no reason given");
        let deep = r#"{"type":"t","reason":"r","caused_by":{"type":"u","reason":"because"}}"#;
        assert_eq!(cause(deep), "t: r: because");
        assert_eq!(cause(r#"{"type":"t","reason":"\ud800"}"#), r#"{"type":"t","reason":"\ud800"}"#);
    }

    #[test]
    fn a_reason_is_short_and_harmless() {
        assert_eq!(shown("a\u{1b}[31m\r\nb\u{202e}c é"), r"a\u{1b}[31m\r\nb\u{202e}c é");
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), MAX_REASON_CHARS + 1);
        let html = b"<html><body>502 Bad Gateway</body></html>";
        assert_eq!(Cause::of_body(html), Cause::default());
        let body = br#"{"error":{"root_cause":[],"type":"security_exception","reason":"no"},"status":403}"#;
        assert_eq!(Cause::of_body(body).to_string(), "security_exception: no");
    }

    #[test]
    fn the_failure_store_is_seen() {
        let text = r#"{"errors":false,"items":[
            {"create":{"status":201,"failure_store":"used"}},
            {"create":{"status":201,"failure_store":"not_applicable_or_unknown"}}]}"#;
        let answer: Answer<'_> = serde_json::from_str(text).unwrap();
        let used: Vec<_> = answer.items.iter().map(|item| item.in_failure_store).collect();
        assert_eq!(used, [true, false]);
    }
}
