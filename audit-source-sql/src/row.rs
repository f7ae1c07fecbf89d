use audit_core::Result;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::intake::Intake;
use crate::keys::Key;

/// The most columns that a layout reads.
const MOST: usize = 20;

/// One row as a dialect shows it, borrowed from its driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) key: Value<'a>,
    /// The id column; `None` when it is the key itself.
    pub(crate) id: Option<Value<'a>>,
    /// The row's own columns that its layout makes a record of.
    pub(crate) content: &'a [Value<'a>],
    /// What other tables say about it: no part of what it is.
    pub(crate) others: &'a [Value<'a>],
}

/// How many columns of each kind a statement returns: the key, the content, what other tables say,
/// and the id if it is not the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    pub(crate) content: usize,
    pub(crate) others: usize,
    pub(crate) id: bool,
}

impl Widths {
    /// Offers a row to the intake; `at` reads a column.
    pub(crate) fn offer<'a>(
        self,
        intake: &mut Intake,
        at: impl Fn(usize) -> Result<Value<'a>>,
    ) -> Result<bool> {
        let mut values = [Value::Null; MOST];
        let width = self.content + self.others;
        let values = read(&mut values, width, &at)?;
        let (content, others) = values.split_at_checked(self.content).unwrap_or((values, &[]));
        let id = if self.id { Some(at(width + 1)?) } else { None };
        Ok(intake.offer(Row { key: at(0)?, id, content, others }))
    }

    /// Returns the print of a row whose key and content a statement returned.
    pub(crate) fn print<'a>(self, at: impl Fn(usize) -> Result<Value<'a>>) -> Result<u64> {
        let mut values = [Value::Null; MOST];
        read(&mut values, self.content, &at).map(print)
    }
}

/// Reads so many columns behind the first.
fn read<'v, 'a>(
    values: &'v mut [Value<'a>; MOST],
    width: usize,
    at: &impl Fn(usize) -> Result<Value<'a>>,
) -> Result<&'v [Value<'a>]> {
    for (value, i) in values.iter_mut().zip(1..=width) {
        *value = at(i)?;
    }
    Ok(values.get(..width).unwrap_or(values))
}

impl Row<'_> {
    /// Returns the print of the content: another message or another `created_at` is another record,
    /// also when the id is reused.
    pub(crate) fn print(&self) -> u64 {
        print(self.content)
    }
}

fn print(content: &[Value<'_>]) -> u64 {
    content.iter().rev().zip(0..).fold(0, |seed, (value, place)| value.hash(seed, place))
}

/// A value of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl Value<'_> {
    /// Returns the value as a key; NULL is none.
    pub(crate) fn key(self) -> Option<Key> {
        Some(match self {
            Value::Null => return None,
            Value::Int(n) => Key::Int(n),
            Value::Real(n) => Key::Real(n.to_bits()),
            Value::Text(bytes) => Key::Text(bytes.into()),
            Value::Blob(bytes) => Key::Blob(bytes.into()),
        })
    }

    fn hash(self, seed: u64, place: u64) -> u64 {
        match self {
            // Not the print of an empty text, nor that of a NULL elsewhere.
            Value::Null => seed.wrapping_add(place),
            Value::Int(n) => xxh3_64_with_seed(&n.to_le_bytes(), seed),
            Value::Real(n) => xxh3_64_with_seed(&n.to_bits().to_le_bytes(), seed),
            Value::Text(bytes) | Value::Blob(bytes) => xxh3_64_with_seed(bytes, seed),
        }
    }
}
