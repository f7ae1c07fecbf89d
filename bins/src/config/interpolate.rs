//! `${VARIABLE}` and `${file:PATH}` in values, and the `.env` file.

use std::path::Path;
use std::{env, fs};

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

/// Replaces each `${NAME}` by what `lookup` finds, and `$$` by `$`. None: there was nothing to
/// replace.
pub(super) fn interpolate(
    text: &str,
    mut lookup: impl FnMut(&str) -> Result<String>,
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
            out.push_str(&lookup(name)?);
            after
        } else {
            out.push('$');
            after
        };
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// Reads a variable of the environment.
pub(super) fn variable(name: &str) -> Result<String> {
    let usable = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(usable) {
        return Err(Error::new(ErrorKind::Config, "not the name of a variable")
            .with("name", name.escape_debug())
            .with_hint("write `${NAME}` or `${file:PATH}`, or `$$` for a dollar sign"));
    }
    env::var(name).map_err(|_| {
        Error::new(ErrorKind::Config, "the variable is not set")
            .with("variable", name)
            .with_hint("set it in the environment or in a `.env` file")
    })
}

/// Reads a file that holds one value, as orchestrators mount secrets.
pub(super) fn content(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|e| {
        Error::new(ErrorKind::Config, "cannot read the file of a value")
            .with("path", path.display())
            .because(e)
    })?;
    // Editors end the line, values do not.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_once_and_escapes() {
        let cases = [
            ("plain", None),
            ("<${A}>", Some("<${B}\"\nx = 1>")),
            ("$${A}", Some("${A}")),
            ("a$b$", Some("a$b$")),
        ];
        for (text, expected) in cases {
            let lookup = |name: &str| match name {
                "A" => Ok("${B}\"\nx = 1".to_owned()),
                name => variable(name),
            };
            assert_eq!(interpolate(text, lookup).unwrap().as_deref(), expected, "{text}");
        }
        for text in ["${AUDIT_TEST_MISSING}", "${", "${}", "${a b}"] {
            let kind = interpolate(text, variable).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::Config, "{text}");
        }
    }

    #[test]
    fn a_file_holds_a_value_without_the_end_of_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, " two words\r\n").unwrap();
        assert_eq!(content(&file).unwrap(), " two words");
        assert_eq!(content(dir.path()).unwrap_err().kind(), ErrorKind::Config);
    }
}
