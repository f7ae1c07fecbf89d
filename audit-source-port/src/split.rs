//! Where the parts of a JSON text begin and end, without looking into them.
//!
//! A record has to keep its exact bytes, and one that is broken inside must not cost its
//! neighbours. So an answer is first cut at its outer brackets and commas, and then each part is
//! parsed, strictly, by itself.

use memchr::{memchr2, memchr3};

/// Why a text could not be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It ends too early.
    Cut,
    /// It is not what it should be at this byte.
    At(usize),
}

type Result<T> = std::result::Result<T, Broken>;

/// Goes through a text from its outer parts to its inner ones.
#[derive(Debug)]
pub(crate) struct Splitter<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Splitter<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Cuts an object: `each` gets the name of a member as written, with its quotes, and has to go
    /// past its value.
    pub(crate) fn members(
        &mut self,
        mut each: impl FnMut(&'a [u8], &mut Self) -> Result<()>,
    ) -> Result<()> {
        self.expect(b'{')?;
        if self.closes(b'}')? {
            return Ok(());
        }
        loop {
            let start = self.at;
            let name = self.value()?;
            if name.first() != Some(&b'"') {
                return Err(Broken::At(start));
            }
            self.expect(b':')?;
            each(name, self)?;
            if self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Cuts an array into its elements.
    pub(crate) fn elements(&mut self, mut each: impl FnMut(&'a [u8])) -> Result<()> {
        self.expect(b'[')?;
        if self.closes(b']')? {
            return Ok(());
        }
        loop {
            each(self.value()?);
            if self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Goes past one value, whatever is in it, and returns it.
    pub(crate) fn value(&mut self) -> Result<&'a [u8]> {
        let first = self.peek().ok_or(Broken::Cut)?;
        let start = self.at;
        match first {
            b'"' => self.string()?,
            b'{' | b'[' => self.nested()?,
            b',' | b':' | b'}' | b']' => return Err(Broken::At(start)),
            _ => self.scalar(),
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Broken::At(self.at)),
        }
    }

    /// Returns the next byte that is not white space, without going past it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Broken::At(self.at)),
            None => Err(Broken::Cut),
        }
    }

    /// Goes past a closing bracket, if it is next.
    fn closes(&mut self, bracket: u8) -> Result<bool> {
        let found = self.peek().ok_or(Broken::Cut)? == bracket;
        self.at += usize::from(found);
        Ok(found)
    }

    /// Goes past a comma, or past the closing bracket: then returns true.
    fn goes_on(&mut self, bracket: u8) -> Result<bool> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            _ => {
                self.expect(bracket)?;
                Ok(true)
            }
        }
    }

    fn string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let step = memchr2(b'"', b'\\', rest).ok_or(Broken::Cut)?;
            let escapes = rest.get(step) == Some(&b'\\');
            self.at += step + if escapes { 2 } else { 1 };
            if !escapes {
                return Ok(());
            }
        }
    }

    /// Counts brackets of both kinds together: if they do not match, the part is no JSON, which is
    /// found when it is parsed.
    fn nested(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match self.text.get(self.at).ok_or(Broken::Cut)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn scalar(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = memchr3(b',', b'}', b']', rest).unwrap_or(rest.len());
        let scalar = rest.get(..end).unwrap_or_default().trim_ascii_end();
        self.at += scalar.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn parts(array: &str) -> Result<Vec<&str>> {
        let (mut splitter, mut parts) = (Splitter::new(array.as_bytes()), Vec::new());
        splitter.elements(|part| parts.push(text(part)))?;
        splitter.end()?;
        Ok(parts)
    }

    fn pairs(object: &str) -> Result<Vec<(&str, &str)>> {
        let (mut splitter, mut pairs) = (Splitter::new(object.as_bytes()), Vec::new());
        splitter.members(|name, rest| {
            pairs.push((text(name), text(rest.value()?)));
            Ok(())
        })?;
        splitter.end()?;
        Ok(pairs)
    }

    #[test]
    fn cuts_at_the_outermost_commas_only() {
        let array = r#" [ {"a":[1,2]} ,"x,]\"\\", -1.5e3 ,[],null, {"b":"}"}]"#;
        let expected = [r#"{"a":[1,2]}"#, r#""x,]\"\\""#, "-1.5e3", "[]", "null", r#"{"b":"}"}"#];
        assert_eq!(parts(array).unwrap(), expected);
        assert_eq!(parts("[]").unwrap(), [""; 0]);
        let object = "{ \"ok\" : true, \"audits\":[{}]\n}\n";
        assert_eq!(pairs(object).unwrap(), [("\"ok\"", "true"), ("\"audits\"", "[{}]")]);
        assert_eq!(pairs("{}").unwrap(), []);
    }

    #[test]
    fn a_part_that_is_broken_inside_is_cut_out_whole() {
        let array = r#"[{"n":NaN},{"a" "b"},nonsense,{"n":1}]"#;
        assert_eq!(
            parts(array).unwrap(),
            [r#"{"n":NaN}"#, r#"{"a" "b"}"#, "nonsense", r#"{"n":1}"#]
        );
    }

    #[test]
    fn a_text_that_ends_early_is_told_from_one_that_is_something_else() {
        let whole = r#"{"ok":true,"audits":[{"a":"\\"},{"b":[1,{}]}]}"#;
        for end in 0..whole.len() {
            let part = whole.get(..end).unwrap();
            assert_eq!(pairs(part), Err(Broken::Cut), "{part}");
        }
        for text in ["<html>", "[]", "null", "{,}", "{\"a\"}", "{\"a\":}", "{a:1}", "{}{}", "{} x"]
        {
            assert!(matches!(pairs(text), Err(Broken::At(_))), "{text}");
        }
        for text in ["{}", "[,]", "[1,]", "[1 2"] {
            assert!(matches!(parts(text), Err(Broken::At(_) | Broken::Cut)), "{text}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        let array = format!("[{deep},1]");
        assert_eq!(parts(&array).unwrap(), [deep.as_str(), "1"]);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\\\\\"{}\\[\\],:é😀\u{0}-\u{1f}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_strict_parser(values in prop::collection::vec(json(), 0..6), pretty: bool) {
            let value = Value::from(values);
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = write(&value).unwrap();
            let strict: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
            let strict: Vec<_> = strict.into_iter().map(RawValue::get).collect();
            prop_assert_eq!(parts(&text).unwrap(), strict);
            let text = format!("{{\"audits\": {text} }}");
            prop_assert_eq!(pairs(&text).unwrap().len(), 1);
        }

        #[test]
        fn no_bytes_are_too_strange(text: Vec<u8>) {
            let mut length = 0;
            _ = Splitter::new(&text).elements(|part| length += part.len());
            prop_assert!(length <= text.len());
            _ = Splitter::new(&text).members(|_, rest| rest.value().map(drop));
        }
    }
}
