use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A credential: never printed, not serializable, wiped from memory when dropped.
#[derive(Clone)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("writeOnly" = true)))]
pub struct Secret(#[cfg_attr(feature = "schema", schemars(with = "String"))] SecretString);

impl Secret {
    /// Wraps a credential.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// Returns the credential itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number in place of a text may be the credential: the message must not show it.
        let secret = SecretString::deserialize(deserializer);
        secret.map(Self).map_err(|_| D::Error::custom("a secret is a text, in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_in_neither_debug_nor_display() {
        let secret = Secret::new("canary");
        assert_eq!(format!("{secret:?} {secret}"), "REDACTED REDACTED");
        assert_eq!(secret.expose(), "canary");
    }

    #[test]
    fn one_that_is_no_text_is_refused_without_showing_it() {
        assert_eq!(serde_json::from_str::<Secret>("\"7351\"").unwrap().expose(), "7351");
        for json in ["7351", "[7351]", "{\"7351\":1}"] {
            let error = serde_json::from_str::<Secret>(json).unwrap_err();
            assert!(!error.to_string().contains("7351"), "{error}");
        }
    }
}
