use std::fmt::Write;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

/// What a table orders its rows by, and a mark names them by: a rowid, or a primary key of any type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Int(i64),
    /// The bits of the number.
    Real(u64),
    /// Not always UTF-8: databases do not check.
    Text(Box<[u8]>),
    Blob(Box<[u8]>),
}

impl Key {
    /// Returns the part of a row's checksum that stands for this key.
    pub(crate) fn mix(&self, print: u64) -> u64 {
        match self {
            Self::Int(n) => xxh3_64_with_seed(&n.to_le_bytes(), print),
            Self::Real(bits) => xxh3_64_with_seed(&bits.to_le_bytes(), !print),
            Self::Text(bytes) => xxh3_64_with_seed(bytes, print),
            Self::Blob(bytes) => xxh3_64_with_seed(bytes, !print),
        }
    }
}

/// Consecutive integer keys, first and last, or one key of another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Run(i64, i64),
    One(Key),
}

/// The keys of some rows, in the order in which they were read: integers as runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Item>", into = "Vec<Item>")]
pub(crate) struct Keys(Vec<Span>);

impl Keys {
    pub(crate) fn push(&mut self, key: Key) {
        match (self.0.last_mut(), key) {
            (Some(Span::Run(_, last)), Key::Int(n)) if last.checked_add(1) == Some(n) => *last = n,
            (_, Key::Int(n)) => self.0.push(Span::Run(n, n)),
            (_, key) => self.0.push(Span::One(key)),
        }
    }

    /// Appends whole numbers, first and last.
    pub(crate) fn push_run(&mut self, first: i64, last: i64) {
        self.extend(&Self(vec![Span::Run(first, last)]));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the keys of a later batch.
    pub(crate) fn extend(&mut self, later: &Self) {
        for span in &later.0 {
            match (self.0.last_mut(), span) {
                (Some(Span::Run(_, last)), Span::Run(a, b)) if last.checked_add(1) == Some(*a) => {
                    *last = *b;
                }
                _ => self.0.push(span.clone()),
            }
        }
    }

    pub(crate) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Returns every key. Only for keys that were read: a run of a cursor may be of any length.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Key> {
        self.0.iter().flat_map(|span| {
            let (run, one) = match span {
                Span::Run(a, b) => (Some(*a..=*b), None),
                Span::One(key) => (None, Some(key.clone())),
            };
            run.into_iter().flatten().map(Key::Int).chain(one)
        })
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.push(key));
        all
    }
}

/// The form in a cursor: `7`, `[1,6000]`, `"key"`, `{"blob":"00ff"}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Item {
    Run(i64, i64),
    Int(i64),
    Text(String),
    Hex(Hex),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Hex {
    Blob(String),
    Real(String),
    Text(String),
}

impl From<Keys> for Vec<Item> {
    fn from(keys: Keys) -> Self {
        let item = |span| match span {
            Span::Run(a, b) if a == b => Item::Int(a),
            Span::Run(a, b) => Item::Run(a, b),
            Span::One(Key::Int(n)) => Item::Int(n),
            Span::One(Key::Real(bits)) => Item::Hex(Hex::Real(hex(&bits.to_be_bytes()))),
            Span::One(Key::Blob(bytes)) => Item::Hex(Hex::Blob(hex(&bytes))),
            Span::One(Key::Text(bytes)) => match String::from_utf8(bytes.into_vec()) {
                Ok(text) => Item::Text(text),
                Err(e) => Item::Hex(Hex::Text(hex(e.as_bytes()))),
            },
        };
        keys.0.into_iter().map(item).collect()
    }
}

impl TryFrom<Vec<Item>> for Keys {
    type Error = &'static str;

    fn try_from(items: Vec<Item>) -> Result<Self, &'static str> {
        let broken = "a key that is not hexadecimal";
        let mut keys = Self::default();
        for item in items {
            let key = match item {
                Item::Run(a, b) if a <= b => {
                    keys.push_run(a, b);
                    continue;
                }
                Item::Run(..) => return Err("a run of keys that ends before it begins"),
                Item::Int(n) => Key::Int(n),
                Item::Text(text) => Key::Text(text.into_bytes().into()),
                Item::Hex(Hex::Text(text)) => Key::Text(unhex(&text).ok_or(broken)?.into()),
                Item::Hex(Hex::Blob(text)) => Key::Blob(unhex(&text).ok_or(broken)?.into()),
                Item::Hex(Hex::Real(text)) => {
                    Key::Real(u64::from_str_radix(&text, 16).map_err(|_| broken)?)
                }
            };
            keys.push(key);
        }
        Ok(keys)
    }
}

/// Appends bytes as lower-case hexadecimal.
pub(crate) fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from(DIGITS[usize::from(nibble)]));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [a, b] => Some((digit(*a)? * 16 + digit(*b)?) as u8),
            _ => None,
        })
        .collect()
}

/// Returns a name with everything escaped that could be taken for a part of an id's structure:
/// different names stay different. A very long one becomes its hash.
pub(crate) fn escape(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' | b'/' | b'+' => {
                out.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    if out.len() > 160 {
        // Search engines take ids of at most 512 bytes.
        out = format!("#{:032x}", xxh3_128(name));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Vec<Key>> {
        let key = prop_oneof![
            4 => (-3..12_i64).prop_map(Key::Int),
            1 => any::<i64>().prop_map(Key::Int),
            1 => Just(Key::Int(i64::MAX)),
            1 => any::<u64>().prop_map(Key::Real),
            1 => any::<Vec<u8>>().prop_map(|b| Key::Text(b.into())),
            1 => ".*".prop_map(|s: String| Key::Text(s.into_bytes().into())),
            1 => any::<Vec<u8>>().prop_map(|b| Key::Blob(b.into())),
        ];
        prop::collection::vec(key, 0..40)
    }

    #[test]
    fn consecutive_integers_are_one_run_and_others_are_not_joined() {
        let keys: Keys = [1, 2, 3, 5, 9, 10].map(Key::Int).into_iter().collect();
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(text, "[[1,3],5,[9,10]]");
        let mut keys: Keys = (1..=6000).map(Key::Int).collect();
        keys.extend(&(6001..=9000).map(Key::Int).collect());
        keys.push(Key::Blob([0, 255].into()));
        keys.push(Key::Text(b"a".as_slice().into()));
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(text, r#"[[1,9000],{"blob":"00ff"},"a"]"#);
    }

    #[test]
    fn a_broken_cursor_is_refused() {
        for text in ["[[2,1]]", r#"[{"blob":"0"}]"#, r#"[{"blob":"zz"}]"#, "[1.5]", "[[1,2,3]]"] {
            assert!(serde_json::from_str::<Keys>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_survive_as_runs_and_as_json(list in keys(), at in 0..40_usize) {
            let (first, second) = list.split_at(at.min(list.len()));
            let mut keys: Keys = first.iter().cloned().collect();
            keys.extend(&second.iter().cloned().collect());
            prop_assert_eq!(keys.iter().collect::<Vec<_>>(), list.clone());
            let json = serde_json::to_string(&keys).unwrap();
            let read: Keys = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), list);
        }

        #[test]
        fn escaping_keeps_different_names_apart(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            let (x, y) = (escape(&a), escape(&b));
            prop_assert_eq!(a == b, x == y);
            prop_assert!(x.bytes().all(|c| c.is_ascii_graphic() && c != b':' && c != b'@' && c != b'\''));
        }
    }
}
