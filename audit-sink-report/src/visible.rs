//! Audit data are written by whoever is audited. What would act on a terminal, a spreadsheet or a
//! reader's eye is shown instead of obeyed.

use std::borrow::Cow;

/// Returns a text in which every character is to be seen: control characters (terminal escapes, line
/// breaks), those that turn the direction of writing, and invisible ones become `\u{1b}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    // What looks like such a mark already is marked itself, so that no two texts look the same.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
    if text.bytes().all(is_plain) || !text.contains(is_hidden) && !text.contains(r"\u{") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if is_hidden(c) || rest.starts_with(r"\u{") {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        } else {
            out.push(c);
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    Cow::Owned(out)
}

/// Returns whether a character has an effect, but no looks of its own.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r05_hidden_characters_are_shown() {
        for (text, shown) in [
            ("plain é 語 -x", "plain é 語 -x"),
            ("\u{1b}[2J\r\n\0", r"\u{1b}[2J\u{d}\u{a}\u{0}"),
            ("\u{9b}31m\u{7f}", r"\u{9b}31m\u{7f}"),
            ("ab\u{202e}cd\u{2066}", r"ab\u{202e}cd\u{2066}"),
            ("a\u{200b}b\u{e0041}", r"a\u{200b}b\u{e0041}"),
            (r"\u{1b}", r"\u{5c}u{1b}"),
            (r"DOMAIN\user", r"DOMAIN\user"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    proptest! {
        #[test]
        fn no_two_texts_look_the_same(a in "[\\\\u{}1b\u{1b}]{0,8}", b in "[\\\\u{}1b\u{1b}]{0,8}") {
            prop_assert_eq!(visible(&a) == visible(&b), a == b);
            prop_assert!(!visible(&a).contains(is_hidden));
        }
    }
}
