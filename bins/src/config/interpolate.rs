//! `${VARIABLE}` in values, and the `.env` file.

use std::env;

use audit_core::{Error, ErrorKind, Result};

/// Takes the variables of the next `.env` file upwards into the environment, under what is there
/// already. To be called before any thread is started.
///
/// # Errors
/// [`ErrorKind::Config`] when there is one and it cannot be read. The error does not quote it.
pub fn load_dot_env() -> Result<()> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(e) if e.not_found() => Ok(()),
        Err(dotenvy::Error::LineParse(..)) => {
            Err(Error::new(ErrorKind::Config, "the `.env` file has a line that is not understood")
                .with_hint(
                    "write NAME=value, one a line; quote values with spaces or special characters",
                ))
        }
        Err(e) => Err(Error::new(ErrorKind::Config, "cannot read the `.env` file").because(e)),
    }
}

/// Replaces each `${VARIABLE}` by its value, and `$$` by `$`. None: there was nothing to replace.
pub(super) fn interpolate(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>> {
    if !text.contains('$') {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| {
                Error::new(ErrorKind::Config, "`${` without `}`")
                    .with_hint("write `$$` for a dollar sign")
            })?;
            out.push_str(&value(name, &lookup)?);
            after
        } else {
            out.push('$');
            after
        };
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn value(name: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(usable) {
        return Err(Error::new(ErrorKind::Config, "not the name of a variable")
            .with("name", name.escape_debug())
            .with_hint("write `${NAME}`, or `$$` for a dollar sign"));
    }
    lookup(name).ok_or_else(|| {
        Error::new(ErrorKind::Config, "the variable is not set")
            .with("variable", name)
            .with_hint("set it in the environment or in a `.env` file")
    })
}

/// Reads the environment.
pub(super) fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "A").then(|| "${B}\"\nx = 1".to_owned())
    }

    #[test]
    fn replaces_once_and_escapes() {
        let cases = [
            ("plain", None),
            ("<${A}>", Some("<${B}\"\nx = 1>")),
            ("$${A}", Some("${A}")),
            ("a$b$", Some("a$b$")),
        ];
        for (text, expected) in cases {
            assert_eq!(interpolate(text, lookup).unwrap().as_deref(), expected, "{text}");
        }
        for text in ["${MISSING}", "${", "${}", "${a b}"] {
            assert_eq!(interpolate(text, lookup).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }
}
