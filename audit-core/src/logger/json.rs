use std::fmt;
use std::io::{self, Write};
use std::mem;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use super::text::{append_units, is_plain, write_fragment};

/// Appends a value as JSON the way Python's `json.dumps` writes it: `, ` and `: ` between tokens,
/// ASCII only, one line. On failure `out` is as it was.
pub(super) fn append<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> serde_json::Result<()> {
    let start = out.len();
    let result = value.serialize(&mut Serializer::with_formatter(&mut *out, Python));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// A value that was given as any [`Serialize`], kept as its JSON text.
#[derive(Clone, PartialEq)]
pub(super) struct Json(String);

impl Default for Json {
    fn default() -> Self {
        Self("null".to_owned())
    }
}

impl Json {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        let mut json = Self(String::new());
        json.set(value)?;
        Ok(json)
    }

    /// Takes a new value, in the memory of the old one. After a failure it is null.
    pub(super) fn set<T: Serialize + ?Sized>(&mut self, value: &T) -> serde_json::Result<()> {
        let mut text = mem::take(&mut self.0).into_bytes();
        text.clear();
        let result = append(&mut text, value);
        match String::from_utf8(text) {
            Ok(text) if result.is_ok() => self.0 = text,
            _ => self.0.push_str("null"),
        }
        result
    }

    /// Copies text that is known to be JSON in Python's form.
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Takes text that is known to be JSON in Python's form.
    pub(super) fn set_text(&mut self, text: String) {
        self.0 = text;
    }

    pub(super) fn get(&self) -> &str {
        &self.0
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.get().len())
    }
}

struct Python;

impl Formatter for Python {
    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        float(writer, format_args!("{value:?}"))
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        float(writer, format_args!("{value:?}"))
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_fragment(writer, fragment)
    }

    /// Text that is JSON already keeps its numbers, its escapes and the order of its keys; space
    /// between tokens becomes Python's, and characters outside ASCII are escaped.
    fn write_raw_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut quoted = false;
        let mut after_backslash = false;
        for c in fragment.chars() {
            match c {
                ' ' | '\t' | '\n' | '\r' if !quoted => continue,
                ',' if !quoted => writer.write_all(b", ")?,
                ':' if !quoted => writer.write_all(b": ")?,
                c if is_plain(c) => writer.write_all(&[c as u8])?,
                c => escape(writer, c)?,
            }
            if c == '"' && !after_backslash {
                quoted = !quoted;
            }
            after_backslash = c == '\\' && !after_backslash;
        }
        Ok(())
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { writer.write_all(b", ") }
}

fn escape<W: ?Sized + Write>(writer: &mut W, c: char) -> io::Result<()> {
    let mut units = Vec::new();
    append_units(&mut units, c);
    writer.write_all(&units)
}

/// Python and Rust agree on the digits and on where exponents begin, but not on how they look:
/// `1e+16` and `1e-05` there, `1e16` and `1e-5` here.
fn float<W: ?Sized + Write>(writer: &mut W, shortest: fmt::Arguments<'_>) -> io::Result<()> {
    let mut buffer = [0; 40];
    let mut free = &mut buffer[..];
    free.write_fmt(shortest)?;
    let left = free.len();
    let text = &buffer[..buffer.len() - left];
    let Some(e) = text.iter().position(|b| *b == b'e') else {
        return writer.write_all(text);
    };
    let (digits, exponent) = (&text[..=e], &text[e + 1..]);
    let (sign, exponent) = match exponent {
        [b'-', rest @ ..] => (b"-", rest),
        rest => (b"+", rest),
    };
    writer.write_all(digits)?;
    writer.write_all(sign)?;
    if exponent.len() < 2 {
        writer.write_all(b"0")?;
    }
    writer.write_all(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn python<T: Serialize + ?Sized>(value: &T) -> String {
        let mut out = Vec::new();
        append(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_like_python_s() {
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e300, "1e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            assert_eq!(python(&value), expected);
        }
        assert_eq!(python(&0.1_f32), "0.1");
        assert!(python(&f64::MIN).len() < 40 && python(&-1.234_567_890_123_456_7e-5).len() < 40);
    }

    #[test]
    fn json_text_inside_a_value_gets_the_same_form() {
        let text = "{\n \"b\" : [1.10,2 , {}],\"a\\\\\":\"x, y:\u{e9} \\\" \\u00E9\"}";
        let value: Box<RawValue> = serde_json::from_str(text).unwrap();
        let expected = "{\"b\": [1.10, 2, {}], \"a\\\\\": \"x, y:\\u00e9 \\\" \\u00E9\"}";
        assert_eq!(python(&value), expected);
        assert_eq!(python(&Json::of(&value).unwrap()), expected);
    }

    #[test]
    fn a_failure_leaves_the_output_as_it_was() {
        let mut out = b"before".to_vec();
        let bad = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(append(&mut out, &("x", bad)).is_err());
        assert_eq!(out, b"before");
    }

    proptest! {
        #[test]
        fn is_one_ascii_line_that_means_the_same(
            text in any::<String>(), key in any::<String>(), number in prop::num::f64::NORMAL,
        ) {
            let value = json!({ key: [text], "z": null, "n": {} });
            let line = python(&value);
            prop_assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", line);
            prop_assert_eq!(&serde_json::from_str::<Value>(&line).unwrap(), &value);
            prop_assert_eq!(python(&Json::of(&value).unwrap()), line);
            prop_assert_eq!(python(&number).parse::<f64>().ok(), Some(number));
        }
    }
}
