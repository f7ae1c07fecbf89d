use audit_core::{Error, ErrorKind, Result};

use crate::error::near;

/// A database URL, split without looking into it.
pub(crate) struct Parts<'a> {
    /// What follows the scheme's colon.
    pub(crate) rest: &'a str,
    parameters: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits a URL, and checks that its parameters are among the known ones.
    pub(crate) fn read(url: &'a str, known: &[&str]) -> Result<Self> {
        let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
        let after = rest.trim_start_matches('/').split_once(['/', '?', '#']);
        if after.is_some_and(|(_, after)| after.contains('@')) {
            // Perhaps a part of the password: no part of it may be named.
            return Err(bad().with_hint(
                "in user, password and parameters, write `/` as %2F, `?` as %3F, `#` as %23, `@` as %40",
            ));
        }
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let parameters: Vec<_> = query
            .split('&')
            .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name))
            .filter(|name| !name.is_empty())
            .collect();
        let is_known = |name: &str| known.contains(&name) || name.starts_with("options[");
        if let Some(name) = parameters.iter().find(|name| !is_known(name)) {
            return Err(Error::new(ErrorKind::Config, "the database URL has an unknown parameter")
                .with("parameter", name.escape_debug())
                .with_hint(format!("there are: {}", near(name, known.iter().copied()))));
        }
        Ok(Self { rest, parameters })
    }

    /// Returns whether a parameter of one of these names is given.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.parameters.iter().any(|given| names.contains(given))
    }
}

/// Says that a URL is wrong, without any of it.
pub(crate) fn bad() -> Error {
    Error::new(ErrorKind::Config, "the database URL cannot be understood")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for url in [
            "postgres://u:can/ary@h/db",
            "postgres://u:can?ary=1@h/db",
            "postgres://u:can#ary@h/db",
            "postgres://u:canary@h/db?sslmod=require",
        ] {
            let Err(error) = Parts::read(url, &["sslmode"]) else { panic!("{url}") };
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(!text.contains("ary"), "{text}");
        }
        let parts = Parts::read("postgis://u:p@h/db?sslmode=require&a=1", &["sslmode", "a"]);
        let parts = parts.unwrap_or_else(|e| panic!("{e}"));
        assert!(parts.rest == "//u:p@h/db?sslmode=require&a=1" && parts.has(&["b", "sslmode"]));
    }
}
