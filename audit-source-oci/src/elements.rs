use std::io::{self, Read};

use audit_core::{Error, ErrorKind, Result};

/// How much is read at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// Splits the text of a JSON array into its elements, each exactly as it stands there.
///
/// It looks at strings and brackets only: what is between them is for the reader of an element to
/// judge. So one bad element does not cost its neighbours, and memory is one element and one block.
pub(crate) struct Elements<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the element under way begins.
    begin: usize,
    /// Up to where the buffer was looked at.
    at: usize,
    depth: usize,
    place: Place,
    max_bytes: usize,
    /// The element under way is longer than allowed: what comes is no longer kept.
    cut: bool,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    BeforeArray,
    BeforeElement { first: bool },
    InElement,
    InString,
    Escaped,
    AfterArray,
}

/// One element.
#[derive(Debug, PartialEq)]
pub(crate) enum Element<'a> {
    /// Its bytes.
    Whole(&'a [u8]),
    /// It is longer than allowed: the bytes it begins with.
    Cut(&'a [u8]),
}

enum Step {
    Element { end: usize },
    NeedsMore,
    End,
}

impl<R: Read> Elements<R> {
    /// Begins before the array. Elements longer than `max_bytes` are cut.
    pub(crate) fn new(input: R, max_bytes: usize) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            begin: 0,
            at: 0,
            depth: 0,
            place: Place::BeforeArray,
            max_bytes,
            cut: false,
            ended: false,
        }
    }

    /// Returns the next element, or nothing behind the end of the array.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] when the text is not an array, [`ErrorKind::Unavailable`] when it
    /// ends before the array does.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'_>>> {
        loop {
            match self.scan()? {
                Step::Element { end } => {
                    let begin = std::mem::replace(&mut self.begin, end);
                    let cut = std::mem::take(&mut self.cut);
                    let text = self.buffer.get(begin..end).unwrap_or_default().trim_ascii_end();
                    let cut = cut || text.len() > self.max_bytes;
                    return Ok(Some(if cut {
                        Element::Cut(text.get(..self.max_bytes).unwrap_or(text))
                    } else {
                        Element::Whole(text)
                    }));
                }
                Step::End => return Ok(None),
                Step::NeedsMore => self.fill()?,
            }
        }
    }

    fn scan(&mut self) -> Result<Step> {
        while let Some(byte) = self.buffer.get(self.at).copied() {
            match self.place {
                Place::InElement => match byte {
                    b'"' => self.place = Place::InString,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => self.depth -= 1,
                    b',' | b']' if self.depth == 0 => {
                        let end = self.at;
                        self.place = if byte == b',' {
                            Place::BeforeElement { first: false }
                        } else {
                            Place::AfterArray
                        };
                        self.at += 1;
                        return Ok(Step::Element { end });
                    }
                    _ => {}
                },
                Place::InString => {
                    let rest = self.buffer.get(self.at..).unwrap_or_default();
                    match memchr::memchr2(b'"', b'\\', rest) {
                        None => {
                            self.at = self.buffer.len();
                            continue;
                        }
                        Some(n) => {
                            self.at += n;
                            let quote = rest.get(n) == Some(&b'"');
                            self.place = if quote { Place::InElement } else { Place::Escaped };
                        }
                    }
                }
                Place::Escaped => self.place = Place::InString,
                _ if byte.is_ascii_whitespace() => {}
                Place::BeforeArray if byte == b'[' => {
                    self.place = Place::BeforeElement { first: true };
                }
                Place::BeforeElement { first: true } if byte == b']' => {
                    self.place = Place::AfterArray;
                }
                Place::BeforeElement { .. } => {
                    self.begin = self.at;
                    self.place = Place::InElement;
                    continue;
                }
                Place::BeforeArray => return Err(invalid("the answer is not a JSON array")),
                Place::AfterArray => return Err(invalid("the answer goes on behind its array")),
            }
            self.at += 1;
        }
        match (self.ended, self.place) {
            (false, _) => Ok(Step::NeedsMore),
            (true, Place::AfterArray) => Ok(Step::End),
            (true, _) => Err(Error::new(ErrorKind::Unavailable, "the answer is cut off")),
        }
    }

    /// Reads on, after dropping what is done with.
    fn fill(&mut self) -> Result<()> {
        let within = matches!(self.place, Place::InElement | Place::InString | Place::Escaped);
        let mut keep = if within { self.begin } else { self.at };
        if within && self.at - self.begin > self.max_bytes {
            // Only its beginning is kept.
            self.cut = true;
            self.buffer.truncate(self.begin + self.max_bytes);
            self.at = self.buffer.len();
        }
        keep = keep.min(self.buffer.len());
        self.buffer.drain(..keep);
        self.begin = 0;
        self.at -= keep;
        let length = self.buffer.len();
        self.buffer.resize(length + BLOCK_BYTES, 0);
        let read = loop {
            match self.input.read(self.buffer.get_mut(length..).unwrap_or_default()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.map_err(|e| {
            Error::new(ErrorKind::Unavailable, "cannot read a page that waited on disk").because(e)
        })?;
        self.buffer.truncate(length + read);
        self.ended = read == 0;
        Ok(())
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its text in pieces of `step` bytes.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn split(text: &str, step: usize, max: usize) -> Result<Vec<(bool, String)>> {
        let mut elements = Elements::new(Drip(text.as_bytes(), step), max);
        let mut found = Vec::new();
        while let Some(element) = elements.next()? {
            let (whole, bytes) = match element {
                Element::Whole(bytes) => (true, bytes),
                Element::Cut(bytes) => (false, bytes),
            };
            found.push((whole, String::from_utf8_lossy(bytes).into_owned()));
        }
        Ok(found)
    }

    fn whole(texts: &[&str]) -> Vec<(bool, String)> {
        texts.iter().map(|text| (true, (*text).to_owned())).collect()
    }

    #[test]
    fn elements_come_as_they_stand() {
        let text = " [ {\"a\": \"],[\\\"\" , \"b\":[1,[2]]} ,\n3.10,\"x\\\\\" , [], {} ]\r\n ";
        let parts = ["{\"a\": \"],[\\\"\" , \"b\":[1,[2]]}", "3.10", "\"x\\\\\"", "[]", "{}"];
        for step in 1..=text.len() {
            assert_eq!(split(text, step, 100).unwrap(), whole(&parts), "step {step}");
        }
        assert_eq!(split("[]", 1, 100).unwrap(), []);
        assert_eq!(split(" [ \n ] ", 3, 100).unwrap(), []);
    }

    #[test]
    fn a_bad_element_does_not_cost_its_neighbours() {
        let parts = [r#"{"a":1}"#, r#"{"a":nope"x"}"#, "", r#"{"b":2}"#];
        assert_eq!(split(&format!("[{}]", parts.join(",")), 9, 100).unwrap(), whole(&parts));
    }

    #[test]
    fn d19_cut_off_html_and_empty_are_different_outcomes() {
        let kind = |text| split(text, 5, 100).unwrap_err().kind();
        for text in ["", " ", "[", "[{\"a\":1}", "[{\"a\":1},", "[{\"a\":\"]", "[{\"a\":1}, {\"b\""]
        {
            assert_eq!(kind(text), ErrorKind::Unavailable, "{text}");
        }
        for text in ["<html>[]", "{\"code\":1}", "[] x", "[1]]", "null"] {
            assert_eq!(kind(text), ErrorKind::InvalidData, "{text}");
        }
    }

    #[test]
    fn n05_an_element_that_is_too_long_is_cut_and_the_rest_goes_on() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * BLOCK_BYTES));
        let text = format!("[1,{long},2]");
        for step in [1000, BLOCK_BYTES, usize::MAX] {
            let mut elements = Elements::new(Drip(text.as_bytes(), step), 50);
            assert_eq!(elements.next().unwrap(), Some(Element::Whole(b"1")));
            assert_eq!(elements.next().unwrap(), Some(Element::Cut(&long.as_bytes()[..50])));
            assert!(
                elements.buffer.capacity() <= 4 * BLOCK_BYTES,
                "{}",
                elements.buffer.capacity()
            );
            assert_eq!(elements.next().unwrap(), Some(Element::Whole(b"2")));
            assert_eq!(elements.next().unwrap(), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_the_elements_are_the_same(
            values in prop::collection::vec(r#"[a-z{}\[\]",:\\ ]{0,12}"#, 0..6),
            step in 1_usize..20,
        ) {
            let texts: Vec<_> = values.iter().map(|v| serde_json::to_string(&[v]).unwrap()).collect();
            let text = format!("[{}]", texts.join(" , "));
            let expected: Vec<_> = texts.iter().map(|t| (true, t.clone())).collect();
            prop_assert_eq!(split(&text, step, 1000).unwrap(), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(prop::sample::select(
            b"[]{}\",\\ a1".to_vec()), 0..40), step in 1_usize..9, max in 1_usize..9)
        {
            let text = String::from_utf8(text).unwrap();
            drop(split(&text, step, max));
        }
    }
}
