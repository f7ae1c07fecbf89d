use std::io::{self, Write};

/// Appends a JSON text with its quotes, ASCII only, escaped the way Python's `json.dumps` does.
pub(super) fn append_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if is_plain_text(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        append_escaped(out, text);
    }
    out.push(b'"');
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
    if bytes.iter().fold(true, |plain, b| plain & (b' '..=b'~').contains(b)) {
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

/// Without an early exit, so that the compiler looks at many bytes at once.
fn is_plain_text(bytes: &[u8]) -> bool {
    let plain = |b: u8| (b' '..=b'~').contains(&b) & (b != b'"') & (b != b'\\');
    bytes.iter().fold(true, |all, b| all & plain(*b))
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
        fn quoted_text_is_ascii_and_means_the_same(text in any::<String>()) {
            let mut out = Vec::new();
            append_quoted(&mut out, &text);
            prop_assert!(out.iter().all(|b| (b' '..=b'~').contains(b)));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
