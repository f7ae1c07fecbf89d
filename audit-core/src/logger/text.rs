use std::io::{self, Write};

/// Appends a JSON text with its quotes, ASCII only, escaped the way Python's `json.dumps` does.
pub(super) fn append_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    append_text(out, text);
    out.push(b'"');
}

/// As [`append_quoted`], without the quotes.
pub(super) fn append_text(out: &mut Vec<u8>, text: &str) {
    let begin = out.len();
    if copy_words(out, text.as_bytes(), special) & HIGH != 0 {
        out.truncate(begin);
        append_escaped(out, text);
    }
}

/// The high bit of a byte that cannot stand in a JSON text as it is.
fn special(word: u64) -> u64 {
    less(word, 0x20) | equal(word, b'"') | equal(word, b'\\') | equal(word, 0x7f) | word
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
    if !any_word(bytes, |word| less(word, 0x20) | equal(word, 0x7f) | word) {
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
    any_word(text.as_bytes(), |word| equal(word, a) | equal(word, b))
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of the first byte that is less than `n`, at least; `n` is at most 0x80.
fn less(word: u64, n: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(n)) & !word
}

fn equal(word: u64, b: u8) -> u64 {
    less(word ^ (ONES * u64::from(b)), 1)
}

/// Returns whether `found` sets the high bit of a byte.
fn any_word(bytes: &[u8], found: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut any = 0;
    for word in words {
        any |= found(u64::from_le_bytes(*word));
    }
    match bytes.last_chunk::<8>() {
        // Some bytes are looked at twice.
        Some(last) => any |= found(u64::from_le_bytes(*last)),
        None => any |= found(short_word(rest)),
    }
    any & HIGH != 0
}

/// Copies eight bytes at a time, and looks at them on the way: the texts of a record are short, and a
/// loop over each byte, or calls of functions made for long ones, would take most of the time there is.
fn copy_words(out: &mut Vec<u8>, bytes: &[u8], found: impl Fn(u64) -> u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    out.reserve(bytes.len() + 8);
    let mut any = 0;
    for word in words {
        any |= found(u64::from_le_bytes(*word));
        out.extend_from_slice(word);
    }
    if let (Some(last), false) = (bytes.last_chunk::<8>(), rest.is_empty()) {
        // Some bytes are copied twice, to where they are.
        any |= found(u64::from_le_bytes(*last));
        out.truncate(out.len() + rest.len() - 8);
        out.extend_from_slice(last);
    } else if !rest.is_empty() {
        let word = short_word(rest);
        any |= found(word);
        // The bytes stand in the word in turn, the last one first.
        let begin = out.len();
        out.extend_from_slice(&(word << (8 * (8 - rest.len()))).to_be_bytes());
        out.truncate(begin + rest.len());
    }
    any
}

/// Up to seven bytes, the last one lowest, behind blanks.
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(ONES * u64::from(b' '), |word, b| word << 8 | u64::from(*b))
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
        fn words_are_judged_as_their_bytes(bytes in prop::collection::vec(
            prop_oneof![8 => b' '..=b'~', 1 => any::<u8>()], 0..40,
        )) {
            let plain = |b: &u8| (b' '..=b'~').contains(b) && !matches!(b, b'"' | b'\\');
            let mut copy = vec![b'x'];
            let plain_words = copy_words(&mut copy, &bytes, special) & HIGH == 0;
            prop_assert_eq!(plain_words, bytes.iter().all(plain));
            prop_assert_eq!(&copy[1..], &bytes[..]);
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let either = bytes.contains(&b'?') || bytes.contains(&b'@');
                prop_assert_eq!(contains_either(text, b'?', b'@'), either);
            }
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
