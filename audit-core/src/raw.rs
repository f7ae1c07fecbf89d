use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Deserializer as Parser;
use serde_json::de::StrRead;
use serde_json::value::RawValue;

use crate::{Error, ErrorKind, Result};

/// One JSON value exactly as it was received, byte for byte.
///
/// Parsing into a tree and printing it again would change key order, big integers, `1.10`,
/// duplicate keys and escapes; an audit record must keep them. A `Raw` is always valid JSON.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Raw(Box<str>);

impl Raw {
    /// Takes the text as it is, after checking that it is one JSON value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] with line and column when it is not JSON. The text is not in the
    /// message: it may hold personal data.
    pub fn parse(text: impl Into<Box<str>>) -> Result<Self> {
        let text = text.into();
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Self(text)),
            Err(e) => Err(not_json(&e)),
        }
    }

    /// Takes text that a JSON writer of this crate has just made: it is not looked at again.
    ///
    /// That it is one JSON value is proved by the writer's own tests, and asserted in debug builds.
    pub(crate) fn written(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        debug_assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "not JSON");
        Self(text)
    }

    /// Takes the text as it is and reads the few fields wanted of it, in one pass over the bytes.
    ///
    /// `read` deserializes from the parser it is given, usually a struct that borrows; the whole
    /// text is checked on the way. A record of unforeseen shape is still a good record: when it is
    /// JSON but `read` fails, the result is the raw text and `R::default()`. [`Text`] fields accept
    /// any JSON value, so that one odd field does not cost the others.
    ///
    /// # Errors
    /// As [`Raw::parse`].
    pub fn read<R, F>(text: impl Into<Box<str>>, read: F) -> Result<(Self, R)>
    where
        R: Default,
        F: for<'a> FnOnce(&mut Parser<StrRead<'a>>) -> serde_json::Result<R>,
    {
        let text = text.into();
        let mut parser = Parser::from_str(&text);
        match read(&mut parser).and_then(|fields| parser.end().map(|()| fields)) {
            Ok(fields) => Ok((Self(text), fields)),
            Err(_) => Self::parse(text).map(|raw| (raw, R::default())),
        }
    }

    /// Returns the exact text.
    pub fn get(&self) -> &str {
        &self.0
    }

    /// Returns the text as one line: line breaks, which JSON allows between tokens only, become
    /// spaces. Borrowed when there are none.
    pub fn line(&self) -> Cow<'_, str> {
        let bytes = self.0.as_bytes();
        if memchr::memchr2(b'\n', b'\r', bytes).is_none() {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(self.0.replace(['\n', '\r'], " "))
    }
}

fn not_json(error: &serde_json::Error) -> Error {
    let what = if error.is_eof() { "cut-off JSON" } else { "not valid JSON" };
    Error::new(ErrorKind::InvalidData, what)
        .with("line", error.line())
        .with("column", error.column())
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The payload is audit data: it does not belong in logs.
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Box::<str>::from(value)))
    }
}

/// A field that is wanted as text but may come as any JSON value.
///
/// Strings are borrowed where they have no escapes, numbers and booleans become their text, and
/// null, objects and arrays count as absent: a record whose field changed its type stays readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// Returns the text, or nothing when the field was absent, null, empty or not a scalar.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns the text as an owned string, under the same conditions as [`Text::get`].
    pub fn into_boxed(self) -> Option<Box<str>> {
        self.0.filter(|text| !text.is_empty()).map(|text| text.into_owned().into_boxed_str())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(v))))
    }

    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(v.to_owned()))))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Borrowed(if v { "true" } else { "false" }))))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(v.to_string()))))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(v.to_string()))))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
        Ok(Text(Some(Cow::Owned(v.to_string()))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Deserialize, Default)]
    struct Fields<'a> {
        #[serde(borrow, default)]
        actor: Text<'a>,
    }

    fn actor(text: &str) -> Result<Option<Box<str>>> {
        let (raw, actor) =
            Raw::read(text, |p| Fields::deserialize(p).map(|f| f.actor.into_boxed()))?;
        assert_eq!(raw.get(), text);
        Ok(actor)
    }

    #[test]
    fn keeps_what_a_parsed_tree_would_lose() {
        for text in [
            r#"{"b":1,"a":2,"a":3}"#,
            r#"{"n":123456789012345678901234567890,"f":1.10,"e":1E5}"#,
            r#"{"s":"\u0041\/ \ud800"}"#,
            " {\"padded\" : true}\n",
        ] {
            assert_eq!(Raw::parse(text).unwrap().get(), text);
        }
    }

    #[test]
    fn a_field_of_another_type_costs_neither_the_record_nor_its_neighbours() {
        assert_eq!(actor(r#"{"actor":"ann"}"#).unwrap().as_deref(), Some("ann"));
        assert_eq!(actor(r#"{"actor":7}"#).unwrap().as_deref(), Some("7"));
        assert_eq!(actor(r#"{"actor":{"id":7}}"#).unwrap(), None);
        assert_eq!(actor(r#"{"actor":null}"#).unwrap(), None);
        assert_eq!(actor(r#"{"actor":"\ud800"}"#).unwrap(), None, "lone surrogate");
        assert_eq!(actor(r#"[1,2]"#).unwrap(), None);
    }

    #[test]
    fn refuses_what_is_not_one_json_value() {
        for text in ["", "{", "{}{}", "{\"a\":NaN}", "<html>", "{\"a\":1,}", "\u{feff}{}"] {
            let error = actor(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{text}");
            assert!(Raw::parse(text).is_err());
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert!(Raw::parse(deep.clone()).is_ok());
        assert_eq!(actor(&format!(r#"{{"actor":{deep}}}"#)).unwrap(), None);
    }

    #[test]
    fn debug_shows_no_payload() {
        assert_eq!(format!("{:?}", Raw::parse(r#"{"pin":1}"#).unwrap()), "Raw(9 bytes)");
    }

    proptest! {
        #[test]
        fn one_line_means_the_same_json(depth in 0..4, keys in prop::collection::vec(".*", 0..4)) {
            let mut value = serde_json::json!(keys);
            for _ in 0..depth {
                value = serde_json::json!({ "k": value });
            }
            let raw = Raw::parse(serde_json::to_string_pretty(&value).unwrap()).unwrap();
            let line = raw.line();
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        }
    }
}
