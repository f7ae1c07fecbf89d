use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::sync::LazyLock;

use audit_core::{AuditEvent, Error, ErrorKind, Format, Result};
use chrono::{DateTime, Datelike, Timelike, Utc};
use memchr::memmem::Finder;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::{IdFrom, stamp};

/// The longest `_id` that both products take, in bytes.
const MAX_ID_BYTES: usize = 512;

/// Returns the `_id` of an event.
pub(crate) fn id(event: &AuditEvent, from: IdFrom) -> Result<Cow<'_, str>> {
    let id = match from {
        IdFrom::Event => event.id.as_str(),
        IdFrom::Row => row(event.id.as_str()),
    };
    match id.len() {
        0 => Err(Error::new(ErrorKind::Rejected, "the event has no id")),
        1..=MAX_ID_BYTES => Ok(Cow::Borrowed(id)),
        _ => {
            let mut hashed = String::from("sha256-");
            for byte in Sha256::digest(id.as_bytes()) {
                for digit in [byte >> 4, byte & 15] {
                    hashed.extend(char::from_digit(digit.into(), 16));
                }
            }
            Ok(Cow::Owned(hashed))
        }
    }
}

/// Returns the key of the row in an event id like `audit_logs:42:0123456789abcdef` (table, key, check
/// sum) or `orders/42`: `42`.
fn row(id: &str) -> &str {
    let is_sum =
        |s: &str| s.len() == 16 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let key = match id.rsplit_once(':') {
        Some((rest, sum)) if is_sum(sum) && rest.contains(':') => rest,
        _ => id,
    };
    let key = key.rsplit([':', '/']).next().unwrap_or(key);
    match key.split_once('@') {
        // The place of the row, which is added where the key alone is not declared unique.
        Some((number, _)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            number
        }
        _ => key,
    }
}

/// Appends the document of an event on one line, without a line end: the format's bytes and, if they
/// lack it, `@timestamp` as the last field: the text of the record's own field that the keys in
/// `stamp` lead to, else the event's time.
///
/// On an error nothing is appended.
pub(crate) fn append(
    event: &AuditEvent,
    format: Format,
    stamp: &[String],
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    let appended = format.append_line(event, out).and_then(|()| complete(event, stamp, start, out));
    if appended.is_err() {
        out.truncate(start);
    }
    appended
}

fn complete(event: &AuditEvent, stamp: &[String], start: usize, out: &mut Vec<u8>) -> Result<()> {
    let blank = |b: &u8| b.is_ascii_whitespace();
    while out.len() > start && out.last().is_some_and(blank) {
        out.pop();
    }
    let document = out.get(start..).unwrap_or_default();
    if document.iter().find(|b| !blank(b)) != Some(&b'{') || document.last() != Some(&b'}') {
        return Err(Error::new(ErrorKind::Rejected, "the record is not a JSON object")
            .with_hint("write it with the format `canonical`, which is always one"));
    }
    if has_timestamp(document) {
        return Ok(());
    }
    let own = match stamp {
        [] => None,
        keys => stamp::find(event.raw.get().as_bytes(), keys),
    };
    out.pop();
    let empty = out.iter().rev().find(|b| !blank(b)) == Some(&b'{');
    out.extend_from_slice(if empty { b"\"@timestamp\":\"" } else { b",\"@timestamp\":\"" });
    match own {
        // A date holds nothing that JSON would have to escape.
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => append_time(event.time, out),
    }
    out.extend_from_slice(b"\"}");
    Ok(())
}

/// Returns whether the document of an event has a `@timestamp` that its record lacks.
pub(crate) fn is_stamped(event: &AuditEvent, format: Format) -> bool {
    format != Format::Raw || !has_timestamp(event.raw.get().as_bytes())
}

/// Returns whether a JSON object has the field `@timestamp` itself, not in an object inside.
fn has_timestamp(document: &[u8]) -> bool {
    // The field's name can only be there as it is, or with an escape for one of its characters.
    static PLAIN: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"@timestamp"));
    static ESCAPED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\\u00"));
    if PLAIN.find(document).is_none() && ESCAPED.find(document).is_none() {
        return false;
    }
    serde_json::from_slice::<HasTimestamp>(document).is_ok_and(|found| found.0)
}

