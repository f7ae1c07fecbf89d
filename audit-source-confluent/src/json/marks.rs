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
        let (blocks, rest) = line.as_chunks::<BLOCK>();
        let mut last = [b' '; BLOCK];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let blocks = || blocks.iter().chain([&last]);
        let mut seen = Seen::default();
        self.quotes.clear();
        self.quotes.extend(blocks().map(|block| seen.quotes(block)));
        self.has_odd = seen.odd.to_bitmask() != 0;
        self.is_ascii = seen.high.to_bitmask() == 0;
        self.odd.clear();
        if self.has_odd {
            // Few lines have any.
            self.odd.extend(blocks().map(|block| mask(block, odd)));
        }
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

/// What was seen in some blocks, wherever it was.
#[derive(Default)]
struct Seen {
    odd: u8x16,
    high: u8x16,
}

impl Seen {
    /// Returns where there are quotes.
    #[inline]
    fn quotes(&mut self, block: &[u8; BLOCK]) -> u64 {
        mask(block, |bytes| {
            self.odd |= odd(bytes);
            self.high |= bytes;
            bytes.simd_eq(u8x16::splat(b'"'))
        })
    }
}

/// Marks backslashes and control characters.
#[inline]
fn odd(bytes: u8x16) -> u8x16 {
    let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    control | bytes.simd_eq(u8x16::splat(b'\\'))
}

/// Returns a bit for each byte that is marked.
#[inline]
fn mask(block: &[u8; BLOCK], mut mark: impl FnMut(u8x16) -> u8x16) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    let bits =
        |(n, part): (usize, &[u8; 16])| u64::from(mark(u8x16::new(*part)).to_bitmask()) << (16 * n);
    parts.iter().enumerate().map(bits).fold(0, |all, bits| all | bits)
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
