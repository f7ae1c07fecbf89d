use std::io::{self, Write};

/// Appends a JSON text with its quotes, ASCII only, escaped the way Python's `json.dumps` does.
pub(super) fn append_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    append_text(out, text);
    out.push(b'"');
}

/// As [`append_quoted`], without the quotes.
// Inline: a call would take about as long as most texts.
#[inline(always)]
pub(super) fn append_text(out: &mut Vec<u8>, text: &str) {
    if any_word(text.as_bytes(), |word| outside(word) | equal(word, b'"') | equal(word, b'\\')) {
        append_escaped(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cold]
fn append_escaped(out: &mut Vec<u8>, text: &str) {
    let mut done = 0;
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices().filter(|(_, c)| !is_plain(*c) || is_special(*c)) {
        out.extend_from_slice(&bytes[done..at]);
        done = at + c.len_utf8();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            c => append_units(out, c),
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Writes text between quotes in which only what is outside printable ASCII is escaped; quotes and
/// backslashes are known not to occur, or to be part of escapes.
pub(super) fn write_fragment<W: ?Sized + Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let bytes = fragment.as_bytes();
    if !any_word(bytes, outside) {
        return writer.write_all(bytes);
    }
    let mut done = 0;
    let mut escapes = Vec::new();
    for (at, c) in fragment.char_indices().filter(|(_, c)| !is_plain(*c)) {
        writer.write_all(&bytes[done..at])?;
        escapes.clear();
        append_units(&mut escapes, c);
        writer.write_all(&escapes)?;
        done = at + c.len_utf8();
    }
    writer.write_all(&bytes[done..])
}

/// Appends a number in decimal digits.
pub(super) fn append_number(out: &mut Vec<u8>, number: u16) {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `\u` and the four hexadecimal digits of each UTF-16 unit.
pub(super) fn append_units(out: &mut Vec<u8>, c: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for unit in c.encode_utf16(&mut [0; 2]) {
        let digit = |shift: u16| HEX[usize::from(*unit >> shift & 0xf)];
        out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }
}

pub(super) fn is_plain(c: char) -> bool {
    (' '..='~').contains(&c)
}

fn is_special(c: char) -> bool {
    matches!(c, '"' | '\\')
}

/// Returns whether one of two ASCII characters is in the text.
pub(super) fn contains_either(text: &str, a: u8, b: u8) -> bool {
    any_word(text.as_bytes(), |word| (equal(word, a) | equal(word, b)) & !word)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is not printable ASCII, and of others only behind such a one.
fn outside(word: u64) -> u64 {
    word | word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)
}

/// The high bit of each byte that is `b`, and of others only behind such a one or outside ASCII.
fn equal(word: u64, b: u8) -> u64 {
    (word ^ (ONES * u64::from(b))).wrapping_sub(ONES)
}

/// Returns whether `found` sets the high bit of a byte; it must not for a blank.
fn any_word(mut bytes: &[u8], found: impl Fn(u64) -> u64) -> bool {
    let mut any = 0;
    while let Some((word, rest)) = bytes.split_first_chunk() {
        any |= found(u64::from_le_bytes(*word));
        bytes = rest;
    }
    let rest = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // Those in the middle are looked at twice.
        u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
    } else {
        let blanks = ONES * u64::from(b' ');
        bytes.iter().fold(blanks, |word, b| word << 8 | u64::from(*b))
    };
    (any | found(rest)) & HIGH != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 7, 10, 99, 100, 404, 65535] {
            let mut out = Vec::new();
            append_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn words_are_judged_as_their_bytes(text in "([ -~]{0,20}[ -~\0-\x1f\x7f-\u{ff}\"\\\\?@]?[ -~]{0,20}){0,2}") {
            let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
            prop_assert_eq!(any_word(text.as_bytes(), outside), !printable);
            let either = text.contains(['?', '@']);
            prop_assert_eq!(contains_either(&text, b'?', b'@'), either);
            let mut out = vec![b'x'];
            append_text(&mut out, &text);
            let as_it_is = printable && !text.contains(['"', '\\']);
            prop_assert_eq!(&out[1..] == text.as_bytes(), as_it_is);
        }

        #[test]
        fn quoted_text_is_ascii_and_means_the_same(text in any::<String>()) {
            let mut out = Vec::new();
            append_quoted(&mut out, &text);
            prop_assert!(out.iter().all(|b| (b' '..=b'~').contains(b)));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