struct HasTimestamp(bool);

impl<'de> Deserialize<'de> for HasTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = HasTimestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = false;
                while let Some((Key(is_timestamp), IgnoredAny)) = map.next_entry()? {
                    found |= is_timestamp;
                }
                Ok(HasTimestamp(found))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A key as bytes: one with a lone surrogate is not text, and must not hide the others.
struct Key(bool);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
                Ok(Key(key == b"@timestamp"))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(key == "@timestamp"))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Appends the time as RFC 3339 in UTC, with as many digits of the second as it has.
fn append_time(time: DateTime<Utc>, out: &mut Vec<u8>) {
    let year = time.year();
    if !(0..=9999).contains(&year) {
        // Writing to a vector does not fail.
        _ = write!(out, "{}", time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        return;
    }
    digits(out, year.unsigned_abs(), 4);
    for (mark, number) in [
        (b'-', time.month()),
        (b'-', time.day()),
        (b'T', time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ] {
        out.push(mark);
        digits(out, number, 2);
    }
    // chrono keeps a leap second as 1,000,000,000 nanoseconds and more.
    let nanos = time.nanosecond() % 1_000_000_000;
    if nanos != 0 {
        out.push(b'.');
        match nanos {
            n if n % 1_000_000 == 0 => digits(out, n / 1_000_000, 3),
            n if n % 1_000 == 0 => digits(out, n / 1_000, 6),
            n => digits(out, n, 9),
        }
    }
    out.push(b'Z');
}

/// Appends the last so many digits of a number.
pub(crate) fn digits(out: &mut Vec<u8>, number: u32, places: u32) {
    for place in (0..places).rev() {
        out.push(b'0' + (number / 10_u32.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use audit_core::{EventId, Raw};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn event(raw: &str) -> AuditEvent {
        let time = DateTime::from_timestamp(1_700_000_000, 120_000_000).unwrap();
        AuditEvent::new(EventId::new("t/1"), "db".into(), time, Raw::parse(raw).unwrap())
    }

    fn document(raw: &str) -> String {
        let mut out = b"before\n".to_vec();
        append(&event(raw), Format::Raw, &[], &mut out).unwrap();
        String::from_utf8(out).unwrap().strip_prefix("before\n").unwrap().to_owned()
    }

    const STAMP: &str = r#""@timestamp":"2023-11-14T22:13:20.120Z""#;

    #[test]
    fn a_timestamp_is_added_where_there_is_none() {
        for (raw, end) in [
            (r#"{"a":1.10,"a":2}"#, ","),
            (r#"{"a":{"@timestamp":1}}"#, ","),
            (r#"{"a":"@timestamp"}"#, ","),
            (r#"{"a":["@timestamp"],"\ud800":"\u0040"}"#, ","),
            ("{}", ""),
            ("{ }", ""),
            ("{\n}", ""),
        ] {
            let begin = raw.strip_suffix('}').unwrap().replace('\n', " ");
            assert_eq!(document(raw), format!("{begin}{end}{STAMP}}}"), "{raw}");
        }
        assert_eq!(document("{\"a\":{}\r\n} \n"), format!("{{\"a\":{{}}  ,{STAMP}}}"));
    }

    #[test]
    fn a_timestamp_that_is_there_stays() {
        for raw in [
            r#"{"@timestamp":"2020-01-01","a":1}"#,
            r#"{"a":1,"@timestamp":null}"#,
            r#"{"a":1,"\u0040timestamp":1}"#,
            r#"{"a":1,"@\u0074imestamp":1}"#,
            r#"{"\ud800":1,"@timestamp":1}"#,
        ] {
            assert_eq!(document(raw), raw);
        }
    }

    #[test]
    fn a_timestamp_can_be_the_records_own_text() {
        let keys = ["e".to_owned(), "t".to_owned()];
        for (raw, stamp) in [
            (r#"{"e":{"t":"2022-10-13T12:34:56.000+0300"}}"#, "2022-10-13T12:34:56.000+0300"),
            (r#"{"e":{"t":"soon"}}"#, "2023-11-14T22:13:20.120Z"),
        ] {
            let mut out = Vec::new();
            append(&event(raw), Format::Raw, &keys, &mut out).unwrap();
            let begin = raw.strip_suffix('}').unwrap();
            let expected = format!(r#"{begin},"@timestamp":"{stamp}"}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused_unless_wrapped() {
        for raw in ["[1]", "\"a\"", "7", "null", "[{}]"] {
            let mut out = b"kept".to_vec();
            let error = append(&event(raw), Format::Raw, &[], &mut out).unwrap_err();
            assert_eq!((error.kind(), &out[..]), (ErrorKind::Rejected, &b"kept"[..]));
            append(&event(raw), Format::Canonical, &[], &mut out).unwrap();
        }
    }

    #[test]
    fn ids_are_those_of_the_events_or_of_the_rows() {
        let made = |id: &str, from| {
            let mut event = event("{}");
            event.id = EventId::new(id);
            super::id(&event, from).map(Cow::into_owned)
        };
        let long = "x".repeat(513);
        assert_eq!(made("a/1", IdFrom::Event).unwrap(), "a/1");
        assert_eq!(made(&"y".repeat(512), IdFrom::Event).unwrap().len(), 512);
        // Never changes: an event sent again by a later version must meet the first.
        assert_eq!(
            made(&long, IdFrom::Event).unwrap(),
            "sha256-35ade0090e64e74d6ad04204009c23a4e34b82bdf0f4f317fbcc5f26f9b10241"
        );
        assert_eq!(made("", IdFrom::Event).unwrap_err().kind(), ErrorKind::Rejected);
        for (id, row) in [
            ("audit_logs:42:0123456789abcdef", "42"),
            ("prod:audit_logs:42:0123456789abcdef", "42"),
            ("audit_logs:42@7:0123456789abcdef", "42"),
            ("audit_logs:a@b:0123456789abcdef", "a@b"),
            ("orders-db/audit_log/42", "42"),
            ("42", "42"),
        ] {
            assert_eq!(made(id, IdFrom::Row).unwrap(), row);
        }
        assert!(made("a/", IdFrom::Row).is_err());
    }

    #[test]
    fn times_are_written_as_chrono_does() {
        for text in [
            "1969-12-31T23:59:59Z",
            "2026-02-28T01:02:03.5Z",
            "2026-01-01T00:00:00.000001Z",
            "0000-01-01T00:00:00.000000001Z",
            "9999-12-31T23:59:59.999999999Z",
            "+12345-01-01T00:00:00Z",
            "-0001-01-01T00:00:00Z",
        ] {
            let time: DateTime<Utc> = text.parse().unwrap();
            let mut out = Vec::new();
            append_time(time, &mut out);
            let expected = time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            Just(Value::from("@timestamp")),
        ];
        let key = prop_oneof![Just("@timestamp".to_owned()), ".{0,6}"];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..4).prop_map(|map| Value::from(
                    map.into_iter().collect::<serde_json::Map<_, _>>()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_is_the_record_and_a_timestamp(value in json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            let event = event(&text);
            let mut out = Vec::new();
            match append(&event, Format::Raw, &[], &mut out) {
                Err(_) => prop_assert!(!value.is_object()),
                Ok(()) => {
                    let line = event.raw.line();
                    let (line, out) = (line.trim_end().as_bytes(), &out[..]);
                    prop_assert!(out.starts_with(&line[..line.len() - 1]));
                    prop_assert!(!out.contains(&b'\n'));
                    let mut stored: Value = serde_json::from_slice(out).unwrap();
                    if value.get("@timestamp").is_none() {
                        prop_assert!(stored.as_object_mut().unwrap().remove("@timestamp").is_some());
                    }
                    prop_assert_eq!(stored, value);
                }
            }
        }
    }
}
