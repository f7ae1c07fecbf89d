//! `@timestamp` as the record itself writes it.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Returns the text of the field that these keys lead to, if it is a date that the default mapping
/// of a date field takes (`strict_date_optional_time`).
pub(crate) fn find<'a>(document: &'a [u8], keys: &[String]) -> Option<Cow<'a, str>> {
    let mut document = serde_json::Deserializer::from_slice(document);
    let text = Field { keys }.deserialize(&mut document).ok().flatten()?;
    is_date(&text).then_some(text)
}

fn is_date(text: &str) -> bool {
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    if day.len() != 10 || NaiveDate::parse_from_str(day, "%Y-%m-%d").is_err() {
        return false;
    }
    let Some(time) = time else { return true };
    let fraction = time.split_once('.').map_or("", |(_, rest)| rest);
    if fraction.bytes().take_while(u8::is_ascii_digit).count() > 9 {
        return false;
    }
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|time| time.naive_local())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"));
    // chrono has leap seconds, Elasticsearch has none.
    parsed.is_ok_and(|time| time.nanosecond() < 1_000_000_000)
}

/// The value that keys lead to, if it is text.
#[derive(Clone, Copy)]
struct Field<'k> {
    keys: &'k [String],
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_next) = map.next_key_seed(Name(self.keys.first()))? {
            // Of fields with the same name the last one counts, as everywhere.
            match self.keys.split_first().filter(|_| is_next) {
                Some((_, keys)) => found = map.next_value_seed(Field { keys })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then_some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.keys.is_empty().then(|| Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(IgnoredAny) = seq.next_element()? {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is this one.
struct Name<'k>(Option<&'k String>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // As bytes: a key with a lone surrogate is not text, and must not hide the others.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(self.0.is_some_and(|name| name.as_bytes() == key))
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.is_some_and(|name| name == key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(document: &str) -> Option<Cow<'_, str>> {
        find(document.as_bytes(), &["audit_event".to_owned(), "date_time".to_owned()])
    }

    #[test]
    fn the_text_is_that_of_the_record() {
        for text in [
            "2022-10-13T12:34:56.000Z",
            "2022-10-13T12:34:56.000+0300",
            "2022-10-13T12:34:56+03:00",
            "2022-10-13T12:34:56.123456789Z",
            "2022-10-13T12:34:56",
            "2022-10-13",
        ] {
            let document = format!(
                r#"{{"a":[1,{{}}],"audit_event":{{"\ud800":1,"date_time":"{text}"}},"date_time":7}}"#
            );
            assert_eq!(found(&document).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_a_date_field_would_refuse_is_not_copied() {
        for text in [
            "2022-10-13 12:34:56Z",
            "2022-10-13T12:34:60Z",
            "2022-10-13T12:34:56.1234567891Z",
            "2022-13-13T12:34:56Z",
            "+12345-01-01",
            "yesterday",
            "",
        ] {
            let document = format!(r#"{{"audit_event":{{"date_time":"{text}"}}}}"#);
            assert_eq!(found(&document), None, "{text}");
        }
        for document in
            ["{}", "7", r#"{"audit_event":"2022-10-13"}"#, r#"{"audit_event":{"date_time":1}}"#]
        {
            assert_eq!(found(document), None, "{document}");
        }
    }

    #[test]
    fn the_last_of_two_counts_and_escapes_are_read() {
        let twice = r#"{"audit_event":{"date_time":"2020-01-01","\u0064ate_time":"2021-01-01"}}"#;
        assert_eq!(found(twice).as_deref(), Some("2021-01-01"));
        let escaped = r#"{"audit_event":{"date_time":"2021\u002d01-01"}}"#;
        assert_eq!(found(escaped).as_deref(), Some("2021-01-01"));
    }
}
