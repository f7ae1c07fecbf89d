//! Reads the few fields that are wanted of a record, and checks every byte of it, at a good part of
//! the speed of memory.
//!
//! A record passes exactly when it is UTF-8 and one JSON value (RFC 8259), however deeply nested, as
//! `serde_json` sees it. See [`Shapes`] for what makes it fast.

mod marks;
#[cfg(any(test, fuzzing))]
pub(crate) mod oracle;
mod parser;
mod shapes;
#[cfg(test)]
mod tests;

use crate::fields::Fields;
pub(crate) use parser::text;

/// Reads records; of use for many of them, as it learns what they look like.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    marks: marks::Marks,
    shapes: shapes::Shapes,
    parser: parser::Parser,
}

impl Reader {
    /// Finds the fields of a record. Whether it is JSON; if not, the fields are of no use.
    pub(crate) fn read(&mut self, line: &[u8], fields: &mut Fields) -> bool {
        self.marks.find(line);
        if !self.marks.is_ascii() && str::from_utf8(line).is_err() {
            return false;
        }
        self.shapes.read(line, &self.marks, fields) || self.parse(line, fields)
    }

    #[inline(never)]
    fn parse(&mut self, line: &[u8], fields: &mut Fields) -> bool {
        let Self { marks, parser, shapes } = self;
        if u32::try_from(line.len()).is_err() || parser.parse(line, marks, fields).is_none() {
            return false;
        }
        shapes.learn(line, &parser.steps);
        true
    }
}
