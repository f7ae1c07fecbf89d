//! The one way to stdout and stderr, and what makes foreign text safe to show.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use audit_core::{Error, ErrorKind, Result, Retry};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static COLOR: AtomicBool = AtomicBool::new(false);

/// Decides about colour on stderr for the rest of the process.
pub fn set_color(color: Color) {
    let on = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            io::stderr().is_terminal() && !asked_not_to
        }
    };
    COLOR.store(on, Ordering::Relaxed);
}

/// Writes a line for people to stderr. When nobody can read it any more, nothing is lost.
pub fn say(line: &str) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{line}"));
}

/// Writes data to stdout, through a buffer.
///
/// # Errors
/// Whatever `write` returns; [`ErrorKind::Unavailable`] when stdout is closed or full.
pub fn out(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    write(&mut stdout).and_then(|()| stdout.flush()).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "cannot write")
            .with_retry(Retry::Never)
            .while_doing("write to stdout")
            .because(e)
    })
}

/// Tells a person about an error: one line with every cause, one with the way out.
pub fn complain(error: &Error) {
    let label = if COLOR.load(Ordering::Relaxed) { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    say(&format!("{label} {}", describe(error)));
    if let Some(help) = help(error) {
        say(&format!("  help: {}", neutral(help)));
    }
}

/// As [`complain`], but silent when the reader of stdout went away: it knows.
pub fn complain_unless_closed(error: &Error) {
    if !crate::exit::is_broken_pipe(error) {
        complain(error);
    }
}

/// Returns the way out of an error: what it says itself, else what helps with its kind.
pub fn help(error: &Error) -> Option<&str> {
    error.hint().or(match error.kind() {
        ErrorKind::Auth => Some("are the credentials right, and may they do this?"),
        ErrorKind::Config => Some("correct what is named, and try again"),
        ErrorKind::Timeout | ErrorKind::Unavailable => {
            Some("is it up, can it be reached from here, and are host and port right?")
        }
        ErrorKind::Unexpected => Some("this is most likely a defect; please report it"),
        _ => None,
    })
}

/// Returns an error and its causes as one line, each said once, safe to show.
pub fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    neutral(&text).into_owned()
}

/// Makes text safe to show on one line: nothing in it moves the cursor, changes the terminal, starts
/// a line or turns the direction of reading. What would is written as an escape.
pub fn neutral(text: &str) -> Cow<'_, str> {
    escape(text, |_| false, |c, out| out.extend(c.escape_default()))
}

/// As [`neutral`], but line ends and tabs stay.
pub fn neutral_block(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'), |c, out| out.extend(c.escape_default()))
}

/// Makes JSON safe to show without changing its value. (In JSON text these stand only in strings.)
pub fn neutral_json(json: &str) -> Cow<'_, str> {
    escape(json, |c| matches!(c, '\n' | '\t'), |c, out| *out += &format!("\\u{:04x}", c as u32))
}

fn escape<'a>(
    text: &'a str,
    keep: impl Fn(char) -> bool,
    put: impl Fn(char, &mut String),
) -> Cow<'a, str> {
    let is_unsafe = |c: char| is_control(c) && !keep(c);
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { put(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Shortens text to at most `width` characters, the last of them an ellipsis.
pub fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    match text.char_indices().nth(width) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let kept: String = text.chars().take(width.saturating_sub(1)).collect();
            Cow::Owned(kept + "…")
        }
    }
}

/// Writes a number with its thousands apart: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        assert_eq!(neutral("plain ä 日本"), "plain ä 日本");
        assert_eq!(neutral("\x1b]0;x\x07\r\n\u{9b}31m"), "\\u{1b}]0;x\\u{7}\\r\\n\\u{9b}31m");
        assert_eq!(neutral("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(neutral_block("a\n\tb\r"), "a\n\tb\\r");
        assert_eq!(neutral_json("\"\u{7f}\u{9b}\u{2028}\""), r#""\u007f\u009b\u2028""#);
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Unavailable, "cannot read").because(cause);
        assert_eq!(describe(&error), "cannot read: disk on fire");
        let cause = io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Unavailable, "disk on fire").because(cause);
        assert_eq!(describe(&error), "disk on fire");
    }

    #[test]
    fn numbers_and_long_lines() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)].join(" "),
            "0 999 1,000 1,234,567"
        );
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }
}
