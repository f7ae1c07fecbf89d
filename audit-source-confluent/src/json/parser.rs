use std::borrow::Cow;

use crate::fields::{Fields, Part, Slot, Want};
use crate::json::marks::Marks;

/// A record of so many steps is not worth to be learned.
pub(crate) const MAX_STEPS: usize = 4096;

/// What is between two literals of a record: keys, brackets and blanks are literals, values are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    /// The content of a string.
    Text,
    /// A number, `true`, `false` or `null`.
    Scalar,
    /// Nothing more: the end of the record.
    End,
}

/// A hole, and what is to be done when it is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) hole: Hole,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
    /// What was found before under these slots does not count any more: a name came again.
    pub(crate) clear: u64,
    pub(crate) slot: Slot,
}

impl Step {
    /// Fills the slot of the value; null is none.
    #[inline]
    pub(crate) fn put(&self, line: &[u8], fields: &mut Fields) {
        let null = self.hole == Hole::Scalar && line.get(self.start) == Some(&b'n');
        let slot = if null { Slot::NONE } else { self.slot };
        fields.put(self.clear, slot, (self.start, self.end), self.escaped);
    }
}

/// What a value is read as, by where it is.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Object(Part),
    /// A list of which the first element counts.
    First(Part),
    /// A list of which each element counts, and the place of the one that is read.
    Each(u8),
    /// Values that are of no interest, and so is all in them.
    Skipped {
        list: bool,
    },
}

/// Reads records by the rules of JSON, one byte after the other, and notes the steps.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The first ones, up to [`MAX_STEPS`].
    pub(crate) steps: Vec<Step>,
    stack: Stack,
}

/// What is open. However deep a record is, this takes a bit for each level that is of no interest.
#[derive(Debug, Default)]
struct Stack {
    frames: Vec<Frame>,
    /// Above those, which of the skipped ones are lists.
    lists: Vec<u64>,
    skipped: usize,
}

impl Stack {
    fn clear(&mut self) {
        self.frames.clear();
        self.skipped = 0;
    }

    fn push(&mut self, frame: Frame) {
        let Frame::Skipped { list } = frame else { return self.frames.push(frame) };
        let (word, bit) = (self.skipped / 64, 1 << (self.skipped % 64));
        if word == self.lists.len() {
            self.lists.push(0);
        }
        let bits = &mut self.lists[word];
        *bits = if list { *bits | bit } else { *bits & !bit };
        self.skipped += 1;
    }

    fn last(&self) -> Option<Frame> {
        match self.skipped.checked_sub(1) {
            Some(top) => Some(Frame::Skipped { list: self.lists[top / 64] >> (top % 64) & 1 == 1 }),
            None => self.frames.last().copied(),
        }
    }

    /// A value in the innermost is read.
    fn advance(&mut self) {
        if let (Some(frame), 0) = (self.frames.last_mut(), self.skipped) {
            frame.advance();
        }
    }

    fn pop(&mut self) {
        match self.skipped {
            0 => drop(self.frames.pop()),
            _ => self.skipped -= 1,
        }
    }
}

impl Parser {
    /// Reads a record that is known to be UTF-8. None: it is not one JSON value, and the fields are of
    /// no use.
    pub(crate) fn parse(&mut self, line: &[u8], marks: &Marks, fields: &mut Fields) -> Option<()> {
        self.steps.clear();
        self.stack.clear();
        fields.clear();
        let mut run = Run { parser: self, line, marks, fields, at: 0, clear: 0 };
        run.value(Want::Object(Part::Record))
    }
}

struct Run<'a> {
    parser: &'a mut Parser,
    line: &'a [u8],
    marks: &'a Marks,
    fields: &'a mut Fields,
    at: usize,
    clear: u64,
}

