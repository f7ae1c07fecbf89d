use wide::u8x16;

/// Where in a line there are quotes, and bytes that ask for a second look: what a vector unit finds
/// in one pass, so that the end of a string is the next bit of a mask.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// A bit for each byte that is a quote.
    quotes: Vec<u64>,
    /// A bit for each byte that is a backslash or a control character.
    odd: Vec<u64>,
    has_odd: bool,
    is_ascii: bool,
}

/// The end of a string, and whether there are escapes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The place of the closing quote.
    pub(crate) at: usize,
    pub(crate) escaped: bool,
}

const BLOCK: usize = 64;

impl Marks {
    /// Finds the marks of a line, in place of those of the line before.
    pub(crate) fn find(&mut self, line: &[u8]) {
        self.quotes.clear();
        self.odd.clear();
        let (blocks, rest) = line.as_chunks::<BLOCK>();
        let mut seen = Block::default();
        for block in blocks {
            self.put(Block::of(block), &mut seen);
        }
        let mut last = [b' '; BLOCK];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.put(Block::of(&last), &mut seen);
        self.has_odd = seen.odd != 0;
        self.is_ascii = seen.high == 0;
    }

    fn put(&mut self, block: Block, seen: &mut Block) {
        self.quotes.push(block.quotes);
        self.odd.push(block.odd);
        seen.odd |= block.odd;
        seen.high |= block.high;
    }

    pub(crate) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Finds the end of the string whose content begins `at`. None: there is no end, or what comes
    /// before it may not be in a string.
    #[inline]
    pub(crate) fn string_end(&self, line: &[u8], at: usize) -> Option<End> {
        let end = next(&self.quotes, at)?;
        if !self.has_odd {
            return Some(End { at: end, escaped: false });
        }
        self.odd_string_end(line, at, end)
    }

    #[inline(never)]
    fn odd_string_end(&self, line: &[u8], mut at: usize, mut end: usize) -> Option<End> {
        let mut escaped = false;
        while let Some(odd) = next(&self.odd, at).filter(|odd| *odd < end) {
            escaped = true;
            at = odd + escape(line.get(odd..)?)?;
            if at > end {
                end = next(&self.quotes, at)?;
            }
        }
        Some(End { at: end, escaped })
    }
}

/// Returns how long the escape is that begins here; none, if it is none.
fn escape(text: &[u8]) -> Option<usize> {
    match text {
        [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'\\', b'u', a, b, c, d, ..] => {
            [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()).then_some(6)
        }
        _ => None,
    }
}

/// Returns the place of the first bit from `at` on.
#[inline]
fn next(bits: &[u64], at: usize) -> Option<usize> {
    let mut word = at / 64;
    let mut left = bits.get(word)? >> (at % 64) << (at % 64);
    while left == 0 {
        word += 1;
        left = *bits.get(word)?;
    }
    Some(word * 64 + left.trailing_zeros() as usize)
}

/// The marks of 64 bytes.
#[derive(Clone, Copy, Default)]
struct Block {
    quotes: u64,
    odd: u64,
    high: u64,
}

impl Block {
    #[inline]
    fn of(bytes: &[u8; BLOCK]) -> Self {
        let (parts, _) = bytes.as_chunks::<16>();
        let mut block = Self::default();
        for (n, part) in parts.iter().enumerate() {
            let bytes = u8x16::new(*part);
            let quotes = bytes.simd_eq(u8x16::splat(b'"'));
            let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
            let odd = control | bytes.simd_eq(u8x16::splat(b'\\'));
            block.quotes |= u64::from(quotes.to_bitmask()) << (16 * n);
            block.odd |= u64::from(odd.to_bitmask()) << (16 * n);
            block.high |= u64::from(bytes.to_bitmask());
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(text: &str) -> Option<(usize, bool)> {
        let mut marks = Marks::default();
        marks.find(text.as_bytes());
        marks.string_end(text.as_bytes(), 1).map(|end| (end.at, end.escaped))
    }

    #[test]
    fn n05_escaped_quotes_and_wrong_escapes() {
        assert_eq!(end(r#""a" "#), Some((2, false)));
        assert_eq!(end(r#""\"\\" "x""#), Some((5, true)));
        assert_eq!(end(r#""\u12aF""#), Some((7, true)));
        for bad in
            [r#""\u12g4""#, r#""\x""#, "\"\t\"", r#""\""#, r#""open"#, "\"\u{0}\"", r#""\u12""#]
        {
            assert_eq!(end(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn m06_a_string_ends_where_a_full_parser_says(
            text in "[a\"\\\\u0dé\n]{0,12}",
            lead in 0..70usize,
        ) {
            let text = format!("{}\"{text}\" ", " ".repeat(lead));
            let mut marks = Marks::default();
            marks.find(text.as_bytes());
            let found = marks.string_end(text.as_bytes(), lead + 1).map(|end| end.at + 1);
            let mut parser = serde_json::Deserializer::from_str(&text).into_iter::<serde::de::IgnoredAny>();
            let expected = parser.next().and_then(Result::ok).map(|_| parser.byte_offset());
            prop_assert_eq!(found, expected);
        }
    }
}