impl Run<'_> {
    /// Reads a value and all that follows.
    fn value(&mut self, mut want: Want) -> Option<()> {
        loop {
            self.clear |= want.slots();
            let opened = match self.peek()? {
                b'"' => {
                    let end = self.marks.string_end(self.line, self.at + 1)?;
                    self.step(Hole::Text, self.at + 1, end.at, end.escaped, want.text());
                    self.at = end.at + 1;
                    None
                }
                b'{' => Some((want.object(), b'}')),
                b'[' => Some((want.list(), b']')),
                _ => {
                    let end = scalar_end(self.line, self.at)?;
                    self.step(Hole::Scalar, self.at, end, false, want.text());
                    self.at = end;
                    None
                }
            };
            if let Some((frame, close)) = opened {
                self.at += 1;
                if self.peek()? == close {
                    self.at += 1;
                } else {
                    self.parser.stack.push(frame);
                    want = self.member()?;
                    continue;
                }
            }
            match self.next_member()? {
                Some(next) => want = next,
                None => return Some(()),
            }
        }
    }

    /// Goes on behind a value. `Some(None)`: the record ends here.
    fn next_member(&mut self) -> Option<Option<Want>> {
        loop {
            self.parser.stack.advance();
            let Some(frame) = self.parser.stack.last() else { break };
            let close = if frame.is_list() { b']' } else { b'}' };
            let found = self.peek()?;
            self.at += 1;
            if found == b',' {
                return self.member().map(Some);
            }
            if found != close {
                return None;
            }
            self.parser.stack.pop();
        }
        let ends = self.peek().is_none();
        self.step(Hole::End, self.line.len(), self.line.len(), false, Slot::NONE);
        ends.then_some(None)
    }

    /// Reads up to the value of a field or an element.
    fn member(&mut self) -> Option<Want> {
        let frame = self.parser.stack.last()?;
        if frame.is_list() {
            return Some(frame.element());
        }
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let end = self.marks.string_end(self.line, start)?;
        self.at = end.at + 1;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        let Frame::Object(part) = frame else { return Some(Want::Nothing) };
        let name = text(self.line.get(start..end.at)?, end.escaped);
        Some(name.map_or(Want::Nothing, |name| part.field(&name)))
    }

    /// Skips blanks and returns what follows.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.line.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                other => return Some(*other),
            }
        }
    }

    fn step(&mut self, hole: Hole, start: usize, end: usize, escaped: bool, slot: Slot) {
        let clear = std::mem::take(&mut self.clear);
        let step = Step { hole, start, end, escaped, clear, slot };
        step.put(self.line, self.fields);
        if self.parser.steps.len() < MAX_STEPS {
            self.parser.steps.push(step);
        }
    }
}

impl Frame {
    fn is_list(self) -> bool {
        !matches!(self, Self::Object(_) | Self::Skipped { list: false })
    }

    fn element(self) -> Want {
        match self {
            Self::First(part) => Want::Object(part),
            Self::Each(place) => Part::of_scope(place).map_or(Want::Nothing, Want::Object),
            Self::Object(_) | Self::Skipped { .. } => Want::Nothing,
        }
    }

    fn advance(&mut self) {
        match self {
            Self::First(_) => *self = Self::Skipped { list: true },
            Self::Each(place) => *place = place.saturating_add(1),
            Self::Object(_) | Self::Skipped { .. } => {}
        }
    }
}

impl Want {
    fn object(self) -> Frame {
        let things = if self == Self::Things { Part::of_scope(0) } else { None };
        match (self, things) {
            (Self::Part(part) | Self::Object(part), _) | (_, Some(part)) => Frame::Object(part),
            _ => Frame::Skipped { list: false },
        }
    }

    fn list(self) -> Frame {
        match self {
            Self::Part(part) => Frame::First(part),
            Self::Things => Frame::Each(0),
            Self::Nothing | Self::Text(_) | Self::Object(_) => Frame::Skipped { list: true },
        }
    }
}

/// Returns the text of a string's content; none for half of a surrogate pair.
pub(crate) fn text(content: &[u8], escaped: bool) -> Option<Cow<'_, str>> {
    let text = str::from_utf8(content).ok()?;
    if !escaped {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

/// Finds the end of a number, `true`, `false` or `null`. What follows is not looked at.
#[inline]
pub(crate) fn scalar_end(line: &[u8], at: usize) -> Option<usize> {
    let rest = line.get(at..)?;
    let word: &[u8] = match rest.first()? {
        b't' => b"true",
        b'f' => b"false",
        b'n' => b"null",
        _ => return number(rest).map(|length| at + length),
    };
    rest.starts_with(word).then_some(at + word.len())
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let count = text.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = digits(start)?;
    if text.get(start) == Some(&b'0') && end > start + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + sign)?;
    }
    Some(end)
}
